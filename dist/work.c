/* Collectives: arguments are checked once, here; then the work belongs to the backend until it is finished.
 */
#include "base/checked.h"
#include "base/memory.h"
#include "dist/internal.h"

static td_status check_data(const td_group *group, const td_call *call) {
    size_t bytes;
    const char *name = td_call_name(call->kind);
    if (!td_dtype_size(call->dtype))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: there is no dtype %d", name, (int)call->dtype);
    if (!td_mul_size(call->count, td_dtype_size(call->dtype), &bytes) || call->count > INT64_MAX)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: %zu elements of %s do not fit memory", name, call->count,
                       td_dtype_name(call->dtype));
    if (call->count && !call->data)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: %zu elements at NULL", name, call->count);
    if (call->device.kind != group->backend->device)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "%s: backend %s takes data on %s, not on %s", name,
                       group->backend->name, td_device_name(group->backend->device),
                       td_device_name(call->device.kind));
    return TD_OK;
}

static td_status check_reduction(const td_group *group, const td_call *call) {
    const char *name = td_call_name(call->kind);
    if ((unsigned)call->op >= TD_REDUCE_COUNT)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: there is no reduction %d", name, (int)call->op);
    if (call->op == TD_REDUCE_AVG && !td_dtype_is_floating(call->dtype))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: an average of %s would have to be rounded; sum it instead",
                       name, td_dtype_name(call->dtype));
    if (!(group->backend->sums >> call->dtype & 1))
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "%s: backend %s does not sum %s", name,
                       group->backend->name, td_dtype_name(call->dtype));
    return TD_OK;
}

static td_status check_call(td_group *group, const td_call *call) {
    if (__builtin_expect(group->broken.status != TD_OK, 0)) return td_group_break(group);
    if (!group->backend->post[call->kind])
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "backend %s has no %s", group->backend->name,
                       td_call_name(call->kind));
    if (call->kind == TD_CALL_BARRIER) return TD_OK;
    TD_TRY(check_data(group, call));
    if (call->kind == TD_CALL_ALL_REDUCE) return check_reduction(group, call);
    if (call->root < 0 || call->root >= group->size)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: root %d, but the group has %d ranks",
                       td_call_name(call->kind), call->root, group->size);
    return TD_OK;
}

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

static td_status begin(td_group *group, const td_call *call, td_work *work) {
    work->group = group;
    work->call = *call;
    work->print = td_call_fingerprint(call);
    work->bytes = call->count * td_dtype_size(call->dtype);
    work->status = TD_PENDING;
    return group->backend->post[call->kind](group, work);
}

td_status td_group_post(td_group *group, const td_call *call, td_work **work) {
    TD_TRY(check_call(group, call));
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
        made->group = group;
        recycle(made);
        return status;
    }
    *work = made;
    return TD_OK;
}

void td_work_finish(td_work *work, td_status status) {
    work->status = status;
    if (status >= 0) td_progress_beat(work->group->job->progress);
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

td_status td_group_all_reduce(td_group *group, void *data, size_t count, td_dtype dtype, td_reduce op,
                              td_device device, td_queue queue, td_work **work) {
    const td_call call = {.kind = TD_CALL_ALL_REDUCE,
                          .data = data,
                          .count = count,
                          .dtype = dtype,
                          .op = op,
                          .device = device,
                          .queue = queue};
    return td_group_post(group, &call, work);
}

td_status td_group_broadcast(td_group *group, void *data, size_t count, td_dtype dtype, int root,
                             td_device device, td_queue queue, td_work **work) {
    const td_call call = {.kind = TD_CALL_BROADCAST,
                          .data = data,
                          .count = count,
                          .dtype = dtype,
                          .root = root,
                          .device = device,
                          .queue = queue};
    return td_group_post(group, &call, work);
}

td_status td_group_barrier(td_group *group, td_work **work) {
    const td_call call = {.kind = TD_CALL_BARRIER};
    return td_group_post(group, &call, work);
}
