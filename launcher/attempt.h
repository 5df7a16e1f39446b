/*
 * All that one attempt of a job holds: its ranks and everything they are given (arena, port, pipes, control
 * channels, environments), the guardian, and how it ended. A restart makes all of it anew and keeps nothing.
 * Central object: launcher_attempt, in its owner's memory: zero, start, watch, stop, close. The loop's thread
 * only.
 */
#ifndef TANDEM_LAUNCHER_ATTEMPT_H
#define TANDEM_LAUNCHER_ATTEMPT_H

#include "dist/progress.h"
#include "launcher/control.h"
#include "launcher/environment.h"
#include "launcher/guardian.h"
#include "launcher/mpi.h"
#include "launcher/output.h"
#include "launcher/program.h"

/* What is the same in all attempts of a job; *lent* to each. */
typedef struct launcher_constants {
    const launcher_options *options;
    launcher_program program;
    launcher_inherited inherited;
    const char *run_id; /* the user's, or: */
    char random_id[33];
    launcher_logs *logs;
} launcher_constants;

typedef struct launcher_attempt launcher_attempt;

typedef struct launcher_attempt_events {
    void (*guardian)(launcher_attempt *attempt, void *cookie); /* it has something to say, or is gone */
    void (*silent)(int rank, void *cookie);                    /* another says that this one never came */
    launcher_output_events output;
    void (*mpi_failed)(void *cookie); /* a rank's mpi_fault is set */
    void (*mpi_refused)(const char *why, void *cookie);
    void *cookie;
} launcher_attempt_events;

struct launcher_attempt {
    const launcher_constants *constants;
    int number; /* 0 for the first */
    int n;
    launcher_rank *ranks;
    launcher_ending ending;
    launcher_output *output;
    launcher_control *control;
    launcher_mpi *mpi;
    td_progress *progress;
    int64_t oom_kills; /* before it began; -1: unknown */
    pid_t guardian;
    int socket; /* to the guardian; -1 */

    /* What ranks are given. */
    launcher_facts facts;
    char error_folder[PATH_MAX]; /* of the ranks' error files, where there is no log tree; "": none */
    launcher_spawn *spawns;
    launcher_tail **tails;
    launcher_mpi_folder mpi_folder;
    char *mpi_components; /* OMPI_MCA_mca_base_component_path */
    launcher_cgroup group;
    int null, arena, port; /* descriptors; -1 */

    uv_poll_t guardian_watch;
    bool watched;
    launcher_attempt_events events;
};

/* What ranks are told of attempt `number` that does not have to be made first: all but port and descriptors;
 * and what only rank `rank` is told. */
void launcher_attempt_facts(const launcher_constants *constants, int number, launcher_facts *facts);
launcher_rank_facts launcher_attempt_rank_facts(const launcher_options *options, int rank);

/* Make everything and have the guardian start the ranks. Failed or not, the attempt is to be closed. */
td_status launcher_attempt_start(launcher_attempt *attempt, const launcher_constants *constants, int number);

/* Hear the guardian and all that ranks may say. */
td_status launcher_attempt_watch(launcher_attempt *attempt, uv_loop_t *loop, launcher_attempt_events events);

/* Tell the guardian; nothing when it is gone. */
void launcher_attempt_order(const launcher_attempt *attempt, guardian_order order);

/* The guardian's next event. 1: *event is filled; 0: nothing more now; -1: the guardian is gone. */
int launcher_attempt_next_event(const launcher_attempt *attempt, guardian_event *event);

/* All ranks are gone: read what those that failed have written about themselves. Before the guardian goes. */
void launcher_attempt_read_errors(launcher_attempt *attempt);

/* Nothing of the attempt lives any more: let the guardian go, and forward what the pipes still hold. */
void launcher_attempt_finish(launcher_attempt *attempt);

/* Stop all handles; run the loop once more, then close, which frees everything and waits for the guardian. */
void launcher_attempt_stop(launcher_attempt *attempt);
void launcher_attempt_close(launcher_attempt *attempt);

#endif
