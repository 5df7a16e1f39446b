/* The short forms of td_group_post, and what is built from several calls. */
#include "base/memory.h"
#include "dist/internal.h"

static td_status post(td_group *group, td_call_kind kind, const void *input, void *output, size_t count,
                      td_dtype dtype, td_reduce op, int root, td_device device, td_queue queue,
                      td_work **work) {
    const td_call call = {.kind = kind,
                          .input = input,
                          .output = output,
                          .count = count,
                          .dtype = dtype,
                          .op = op,
                          .root = root,
                          .device = device,
                          .queue = queue};
    return td_group_post(group, &call, work);
}

td_status td_group_all_reduce(td_group *group, void *data, size_t count, td_dtype dtype, td_reduce op,
                              td_device device, td_queue queue, td_work **work) {
    return post(group, TD_CALL_ALL_REDUCE, data, data, count, dtype, op, 0, device, queue, work);
}

td_status td_group_broadcast(td_group *group, void *data, size_t count, td_dtype dtype, int root,
                             td_device device, td_queue queue, td_work **work) {
    return post(group, TD_CALL_BROADCAST, data, data, count, dtype, 0, root, device, queue, work);
}

td_status td_group_reduce(td_group *group, const void *input, void *output, size_t count, td_dtype dtype,
                          td_reduce op, int root, td_device device, td_queue queue, td_work **work) {
    return post(group, TD_CALL_REDUCE, input, output, count, dtype, op, root, device, queue, work);
}

td_status td_group_reduce_scatter(td_group *group, const void *input, void *output, size_t count,
                                  td_dtype dtype, td_reduce op, td_device device, td_queue queue,
                                  td_work **work) {
    return post(group, TD_CALL_REDUCE_SCATTER, input, output, count, dtype, op, 0, device, queue, work);
}

td_status td_group_all_gather(td_group *group, const void *input, void *output, size_t count, td_dtype dtype,
                              td_device device, td_queue queue, td_work **work) {
    return post(group, TD_CALL_ALL_GATHER, input, output, count, dtype, 0, 0, device, queue, work);
}

td_status td_group_gather(td_group *group, const void *input, void *output, size_t count, td_dtype dtype,
                          int root, td_device device, td_queue queue, td_work **work) {
    return post(group, TD_CALL_GATHER, input, output, count, dtype, 0, root, device, queue, work);
}

td_status td_group_scatter(td_group *group, const void *input, void *output, size_t count, td_dtype dtype,
                           int root, td_device device, td_queue queue, td_work **work) {
    return post(group, TD_CALL_SCATTER, input, output, count, dtype, 0, root, device, queue, work);
}

td_status td_group_all_to_all(td_group *group, const void *input, void *output, size_t count, td_dtype dtype,
                              td_device device, td_queue queue, td_work **work) {
    return post(group, TD_CALL_ALL_TO_ALL, input, output, count, dtype, 0, 0, device, queue, work);
}

td_status td_group_send(td_group *group, const void *data, size_t count, td_dtype dtype, int to, int tag,
                        td_device device, td_queue queue, td_work **work) {
    const td_call call = {.kind = TD_CALL_SEND,
                          .input = data,
                          .count = count,
                          .dtype = dtype,
                          .root = to,
                          .tag = tag,
                          .device = device,
                          .queue = queue};
    return td_group_post(group, &call, work);
}

td_status td_group_recv(td_group *group, void *data, size_t count, td_dtype dtype, int from, int tag,
                        td_device device, td_queue queue, td_work **work) {
    const td_call call = {.kind = TD_CALL_RECV,
                          .output = data,
                          .count = count,
                          .dtype = dtype,
                          .root = from,
                          .tag = tag,
                          .device = device,
                          .queue = queue};
    return td_group_post(group, &call, work);
}

td_status td_group_barrier(td_group *group, td_work **work) {
    const td_call call = {.kind = TD_CALL_BARRIER};
    return td_group_post(group, &call, work);
}

td_status td_group_monitored_barrier(td_group *group, double seconds) {
    if (!(seconds > 0)) return td_fail(TD_ERR_ARG, 0, "dist", "barrier: a timeout of %g s", seconds);
    const td_call call = {.kind = TD_CALL_BARRIER, .timeout = seconds};
    return td_group_post(group, &call, NULL);
}

td_status td_group_broadcast_object(td_group *group, void **bytes, size_t *size, int root) {
    const td_device cpu = {TD_DEVICE_CPU, 0};
    bool gives = group->rank == root;
    int64_t length = gives ? (int64_t)*size : 0;
    if (length && !*bytes) return td_fail(TD_ERR_ARG, 0, "dist", "object: %zu bytes at NULL", *size);
    TD_TRY(td_group_broadcast(group, &length, 1, TD_DTYPE_I64, root, cpu, NULL, NULL));
    void *data = gives ? *bytes : td_alloc((size_t)length);
    if (!gives && !data) return td_group_give_up(group);
    td_status status = td_group_broadcast(group, data, (size_t)length, TD_DTYPE_U8, root, cpu, NULL, NULL);
    if (gives) return status;
    if (status < 0) {
        td_free(data);
        return status;
    }
    *bytes = data;
    *size = (size_t)length;
    return TD_OK;
}
