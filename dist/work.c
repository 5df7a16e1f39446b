/* The life of a work: arguments are checked once, here; then it belongs to the backend until it is finished.
 */
#include "base/memory.h"
#include "dist/internal.h"
#include "dist/recorder_ring.h"

static td_work *take_work(td_group *group) {
    td_work *work = group->free_works;
    if (work) {
        group->free_works = work->next;
        td_work *all = work->all;
        *work = (td_work){.all = all};
        return work;
    }
    work = td_calloc(1, sizeof *work);
    if (!work) return NULL;
    work->all = group->works;
    group->works = work;
    return work;
}

static void recycle(td_work *work) {
    work->next = work->group->free_works;
    work->group->free_works = work;
}

/* Works that were taken and not posted. */
static void give_back(td_group *group, td_work *taken) {
    while (taken) {
        td_work *work = taken;
        taken = work->next;
        work->group = group;
        recycle(work);
    }
}

static td_status begin(td_group *group, const td_call *call, td_work *work) {
    size_t size = td_dtype_size(call->dtype);
    work->group = group;
    work->call = *call;
    work->print = td_call_fingerprint(call, group->size);
    if (__builtin_expect(group->members != NULL, 0) &&
        td_call_traits_of(call->kind)->rooted) /* messages name a root as the job does */
        work->print = td_fingerprint_rename(work->print, group->members[call->root]);
    work->input_bytes = td_call_input_count(call, group->rank, group->size) * size;
    work->output_bytes = td_call_output_count(call, group->rank, group->size) * size;
    work->status = TD_PENDING;
    work->sequence = td_call_traits_of(call->kind)->pairs ? group->paired++ : group->posted++;
    td_record_begin(group, work);
    td_status status = group->backend->post[call->kind](group, work);
    td_record_posted(group, work);
    return status;
}

td_status td_group_post(td_group *group, const td_call *call, td_work **work) {
    TD_TRY(td_call_check(group, call));
    if (!work) {
        td_work here = {0};
        TD_TRY(begin(group, call, &here));
        return here.status == TD_PENDING ? group->backend->wait(group, &here) : here.status;
    }
    td_work *made = take_work(group);
    if (!made) return TD_ERR_MEMORY;
    made->pooled = true;
    td_status status = begin(group, call, made);
    if (status < 0) {
        recycle(made);
        return status;
    }
    *work = made;
    return TD_OK;
}

/* Works complete in order, so the last one stands for all; the others go back by themselves. */
static td_status post_all(td_group *group, const td_call *calls, int count, td_work *taken, td_work **last) {
    for (int i = 0; i < count; i++) {
        td_work *work = taken, *next = taken->next;
        work->pooled = true;
        work->next = NULL;
        td_status status = begin(group, &calls[i], work);
        if (status < 0) {
            recycle(work);
            give_back(group, next);
            return status;
        }
        taken = next;
        *last = work;
        if (i + 1 < count) td_work_release(&work);
    }
    return TD_OK;
}

td_status td_group_post_list(td_group *group, const td_call *calls, int count, td_work **work) {
    td_work *taken = NULL, *last;
    if (count < 1) return td_fail(TD_ERR_ARG, 0, "dist", "a list of %d collectives", count);
    for (int i = 0; i < count; i++) {
        TD_TRY(td_call_check(group, &calls[i]));
        if (td_call_traits_of(calls[i].kind)->pairs)
            return td_fail(TD_ERR_ARG, 0, "dist", "%s: a list takes collectives only",
                           td_call_name(calls[i].kind));
    }
    for (int i = 0; i < count; i++) {
        td_work *made = take_work(group);
        if (!made) {
            give_back(group, taken);
            return TD_ERR_MEMORY;
        }
        made->group = group;
        made->next = taken;
        taken = made;
    }
    TD_TRY(post_all(group, calls, count, taken, &last));
    if (work) {
        *work = last;
        return TD_OK;
    }
    td_status status = td_work_wait(last);
    td_work_release(&last);
    return status;
}

void td_work_finish(td_work *work, td_status status) {
    work->status = status;
    if (status >= 0) td_progress_beat(work->group->job->progress);
    td_record_done(work->group, work, status);
    if (work->pooled && work->released) recycle(work);
}

/* How a finished work ended, with the group's cause if it failed. */
static td_status outcome(const td_work *work) {
    return work->status < 0 ? td_group_break(work->group) : work->status;
}

td_status td_work_wait(td_work *work) {
    if (work->status == TD_PENDING) TD_TRY(work->group->backend->wait(work->group, work));
    return outcome(work);
}

td_status td_work_test(td_work *work) {
    if (work->status == TD_PENDING) TD_TRY(work->group->backend->test(work->group));
    return outcome(work);
}

td_status td_work_order(td_work *work, td_queue queue) {
    const td_backend *backend = work->group->backend;
    return backend->order ? backend->order(work->group, work, queue) : td_work_wait(work);
}

void td_work_release(td_work **work) {
    td_work *w = *work;
    *work = NULL;
    if (!w) return;
    w->released = true;
    if (w->status != TD_PENDING) recycle(w);
}
