/*
 * Gradients of a group are born in one flat block, `work`, behind them the numbers that say which of them there
 * are and over how many samples; weighed by the samples it goes into this rank's tree. To join the ranks' nodes
 * each rank is sent its slice of every node of all ranks (all_to_all), joins them, and the joined slices are
 * gathered into `work` again, which then holds the sums of the whole step.
 */
#include "model/parallel/sample_groups.h"

#include "base/context.h"
#include "base/generator.h"
#include "base/memory.h"
#include "dist/arena.h"
#include "model/ops/ops.h"
#include "model/parallel/group_norms.h"
#include "model/parallel/group_tree.h"
#include "model/parallel/internal.h"
#include "model/tensor/scope.h"

#include <string.h>

enum {
    SLOT_ELEMENTS = 16,
    SLICE_ELEMENTS = 256
}; /* slots begin at, and slices are cut at, multiples of it */

typedef struct group_slot {
    td_tensor *param, *home; /* lent by the module; kept: a view of work */
    size_t offset, count;    /* elements */
} group_slot;

struct td_sample_groups {
    td_context *context;
    td_group *group;
    int count, first, end; /* groups of a step, and this rank's */
    uint64_t seed, step;
    group_slot *slots;
    size_t slot_count;
    size_t filled_at; /* in work: 1 for each gradient that there is, then the samples */
    size_t elements;  /* of work, a multiple of SLICE_ELEMENTS */
    float *work;      /* in the arena */
    float *outgoing,
        *incoming; /* in the arena: slices of this rank's nodes, and this rank's slice of all nodes */
    size_t *send_counts, *recv_counts, *slice_counts;
    td_group_tree own, joined;
    group_norms norms;
    size_t *row_counts; /* floats of norms' rows that each rank has */
    int current;        /* the group that has begun; -1: none */
    int next;           /* the group that comes */
    int64_t samples;    /* of the current group */
};

static const td_device cpu = {TD_DEVICE_CPU, 0};

static size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

static td_status wrong_state(const char *what) {
    return td_fail(TD_ERR_STATE, 0, "model/parallel", "sample groups: %s", what);
}

/* --- who has what ----------------------------------------------------------------------------------- */

int td_sample_groups_first(int count, int world_size, int rank) {
    return (int)((int64_t)count * rank / world_size);
}

int td_sample_groups_end_of(int count, int world_size, int rank) {
    return td_sample_groups_first(count, world_size, rank + 1);
}

static int nodes_of(const td_sample_groups *g, int rank, td_group_node nodes[GROUP_TREE_DEPTH]) {
    int size = td_group_size(g->group);
    return td_group_tree_cover(td_sample_groups_first(g->count, size, rank),
                               td_sample_groups_end_of(g->count, size, rank), nodes);
}

static size_t slice_begin(const td_sample_groups *g, int rank) {
    return g->elements / SLICE_ELEMENTS * (size_t)rank / (size_t)td_group_size(g->group) * SLICE_ELEMENTS;
}

/* --- one group -------------------------------------------------------------------------------------- */

/* A 32-bit seed, which is all that the generator takes, well mixed (splitmix64's finaliser, Steele 2014). */
static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t seed_of(const td_sample_groups *g, int group) {
    return mix(mix(mix(g->seed) + g->step) + (uint64_t)group) & UINT32_MAX;
}

void td_sample_groups_set_step(td_sample_groups *groups, uint64_t step) { groups->step = step; }

static void empty_gradients(td_sample_groups *g) {
    for (size_t i = 0; i < g->slot_count; i++) td_tensor_zero_grad(g->slots[i].param);
}

td_status td_sample_groups_begin(td_sample_groups *g, int64_t samples) {
    if (samples < 0)
        return td_fail(TD_ERR_ARG, 0, "model/parallel", "sample groups: %lld samples in a group",
                       (long long)samples);
    if (g->current >= 0) return wrong_state("a group begins before the last one has ended");
    if (g->next == g->end) return wrong_state("this rank has had all its groups of the step");
    TD_TRY(group_norms_begin(&g->norms, g->next == g->first));
    g->current = g->next;
    g->samples = samples;
    empty_gradients(g);
    td_generator_seed(td_context_generator(g->context), seed_of(g, g->current));
    return TD_OK;
}

/* Times the samples, so that the tree adds up sums; zeros, not a product, where there is nothing. */
static void weigh(td_sample_groups *g) {
    for (size_t i = 0; i < g->slot_count; i++) {
        const group_slot *slot = &g->slots[i];
        bool filled = g->samples && td_leaf_state(slot->param) != TD_GRAD_EMPTY;
        if (filled)
            ddp_multiply(TD_DTYPE_F32, g->work + slot->offset, slot->count, (double)g->samples);
        else
            memset(g->work + slot->offset, 0, slot->count * sizeof(float));
        g->work[g->filled_at + i] = filled;
    }
    g->work[g->filled_at + g->slot_count] = (float)g->samples;
}

td_status td_sample_groups_end(td_sample_groups *g) {
    if (g->current < 0) return wrong_state("a group ends that has not begun");
    weigh(g);
    TD_TRY(td_group_tree_push(&g->own, td_group_leaf(g->current), g->work));
    group_norms_end(&g->norms, g->current);
    g->current = -1;
    g->next++;
    return TD_OK;
}

/* --- the whole step --------------------------------------------------------------------------------- */

/* This rank's nodes, slice by slice: what goes to rank 0, what goes to rank 1, ... */
static void pack(td_sample_groups *g) {
    float *out = g->outgoing;
    for (int r = 0; r < td_group_size(g->group); r++) {
        size_t begin = slice_begin(g, r), count = slice_begin(g, r + 1) - begin;
        for (int n = 0; n < g->own.open; n++, out += count)
            memcpy(out, g->own.values[n] + begin, count * sizeof(float));
    }
}

/* All ranks' nodes of this rank's slice, from left to right. */
static td_status join(td_sample_groups *g) {
    const float *in = g->incoming;
    td_group_tree_clear(&g->joined);
    for (int r = 0; r < td_group_size(g->group); r++) {
        td_group_node nodes[GROUP_TREE_DEPTH];
        int count = nodes_of(g, r, nodes);
        for (int n = 0; n < count; n++, in += g->joined.elements)
            TD_TRY(td_group_tree_push(&g->joined, nodes[n], in));
    }
    return TD_OK;
}

static td_status exchange(td_sample_groups *g) {
    size_t begin = slice_begin(g, td_group_rank(g->group));
    pack(g);
    td_call send = {.kind = TD_CALL_ALL_TO_ALL,
                    .dtype = TD_DTYPE_F32,
                    .input = g->outgoing,
                    .output = g->incoming,
                    .counts = g->send_counts,
                    .recv_counts = g->recv_counts,
                    .label = "sample groups: nodes",
                    .device = cpu};
    TD_TRY(td_group_post(g->group, &send, NULL));
    TD_TRY(join(g));
    memcpy(g->work + begin, g->joined.values[0], g->joined.elements * sizeof(float));
    td_call gather = {.kind = TD_CALL_ALL_GATHER,
                      .dtype = TD_DTYPE_F32,
                      .input = g->work + begin,
                      .output = g->work,
                      .counts = g->slice_counts,
                      .label = "sample groups: sums",
                      .device = cpu};
    return td_group_post(g->group, &gather, NULL);
}

static td_status leave_means(td_sample_groups *g) {
    double samples = (double)g->work[g->filled_at + g->slot_count];
    if (samples == 0) return wrong_state("no group has a sample in this step");
    for (size_t i = 0; i < g->slot_count; i++) {
        const group_slot *slot = &g->slots[i];
        bool filled = g->work[g->filled_at + i] > 0;
        if (filled) ddp_divide(TD_DTYPE_F32, g->work + slot->offset, slot->count, samples);
        td_leaf_set_state(slot->param, filled ? TD_GRAD_REDUCED : TD_GRAD_EMPTY);
    }
    return TD_OK;
}

td_status td_sample_groups_reduce(td_sample_groups *g) {
    if (g->current >= 0 || g->next != g->end) return wrong_state("not all groups of this rank have ended");
    if (td_group_size(g->group) > 1)
        TD_TRY(exchange(g));
    else
        memcpy(g->work, g->own.values[0], g->elements * sizeof(float));
    TD_TRY(group_norms_apply(&g->norms, g->group, g->row_counts));
    td_group_tree_clear(&g->own);
    g->next = g->first;
    g->step++;
    return leave_means(g);
}

/* --- life ------------------------------------------------------------------------------------------- */

static td_status check(td_group *group, int count) {
    if (count < 1 || count > TD_SAMPLE_GROUPS_MAX || (count & (count - 1)))
        return td_fail(TD_ERR_ARG, 0, "model/parallel",
                       "sample groups: %d groups, expected a power of two up to %d", count,
                       TD_SAMPLE_GROUPS_MAX);
    if (count < td_group_size(group))
        return td_fail(TD_ERR_ARG, 0, "model/parallel",
                       "sample groups: %d groups for %d ranks; each rank needs one", count,
                       td_group_size(group));
    return TD_OK;
}

static td_status check_buffers(const td_sample_groups *g, const td_state_dict *buffers) {
    for (size_t i = 0; i < buffers->count; i++) {
        const td_tensor *buffer = buffers->at[i].tensor;
        if (td_dtype_is_floating(td_tensor_dtype(buffer)) && !group_norms_has(&g->norms, buffer))
            return td_fail(TD_ERR_UNSUPPORTED, 0, "model/parallel",
                           "sample groups: the value of buffer '%s' would depend on the order of groups",
                           buffers->at[i].name);
    }
    return TD_OK;
}

/* A slot for each parameter that requires grad; work's layout. */
static td_status make_slots(td_sample_groups *g, const td_state_dict *parameters) {
    g->slots = td_calloc(parameters->count + 1, sizeof *g->slots);
    if (!g->slots) return TD_ERR_MEMORY;
    for (size_t i = 0; i < parameters->count; i++) {
        td_tensor *param = parameters->at[i].tensor;
        if (!td_tensor_requires_grad(param)) continue;
        if (td_tensor_dtype(param) != TD_DTYPE_F32)
            return td_fail(TD_ERR_UNSUPPORTED, 0, "model/parallel",
                           "sample groups: '%s' is of dtype %s, expected f32", parameters->at[i].name,
                           td_dtype_name(td_tensor_dtype(param)));
        size_t count = (size_t)td_tensor_count(param);
        g->slots[g->slot_count++] = (group_slot){.param = param, .offset = g->filled_at, .count = count};
        g->filled_at += round_up(count, SLOT_ELEMENTS);
    }
    if (!g->slot_count)
        return td_fail(TD_ERR_ARG, 0, "model/parallel",
                       "sample groups: no parameter of the module requires grad");
    g->elements = round_up(g->filled_at + g->slot_count + 1, SLICE_ELEMENTS);
    return TD_OK;
}

/* How much goes to and comes from whom; and the memory for the most that any rank sends or receives. */
static td_status make_exchange(td_sample_groups *g) {
    int size = td_group_size(g->group), rank = td_group_rank(g->group);
    td_group_node nodes[GROUP_TREE_DEPTH];
    size_t *counts = td_calloc(4 * (size_t)size, sizeof *counts);
    if (!counts) return TD_ERR_MEMORY;
    g->send_counts = counts, g->recv_counts = counts + size, g->slice_counts = counts + 2 * size;
    g->row_counts = counts + 3 * size;
    size_t own = (size_t)nodes_of(g, rank, nodes), most = 0, all = 0, longest = 0;
    for (int r = 0; r < size; r++) {
        size_t theirs = (size_t)nodes_of(g, r, nodes);
        g->slice_counts[r] = slice_begin(g, r + 1) - slice_begin(g, r);
        g->row_counts[r] = g->norms.row * (size_t)(td_sample_groups_end_of(g->count, size, r) -
                                                   td_sample_groups_first(g->count, size, r));
        all += theirs;
        if (theirs > most) most = theirs;
        if (g->slice_counts[r] > longest) longest = g->slice_counts[r];
    }
    g->own.elements = g->elements;
    g->joined.elements = g->slice_counts[rank];
    for (int r = 0; r < size; r++) {
        g->send_counts[r] = own * g->slice_counts[r];
        g->recv_counts[r] = (size_t)nodes_of(g, r, nodes) * g->slice_counts[rank];
    }
    td_arena *arena = td_group_arena(g->group);
    TD_TRY(td_arena_alloc(arena, g->elements * sizeof(float), (void **)&g->work));
    if (size == 1) return TD_OK;
    TD_TRY(td_arena_alloc(arena, most * g->elements * sizeof(float), (void **)&g->outgoing));
    return td_arena_alloc(arena, all * longest * sizeof(float), (void **)&g->incoming);
}

static td_status open_over(td_sample_groups *g, td_module *module, const td_state_dict *parameters,
                           const td_state_dict *buffers) {
    TD_TRY(group_norms_open(module, g->count, &g->norms));
    TD_TRY(check_buffers(g, buffers));
    if (td_group_size(g->group) > 1) {
        TD_TRY(ddp_compare(g->group, parameters, buffers));
        TD_TRY(ddp_broadcast(g->group, parameters));
        TD_TRY(ddp_broadcast(g->group, buffers));
    }
    TD_TRY(make_slots(g, parameters));
    TD_TRY(make_exchange(g));
    for (size_t i = 0; i < g->slot_count; i++) {
        group_slot *slot = &g->slots[i];
        td_tensor_zero_grad(slot->param);
        TD_TRY(ddp_give_home(g->context, slot->param, g->work + slot->offset, &slot->home));
    }
    return TD_OK;
}

td_status td_sample_groups_open(td_module *module, td_group *group, int count, uint64_t seed,
                                td_sample_groups **groups) {
    TD_TRY(check(group, count));
    td_sample_groups *opened = td_calloc(1, sizeof *opened);
    if (!opened) return TD_ERR_MEMORY;
    int size = td_group_size(group), rank = td_group_rank(group);
    opened->context = td_context_current();
    opened->group = group;
    opened->count = count;
    opened->first = opened->next = td_sample_groups_first(count, size, rank);
    opened->end = td_sample_groups_end_of(count, size, rank);
    opened->current = -1;
    opened->seed = seed;
    td_state_dict parameters = {0}, buffers = {0};
    td_scope *scope = td_scope_open(opened->context);
    td_status status = td_module_parameters(module, &parameters);
    if (status == TD_OK) status = td_module_buffers(module, &buffers);
    if (status == TD_OK) status = open_over(opened, module, &parameters, &buffers);
    td_status closed = td_scope_close(scope);
    if (status == TD_OK) status = closed;
    td_state_dict_clear(&parameters);
    td_state_dict_clear(&buffers);
    if (status < 0) {
        td_sample_groups_close(&opened);
        return status;
    }
    *groups = opened;
    return TD_OK;
}

void td_sample_groups_close(td_sample_groups **groups) {
    td_sample_groups *g = *groups;
    if (!g) return;
    for (size_t i = 0; i < g->slot_count; i++) ddp_take_home(g->slots[i].param, &g->slots[i].home);
    group_norms_close(&g->norms);
    td_arena *arena = td_group_arena(g->group);
    td_arena_free(arena, (void **)&g->incoming);
    td_arena_free(arena, (void **)&g->outgoing);
    td_arena_free(arena, (void **)&g->work);
    td_group_tree_free(&g->own);
    td_group_tree_free(&g->joined);
    td_free(g->send_counts);
    td_free(g->slots);
    td_free(g);
    *groups = NULL;
}
