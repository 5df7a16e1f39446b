/*
 * Sends and receives. A letter announces each message: tag, count and dtype, and the data itself where it is
 * short. So a receive that expects something else is told what comes, tags are free of MPI's limits, and groups
 * need no communicator of their own. Longer data is on its way at once, under a tag that only its letter tells.
 */
#include "base/memory.h"
#include "dist/mpi/mpi.h"
#include "dist/wait.h"

#include <stddef.h>
#include <string.h>

static td_doing doing_of(const td_mpi_print *p) { return (td_doing){.print = p->print, .number = p->number}; }

static unsigned dtype_of(td_fingerprint print) { return print.shape >> 8 & 0xff; }

/* A receive has found its message. */
static td_status match(td_group *group, td_mpi_pair *pair, int from, const td_mpi_letter *letter) {
    const td_work *work = pair->work;
    const td_call *c = &work->call;
    size_t bytes = work->output_bytes;
    pair->matched = true;
    if (letter->print.print.count != work->print.count ||
        dtype_of(letter->print.print) != dtype_of(work->print)) {
        td_doing theirs = doing_of(&letter->print),
                 ours = {.print = work->print, .number = work->sequence + 1};
        return td_fail(TD_ERR_MISMATCH, 0, "dist/mpi", "tag %d: rank %d calls %s, but rank %d calls %s",
                       c->tag, td_group_name(group, from), td_doing_describe(&theirs).text,
                       td_group_name(group, group->rank), td_doing_describe(&ours).text);
    }
    if (bytes > TD_MPI_SMALL)
        return td_mpi_receive(&pair->batch, group, td_mpi_of(group)->data, letter->data_tag, from, c->output,
                              bytes);
    if (bytes) memcpy(c->output, letter->payload, bytes);
    return TD_OK;
}

static td_status listen(td_group *group) {
    td_mpi *m = td_mpi_of(group);
    if (m->letter_request != MPI_REQUEST_NULL) return TD_OK;
    return td_mpi_status(MPI_Irecv(&m->letter, sizeof m->letter, MPI_BYTE, MPI_ANY_SOURCE,
                                   td_mpi_tag_of(m, TD_MPI_LETTER), m->calls, &m->letter_request),
                         "MPI_Irecv");
}

static int rank_of_name(const td_group *group, int name) {
    for (int r = 0; r < group->size; r++)
        if (td_group_name(group, r) == name) return r;
    return -1;
}

/* The letter just received belongs to the oldest receive that waits for its like, or is kept. */
static td_status deliver(td_group *group, int from) {
    td_mpi *m = td_mpi_of(group);
    for (td_mpi_pair *pair = m->first_pair; pair; pair = pair->next) {
        const td_call *c = &pair->work->call;
        if (c->kind == TD_CALL_RECV && !pair->matched && c->root == from && c->tag == m->letter.tag)
            return match(group, pair, from, &m->letter);
    }
    td_mpi_early *early = td_calloc(1, sizeof *early), **at = &m->first_early;
    if (!early) return TD_ERR_MEMORY;
    early->from = from;
    early->letter = m->letter;
    while (*at) at = &(*at)->next;
    *at = early;
    return TD_OK;
}

static td_status hear_letters(td_group *group) {
    td_mpi *m = td_mpi_of(group);
    MPI_Status status;
    for (int there = 1; m->letter_request != MPI_REQUEST_NULL;) {
        TD_TRY(td_mpi_status(MPI_Test(&m->letter_request, &there, &status), "MPI_Test"));
        if (!there) return TD_OK;
        TD_TRY(deliver(group, rank_of_name(group, status.MPI_SOURCE)));
        TD_TRY(listen(group));
    }
    return TD_OK;
}

static bool same_line(const td_call *a, const td_call *b) {
    return a->kind == b->kind && a->root == b->root && a->tag == b->tag;
}

void td_mpi_pair_free(td_mpi_pair *pair) {
    td_mpi_batch_free(&pair->batch);
    td_free(pair);
}

td_status td_mpi_advance_pairs(td_group *group) {
    td_mpi *m = td_mpi_of(group);
    TD_TRY(hear_letters(group));
    for (td_mpi_pair **at = &m->first_pair; *at;) {
        td_mpi_pair *pair = *at;
        bool first = true; /* of those that complete in order */
        TD_TRY(td_mpi_batch_test(&pair->batch, group));
        for (td_mpi_pair *p = m->first_pair; p != pair; p = p->next)
            first = first && !same_line(&p->work->call, &pair->work->call);
        if (!pair->matched || pair->batch.pending > 0 || !first) {
            at = &pair->next;
            continue;
        }
        *at = pair->next;
        td_work_finish(pair->work, TD_OK);
        td_mpi_pair_free(pair);
    }
    return TD_OK;
}

static td_status send_pair(td_group *group, td_mpi_pair *pair) {
    td_mpi *m = td_mpi_of(group);
    const td_work *work = pair->work;
    const td_call *c = &work->call;
    size_t bytes = work->input_bytes, letter = offsetof(td_mpi_letter, payload);
    pair->matched = true;
    pair->letter.print = (td_mpi_print){work->sequence + 1, work->print};
    pair->letter.tag = c->tag;
    if (bytes <= TD_MPI_SMALL) {
        if (bytes) memcpy(pair->letter.payload, c->input, bytes);
        letter += bytes;
    } else {
        pair->letter.data_tag = td_mpi_data_tag();
    }
    TD_TRY(td_mpi_send(&pair->batch, group, m->calls, td_mpi_tag_of(m, TD_MPI_LETTER), c->root, &pair->letter,
                       letter));
    if (bytes <= TD_MPI_SMALL) return TD_OK;
    return td_mpi_send(&pair->batch, group, m->data, pair->letter.data_tag, c->root, c->input, bytes);
}

static td_status receive_pair(td_group *group, td_mpi_pair *pair) {
    const td_call *c = &pair->work->call;
    for (td_mpi_early **at = &td_mpi_of(group)->first_early; *at; at = &(*at)->next) {
        td_mpi_early *early = *at;
        if (early->from != c->root || early->letter.tag != c->tag) continue;
        *at = early->next;
        td_status status = match(group, pair, early->from, &early->letter);
        td_free(early);
        return status;
    }
    return listen(group);
}

td_status td_mpi_post_pair(td_group *group, td_work *work) {
    td_mpi_pair *pair = td_calloc(1, sizeof *pair), **at = &td_mpi_of(group)->first_pair;
    if (!pair) return td_mpi_fail(group, false, group->rank);
    pair->work = work;
    while (*at) at = &(*at)->next;
    *at = pair;
    td_mpi_lock();
    td_status status = work->call.kind == TD_CALL_SEND ? send_pair(group, pair) : receive_pair(group, pair);
    td_mpi_unlock();
    return status < 0 ? td_mpi_fail(group, false, group->rank) : td_mpi_test(group);
}

void td_mpi_fail_pairs(td_group *group, td_status status) {
    td_mpi *m = td_mpi_of(group);
    while (m->first_pair) {
        td_mpi_pair *pair = m->first_pair;
        m->first_pair = pair->next;
        td_mpi_batch_cancel(&pair->batch);
        td_work_finish(pair->work, status);
        pair->next = m->dropped;
        m->dropped = pair;
    }
}
