/*
 * The oneDNN plug-in from the inside. Central object: onednn_primitive, a primitive for one set of sizes,
 * strides and threads, with all it needs to run; made once, found by its key ever after, so that the hot path
 * creates nothing. They live in the context's onednn_state until it closes or the cache is full.
 */
#ifndef TANDEM_MODEL_CPU_ONEDNN_ONEDNN_H
#define TANDEM_MODEL_CPU_ONEDNN_ONEDNN_H

#include "model/cpu/internal.h"

#include <dnnl.h>

/* What tells one primitive from another: the row, threads, sizes, strides, attributes. */
#define ONEDNN_KEY_WORDS 48
typedef struct onednn_key {
    int count;
    int64_t words[ONEDNN_KEY_WORDS];
} onednn_key;

void onednn_key_add(onednn_key *key, int64_t word);
/* dtype, sizes and strides. */
void onednn_key_add_tensor(onednn_key *key, const td_tensor *x);

/* One argument. Where the primitive wants another layout than the tensor's, `user` describes the tensor,
 * `reorder` converts, and `buffer` holds the primitive's form. */
typedef struct onednn_arg {
    int id; /* DNNL_ARG_SRC, ... */
    bool is_output;
    dnnl_memory_t memory, user;
    dnnl_primitive_t reorder;
    void *buffer;
    /* Whose contents `buffer` has: a kept storage, so that no other can take its address, and its version. */
    td_storage *storage;
    uint32_t version;
    int64_t offset;
} onednn_arg;

#define ONEDNN_ARGS 4
typedef struct onednn_primitive {
    struct onednn_primitive *next; /* of the same hash */
    onednn_key key;
    dnnl_primitive_t primitive; /* NULL: oneDNN has none for this key */
    int arg_count;
    onednn_arg args[ONEDNN_ARGS];
    size_t scratchpad_bytes;
    dnnl_memory_t scratchpad;
} onednn_primitive;

#define ONEDNN_BUCKETS 256
#define ONEDNN_MOST    1024 /* primitives; the cache starts afresh beyond */
typedef struct onednn_state {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    cpu_counters *counters;
    int made; /* primitives in the cache */
    void *scratchpad;
    size_t scratchpad_bytes;
    onednn_primitive *buckets[ONEDNN_BUCKETS];
} onednn_state;

static inline onednn_state *onednn_state_of(td_context *context) {
    return td_kernels_of(context)->plugin_state;
}

/* The only place where oneDNN's codes become ours. "Unimplemented" is TD_PENDING: let another kernel try. */
td_status onednn_status(dnnl_status_t status, const char *what);

/* Hand up whatever is not TD_OK, so TD_PENDING too. */
#define ONEDNN_TRY(call)                                                                                     \
    do {                                                                                                     \
        td_status onednn_try_status = (call);                                                                \
        if (onednn_try_status != TD_OK) return onednn_try_status;                                            \
    } while (0)

/* The primitive of this key. When it is new, its `primitive` is NULL and *is_new is set: the caller makes it,
 * or leaves it so. */
td_status onednn_find(onednn_state *state, const onednn_key *key, onednn_primitive **found, bool *is_new);

/* Free all primitives. */
void onednn_empty(onednn_state *state);

/* How a primitive is described before it is made: descriptor and, per argument, where oneDNN's wish is read.
 */
typedef struct onednn_want {
    int id;
    bool is_output;
    dnnl_query_t query; /* dnnl_query_src_md, ... */
    int index;          /* of the weights: 1 is the bias */
    dnnl_memory_desc_t user;
} onednn_want;

/* Make `p` from a primitive descriptor (destroyed here) and its arguments. */
td_status onednn_make(onednn_state *state, onednn_primitive *p, dnnl_primitive_desc_t descriptor,
                      const onednn_want *wants, int count);

/* Run with the arguments' tensors, in the order of the wants. TD_PENDING when there is no primitive. */
td_status onednn_run(onednn_state *state, onednn_primitive *p, td_tensor *const *tensors);

/* An attribute with the scratchpad in our hands; *yours*. */
td_status onednn_attributes(dnnl_primitive_attr_t *attributes);

/* Follow td_parallel_threads; primitives are made and run with this many threads. Returns the number. */
int onednn_set_threads(void);

extern const td_kernel_row onednn_conv[], onednn_matmul[];

#endif
