/*
 * A process is watched through a pidfd; where the kernel has none, by its pid and the time it started. A pid
 * from another pid namespace, and our own (ranks as threads), cannot be watched.
 */
#include "dist/peer.h"

#include "base/memory.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef enum watch { WATCH_NOT_YET, WATCH_BY_FD, WATCH_BY_PID, WATCH_DEAD, WATCH_NEVER } watch;

struct td_peer {
    watch how;
    int fd; /* of WATCH_BY_FD */
    bool suspected;
};

/* Field 22 of /proc/PID/stat, counted after the name in parentheses; 0 when there is no such process, or it
 * is a zombie. */
static uint64_t start_of(int pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    size_t used = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[used] = 0;
    char state, *at = strrchr(text, ')');
    unsigned long long started;
    if (!at ||
        sscanf(at + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &state, &started) != 2)
        return 0;
    return state == 'Z' || state == 'X' ? 0 : started;
}

td_process td_process_self(void) {
    struct stat about;
    td_process self = {.pid = (int)getpid()};
    self.started = start_of(self.pid);
    if (!stat("/proc/self/ns/pid", &about)) self.pid_space = about.st_ino;
    return self;
}

/* The first line of /proc/PID/status that has `format`. */
__attribute__((format(scanf, 2, 0))) static bool read_status(int pid, const char *format, void *value) {
    char path[64], line[256];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    while (!found && fgets(line, sizeof line, file)) found = sscanf(line, format, value) == 1;
    fclose(file);
    return found;
}

bool td_process_is_traced(int pid) {
    int tracer;
    return read_status(pid, "TracerPid: %d", &tracer) && tracer != 0;
}

bool td_process_is_stopped(int pid) {
    char state;
    return read_status(pid, "State: %c", &state) && state == 'T';
}

td_peer *td_peers_open(int size) { return td_calloc((size_t)size, sizeof(td_peer)); }

void td_peers_close(td_peer **peers, int size) {
    for (int r = 0; *peers && r < size; r++)
        if ((*peers)[r].how == WATCH_BY_FD) close((*peers)[r].fd);
    td_free(*peers);
    *peers = NULL;
}

static void begin_watch(td_peer *peer, const td_room_seat *seat, const td_room_seat *own) {
    if (!atomic_load(&seat->entered)) return;
    if (seat->pid == own->pid || seat->pid_space != own->pid_space || !seat->started) {
        peer->how = WATCH_NEVER;
        return;
    }
    peer->fd = (int)syscall(SYS_pidfd_open, seat->pid, 0);
    peer->how = peer->fd >= 0 ? WATCH_BY_FD : errno == ESRCH ? WATCH_DEAD : WATCH_BY_PID;
    if (peer->how == WATCH_BY_FD &&
        start_of(seat->pid) != seat->started) { /* a zombie, or another process by now */
        close(peer->fd);
        peer->how = WATCH_DEAD;
    }
}

static bool is_dead(td_peer *peer, const td_room_seat *seat, const td_room_seat *own) {
    if (peer->how == WATCH_NOT_YET) begin_watch(peer, seat, own);
    struct pollfd p = {.fd = peer->fd, .events = POLLIN};
    switch (peer->how) {
    case WATCH_BY_FD: return poll(&p, 1, 0) > 0;
    case WATCH_BY_PID: return start_of(seat->pid) != seat->started;
    case WATCH_DEAD: return true;
    case WATCH_NOT_YET:
    case WATCH_NEVER: break;
    }
    return false;
}

int td_peers_find_dead(td_peer *peers, const td_room_seat *seats, int rank, int size, int awaited) {
    int found = -1;
    for (int r = 0; r < size; r++) {
        if (r == rank || !is_dead(&peers[r], &seats[r], &seats[rank]) || atomic_load(&seats[r].left))
            continue;
        if (r == awaited) return r;
        if (peers[r].suspected) found = r;
        peers[r].suspected = true;
    }
    return found;
}
