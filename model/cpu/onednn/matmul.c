/* mm, bmm and linear: matrices as they lie, transposed views included, without copies. */
#include "model/cpu/onednn/onednn.h"

/* A matrix, or a list of them, that oneDNN can read in place: one of the last two strides is 1 and the other
 * spans it. */
static bool is_plain(int64_t rows, int64_t cols, int64_t row, int64_t col) {
    return (col == 1 && row >= cols) || (row == 1 && col >= rows);
}

static bool fits(const td_tensor *x) {
    const int m = x->ndim - 2;
    return x->dtype == TD_DTYPE_F32 && x->count > 0 &&
           is_plain(x->sizes[m], x->sizes[m + 1], x->strides[m], x->strides[m + 1]);
}

/* Sizes and strides; the last two exchanged when `transposed`. */
static td_status describe(const td_tensor *x, bool transposed, dnnl_memory_desc_t *out) {
    dnnl_dims_t sizes, strides;
    for (int d = 0; d < x->ndim; d++) {
        const int from = transposed && d >= x->ndim - 2 ? 2 * x->ndim - 3 - d : d;
        sizes[d] = x->sizes[from];
        strides[d] = x->strides[from];
    }
    return onednn_status(dnnl_memory_desc_init_by_strides(out, x->ndim, sizes, dnnl_f32, strides), "matrix");
}

static td_status describe_bias(const td_tensor *bias, dnnl_memory_desc_t *out) {
    const dnnl_dims_t sizes = {1, bias->sizes[0]};
    return onednn_status(dnnl_memory_desc_init_by_tag(out, 2, sizes, dnnl_f32, dnnl_ab), "bias");
}

static td_status make(onednn_state *state, onednn_primitive *p, const td_tensor *a, const td_tensor *b,
                      bool transposed, const td_tensor *bias, const td_tensor *c) {
    onednn_want wants[] = {{DNNL_ARG_SRC, false, dnnl_query_src_md, 0, {0}},
                           {DNNL_ARG_WEIGHTS, false, dnnl_query_weights_md, 0, {0}},
                           {DNNL_ARG_DST, true, dnnl_query_dst_md, 0, {0}},
                           {DNNL_ARG_BIAS, false, dnnl_query_weights_md, 1, {0}}};
    ONEDNN_TRY(describe(a, false, &wants[0].user));
    ONEDNN_TRY(describe(b, transposed, &wants[1].user));
    ONEDNN_TRY(describe(c, false, &wants[2].user));
    if (bias) ONEDNN_TRY(describe_bias(bias, &wants[3].user));
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t descriptor;
    td_status status = onednn_status(dnnl_matmul_desc_init(&matmul, &wants[0].user, &wants[1].user,
                                                           bias ? &wants[3].user : NULL, &wants[2].user),
                                     "matmul");
    if (status != TD_OK) return status;
    ONEDNN_TRY(onednn_attributes(&attributes));
    status = onednn_status(dnnl_primitive_desc_create(&descriptor, &matmul, attributes, state->engine, NULL),
                           "matmul");
    dnnl_primitive_attr_destroy(attributes);
    return status == TD_OK ? onednn_make(state, p, descriptor, wants, bias ? 4 : 3) : status;
}

static td_status multiply(td_context *context, td_op op, td_tensor *a, td_tensor *b, bool transposed,
                          td_tensor *bias, td_tensor *c) {
    if (!fits(a) || !fits(b) || !fits(c) || (bias && (bias->dtype != TD_DTYPE_F32 || bias->strides[0] != 1)))
        return TD_PENDING;
    onednn_state *state = onednn_state_of(context);
    onednn_key key = {0};
    onednn_key_add(&key, op);
    onednn_key_add(&key, onednn_set_threads());
    onednn_key_add_tensor(&key, a);
    onednn_key_add_tensor(&key, b);
    onednn_key_add_tensor(&key, c);
    onednn_key_add(&key, bias != NULL);
    onednn_primitive *p;
    bool is_new;
    ONEDNN_TRY(onednn_find(state, &key, &p, &is_new));
    if (is_new) ONEDNN_TRY(make(state, p, a, b, transposed, bias, c));
    return onednn_run(state, p, (td_tensor *const[]){a, b, c, bias});
}

static td_status mm(td_context *context, const void *args, td_tensor *const *out) {
    const td_mm_args *a = args;
    return multiply(context, TD_OP_MM, a->self, a->mat2, false, NULL, out[0]);
}

static td_status bmm(td_context *context, const void *args, td_tensor *const *out) {
    const td_bmm_args *a = args;
    return multiply(context, TD_OP_BMM, a->self, a->mat2, false, NULL, out[0]);
}

/* Contiguous inputs of more dimensions are one matrix; only that matrix's view of them is made up here. */
static td_tensor as_matrix(const td_tensor *x) {
    td_tensor view = {
        .ndim = 2, .dtype = x->dtype, .storage = x->storage, .offset = x->offset, .count = x->count};
    view.sizes[1] = view.strides[0] = x->sizes[x->ndim - 1];
    view.sizes[0] = x->count / view.sizes[1];
    view.strides[1] = 1;
    return view;
}

static td_status linear(td_context *context, const void *args, td_tensor *const *out) {
    const td_linear_args *a = args;
    if (a->input->ndim == 2)
        return multiply(context, TD_OP_LINEAR, a->input, a->weight, true, a->bias, out[0]);
    if (!a->input->contiguous || !out[0]->contiguous || a->input->count == 0 || out[0]->count == 0)
        return TD_PENDING;
    td_tensor x = as_matrix(a->input), y = as_matrix(out[0]);
    return multiply(context, TD_OP_LINEAR, &x, a->weight, true, a->bias, &y);
}

const td_kernel_row onednn_matmul[] = {
    {TD_OP_MM, mm},
    {TD_OP_BMM, bmm},
    {TD_OP_LINEAR, linear},
    TD_KERNELS_END,
};
