/* The life of a work: arguments are checked once, here; then it belongs to the backend until it is finished.
 */
#include "base/memory.h"
#include "dist/internal.h"
#include "dist/recorder_ring.h"

static td_work *take_work(td_group *group) {
    td_work *work = group->free_works;
    if (work) {
        group->free_works = work->next;
    } else {
        work = td_calloc(1, sizeof *work);
        if (!work) return NULL;
        work->all = group->works;
        group->works = work;
    }
    *work = (td_work){.group = group, .pooled = true, .all = work->all};
    return work;
}

static void recycle(td_work *work) {
    work->next = work->group->free_works;
    work->group->free_works = work;
}

/* Works that were taken and not posted. */
static void give_back(td_work *taken) {
    while (taken) {
        td_work *work = taken;
        taken = work->next;
        recycle(work);
    }
}

/* The call has been examined; it takes its place among the group's. */
static void number(td_group *group, td_work *work) {
    work->status = TD_PENDING;
    work->sequence = td_call_kinds[work->call.kind].pairs ? group->paired++ : group->posted++;
}

static td_status begin(td_group *group, td_work *work) {
    td_record_begin(group, work);
    td_status status = group->backend->post[work->call.kind](group, work);
    td_record_posted(group, work);
    return status;
}

/* What the caller waits for needs no place among the group's works, and often no queue. */
static td_status run(td_group *group, const td_call *call) {
    td_work work = {.group = group, .call = *call};
    TD_TRY(td_call_examine(group, call, &work));
    number(group, &work);
    if (group->backend->run && !td_call_kinds[call->kind].pairs) {
        td_status status = group->backend->run(group, &work);
        if (status != TD_PENDING) return status;
    }
    TD_TRY(begin(group, &work));
    return work.status == TD_PENDING ? group->backend->wait(group, &work) : work.status;
}

td_status td_group_post(td_group *group, const td_call *call, td_work **work) {
    if (!work) return run(group, call);
    td_work *made = take_work(group);
    if (!made) return TD_ERR_MEMORY;
    made->call = *call;
    td_status status = td_call_examine(group, call, made);
    if (status >= 0) {
        number(group, made);
        status = begin(group, made);
    }
    if (status < 0) {
        recycle(made);
        return status;
    }
    *work = made;
    return TD_OK;
}

/* Works complete in order, so the last one stands for all; the others go back by themselves. */
static td_status post_all(td_group *group, td_work *taken, td_work **last) {
    while (taken) {
        td_work *work = taken, *next = taken->next;
        work->next = NULL;
        number(group, work);
        td_status status = begin(group, work);
        if (status < 0) {
            recycle(work);
            give_back(next);
            return status;
        }
        taken = next;
        *last = work;
        if (taken) td_work_release(&work);
    }
    return TD_OK;
}

/* One more at the end of those that are to be posted. */
static td_status take_for(td_group *group, const td_call *call, td_work ***end) {
    td_work *work = take_work(group);
    if (!work) return TD_ERR_MEMORY;
    **end = work;
    *end = &work->next;
    work->call = *call;
    TD_TRY(td_call_examine(group, call, work));
    if (!td_call_kinds[call->kind].pairs) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "dist", "%s: a list takes collectives only", td_call_name(call->kind));
}

td_status td_group_post_list(td_group *group, const td_call *calls, int count, td_work **work) {
    td_work *taken = NULL, **end = &taken, *last;
    if (count < 1) return td_fail(TD_ERR_ARG, 0, "dist", "a list of %d collectives", count);
    for (int i = 0; i < count; i++) {
        td_status status = take_for(group, &calls[i], &end);
        if (status >= 0) continue;
        give_back(taken);
        return status;
    }
    TD_TRY(post_all(group, taken, &last));
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
