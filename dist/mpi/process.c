/*
 * MPI_Init waits for all ranks of the job and cannot be given up, so a thread of its own makes that call, and the
 * caller waits for it as long as for other ranks.
 */
#include "dist/mpi/process.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PIECE = 1 << 30, PIECE_LEAST = 512, END_MS = 1000 };

static struct {
    pthread_mutex_t beginning; /* one thread begins MPI */
    pthread_mutex_t mutex;     /* of calls to MPI where they must come one at a time, and of what follows */
    pthread_cond_t begun_changed;
    bool one_at_a_time, begun, broken;
    int init_code;
    int level;
    MPI_Comm calls, data;
    size_t piece;
    int tag_limit;
    _Atomic uint32_t data_tags;
    _Atomic int64_t contexts;
    td_mpi *kept;
} process = {.beginning = PTHREAD_MUTEX_INITIALIZER,
             .mutex = PTHREAD_MUTEX_INITIALIZER,
             .begun_changed = PTHREAD_COND_INITIALIZER,
             .calls = MPI_COMM_NULL,
             .data = MPI_COMM_NULL,
             .piece = PIECE};

void td_mpi_lock(void) {
    if (process.one_at_a_time) pthread_mutex_lock(&process.mutex);
}
void td_mpi_unlock(void) {
    if (process.one_at_a_time) pthread_mutex_unlock(&process.mutex);
}

td_status td_mpi_status(int code, const char *what) {
    if (code == MPI_SUCCESS) return TD_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    MPI_Error_string(code, text, &n);
    return td_fail(TD_ERR_SYSTEM, code, "dist/mpi", "%s: %.*s", what, n, text);
}

size_t td_mpi_piece(void) { return process.piece; }
int td_mpi_data_tag(void) {
    return (int)(atomic_fetch_add(&process.data_tags, 1) % ((uint32_t)process.tag_limit + 1));
}
void td_mpi_communicators(MPI_Comm *calls, MPI_Comm *data) {
    *calls = process.calls;
    *data = process.data;
}
void td_mpi_note_broken(void) { process.broken = true; }
td_mpi **td_mpi_kept(void) { return &process.kept; }

/* Numbers of one rank are not those of another. */
int64_t td_mpi_new_context(const td_job *job) {
    return (atomic_fetch_add(&process.contexts, 1) + 1) * job->facts.world_size + job->facts.rank;
}

td_status td_mpi_check_context(int64_t context) {
    if (context < process.tag_limit / TD_MPI_TAGS) return TD_OK;
    return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/mpi", "this MPI has tags for %d groups in a job's life",
                   process.tag_limit / TD_MPI_TAGS);
}

/* --- the end -------------------------------------------------------------------------------------------- */

/* Do all ranks come here within a second? Then none is lost, and MPI can be ended in order. */
static bool all_come(void) {
    MPI_Request request;
    int done = 0;
    if (MPI_Ibarrier(process.calls, &request) != MPI_SUCCESS) return false;
    for (int64_t since = td_clock_ns(); !done && td_clock_ns() - since < END_MS * INT64_C(1000000);) {
        if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
        if (!done) nanosleep(&(struct timespec){0, 200000}, NULL);
    }
    return done;
}

static void end_mpi(void) {
    int begun = 0, over = 0;
    MPI_Initialized(&begun);
    MPI_Finalized(&over);
    if (!begun || over || process.calls == MPI_COMM_NULL) return;
    if (!process.broken || all_come()) MPI_Finalize();
}

/* --- the beginning -------------------------------------------------------------------------------------- */

static int wanted_level(void) {
    const char *text = getenv(TD_ENV_MPI_THREADS);
    if (text && strcmp(text, "single") == 0) return MPI_THREAD_SINGLE;
    if (text && strcmp(text, "funneled") == 0) return MPI_THREAD_FUNNELED;
    if (text && strcmp(text, "serialized") == 0) return MPI_THREAD_SERIALIZED;
    return MPI_THREAD_MULTIPLE;
}

static td_status read_piece(void) {
    const char *text = getenv(TD_ENV_MPI_PIECE);
    int64_t bytes = PIECE;
    if (text && (td_parse_i64(text, &bytes) || bytes < PIECE_LEAST || bytes > PIECE))
        return td_fail(TD_ERR_ARG, 0, "dist/mpi",
                       TD_ENV_MPI_PIECE "=%s is not a number of bytes from %d to %d", text, PIECE_LEAST,
                       PIECE);
    process.piece = (size_t)bytes;
    return TD_OK;
}

static void *init(void *unused) {
    int level, code = MPI_Init_thread(NULL, NULL, wanted_level(), &level);
    (void)unused;
    pthread_mutex_lock(&process.mutex);
    process.init_code = code;
    process.begun = true;
    pthread_cond_broadcast(&process.begun_changed);
    pthread_mutex_unlock(&process.mutex);
    return NULL;
}

static struct timespec after(double seconds) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    double whole = seconds < 1e8 ? seconds : 1e8;
    at.tv_sec += (time_t)whole;
    at.tv_nsec += (long)((whole - (double)(time_t)whole) * 1e9);
    if (at.tv_nsec >= 1000000000) at.tv_sec++, at.tv_nsec -= 1000000000;
    return at;
}

/* Has MPI_Init come back within that time? */
static bool has_begun_within(double seconds) {
    struct timespec until = after(seconds);
    int code = 0;
    pthread_mutex_lock(&process.mutex);
    while (!process.begun && code != ETIMEDOUT)
        code = pthread_cond_timedwait(&process.begun_changed, &process.mutex, &until);
    bool begun = process.begun;
    pthread_mutex_unlock(&process.mutex);
    return begun;
}

static td_status init_within(const td_group *group) {
    pthread_t thread;
    int code = pthread_create(&thread, NULL, init, NULL);
    if (code) return td_fail_errno(code, "dist/mpi", "cannot make the thread that begins MPI");
    pthread_detach(thread);
    double report = group->stall_report < group->stall_timeout ? group->stall_report : group->stall_timeout;
    if (!has_begun_within(report)) {
        td_log_line(TD_LOG_WARN, "dist/mpi", "rank %d has waited %g s in MPI_Init_thread for other ranks",
                    group->rank, report);
        if (!has_begun_within(group->stall_timeout - report))
            return td_fail(TD_ERR_TIMEOUT, 0, "dist/mpi",
                           "MPI_Init_thread has not returned within %g s: do all %d ranks open a group?",
                           group->stall_timeout, group->size);
    }
    return td_mpi_status(process.init_code, "MPI_Init_thread");
}

static td_status duplicate(MPI_Comm *to, double timeout) {
    MPI_Request request;
    TD_TRY(td_mpi_status(MPI_Comm_idup(MPI_COMM_WORLD, to, &request), "MPI_Comm_idup"));
    int64_t since = td_clock_ns();
    for (int done = 0; !done;) {
        TD_TRY(td_mpi_status(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
        if (!done && (double)(td_clock_ns() - since) * 1e-9 > timeout) {
            *to = MPI_COMM_NULL;
            return td_fail(TD_ERR_TIMEOUT, 0, "dist/mpi",
                           "not all ranks came to opening the group within %g s", timeout);
        }
        if (!done) nanosleep(&(struct timespec){0, 20000}, NULL);
    }
    return td_mpi_status(MPI_Comm_set_errhandler(*to, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

/* Errors are returned here, also before there is a communicator of ours. */
static td_status make_communicators(double timeout) {
    MPI_Errhandler before;
    int *limit = NULL, there = 0;
    TD_TRY(td_mpi_status(MPI_Comm_get_errhandler(MPI_COMM_WORLD, &before), "MPI_Comm_get_errhandler"));
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    td_status status = duplicate(&process.data, timeout);
    if (status >= 0) status = duplicate(&process.calls, timeout);
    if (status >= 0)
        status = td_mpi_status(MPI_Comm_get_attr(process.calls, MPI_TAG_UB, (void *)&limit, &there),
                               "MPI_Comm_get_attr");
    process.tag_limit = status >= 0 && there ? *limit : 32767; /* the least that MPI allows */
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, before);
    MPI_Errhandler_free(&before);
    if (status < 0) process.calls = MPI_COMM_NULL;
    return status;
}

static td_status check_place(const td_job_facts *f) {
    int rank = -1, size = -1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (rank == f->rank && size == f->world_size) return TD_OK;
    return td_fail(
        TD_ERR_STATE, 0, "dist/mpi",
        "MPI says rank %d of %d, but the job's variables rank %d of %d: is this MPI the launcher's?", rank,
        size, f->rank, f->world_size);
}

static td_status begin(const td_group *group) {
    int begun = 0, over = 0;
    TD_TRY(td_mpi_status(MPI_Initialized(&begun), "MPI_Initialized"));
    MPI_Finalized(&over);
    if (over) return td_fail(TD_ERR_STATE, 0, "dist/mpi", "MPI_Finalize has been called already");
    TD_TRY(read_piece());
    if (!begun) {
        TD_TRY(init_within(group));
        atexit(end_mpi);
    }
    MPI_Query_thread(&process.level);
    process.one_at_a_time = process.level != MPI_THREAD_MULTIPLE;
    TD_TRY(check_place(&group->job->facts));
    return make_communicators(group->stall_timeout);
}

td_status td_mpi_begin(td_group *group) {
    pthread_mutex_lock(&process.beginning);
    td_status status = process.calls == MPI_COMM_NULL ? begin(group) : TD_OK;
    pthread_mutex_unlock(&process.beginning);
    return status;
}
