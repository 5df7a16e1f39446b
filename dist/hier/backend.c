/* Opening and closing: who is on which machine is asked over MPI, then each machine's ranks meet. */
#include "base/memory.h"
#include "dist/hier/hier.h"

#include <string.h>

static const td_device cpu = {TD_DEVICE_CPU, 0};

static td_status can(const td_job *job, const td_group_options *options) {
    const td_job_facts *f = &job->facts;
    const td_backend *mpi;
    if (options->device != TD_DEVICE_CPU)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/hier", "it takes data on cpu, not on %s",
                       td_device_name(options->device));
    if (f->local_world_size == f->world_size)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/hier",
                       "all %d ranks are on one node, so it has nothing to join", f->world_size);
    if (f->local_world_size > TD_SEGMENT_RANKS_MAX)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/hier", "it serves %d ranks on a node, here are %d",
                       TD_SEGMENT_RANKS_MAX, f->local_world_size);
    TD_TRY(td_backend_find("mpi", &mpi));
    return mpi->can(job, options);
}

/* --- who is where --------------------------------------------------------------------------------------- */

static void free_state(td_hier *h) {
    while (h->dropped) {
        td_hier_pair *pair = h->dropped;
        h->dropped = pair->next;
        td_free(pair);
    }
    for (int i = 0; i < TD_HIER_BUFFERS; i++) td_free(h->buffers[i]);
    td_free(h->node_of);
    td_free(h->order);
    td_free(h->begin);
    td_free(h->prints);
    td_free(h->local_counts);
    td_free(h->node_counts);
    td_free(h);
}

static td_status make_state(int size, td_hier **out) {
    td_hier *h = td_calloc(1, sizeof *h);
    if (!h) return TD_ERR_MEMORY;
    size_t n = (size_t)size;
    h->reduce = td_reduce_select();
    h->node_of = td_calloc(n, sizeof *h->node_of);
    h->order = td_calloc(n, sizeof *h->order);
    h->begin = td_calloc(n + 1, sizeof *h->begin);
    h->prints = td_calloc(n, sizeof *h->prints);
    h->local_counts = td_calloc(n, sizeof *h->local_counts);
    h->node_counts = td_calloc(n, sizeof *h->node_counts);
    if (!h->node_of || !h->order || !h->begin || !h->prints || !h->local_counts || !h->node_counts) {
        free_state(h);
        return TD_ERR_MEMORY;
    }
    *out = h;
    return TD_OK;
}

/* From node_of, whose numbers are in the order of first ranks, to the rest. */
static void arrange(td_group *group, td_hier *h) {
    int used = 0;
    h->nodes = 0;
    for (int r = 0; r < group->size; r++)
        if (h->node_of[r] >= h->nodes) h->nodes = h->node_of[r] + 1;
    for (int node = 0; node < h->nodes; node++) {
        h->begin[node] = used;
        for (int r = 0; r < group->size; r++)
            if (h->node_of[r] == node) h->order[used++] = r;
    }
    h->begin[h->nodes] = used;
    h->in_order = true;
    for (int i = 0; i < used; i++) h->in_order = h->in_order && h->order[i] == i;
    group->node = h->node_of[group->rank];
}

/* What the launcher says of this machine must be what the ranks find. */
static td_status check_nodes(const td_group *group, const td_hier *h, const td_who *whos) {
    for (int r = 0; r < group->size; r++) {
        int node = h->node_of[r], count = h->begin[node + 1] - h->begin[node];
        if (count != whos[r].local_world_size)
            return td_fail(
                TD_ERR_STATE, 0, "dist/hier",
                "the launcher says that %d ranks are on the node of rank %d, but %d find each other there",
                whos[r].local_world_size, r, count);
    }
    return TD_OK;
}

static td_status find_nodes(td_group *group, td_hier *h) {
    td_who own = td_who_self(group->job), *whos = td_calloc((size_t)group->size, sizeof *whos);
    if (!whos) return td_group_give_up(h->world);
    td_status status = td_group_all_gather(h->world, &own, whos, sizeof own, TD_DTYPE_U8, cpu, NULL, NULL);
    for (int r = 0; r < group->size && status >= 0; r++) h->node_of[r] = td_who_node(whos, r);
    if (status >= 0) {
        arrange(group, h);
        status = check_nodes(group, h, whos);
    }
    td_free(whos);
    return status;
}

/* --- the groups of which it is made ---------------------------------------------------------------------- */

/* A group of `count` of this group's ranks, not connected yet; NULL when there is no memory. */
static td_group *make_inner(const td_group *group, const td_backend *backend, const int *ranks, int count) {
    td_group *made = td_calloc(1, sizeof *made);
    if (made) made->members = td_calloc((size_t)count, sizeof *made->members);
    if (!made || !made->members) {
        td_free(made);
        return NULL;
    }
    made->job = group->job;
    made->backend = backend;
    made->size = count;
    made->stall_timeout = group->stall_timeout;
    made->stall_report = group->stall_report;
    made->compute_threads = 1;
    made->arena.group = made;
    for (int i = 0; i < count; i++) {
        made->members[i] = td_group_name(group, ranks[i]);
        if (ranks[i] == group->rank) made->rank = i;
    }
    return made;
}

static void drop_inner(td_group **inner) {
    if (*inner) td_free((*inner)->members);
    td_free(*inner);
    *inner = NULL;
}

/* The rows of a group's ranks: all, this node's, the leaders. */
typedef struct row {
    const int *ranks;
    int count;
} row;

static row node_row(const td_group *group, const td_hier *h) {
    int begin = h->begin[group->node];
    return (row){h->order + begin, h->begin[group->node + 1] - begin};
}

/* Every rank of the world calls it; its leaders get their group. `ranks` has room for all nodes. */
static td_status join_leaders(td_group *group, td_hier *h, int *ranks) {
    td_group *made = NULL;
    for (int node = 0; node < h->nodes; node++) ranks[node] = h->order[h->begin[node]];
    bool leads = ranks[group->node] == group->rank;
    if (leads) made = make_inner(group, h->world->backend, ranks, h->nodes);
    if (leads && !made) return td_group_give_up(h->world);
    td_status status = h->world->backend->split(h->world, leads ? 0 : -1, group->rank, made);
    if (status < 0)
        drop_inner(&made);
    else
        h->leaders = made;
    return status;
}

static td_status join_node(td_group *group, td_hier *h) {
    const td_backend *shm;
    row all = node_row(group, h);
    td_group *made = td_backend_find("shm", &shm) >= 0 ? make_inner(group, shm, all.ranks, all.count) : NULL;
    td_status status = made ? shm->open(made) : td_error_last()->status;
    if (status < 0) {
        drop_inner(&made);
        td_error why = *td_error_last();
        td_group_abort(h->world, why.text);
        td_error_restore(&why);
        return status;
    }
    h->node = made;
    return TD_OK;
}

static td_status open_world(td_group *group, td_hier *h) {
    const td_backend *mpi;
    TD_TRY(td_backend_find("mpi", &mpi));
    for (int r = 0; r < group->size; r++) h->order[r] = r;
    td_group *made = make_inner(group, mpi, h->order, group->size);
    if (!made) return TD_ERR_MEMORY;
    td_status status = mpi->open(made);
    if (status < 0)
        drop_inner(&made);
    else
        h->world = made;
    return status;
}

/* A group whose ranks are all on one node needs no leaders. */
static td_status join(td_group *group, td_hier *h) {
    int *ranks = td_calloc((size_t)h->nodes, sizeof *ranks);
    if (!ranks) return td_group_give_up(h->world);
    td_status status = h->nodes > 1 ? join_leaders(group, h, ranks) : TD_OK;
    td_free(ranks);
    return status;
}

static void close_inner(td_hier *h) {
    td_group_close(&h->leaders);
    td_group_close(&h->node);
    td_group_close(&h->world);
}

static td_status open_group(td_group *group) {
    td_hier *h;
    TD_TRY(make_state(group->size, &h));
    td_status status = open_world(group, h);
    if (status >= 0) status = find_nodes(group, h);
    if (status >= 0) status = join_node(group, h);
    if (status >= 0) status = join(group, h);
    if (status < 0) {
        td_error why = *td_error_last();
        close_inner(h);
        free_state(h);
        td_error_restore(&why);
        return status;
    }
    group->watch = h->world->watch;
    group->compute_threads = h->node->compute_threads;
    group->state = h;
    return TD_OK;
}

/* --- groups of some ranks -------------------------------------------------------------------------------- */

static int parent_rank(const td_group *parent, const td_group *group, int r) {
    for (int p = 0; p < parent->size; p++)
        if (td_group_name(parent, p) == group->members[r]) return p;
    return -1;
}

/* Where the part's ranks are is known from the parent; its nodes are numbered anew. */
static void inherit_nodes(const td_group *parent, td_group *group, td_hier *h) {
    int known = 0;
    for (int r = 0; r < group->size; r++) {
        int theirs = td_hier_of(parent)->node_of[parent_rank(parent, group, r)], node = known;
        for (int before = 0; before < r && node == known; before++)
            if (td_hier_of(parent)->node_of[parent_rank(parent, group, before)] == theirs)
                node = h->node_of[before];
        h->node_of[r] = node;
        if (node == known) known++;
    }
    arrange(group, h);
}

/* The part's world and node, from the parent's; every rank of the parent calls it. */
static td_status split_inner(td_group *parent, td_group *group, td_hier *h) {
    td_hier *above = td_hier_of(parent);
    td_group *world = NULL, *node = NULL;
    if (group) {
        row here = node_row(group, h);
        int *all = td_calloc((size_t)group->size, sizeof *all);
        for (int r = 0; all && r < group->size; r++) all[r] = r;
        if (all) world = make_inner(group, above->world->backend, all, group->size);
        if (world) node = make_inner(group, above->node->backend, here.ranks, here.count);
        td_free(all);
        if (!node) {
            drop_inner(&world);
            return TD_ERR_MEMORY;
        }
    }
    td_status status = above->world->backend->split(above->world, group ? 0 : -1, 0, world);
    if (status >= 0 && group) h->world = world;
    if (status >= 0) status = above->node->backend->split(above->node, group ? 0 : -1, 0, node);
    if (status >= 0 && group) h->node = node;
    if (status < 0) {
        td_error why = *td_error_last();
        if (group && !h->world) drop_inner(&world);
        drop_inner(&node);
        td_error_restore(&why);
    }
    return status;
}

static td_status split(td_group *parent, int colour, int key, td_group *group) {
    td_hier *h = NULL;
    (void)colour, (void)key;
    td_status status = group ? make_state(group->size, &h) : TD_OK;
    if (status >= 0 && group) inherit_nodes(parent, group, h);
    if (status >= 0) status = split_inner(parent, group, h);
    if (status >= 0 && group) status = join(group, h);
    if (status < 0) {
        td_error why = *td_error_last();
        if (h) close_inner(h);
        if (h) free_state(h);
        td_error_restore(&why);
        return td_group_give_up(parent); /* the others may be a step further, and wait */
    }
    if (!group) return TD_OK;
    group->watch = h->world->watch;
    group->state = h;
    return TD_OK;
}

/* --- closing, aborting ----------------------------------------------------------------------------------- */

static void close_group(td_group *group) {
    td_hier *h = td_hier_of(group);
    while (h->last && td_hier_wait(group, h->last) >= 0) {}
    while (h->pairs && td_hier_wait(group, h->pairs->work) >= 0) {}
    if (group->broken.status != TD_OK) td_hier_fail(group);
    close_inner(h);
    free_state(h);
}

/* --- blocks ---------------------------------------------------------------------------------------------- */

/* Each rank's part lies in the memory that its node shares. */
static td_status alloc_here(const td_hier *h, td_block *block) {
    td_arena *arena = td_group_arena(h->node);
    void *mine = NULL;
    TD_TRY((block->parts == 1 ? td_arena_alloc_one : td_arena_alloc)(arena, block->bytes, &mine));
    block->addressable = h->nodes == 1;
    block->base = block->addressable && block->parts > 1 ? td_arena_at(arena, mine, 0) : mine;
    return TD_OK;
}

static void *own_part(const td_group *group, const td_block *block) {
    return block->base + (block->addressable && block->parts > 1 ? (size_t)group->rank * block->stride : 0);
}

static td_status alloc(td_group *group, td_block *block) {
    td_hier *h = td_hier_of(group);
    if (block->parts == 1 && h->nodes > 1)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/hier", "its %d nodes have no memory that all ranks see",
                       h->nodes);
    td_status here = alloc_here(h, block);
    td_error why = *td_error_last();
    int32_t enough = here >= 0;
    td_status status = td_group_all_reduce(group, &enough, 1, TD_DTYPE_I32, TD_REDUCE_MIN, cpu, NULL, NULL);
    if (status >= 0 && enough) return TD_OK;
    if (here >= 0) {
        void *mine = own_part(group, block);
        td_arena_free(td_group_arena(h->node), &mine);
    }
    if (status < 0) return status;
    if (here >= 0)
        return td_fail(TD_ERR_MEMORY, 0, "dist/hier", "another node has no memory for %zu bytes a rank",
                       block->stride);
    td_error_restore(&why);
    return here;
}

static void free_block(td_group *group, td_block *block) {
    void *mine = own_part(group, block);
    td_group_barrier(group, NULL); /* all are past their last use, on other nodes too */
    td_arena_free(td_group_arena(td_hier_of(group)->node), &mine);
}

const td_backend td_backend_hier = {
    .name = "hier",
    .device = TD_DEVICE_CPU,
    .reduces = TD_REDUCES_EVERYTHING,
    .can = can,
    .open = open_group,
    .split = split,
    .close = close_group,
    .post =
        {
            [TD_CALL_BARRIER] = td_hier_post,
            [TD_CALL_ALL_REDUCE] = td_hier_post,
            [TD_CALL_BROADCAST] = td_hier_post,
            [TD_CALL_REDUCE] = td_hier_post,
            [TD_CALL_REDUCE_SCATTER] = td_hier_post,
            [TD_CALL_ALL_GATHER] = td_hier_post,
            [TD_CALL_GATHER] = td_hier_post,
            [TD_CALL_SCATTER] = td_hier_post,
            [TD_CALL_ALL_TO_ALL] = td_hier_post,
            [TD_CALL_SEND] = td_hier_post_pair,
            [TD_CALL_RECV] = td_hier_post_pair,
        },
    .test = td_hier_test,
    .wait = td_hier_wait,
    .missing = td_hier_missing,
    .abort = td_hier_abort,
    .alloc = alloc,
    .free = free_block,
};
