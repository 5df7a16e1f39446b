/*
 * Opening and closing. MPI is begun by the first group, unless the program has, and ended when the process ends:
 * it cannot be begun twice. After a broken group it is not ended, for MPI_Finalize would wait for the lost.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/plugin.h"
#include "config.h"
#include "dist/mpi/mpi.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* MPI itself is one per process, and so is what is known of it. */
static struct {
    pthread_mutex_t mutex;
    bool one_at_a_time, ours, broken;
} process = {.mutex = PTHREAD_MUTEX_INITIALIZER};

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

static td_status can(const td_job *job, const td_group_options *options) {
    const td_job_facts *f = &job->facts;
    if (options->device != TD_DEVICE_CPU)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/mpi", "it takes data on cpu, not on %s",
                       td_device_name(options->device));
    if (f->launcher == TD_LAUNCHER_TORCHRUN || f->launcher == TD_LAUNCHER_NONE)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/mpi",
                       "no launcher of MPI programs has started the ranks");
    return TD_OK;
}

static void end_mpi(void) {
    int over = 0;
    MPI_Finalized(&over);
    if (!over && !process.broken) MPI_Finalize();
}

static td_status begin_mpi(const td_job *job) {
    int begun = 0, over = 0, level = MPI_THREAD_SINGLE, rank = -1, size = -1;
    TD_TRY(td_mpi_status(MPI_Initialized(&begun), "MPI_Initialized"));
    MPI_Finalized(&over);
    if (over) return td_fail(TD_ERR_STATE, 0, "dist/mpi", "MPI_Finalize has been called already");
    if (!begun) {
        TD_TRY(td_mpi_status(MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level), "MPI_Init_thread"));
        process.ours = true;
        atexit(end_mpi);
    }
    MPI_Query_thread(&level);
    process.one_at_a_time = level != MPI_THREAD_MULTIPLE;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (rank == job->facts.rank && size == job->facts.world_size) return TD_OK;
    return td_fail(
        TD_ERR_STATE, 0, "dist/mpi",
        "MPI says rank %d of %d, but the job's variables rank %d of %d: is this MPI the launcher's?", rank,
        size, job->facts.rank, job->facts.world_size);
}

static td_status wait_for(MPI_Request *request, double timeout) {
    int64_t since = td_clock_ns();
    for (int done = 0;;) {
        TD_TRY(td_mpi_status(MPI_Test(request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
        if (done) return TD_OK;
        if ((double)(td_clock_ns() - since) * 1e-9 > timeout)
            return td_fail(TD_ERR_TIMEOUT, 0, "dist/mpi",
                           "not all ranks came to opening the group within %g s", timeout);
        nanosleep(&(struct timespec){0, 20000}, NULL);
    }
}

static td_status duplicate(MPI_Comm from, MPI_Comm *to, double timeout) {
    MPI_Request request;
    TD_TRY(td_mpi_status(MPI_Comm_idup(from, to, &request), "MPI_Comm_idup"));
    TD_TRY(wait_for(&request, timeout));
    return td_mpi_status(MPI_Comm_set_errhandler(*to, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

static void free_state(td_mpi *m) {
    td_mpi_batch_free(&m->batch);
    td_free(m->prints);
    td_free(m->left);
    td_free(m->farewells);
    td_free(m->staging);
    td_free(m);
}

static td_status make_state(int size, td_mpi **out) {
    td_mpi *m = td_calloc(1, sizeof *m);
    if (!m) return TD_ERR_MEMORY;
    m->reduce = td_reduce_select();
    m->calls = m->pairs = MPI_COMM_NULL;
    m->news_request = MPI_REQUEST_NULL;
    m->prints = td_calloc((size_t)size, sizeof *m->prints);
    m->left = td_calloc((size_t)size, sizeof *m->left);
    m->farewells = td_calloc((size_t)size, sizeof(MPI_Request));
    if (!m->prints || !m->left || !m->farewells) {
        free_state(m);
        return TD_ERR_MEMORY;
    }
    for (int r = 0; r < size; r++) m->farewells[r] = MPI_REQUEST_NULL;
    *out = m;
    return TD_OK;
}

/* The second communicator, and an ear for news. */
static td_status complete(td_group *group, td_mpi *m) {
    TD_TRY(duplicate(m->calls, &m->pairs, group->stall_timeout));
    return td_mpi_status(MPI_Irecv(&m->news, sizeof m->news, MPI_BYTE, MPI_ANY_SOURCE, TD_MPI_TAG_NEWS,
                                   m->calls, &m->news_request),
                         "MPI_Irecv");
}

static td_status open_group(td_group *group) {
    td_mpi *m = NULL;
    TD_TRY(begin_mpi(group->job));
    TD_TRY(make_state(group->size, &m));
    td_status status = duplicate(MPI_COMM_WORLD, &m->calls, group->stall_timeout);
    if (status >= 0) status = complete(group, m);
    if (status < 0) {
        free_state(m);
        return status;
    }
    int share = td_core_count() / group->job->facts.local_world_size;
    group->compute_threads = share > 1 ? share : 1;
    group->state = m;
    return TD_OK;
}

static td_status split(td_group *parent, int colour, int key, td_group *group) {
    td_mpi *m = NULL;
    MPI_Comm part = MPI_COMM_NULL;
    td_status status = group ? make_state(group->size, &m) : TD_OK;
    if (status < 0) return td_group_give_up(parent);
    TD_TRY(td_mpi_status(MPI_Comm_split(td_mpi_of(parent)->calls, group ? colour : MPI_UNDEFINED, key, &part),
                         "MPI_Comm_split"));
    if (!group) return TD_OK;
    m->calls = part;
    status = td_mpi_status(MPI_Comm_set_errhandler(part, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    if (status >= 0) status = complete(group, m);
    if (status < 0) {
        free_state(m);
        return status;
    }
    group->state = m;
    return TD_OK;
}

/* A rank that is in MPI_Finalize takes nothing any more, so there is a limit. */
static bool farewells_are_sent(td_group *group) {
    td_mpi *m = td_mpi_of(group);
    int sent = 0;
    for (int64_t since = td_clock_ns(); !sent && td_clock_ns() - since < 200000000;) {
        if (MPI_Testall(group->size, m->farewells, &sent, MPI_STATUSES_IGNORE) != MPI_SUCCESS) return false;
        if (!sent) nanosleep(&(struct timespec){0, 20000}, NULL);
    }
    return sent;
}

static void close_group(td_group *group) {
    td_mpi *m = td_mpi_of(group);
    while (group->broken.status == TD_OK && (m->last || m->first_pair))
        if (td_mpi_wait(group, m->last ? m->last : m->first_pair->work) < 0) break;
    for (td_block *block = group->arena.blocks; block; block = block->next) td_free(block->base);
    if (group->broken.status == TD_OK) td_mpi_test(group); /* who has left already? */
    td_mpi_lock();
    if (group->broken.status != TD_OK) process.broken = true;
    td_mpi_tell(group, true, -1);
    if (process.broken) { /* the lost take no messages: leave what is under way to the process's end */
        td_mpi_unlock();
        return;
    }
    if (!farewells_are_sent(group)) { /* to one that is ending; it needs none */
        td_mpi_unlock();
        return;
    }
    MPI_Cancel(&m->news_request);
    MPI_Wait(&m->news_request, MPI_STATUS_IGNORE);
    MPI_Comm_free(&m->pairs);
    MPI_Comm_free(&m->calls);
    td_mpi_unlock();
    free_state(m);
}

static void abort_group(td_group *group, int culprit) {
    td_mpi_lock();
    td_mpi_tell(group, false, culprit);
    td_mpi_unlock();
}

/* Each rank has its own part only. */
static td_status alloc(td_group *group, td_block *block) {
    int32_t enough = 1;
    if (block->parts == 1 && group->size > 1)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/mpi", "its ranks have no memory that all of them see");
    block->base = td_alloc_aligned(block->stride);
    if (!block->base) enough = 0;
    const td_call all = {.kind = TD_CALL_ALL_REDUCE,
                         .dtype = TD_DTYPE_I32,
                         .op = TD_REDUCE_MIN,
                         .count = 1,
                         .input = &enough,
                         .output = &enough};
    td_status status = td_group_post(group, &all, NULL);
    if (status >= 0 && !enough)
        status = td_fail(TD_ERR_MEMORY, 0, "dist/mpi", "a rank has no memory for %zu bytes", block->stride);
    if (status < 0) {
        td_free(block->base);
        return status;
    }
    memset(block->base, 0, block->stride);
    return TD_OK;
}

static void free_block(td_group *group, td_block *block) {
    td_group_barrier(group, NULL); /* as over shared memory: all are past their last use */
    td_free(block->base);
}

static const td_backend backend = {
    .name = "mpi",
    .device = TD_DEVICE_CPU,
    .reduces = TD_REDUCES_EVERYTHING,
    .can = can,
    .open = open_group,
    .split = split,
    .close = close_group,
    .post =
        {
            [TD_CALL_BARRIER] = td_mpi_post,
            [TD_CALL_ALL_REDUCE] = td_mpi_post,
            [TD_CALL_BROADCAST] = td_mpi_post,
            [TD_CALL_REDUCE] = td_mpi_post,
            [TD_CALL_REDUCE_SCATTER] = td_mpi_post,
            [TD_CALL_ALL_GATHER] = td_mpi_post,
            [TD_CALL_GATHER] = td_mpi_post,
            [TD_CALL_SCATTER] = td_mpi_post,
            [TD_CALL_ALL_TO_ALL] = td_mpi_post,
            [TD_CALL_SEND] = td_mpi_post_pair,
            [TD_CALL_RECV] = td_mpi_post_pair,
        },
    .test = td_mpi_test,
    .wait = td_mpi_wait,
    .abort = abort_group,
    .alloc = alloc,
    .free = free_block,
};

TD_PLUGIN_SYMBOL = {TD_BUILD_ID, "mpi", &backend};
