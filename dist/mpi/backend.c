/*
 * Opening and closing. MPI is begun by the first group, unless the program has, and ended when the process ends:
 * it cannot be begun twice. After a broken group it is ended only if all ranks come to their end together, for
 * MPI_Finalize would wait for the lost.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/parallel.h"
#include "base/plugin.h"
#include "config.h"
#include "dist/mpi/mpi.h"
#include "dist/mpi/process.h"

#include <stddef.h>
#include <string.h>
#include <time.h>

static td_status can(const td_job *job, const td_group_options *options) {
    const td_job_facts *f = &job->facts;
    if (options->device != TD_DEVICE_CPU)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/mpi", "it takes data on cpu, not on %s",
                       td_device_name(options->device));
    if (f->launcher == TD_LAUNCHER_TORCHRUN || f->launcher == TD_LAUNCHER_NONE ||
        f->launcher == TD_LAUNCHER_THREADS)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/mpi",
                       "no launcher of MPI programs has started the ranks");
    return TD_OK;
}

static void free_state(td_mpi *m) {
    td_mpi_batch_free(&m->batch);
    while (m->dropped) {
        td_mpi_pair *pair = m->dropped;
        m->dropped = pair->next;
        td_mpi_pair_free(pair);
    }
    while (m->first_early) {
        td_mpi_early *early = m->first_early;
        m->first_early = early->next;
        td_free(early);
    }
    td_watch_close(&m->watch);
    td_free(m->whos);
    td_free(m->prints);
    td_free(m->farewells);
    td_free(m->staging);
    td_free(m);
}

static td_status make_state(int size, td_mpi **out) {
    td_mpi *m = td_calloc(1, sizeof *m);
    if (!m) return TD_ERR_MEMORY;
    m->reduce = td_reduce_select();
    m->size = size;
    m->news_request = m->letter_request = MPI_REQUEST_NULL;
    m->whos = td_calloc((size_t)size, sizeof *m->whos);
    m->prints = td_calloc((size_t)size, sizeof *m->prints);
    m->farewells = td_calloc((size_t)size, sizeof(MPI_Request));
    if (!m->whos || !m->prints || !m->farewells) {
        free_state(m);
        return TD_ERR_MEMORY;
    }
    for (int r = 0; r < size; r++) m->farewells[r] = MPI_REQUEST_NULL;
    td_mpi_communicators(&m->calls, &m->data);
    *out = m;
    return TD_OK;
}

/* The group's ranks are known: watch them, and give ear to news. */
static td_status complete(td_group *group, td_mpi *m) {
    td_mpi_lock();
    td_status status = td_mpi_check_context(m->context);
    if (status >= 0) status = td_watch_open(&m->watch, m->whos, group->rank, group->size);
    if (status >= 0)
        status = td_mpi_status(MPI_Irecv(&m->news, sizeof m->news, MPI_BYTE, MPI_ANY_SOURCE,
                                         td_mpi_tag_of(m, TD_MPI_NEWS), m->calls, &m->news_request),
                               "MPI_Irecv");
    td_mpi_unlock();
    group->node = td_who_node(m->whos, group->rank);
    group->state = status < 0 ? NULL : m;
    group->watch = &m->watch;
    return status;
}

/* --- opening -------------------------------------------------------------------------------------------- */

/* What a rank tells all others when it opens the job's group. */
typedef struct greeting {
    td_who who;
    int64_t context; /* if it is rank 0: the new group's */
} greeting;

static td_status await_greetings(td_group *group, td_mpi *m) {
    int64_t began = td_clock_ns();
    bool reported = false;
    for (;;) {
        td_mpi_lock();
        td_status status = td_mpi_batch_test(&m->batch, group);
        td_mpi_unlock();
        if (status < 0 || m->batch.pending == 0) return status;
        double waited = (double)(td_clock_ns() - began) * 1e-9;
        int missing = td_mpi_batch_missing(&m->batch, -1);
        if (waited > group->stall_timeout)
            return td_fail(TD_ERR_TIMEOUT, 0, "dist/mpi", "rank %d has not opened the group within %g s",
                           missing, group->stall_timeout);
        if (waited > group->stall_report && !reported) {
            reported = true;
            td_log_line(TD_LOG_WARN, "dist/mpi", "rank %d has waited %g s for rank %d to open the group",
                        group->rank, group->stall_report, missing);
        }
        nanosleep(&(struct timespec){0, 20000}, NULL);
    }
}

static td_status exchange(td_group *group, td_mpi *m, greeting *all) {
    int tag = td_mpi_tag_of(m, TD_MPI_DATA); /* of context 0, which is nobody's */
    greeting *own = &all[group->rank];
    td_status status = TD_OK;
    td_mpi_lock();
    for (int r = 0; r < group->size && status >= 0; r++)
        if (r != group->rank)
            status = td_mpi_receive(&m->batch, group, m->calls, tag, r, &all[r], sizeof all[r]);
    for (int r = 0; r < group->size && status >= 0; r++)
        if (r != group->rank) status = td_mpi_send(&m->batch, group, m->calls, tag, r, own, sizeof *own);
    td_mpi_unlock();
    return status < 0 ? status : await_greetings(group, m);
}

static td_status meet(td_group *group, td_mpi *m) {
    greeting *all = td_calloc((size_t)group->size, sizeof *all);
    if (!all) return TD_ERR_MEMORY;
    all[group->rank].who = td_who_self(group->job);
    all[group->rank].context = td_mpi_new_context(group->job);
    td_status status = exchange(group, m, all);
    for (int r = 0; r < group->size; r++) m->whos[r] = all[r].who;
    m->context = all[0].context;
    if (status < 0) {
        td_mpi_batch_cancel(&m->batch);
        if (!td_mpi_batch_settled(&m->batch)) return status; /* MPI still writes to what was not received */
    }
    td_free(all);
    return status;
}

static td_status open_group(td_group *group) {
    td_mpi *m = NULL;
    TD_TRY(td_mpi_begin(group));
    TD_TRY(make_state(group->size, &m));
    td_status status = meet(group, m);
    if (status >= 0) status = complete(group, m);
    if (status < 0) {
        free_state(m);
        return status;
    }
    int share = td_core_count() / group->job->facts.local_world_size;
    group->compute_threads = share > 1 ? share : 1;
    return TD_OK;
}

/* --- groups of some ranks ------------------------------------------------------------------------------- */

/* What a rank of the parent tells the others. */
typedef struct offer {
    int64_t able;    /* it has the memory */
    int64_t context; /* of the part of which it is the first rank */
} offer;

/* The rank of the parent that is rank r of the part. */
static int parent_rank(const td_group *parent, const td_group *group, int r) {
    for (int p = 0; p < parent->size; p++)
        if (td_group_name(parent, p) == group->members[r]) return p;
    return -1;
}

static td_status accept(const td_group *parent, const td_group *group, const offer *offers, td_mpi *m) {
    const td_mpi *above = td_mpi_of(parent);
    for (int r = 0; r < group->size; r++) {
        int p = parent_rank(parent, group, r);
        m->whos[r] = above->whos[p];
        if (r == 0) m->context = offers[p].context;
        if (!offers[p].able)
            return td_fail(TD_ERR_MEMORY, 0, "dist/mpi", "rank %d has no memory for the new group",
                           group->members[r]);
    }
    return TD_OK;
}

/* Nothing is asked of MPI: the part's ranks agree on a context, by a call of the parent. */
static td_status split(td_group *parent, int colour, int key, td_group *group) {
    td_mpi *m = NULL;
    (void)colour, (void)key;
    offer *offers = td_calloc((size_t)parent->size, sizeof *offers);
    if (!offers) return td_group_give_up(parent);
    const offer own = {.able = !group || make_state(group->size, &m) >= 0,
                       .context = td_mpi_new_context(parent->job)};
    td_status status = td_group_all_gather(parent, &own, offers, sizeof own, TD_DTYPE_U8,
                                           (td_device){TD_DEVICE_CPU, 0}, NULL, NULL);
    if (status >= 0 && group && m)
        status = accept(parent, group, offers, m);
    else if (status >= 0 && !own.able)
        status = td_fail(TD_ERR_MEMORY, 0, "dist/mpi", "no memory for the new group");
    td_free(offers);
    if (status >= 0 && group) status = complete(group, m);
    if (status < 0 && m) free_state(m);
    return status;
}

/* --- closing -------------------------------------------------------------------------------------------- */

/* Has MPI let go of the memory of a group that is closed? */
static bool is_settled(td_mpi *m) {
    int sent = 0, heard = 0, read = 0;
    MPI_Testall(m->size, m->farewells, &sent, MPI_STATUSES_IGNORE);
    MPI_Test(&m->news_request, &heard, MPI_STATUS_IGNORE);
    MPI_Test(&m->letter_request, &read, MPI_STATUS_IGNORE);
    bool settled = td_mpi_batch_settled(&m->batch);
    for (td_mpi_pair *pair = m->dropped; pair; pair = pair->next)
        settled = td_mpi_batch_settled(&pair->batch) && settled;
    return settled && sent && heard && read;
}

/* A rank that has ended takes nothing any more, so there is a limit; what MPI holds on to then is looked at again
 * when another group is closed, and lasts until the process ends if need be. */
static void let_go(td_mpi *m) {
    if (m->news_request != MPI_REQUEST_NULL) MPI_Cancel(&m->news_request);
    if (m->letter_request != MPI_REQUEST_NULL) MPI_Cancel(&m->letter_request);
    bool settled = is_settled(m);
    for (int64_t since = td_clock_ns(); !settled && td_clock_ns() - since < 200000000;
         settled = is_settled(m))
        nanosleep(&(struct timespec){0, 20000}, NULL);
    td_mpi **kept = td_mpi_kept();
    m->next = *kept;
    *kept = m;
    while (*kept) {
        td_mpi *old = *kept;
        if (old == m ? settled : is_settled(old)) {
            *kept = old->next;
            free_state(old);
        } else {
            kept = &old->next;
        }
    }
}

static void close_group(td_group *group) {
    td_mpi *m = td_mpi_of(group);
    while (group->broken.status == TD_OK && (m->last || m->first_pair))
        if (td_mpi_wait(group, m->last ? m->last : m->first_pair->work) < 0) break;
    for (td_block *block = group->arena.blocks; block; block = block->next) td_free(block->base);
    td_mpi_test(group); /* who has left already? In a broken group: nothing more is wanted */
    td_mpi_lock();
    if (group->broken.status != TD_OK) td_mpi_note_broken();
    td_mpi_tell(group, true, -1);
    let_go(m);
    td_mpi_unlock();
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
    .missing = td_mpi_missing,
    .alloc = alloc,
    .free = free_block,
};

TD_PLUGIN_SYMBOL = {TD_BUILD_ID, "mpi", &backend};
