/*
 * The launcher's side of the ranks' control channels: what a rank lost is noted in its launcher_rank, and a
 * rank that joins is told of the terminal behind us. One object per job, *yours* from open to close; the
 * loop's thread only.
 */
#ifndef TANDEM_LAUNCHER_CONTROL_H
#define TANDEM_LAUNCHER_CONTROL_H

#include "launcher/job.h"

#include <uv.h>

typedef struct launcher_control launcher_control;

/* Make a channel per rank. `ranks` is *lent* until close. */
td_status launcher_control_open(launcher_rank *ranks, int n, launcher_control **control);
/* The rank's end, to be inherited; close-on-exec, *lent*. */
int launcher_control_end(const launcher_control *control, int rank);
/* The ranks have been started: close their ends here and listen. `silent` is called when a rank says that another
 * never came. */
td_status launcher_control_start(launcher_control *control, uv_loop_t *loop,
                                 void (*silent)(int rank, void *cookie), void *cookie);
/* The window has changed: tell the ranks. */
void launcher_control_tell_terminal(launcher_control *control);
/* Stop all handles; run the loop once more, then close. NULL inside is fine. */
void launcher_control_stop(launcher_control *control);
void launcher_control_close(launcher_control **control);

#endif
