/*
 * The first rank that failed by itself is to blame, unless it said over the control channel that it lost
 * another one: then that one is, and so on along the chain. Such a culprit may have left with 0 in the middle
 * of a collective, or be alive and silent.
 */
#include "launcher/verdict.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

bool launcher_has_failed(const launcher_rank *rank) {
    if (rank->life == LAUNCHER_ENDED)
        return rank->wait_status != 0 || rank->mpi_fault != LAUNCHER_MPI_NO_FAULT;
    return rank->life == LAUNCHER_UNSTARTED;
}

int launcher_exit_code(const launcher_rank *rank) {
    if (rank->life == LAUNCHER_UNSTARTED) {
        if (rank->stage != LAUNCHER_STAGE_EXEC) return LAUNCHER_EXIT_OWN;
        return rank->error == ENOENT || rank->error == ENOTDIR ? LAUNCHER_EXIT_NOT_FOUND
                                                               : LAUNCHER_EXIT_NOT_EXECUTABLE;
    }
    if (rank->mpi_fault == LAUNCHER_MPI_ABORTED && (rank->mpi_code & 255) != 0) return rank->mpi_code & 255;
    if (rank->mpi_fault != LAUNCHER_MPI_NO_FAULT) return LAUNCHER_EXIT_LEFT_EARLY;
    if (WIFSIGNALED(rank->wait_status)) return 128 + WTERMSIG(rank->wait_status);
    return WEXITSTATUS(rank->wait_status);
}

/* Did it fail before it was told to stop? One that has called MPI_Abort did, though its process may have had to be
 * told. */
static bool has_failed_by_itself(const launcher_rank *rank) {
    if (rank->mpi_fault == LAUNCHER_MPI_ABORTED) return rank->life == LAUNCHER_ENDED;
    return launcher_has_failed(rank) && !rank->told_to_stop;
}

/* The first by time of those that failed without having been told to stop; -1 if there is none. */
static int find_first_failure(const launcher_rank *ranks, int n) {
    int first = -1;
    for (int i = 0; i < n; i++) {
        if (!has_failed_by_itself(&ranks[i])) continue;
        if (first < 0 || ranks[i].ended_ns < ranks[first].ended_ns) first = i;
    }
    return first;
}

/* From the first failure along what the ranks said to the one that nobody is behind; *said_by is who named
 * it. Ranks that lost one another name nobody: then the first to fail it is. */
static int follow_losses(const launcher_rank *ranks, int n, int first, int *said_by) {
    int rank = first;
    *said_by = -1;
    for (int steps = 0; steps < n; steps++) {
        int lost = ranks[rank].lost;
        if (lost < 0 || lost >= n || lost == rank) return rank;
        *said_by = rank;
        rank = lost;
    }
    *said_by = -1;
    return first;
}

/* The status for a culprit that another rank has named. */
static int judge_named(const launcher_rank *culprit, const launcher_rank *said_by) {
    bool was_alive = culprit->life == LAUNCHER_ALIVE || culprit->told_to_stop;
    if (was_alive && said_by->lost_to_silence) return LAUNCHER_EXIT_STALLED;
    int code = launcher_exit_code(culprit);
    return code == 0 ? LAUNCHER_EXIT_LEFT_EARLY : code;
}

/* Nobody got on, and this rank seemed to be why; unless it fails by itself while one looks at it, or has said
 * meanwhile whom it waits for. */
static launcher_verdict judge_stalled(const launcher_rank *ranks, int n, int stuck) {
    int said_by, culprit = follow_losses(ranks, n, stuck, &said_by);
    bool failed = launcher_has_failed(&ranks[culprit]) && !ranks[culprit].told_to_stop;
    int code = failed ? launcher_exit_code(&ranks[culprit]) : LAUNCHER_EXIT_STALLED;
    return (launcher_verdict){"failed", code, culprit};
}

launcher_verdict launcher_judge(const launcher_rank *ranks, int n, const launcher_ending *ending) {
    if (ending->stop == LAUNCHER_STOP_OWN) return (launcher_verdict){"error", LAUNCHER_EXIT_OWN, -1};
    if (ending->stop == LAUNCHER_STOP_SIGNAL)
        return (launcher_verdict){"interrupted", 128 + ending->signal, -1};
    if (ending->stop == LAUNCHER_STOP_OUTPUT) return (launcher_verdict){"closed", 128 + SIGPIPE, -1};
    if (ending->stop == LAUNCHER_STOP_TIMEOUT)
        return (launcher_verdict){"timeout", LAUNCHER_EXIT_STALLED, -1};
    if (ending->stop == LAUNCHER_STOP_STALL) return judge_stalled(ranks, n, ending->stuck);
    int first = find_first_failure(ranks, n);
    if (first < 0) return (launcher_verdict){"ok", 0, -1};
    int said_by, culprit = follow_losses(ranks, n, first, &said_by);
    int code =
        said_by < 0 ? launcher_exit_code(&ranks[culprit]) : judge_named(&ranks[culprit], &ranks[said_by]);
    return (launcher_verdict){"failed", code, culprit};
}
