/*
 * A collective goes through stages, one collective at a time, in the order of posting:
 *
 *   prints   every rank tells every other what it calls; a difference is the same error on all ranks
 *   data     what others need of this rank goes out, what this rank needs comes in; a reduction's slices too
 *   results  all_reduce and reduce: reduced slices go where they are wanted
 */
#include "base/memory.h"
#include "dist/mpi/mpi.h"
#include "dist/wait.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { STAGE_QUEUED, STAGE_PRINTS, STAGE_DATA, STAGE_RESULTS };

/* Where rank r's slice begins when `count` elements are cut in `size` nearly equal ones. */
static size_t slice_begin(size_t count, int size, int r) {
    size_t each = count / (size_t)size, more = count % (size_t)size;
    return each * (size_t)r + ((size_t)r < more ? (size_t)r : more);
}

static bool is_sliced(const td_call *call) {
    return call->kind == TD_CALL_ALL_REDUCE || call->kind == TD_CALL_REDUCE;
}

/* Of all that a reduction works on: rank r's part, in bytes. */
typedef struct span {
    size_t at, bytes;
} span;
static span part_of(const td_group *group, const td_call *call, const size_t *counts, int r) {
    size_t unit = td_dtype_size(call->dtype);
    if (is_sliced(call)) {
        size_t begin = slice_begin(call->count, group->size, r);
        return (span){begin * unit, (slice_begin(call->count, group->size, r + 1) - begin) * unit};
    }
    return (span){td_part_begin(counts, call->count, r) * unit, (counts ? counts[r] : call->count) * unit};
}

/* --- what goes where ------------------------------------------------------------------------------------ */

typedef struct route {
    const uint8_t *send;
    size_t send_bytes;
    uint8_t *receive;
    size_t receive_bytes;
} route;

static route data_route(td_group *group, const td_call *c, int peer) {
    td_mpi *m = td_mpi_of(group);
    const uint8_t *in = c->input;
    uint8_t *out = c->output;
    bool is_root = group->rank == c->root, to_root = peer == c->root;
    span own = part_of(group, c, c->counts, group->rank), theirs = part_of(group, c, c->counts, peer);
    size_t all = c->count * td_dtype_size(c->dtype);
    switch (c->kind) {
    case TD_CALL_BROADCAST:
        if (is_root) return (route){.send = in, .send_bytes = all};
        return to_root ? (route){.receive = out, .receive_bytes = all} : (route){0};
    case TD_CALL_ALL_REDUCE:
    case TD_CALL_REDUCE:
    case TD_CALL_REDUCE_SCATTER:
        return (route){in + theirs.at, theirs.bytes, m->staging + (size_t)peer * own.bytes, own.bytes};
    case TD_CALL_ALL_GATHER: return (route){in, own.bytes, out + theirs.at, theirs.bytes};
    case TD_CALL_GATHER:
        if (is_root) return (route){.receive = out + theirs.at, .receive_bytes = theirs.bytes};
        return to_root ? (route){.send = in, .send_bytes = own.bytes} : (route){0};
    case TD_CALL_SCATTER:
        if (is_root) return (route){.send = in + theirs.at, .send_bytes = theirs.bytes};
        return to_root ? (route){.receive = out, .receive_bytes = own.bytes} : (route){0};
    case TD_CALL_ALL_TO_ALL: {
        span from = part_of(group, c, c->recv_counts ? c->recv_counts : c->counts, peer);
        return (route){in + theirs.at, theirs.bytes, out + from.at, from.bytes};
    }
    default: return (route){0};
    }
}

/* Where this rank's own reduced slice lies. */
static uint8_t *result_of(const td_group *group, const td_call *c) {
    span own = part_of(group, c, c->counts, group->rank);
    if (c->kind == TD_CALL_REDUCE_SCATTER) return c->output;
    if (c->kind == TD_CALL_ALL_REDUCE || group->rank == c->root) return (uint8_t *)c->output + own.at;
    return td_mpi_of(group)->staging + (size_t)group->rank * own.bytes;
}

static route result_route(const td_group *group, const td_call *c, int peer) {
    span own = part_of(group, c, NULL, group->rank), theirs = part_of(group, c, NULL, peer);
    bool all = c->kind == TD_CALL_ALL_REDUCE;
    route r = {0};
    if (all || peer == c->root) r.send = result_of(group, c), r.send_bytes = own.bytes;
    if (all || group->rank == c->root)
        r.receive = (uint8_t *)c->output + theirs.at, r.receive_bytes = theirs.bytes;
    return r;
}

/* This rank's own part of what it both gives and takes. */
static void copy_own(const td_group *group, const td_call *c) {
    span own = part_of(group, c, c->counts, group->rank);
    const uint8_t *in = c->input;
    uint8_t *out = c->output;
    if (c->kind == TD_CALL_ALL_GATHER || (c->kind == TD_CALL_GATHER && group->rank == c->root))
        out += own.at;
    else if (c->kind == TD_CALL_SCATTER && group->rank == c->root)
        in += own.at;
    else if (c->kind == TD_CALL_ALL_TO_ALL) {
        in += own.at;
        out += part_of(group, c, c->recv_counts ? c->recv_counts : c->counts, group->rank).at;
    } else
        return;
    if (own.bytes && in != out) memmove(out, in, own.bytes);
}

/* --- stages --------------------------------------------------------------------------------------------- */

static td_status begin_routes(td_group *group, const td_work *work, bool results) {
    td_mpi *m = td_mpi_of(group);
    for (int step = 1; step < group->size; step++) { /* receives first: what arrives has a place */
        int peer = (group->rank + group->size - step) % group->size;
        route r = results ? result_route(group, &work->call, peer) : data_route(group, &work->call, peer);
        TD_TRY(td_mpi_receive(&m->batch, group, m->calls, td_mpi_tag_of(m, TD_MPI_DATA), peer, r.receive,
                              r.receive_bytes));
    }
    for (int step = 1; step < group->size; step++) { /* each rank begins with another one */
        int peer = (group->rank + step) % group->size;
        route r = results ? result_route(group, &work->call, peer) : data_route(group, &work->call, peer);
        TD_TRY(td_mpi_send(&m->batch, group, m->calls, td_mpi_tag_of(m, TD_MPI_DATA), peer, r.send,
                           r.send_bytes));
    }
    return TD_OK;
}

static td_status begin_prints(td_group *group, const td_work *work) {
    td_mpi *m = td_mpi_of(group);
    m->own = m->prints[group->rank] = (td_mpi_print){work->sequence + 1, work->print};
    int tag = td_mpi_tag_of(m, TD_MPI_PRINT);
    for (int peer = 0; peer < group->size; peer++)
        if (peer != group->rank)
            TD_TRY(td_mpi_receive(&m->batch, group, m->calls, tag, peer, &m->prints[peer], sizeof m->own));
    for (int peer = 0; peer < group->size; peer++)
        if (peer != group->rank)
            TD_TRY(td_mpi_send(&m->batch, group, m->calls, tag, peer, &m->own, sizeof m->own));
    return TD_OK;
}

static td_doing doing_of(const td_mpi_print *p) { return (td_doing){p->print, p->number}; }

static td_status compare_prints(const td_group *group) {
    const td_mpi_print *prints = td_mpi_of(group)->prints;
    for (int r = 1; r < group->size; r++) {
        if (prints[r].print.shape == prints[0].print.shape && prints[r].print.count == prints[0].print.count)
            continue;
        td_doing first = doing_of(&prints[0]), other = doing_of(&prints[r]);
        return td_fail(TD_ERR_MISMATCH, 0, "dist/mpi", "rank %d calls %s, but rank %d calls %s",
                       td_group_name(group, 0), td_doing_describe(&first).text, td_group_name(group, r),
                       td_doing_describe(&other).text);
    }
    return TD_OK;
}

static td_status reserve_staging(td_group *group, const td_call *c) {
    td_mpi *m = td_mpi_of(group);
    size_t bytes = part_of(group, c, c->counts, group->rank).bytes * (size_t)group->size;
    if (!td_call_traits_of(c->kind)->reduces || bytes <= m->staging_bytes) return TD_OK;
    uint8_t *made = td_alloc_aligned(bytes);
    if (!made) return td_fail(TD_ERR_MEMORY, 0, "dist/mpi", "no %zu bytes for staging", bytes);
    td_free(m->staging);
    m->staging = made;
    m->staging_bytes = bytes;
    return TD_OK;
}

static td_status reduce_slice(td_group *group, const td_call *c) {
    td_mpi *m = td_mpi_of(group);
    span own = part_of(group, c, c->counts, group->rank);
    if (own.bytes == 0) return TD_OK;
    const void **from = td_calloc((size_t)group->size, sizeof *from);
    if (!from) return TD_ERR_MEMORY;
    for (int r = 0; r < group->size; r++)
        from[r] = r == group->rank ? (const uint8_t *)c->input + own.at : m->staging + (size_t)r * own.bytes;
    void *to[1] = {result_of(group, c)};
    td_reduce_run(m->reduce, c->op, c->dtype, c->factor, to, 1, from, (size_t)group->size,
                  own.bytes / td_dtype_size(c->dtype));
    td_free(from);
    return TD_OK;
}

/* The first collective's stage is done: begin the next. *finished when there is none. */
static td_status step(td_group *group, td_work *work, bool *finished) {
    const td_call *c = &work->call;
    switch (work->stage++) {
    case STAGE_QUEUED: return begin_prints(group, work);
    case STAGE_PRINTS:
        TD_TRY(compare_prints(group));
        *finished = c->kind == TD_CALL_BARRIER;
        if (*finished) return TD_OK;
        TD_TRY(reserve_staging(group, c));
        copy_own(group, c);
        return begin_routes(group, work, false);
    case STAGE_DATA:
        *finished = !is_sliced(c);
        if (td_call_traits_of(c->kind)->reduces) TD_TRY(reduce_slice(group, c));
        return *finished ? TD_OK : begin_routes(group, work, true);
    default: *finished = true; return TD_OK;
    }
}

static td_status advance_collectives(td_group *group) {
    td_mpi *m = td_mpi_of(group);
    while (m->first) {
        TD_TRY(td_mpi_batch_test(&m->batch, group));
        if (m->batch.pending > 0) return TD_OK;
        td_work *work = m->first;
        bool finished = false;
        TD_TRY(step(group, work, &finished));
        if (!finished) continue;
        m->first = work->next;
        if (!m->first) m->last = NULL;
        work->next = NULL;
        td_work_finish(work, TD_OK);
    }
    return TD_OK;
}

/* --- news ----------------------------------------------------------------------------------------------- */

static td_status hear_news(td_group *group) {
    td_mpi *m = td_mpi_of(group);
    int there = 0;
    MPI_Status status;
    TD_TRY(td_mpi_status(MPI_Test(&m->news_request, &there, &status), "MPI_Test"));
    if (!there) return TD_OK;
    if (!m->news.left) {
        td_doing doing = {.number = group->posted};
        td_watch_tell_lost(&m->watch, group, m->news.culprit, (td_status)m->news.status, &doing);
        return td_fail((td_status)m->news.status, 0, "dist/mpi", "%s", m->news.text);
    }
    for (int r = 0; r < group->size; r++)
        if (td_group_name(group, r) == status.MPI_SOURCE) td_watch_note_left(&m->watch, r);
    return td_mpi_status(MPI_Irecv(&m->news, sizeof m->news, MPI_BYTE, MPI_ANY_SOURCE,
                                   td_mpi_tag_of(m, TD_MPI_NEWS), m->calls, &m->news_request),
                         "MPI_Irecv");
}

void td_mpi_tell(td_group *group, bool left, int culprit) {
    td_mpi *m = td_mpi_of(group);
    if (m->farewell.left || m->farewell.status) return; /* it is said once */
    m->farewell = (td_mpi_news){left, left ? 0 : td_error_last()->status, culprit, {0}};
    if (!left) snprintf(m->farewell.text, sizeof m->farewell.text, "%.479s", td_error_last()->text);
    int bytes = left ? (int)offsetof(td_mpi_news, text) : (int)sizeof m->farewell;
    for (int r = 0; r < group->size; r++)
        if (r != group->rank && !atomic_load(&m->watch.seats[r].left))
            MPI_Isend(&m->farewell, bytes, MPI_BYTE, td_group_name(group, r), td_mpi_tag_of(m, TD_MPI_NEWS),
                      m->calls, &m->farewells[r]);
}

/* --- progress ------------------------------------------------------------------------------------------- */

td_status td_mpi_fail(td_group *group, bool told, int culprit) {
    td_mpi *m = td_mpi_of(group);
    td_status status = td_group_break(group);
    td_mpi_lock();
    if (!told) td_mpi_tell(group, false, culprit);
    td_mpi_batch_cancel(&m->batch);
    td_mpi_fail_pairs(group, status);
    td_mpi_unlock();
    for (td_work *work = m->first; work;) {
        td_work *next = work->next;
        work->next = NULL;
        td_work_finish(work, status);
        work = next;
    }
    m->first = m->last = NULL;
    return status;
}

td_status td_mpi_test(td_group *group) {
    if (group->broken.status != TD_OK) return td_mpi_fail(group, true, -1);
    td_mpi_lock();
    td_status status = hear_news(group);
    bool told = status < 0;
    if (status >= 0) status = advance_collectives(group);
    if (status >= 0) status = td_mpi_advance_pairs(group);
    td_mpi_unlock();
    return status < 0 ? td_mpi_fail(group, told, -1) : TD_OK;
}

td_status td_mpi_post(td_group *group, td_work *work) {
    td_mpi *m = td_mpi_of(group);
    work->next = NULL;
    work->stage = STAGE_QUEUED;
    if (m->last)
        m->last->next = work;
    else
        m->first = work;
    m->last = work;
    return td_mpi_test(group);
}

/* --- waiting -------------------------------------------------------------------------------------------- */

int td_mpi_missing(const td_group *group, const td_work *work, int after) {
    const td_mpi *m = td_mpi_of(group);
    for (const td_mpi_pair *p = m->first_pair; p; p = p->next) {
        if (p->work != work) continue;
        int peer = p->matched ? td_mpi_batch_missing(&p->batch, -1) : work->call.root;
        return peer > after ? peer : -1;
    }
    return td_mpi_batch_missing(&m->batch, after);
}

/* What this rank is in, for messages: the collective that is under way, or the pair. */
static td_doing waits_in(const td_group *group, const td_work *work) {
    const td_mpi *m = td_mpi_of(group);
    if (!td_call_traits_of(work->call.kind)->pairs && m->first) work = m->first;
    return (td_doing){.print = work->print, .number = work->sequence + 1};
}

td_status td_mpi_wait(td_group *group, td_work *work) {
    static const td_asked ask = {td_mpi_test, td_mpi_missing, waits_in};
    td_mpi *m = td_mpi_of(group);
    int culprit;
    td_doing doing = waits_in(group, work);
    td_status status = td_watch_wait(&m->watch, group, work, &ask, &culprit);
    if (status >= 0 || group->broken.status != TD_OK) return status;
    td_watch_tell_lost(&m->watch, group, culprit, status, &doing);
    return td_mpi_fail(group, false, culprit);
}
