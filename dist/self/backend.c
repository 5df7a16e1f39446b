/* A world of one: nothing moves, memory is the process's own, and every work is done when it is posted. */
#include "base/memory.h"
#include "base/parallel.h"
#include "dist/internal.h"
#include "dist/reduce.h"
#include "dist/self/collectives.h"

#include <string.h>

static td_status can(const td_job *job, const td_group_options *options) {
    int size = job->facts.world_size;
    if (size != 1)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/self", "it serves one rank, the job has %d", size);
    if (options->device != TD_DEVICE_CPU)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/self", "it takes data on cpu, not on %s",
                       td_device_name(options->device));
    return TD_OK;
}

static td_status open_group(td_group *group) {
    group->compute_threads = td_core_count();
    return TD_OK;
}

static td_status split(td_group *parent, int colour, int key, td_group *group) {
    (void)parent, (void)colour, (void)key, (void)group;
    return TD_OK;
}

static void close_group(td_group *group) {
    for (td_block *block = group->arena.blocks; block; block = block->next) td_free(block->base);
}

/* Posted works are done, so there is never anything to advance or to wait for. */
static td_status test(td_group *group) {
    (void)group;
    return TD_OK;
}

static td_status wait(td_group *group, td_work *work) {
    (void)group;
    return work->status;
}

static td_status alloc(td_group *group, td_block *block) {
    (void)group;
    block->base = td_alloc_aligned(block->stride);
    if (!block->base) return TD_ERR_MEMORY;
    memset(block->base, 0, block->stride);
    return TD_OK;
}

static void free_block(td_group *group, td_block *block) {
    (void)group;
    td_free(block->base);
}

const td_backend td_backend_self = {
    .name = "self",
    .device = TD_DEVICE_CPU,
    .reduces = TD_REDUCES_EVERYTHING,
    .can = can,
    .open = open_group,
    .split = split,
    .close = close_group,
    .post =
        {
            [TD_CALL_BARRIER] = td_self_post,
            [TD_CALL_ALL_REDUCE] = td_self_post,
            [TD_CALL_BROADCAST] = td_self_post,
            [TD_CALL_REDUCE] = td_self_post,
            [TD_CALL_REDUCE_SCATTER] = td_self_post,
            [TD_CALL_ALL_GATHER] = td_self_post,
            [TD_CALL_GATHER] = td_self_post,
            [TD_CALL_SCATTER] = td_self_post,
            [TD_CALL_ALL_TO_ALL] = td_self_post,
        },
    .test = test,
    .wait = wait,
    .alloc = alloc,
    .free = free_block,
};
