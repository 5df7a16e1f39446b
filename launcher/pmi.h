/*
 * A PMI-1 server: what MPI_Init of MPICH, and of Open MPI through launcher/pmi/, asks a launcher for. Ranks put
 * text under keys, meet in a barrier and get what the others have put. No input or output here: bytes of
 * a rank go in, answers go to a function, so that it can be tested and fuzzed. A rank may run one MPI
 * program after another: `init` after `finalize` begins anew.
 *
 * The wire is that of MPICH's "simple" PMI: lines of name=value words, "cmd" the first. Central object:
 * launcher_pmi, one per attempt, *yours* from open to close; one thread.
 */
#ifndef TANDEM_LAUNCHER_PMI_H
#define TANDEM_LAUNCHER_PMI_H

#include "base/status.h"

enum { LAUNCHER_PMI_LINE_MOST = 4096 };

typedef struct launcher_pmi launcher_pmi;

/* Where a rank stands. */
typedef enum launcher_pmi_phase {
    LAUNCHER_PMI_OUTSIDE, /* before init, or after finalize */
    LAUNCHER_PMI_INSIDE,
    LAUNCHER_PMI_WAITING, /* inside, in the barrier */
} launcher_pmi_phase;

typedef struct launcher_pmi_events {
    /* Give this to the rank; *lent* for the call. */
    void (*answer)(int rank, const char *text, size_t bytes, void *cookie);
    /* The rank has called MPI_Abort(code). */
    void (*aborted)(int rank, int code, void *cookie);
    /* Open MPI asks, once per process, for a folder for its files; it is made now. "" when there can be none. */
    const char *(*folder)(void *cookie);
    /* An Open MPI that does not speak PMI-1 asks, once per process, for a PMIx server: answer it, now or later, by
     * launcher_pmi_answer_pmix. */
    void (*want_pmix)(int rank, void *cookie);
    void *cookie;
} launcher_pmi_events;

/* For n ranks on one node. `job` is the number under which Open MPI knows it; `crowded`: more ranks than
 * cores, so that a waiting rank had better yield. */
td_status launcher_pmi_open(int n, int job, bool crowded, launcher_pmi_events events, launcher_pmi **pmi);

/* What `rank` has sent. A failure means that the rank does not speak PMI-1 and is to be heard no more. */
td_status launcher_pmi_take(launcher_pmi *pmi, int rank, const char *bytes, size_t n);

/* Answer a want_pmix: NAME=VALUE entries with a separator, that libpmix needs in the rank; NULL: there is none. */
void launcher_pmi_answer_pmix(launcher_pmi *pmi, int rank, const char *environment);

launcher_pmi_phase launcher_pmi_phase_of(const launcher_pmi *pmi, int rank);

void launcher_pmi_close(launcher_pmi **pmi);

#endif
