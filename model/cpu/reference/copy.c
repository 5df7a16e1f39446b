/* Copies, casts and fills. */
#include "model/cpu/internal.h"
#include "model/cpu/iter.h"

/* The same bytes, by size: what has the same dtype on both sides needs no conversion. */
#define MOVE(bits)                                                                                           \
    static void move_##bits(char *const *data, const int64_t *strides, int64_t count, const void *cookie) {  \
        (void)cookie;                                                                                        \
        for (int64_t i = 0; i < count; i++)                                                                  \
            *(uint##bits##_t *)(data[0] + i * strides[0]) =                                                  \
                *(const uint##bits##_t *)(data[1] + i * strides[1]);                                         \
    }
MOVE(8)
MOVE(16)
MOVE(32)
MOVE(64)

static void copy_elements(const td_tensor *from, td_tensor *to) {
    size_t size = td_dtype_size((td_dtype)to->dtype);
    cpu_loop *move = size == 1 ? move_8 : size == 2 ? move_16 : size == 4 ? move_32 : move_64;
    if (from->contiguous && to->contiguous && from->dtype == to->dtype && from->count == to->count) {
        if (to->count) memmove(td_tensor_bytes(to), td_tensor_bytes(from), (size_t)to->count * size);
        return;
    }
    cpu_pointwise what = {(td_dtype)to->dtype, (td_dtype)to->dtype, move, NULL};
    cpu_iterate(&what, to, &from, 1);
}

static td_status clone_kernel(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    copy_elements(((const td_clone_args *)args)->self, out[0]);
    return TD_OK;
}

static td_status cast(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    copy_elements(((const td_cast_args *)args)->self, out[0]);
    return TD_OK;
}

static bool broadcasts_to(const td_tensor *from, const td_tensor *to) {
    int added = to->ndim - from->ndim;
    if (added < 0) return false;
    for (int d = 0; d < from->ndim; d++)
        if (from->sizes[d] != to->sizes[added + d] && from->sizes[d] != 1) return false;
    return true;
}

static td_status copy(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_copy_in_place_args *a = args;
    char texts[2][96];
    if (!broadcasts_to(a->src, out[0]))
        return td_fail(TD_ERR_ARG, 0, "model", "src of sizes %s does not broadcast to %s",
                       td_sizes_text(a->src->sizes, a->src->ndim, texts[0], sizeof texts[0]),
                       td_sizes_text(out[0]->sizes, out[0]->ndim, texts[1], sizeof texts[1]));
    copy_elements(a->src, out[0]);
    return TD_OK;
}

/* The number as one element of the result's dtype, repeated. */
static void fill_with(td_scalar value, td_tensor *out) {
    char element[8] = {0};
    if (value.kind == TD_SCALAR_REAL)
        cpu_convert(TD_DTYPE_F64, (const char *)&value.value.real, 0, (td_dtype)out->dtype, element, 0, 1);
    else
        cpu_convert(TD_DTYPE_I64, (const char *)&value.value.integer, 0, (td_dtype)out->dtype, element, 0, 1);
    td_storage storage = {.data = element, .bytes = sizeof element};
    td_tensor number = {.dtype = out->dtype, .storage = &storage, .count = 1, .contiguous = true};
    size_t size = td_dtype_size((td_dtype)out->dtype);
    cpu_loop *move = size == 1 ? move_8 : size == 2 ? move_16 : size == 4 ? move_32 : move_64;
    cpu_pointwise what = {(td_dtype)out->dtype, (td_dtype)out->dtype, move, NULL};
    cpu_iterate(&what, out, (const td_tensor *const[]){&number}, 1);
}

static td_status fill(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    fill_with(((const td_fill_in_place_args *)args)->value, out[0]);
    return TD_OK;
}

static td_status zero(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    (void)args;
    if (out[0]->contiguous && out[0]->count)
        memset(td_tensor_bytes(out[0]), 0, (size_t)out[0]->count * td_dtype_size((td_dtype)out[0]->dtype));
    else
        fill_with((td_scalar){TD_SCALAR_INT, {0}}, out[0]);
    return TD_OK;
}

const td_kernel_row cpu_reference_copy[] = {
    {TD_OP_CLONE, clone_kernel}, {TD_OP_CAST, cast},  {TD_OP_COPY_, copy},
    {TD_OP_FILL_, fill},         {TD_OP_ZERO_, zero}, TD_KERNELS_END,
};
