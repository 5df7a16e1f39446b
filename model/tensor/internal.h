/* Tensors, storages and scopes from the inside, for model/ only. */
#ifndef TANDEM_MODEL_TENSOR_INTERNAL_H
#define TANDEM_MODEL_TENSOR_INTERNAL_H

#include "base/internal.h"
#include "model/tensor/half.h"
#include "model/tensor/pool.h"
#include "model/tensor/scope.h"
#include "model/tensor/storage.h"
#include "model/tensor/tensor.h"

#include <stdatomic.h>
#include <string.h>

typedef struct td_node td_node; /* model/autograd/node.h */
typedef struct td_leaf td_leaf; /* model/autograd/leaf.h */

struct td_storage {
    td_block block;
    atomic_uint refs;
    uint32_t version; /* writes so far; of whoever has the context */
    char *data;
    size_t bytes;
    td_storage_free *give_back; /* of wrapped memory */
    void *memory; /* wrapped: the callback's cookie. Else the block that holds the bytes, NULL for this one */
    td_storage *host; /* where rehomed bytes lie; retained */
};

/* True when that was the last reference; a sole owner needs no atomic write to know. */
static inline bool td_drop_reference(atomic_uint *refs) {
    if (atomic_load_explicit(refs, memory_order_acquire) == 1) return true;
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

/* Where elements lie: what a shape or view function works out. */
typedef struct td_layout {
    int ndim;
    td_dtype dtype;
    int64_t offset; /* in elements, from the storage's start; 0 for new tensors */
    int64_t sizes[TD_MAX_DIMS];
    int64_t strides[TD_MAX_DIMS];
} td_layout;

struct td_tensor {
    td_block block;
    atomic_uint refs;
    uint8_t ndim;
    uint8_t dtype;            /* td_dtype */
    bool contiguous;          /* row-major without gaps */
    bool requires_grad;       /* a marked leaf */
    bool made_without_grad;   /* a view made while grad mode was off */
    uint8_t result_index;     /* which result of grad_fn */
    uint32_t grad_fn_version; /* of the storage when a view's grad_fn was made */
    td_storage *storage;
    int64_t offset;
    int64_t count;
    td_node *grad_fn;           /* what made it; NULL for a leaf */
    td_leaf *leaf;              /* gradient and hooks of a leaf that has or wants them */
    td_tensor *base;            /* what it is a view of; never itself a view */
    td_scope *scope;            /* its owner, or NULL when kept */
    td_tensor *previous, *next; /* in the scope's list */
    int64_t sizes[TD_MAX_DIMS];
    int64_t strides[TD_MAX_DIMS];
};

struct td_scope {
    td_scope *parent;
    td_context *context;
    td_tensor *first;
    td_status status;
};

/* In the context's slot TD_SLOT_SCOPES. */
typedef struct td_scopes {
    td_scope *current; /* the innermost open one, or NULL */
    td_scope *spare;   /* closed ones, to be used again */
    td_pool *pool;     /* the context's allocator, also in its own slot */
} td_scopes;

/* All eight places, used or not: a copy of fixed length is four instructions. */
static inline void td_copy_sizes(int64_t *to, const int64_t *from) {
    memcpy(to, from, sizeof(int64_t) * TD_MAX_DIMS);
}

/* --- layout.c -------------------------------------------------------------------------------------- */

/* Row-major strides for the layout's sizes. */
void td_layout_set_contiguous(td_layout *layout);
/* Strides of a dense permuted copy of `x` (channels_last stays so); contiguous where x has gaps or overlap.
 */
void td_layout_set_like(td_layout *layout, const td_tensor *x);
/* N, H, W, C order; four dimensions. */
void td_layout_set_channels_last(td_layout *layout);
static inline void td_layout_of(const td_tensor *x, td_layout *layout) {
    layout->ndim = x->ndim;
    layout->dtype = (td_dtype)x->dtype;
    layout->offset = x->offset;
    td_copy_sizes(layout->sizes, x->sizes);
    td_copy_sizes(layout->strides, x->strides);
}
/* The product of the sizes; false on overflow. */
bool td_layout_count(const td_layout *layout, int64_t *count);
static inline bool td_layout_same_sizes(const td_tensor *a, const td_tensor *b) {
    if (a->ndim != b->ndim) return false;
    for (int d = 0; d < a->ndim; d++)
        if (a->sizes[d] != b->sizes[d]) return false;
    return true;
}
/* Without gaps or overlap, in some order of the dimensions. */
bool td_tensor_is_dense(const td_tensor *x);
/* Could two different indices name one element. */
bool td_tensor_overlaps_itself(const td_tensor *x);
/* "(2, 3)" of sizes. */
char *td_sizes_text(const int64_t *sizes, int ndim, char *text, size_t bytes);

/* --- tensor.c -------------------------------------------------------------------------------------- */

/* A tensor that nobody owns yet (one reference, no scope), with fresh storage or over `storage` (retained).
 * NULL after recording the failure. */
td_tensor *td_tensor_new(td_pool *pool, const td_layout *layout);
td_tensor *td_tensor_new_over(td_pool *pool, const td_layout *layout, td_storage *storage);
/* Internal references, apart from scopes. */
td_tensor *td_tensor_retain(td_tensor *x);
void td_tensor_unref(td_tensor *x);

/* td_dtype_size for a dtype known to be one, inline. */
static inline size_t td_element_size(uint8_t dtype) {
    static const uint8_t sizes[TD_DTYPE_COUNT] = {
        [TD_DTYPE_F32] = 4, [TD_DTYPE_F64] = 8, [TD_DTYPE_F16] = 2, [TD_DTYPE_BF16] = 2, [TD_DTYPE_I8] = 1,
        [TD_DTYPE_U8] = 1,  [TD_DTYPE_I16] = 2, [TD_DTYPE_I32] = 4, [TD_DTYPE_I64] = 8,  [TD_DTYPE_BOOL] = 1,
    };
    return sizes[dtype];
}

static inline char *td_tensor_bytes(const td_tensor *x) {
    return x->storage->data + x->offset * (int64_t)td_element_size(x->dtype);
}

/* --- storage.c ------------------------------------------------------------------------------------- */

td_storage *td_storage_new(td_pool *pool, size_t bytes);
void td_storage_unref(td_storage *storage);
/* td_storage_rehome without copying: `host` has the values already. */
td_status td_storage_adopt(td_storage *storage, td_storage *host, size_t offset);

/* --- scope.c --------------------------------------------------------------------------------------- */

/* The current scope, which must be open and unfailed; NULL after recording (or not, when it had failed). */
td_scope *td_scope_ready(void);
/* The scope takes over one reference. */
void td_scope_own(td_scope *scope, td_tensor *x);
/* Take x out of its scope, which gives its reference to the caller. */
void td_scope_disown(td_tensor *x);
/* Fill the context's slots at its first scope. */
td_status td_model_open(td_context *context);

#endif
