/* Whether the process of another rank still lives. */
#ifndef TANDEM_DIST_PEER_H
#define TANDEM_DIST_PEER_H

#include "dist/wait.h"

typedef struct td_process {
    int pid;
    uint64_t started, pid_space;
} td_process;

td_process td_process_self(void);

/* Does a debugger hold this process? False where that cannot be known. */
bool td_process_is_traced(int pid);
/* Has a signal stopped it? */
bool td_process_is_stopped(int pid);

/* How this rank watches `size` ranks; NULL when there is no memory. Descriptors are opened on the first look.
 */
td_peer *td_peers_open(int size);
void td_peers_close(td_peer **peers, int size);

/* The awaited rank if it is dead; else another that is dead, has not left, and was found dead before too (so
 * that a rank which ends right after its last part is not taken for a loss at once); else -1. */
int td_peers_find_dead(td_peer *peers, const td_room_seat *seats, int rank, int size, int awaited);

#endif
