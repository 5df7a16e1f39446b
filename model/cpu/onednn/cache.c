/* The cache of primitives, and running one. */
#include "base/memory.h"
#include "base/parallel.h"
#include "model/cpu/onednn/onednn.h"

#include <omp.h>

void onednn_key_add(onednn_key *key, int64_t word) {
    if (key->count < ONEDNN_KEY_WORDS) key->words[key->count++] = word;
}

void onednn_key_add_tensor(onednn_key *key, const td_tensor *x) {
    onednn_key_add(key, x->dtype + 16 * x->ndim);
    for (int d = 0; d < x->ndim; d++) {
        onednn_key_add(key, x->sizes[d]);
        onednn_key_add(key, x->sizes[d] == 1 ? 0 : x->strides[d]);
    }
}

int onednn_set_threads(void) {
    const int threads = td_parallel_threads();
    if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
    return threads;
}

static size_t hash(const onednn_key *key) {
    uint64_t h = UINT64_C(14695981039346656037);
    for (int i = 0; i < key->count; i++) h = (h ^ (uint64_t)key->words[i]) * UINT64_C(1099511628211);
    return (size_t)(h >> 32) % ONEDNN_BUCKETS;
}

static void free_arg(onednn_arg *arg) {
    if (arg->memory) dnnl_memory_destroy(arg->memory);
    if (arg->user) dnnl_memory_destroy(arg->user);
    if (arg->reorder) dnnl_primitive_destroy(arg->reorder);
    td_storage_release(&arg->storage);
    td_free(arg->buffer);
    *arg = (onednn_arg){0};
}

/* Back to "oneDNN has none". */
static void unmake(onednn_primitive *p) {
    for (int i = 0; i < ONEDNN_ARGS; i++) free_arg(&p->args[i]);
    if (p->scratchpad) dnnl_memory_destroy(p->scratchpad);
    if (p->primitive) dnnl_primitive_destroy(p->primitive);
    p->scratchpad = NULL;
    p->primitive = NULL;
    p->arg_count = 0;
}

void onednn_empty(onednn_state *state) {
    for (int b = 0; b < ONEDNN_BUCKETS; b++) {
        for (onednn_primitive *p = state->buckets[b], *next; p; p = next) {
            next = p->next;
            unmake(p);
            td_free(p);
        }
        state->buckets[b] = NULL;
    }
    state->made = 0;
}

td_status onednn_find(onednn_state *state, const onednn_key *key, onednn_primitive **found, bool *is_new) {
    const size_t bucket = hash(key), bytes = (size_t)key->count * sizeof key->words[0];
    *is_new = false;
    for (onednn_primitive *p = state->buckets[bucket]; p; p = p->next)
        if (p->key.count == key->count && memcmp(p->key.words, key->words, bytes) == 0) {
            state->counters->primitives_found++;
            *found = p;
            return TD_OK;
        }
    if (state->made >= ONEDNN_MOST) onednn_empty(state);
    onednn_primitive *p = td_calloc(1, sizeof *p);
    if (!p) return TD_ERR_MEMORY;
    p->key = *key;
    p->next = state->buckets[bucket];
    state->buckets[bucket] = p;
    state->made++;
    *is_new = true;
    *found = p;
    return TD_OK;
}

td_status onednn_attributes(dnnl_primitive_attr_t *attributes) {
    ONEDNN_TRY(onednn_status(dnnl_primitive_attr_create(attributes), "attributes"));
    td_status status = onednn_status(
        dnnl_primitive_attr_set_scratchpad_mode(*attributes, dnnl_scratchpad_mode_user), "scratchpad");
    if (status != TD_OK) dnnl_primitive_attr_destroy(*attributes);
    return status;
}

static td_status make_reorder(onednn_state *state, onednn_arg *arg, const dnnl_memory_desc_t *user,
                              const dnnl_memory_desc_t *wanted) {
    const dnnl_memory_desc_t *from = arg->is_output ? wanted : user, *to = arg->is_output ? user : wanted;
    dnnl_primitive_desc_t descriptor;
    ONEDNN_TRY(onednn_status(
        dnnl_reorder_primitive_desc_create(&descriptor, from, state->engine, to, state->engine, NULL),
        "reorder"));
    td_status status = onednn_status(dnnl_primitive_create(&arg->reorder, descriptor), "reorder");
    dnnl_primitive_desc_destroy(descriptor);
    if (status != TD_OK) return status;
    ONEDNN_TRY(
        onednn_status(dnnl_memory_create(&arg->user, user, state->engine, DNNL_MEMORY_NONE), "memory"));
    arg->buffer = td_alloc_aligned(dnnl_memory_desc_get_size(wanted));
    if (!arg->buffer) return TD_ERR_MEMORY;
    return onednn_status(dnnl_memory_set_data_handle(arg->memory, arg->buffer), "memory");
}

static td_status make_arg(onednn_state *state, onednn_arg *arg, dnnl_primitive_desc_t descriptor,
                          const onednn_want *want) {
    const dnnl_memory_desc_t *wanted = dnnl_primitive_desc_query_md(descriptor, want->query, want->index);
    *arg = (onednn_arg){.id = want->id, .is_output = want->is_output};
    ONEDNN_TRY(
        onednn_status(dnnl_memory_create(&arg->memory, wanted, state->engine, DNNL_MEMORY_NONE), "memory"));
    if (dnnl_memory_desc_equal(wanted, &want->user)) return TD_OK;
    return make_reorder(state, arg, &want->user, wanted);
}

static td_status make_parts(onednn_state *state, onednn_primitive *p, dnnl_primitive_desc_t descriptor,
                            const onednn_want *wants, int count) {
    for (int i = 0; i < count; i++) {
        p->arg_count = i + 1;
        ONEDNN_TRY(make_arg(state, &p->args[i], descriptor, &wants[i]));
    }
    const dnnl_memory_desc_t *scratchpad =
        dnnl_primitive_desc_query_md(descriptor, dnnl_query_scratchpad_md, 0);
    p->scratchpad_bytes = dnnl_memory_desc_get_size(scratchpad);
    ONEDNN_TRY(onednn_status(dnnl_memory_create(&p->scratchpad, scratchpad, state->engine, DNNL_MEMORY_NONE),
                             "memory"));
    return onednn_status(dnnl_primitive_create(&p->primitive, descriptor), "primitive");
}

td_status onednn_make(onednn_state *state, onednn_primitive *p, dnnl_primitive_desc_t descriptor,
                      const onednn_want *wants, int count) {
    td_status status = make_parts(state, p, descriptor, wants, count);
    dnnl_primitive_desc_destroy(descriptor);
    if (status != TD_OK)
        unmake(p);
    else
        state->counters->primitives_made++;
    return status;
}

static td_status execute(onednn_state *state, dnnl_primitive_t primitive, int count,
                         const dnnl_exec_arg_t *args) {
    ONEDNN_TRY(onednn_status(dnnl_primitive_execute(primitive, state->stream, count, args), "execution"));
    return onednn_status(dnnl_stream_wait(state->stream), "execution");
}

static td_status convert(onednn_state *state, onednn_arg *arg, const td_tensor *x) {
    ONEDNN_TRY(onednn_status(dnnl_memory_set_data_handle(arg->user, td_tensor_bytes(x)), "memory"));
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, arg->is_output ? arg->memory : arg->user},
                                    {DNNL_ARG_TO, arg->is_output ? arg->user : arg->memory}};
    state->counters->reorders++;
    return execute(state, arg->reorder, 2, args);
}

/* Bring an input into the primitive's layout; weights that have not been written since stay as they are. */
static td_status prepare(onednn_state *state, onednn_arg *arg, const td_tensor *x) {
    if (!arg->reorder)
        return onednn_status(dnnl_memory_set_data_handle(arg->memory, td_tensor_bytes(x)), "memory");
    if (arg->is_output) return TD_OK;
    if (arg->id != DNNL_ARG_WEIGHTS) return convert(state, arg, x);
    if (arg->storage == x->storage && arg->version == x->storage->version && arg->offset == x->offset)
        return TD_OK;
    ONEDNN_TRY(convert(state, arg, x));
    if (arg->storage != x->storage) {
        td_storage_release(&arg->storage);
        arg->storage = td_storage_retain(x->storage);
    }
    arg->version = x->storage->version;
    arg->offset = x->offset;
    return TD_OK;
}

static td_status provide_scratchpad(onednn_state *state, const onednn_primitive *p) {
    if (p->scratchpad_bytes > state->scratchpad_bytes) {
        void *grown = td_alloc_aligned(p->scratchpad_bytes);
        if (!grown) return TD_ERR_MEMORY;
        td_free(state->scratchpad);
        state->scratchpad = grown;
        state->scratchpad_bytes = p->scratchpad_bytes;
    }
    return onednn_status(dnnl_memory_set_data_handle(p->scratchpad, state->scratchpad), "memory");
}

td_status onednn_run(onednn_state *state, onednn_primitive *p, td_tensor *const *tensors) {
    if (!p->primitive) return TD_PENDING;
    dnnl_exec_arg_t args[ONEDNN_ARGS + 1];
    for (int i = 0; i < p->arg_count; i++) {
        ONEDNN_TRY(prepare(state, &p->args[i], tensors[i]));
        args[i] = (dnnl_exec_arg_t){p->args[i].id, p->args[i].memory};
    }
    ONEDNN_TRY(provide_scratchpad(state, p));
    args[p->arg_count] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, p->scratchpad};
    ONEDNN_TRY(execute(state, p->primitive, p->arg_count + 1, args));
    for (int i = 0; i < p->arg_count; i++)
        if (p->args[i].is_output && p->args[i].reorder) ONEDNN_TRY(convert(state, &p->args[i], tensors[i]));
    return TD_OK;
}
