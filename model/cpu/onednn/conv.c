/*
 * Convolutions and their gradients. oneDNN is told that images lie channels_last, where its kernels are as
 * fast as in its own blocked layouts; images that do not are reordered, and counted. Weights lie as it likes
 * best: its copy of them is renewed when they have been written.
 */
#include "model/cpu/onednn/onednn.h"

typedef struct convolution {
    td_op op;
    td_tensor *image, *weight, *bias, *result; /* input, weight, bias, output: values or gradients of them */
    const int64_t *stride, *padding, *dilation;
    int64_t groups;
} convolution;

/* What the primitive works with: images channels_last, weights as it likes. */
typedef struct wishes {
    dnnl_memory_desc_t image, weight, bias, result;
    dnnl_dims_t stride, dilation, padding, padding_after;
} wishes;

static td_status describe_image(const td_tensor *x, dnnl_memory_desc_t *user, dnnl_memory_desc_t *wish) {
    dnnl_dims_t sizes, strides;
    /* The stride of a dimension of size 1 is never used; channels_last's own makes the layouts equal. */
    const int64_t c = x->sizes[1], w = x->sizes[3], h = x->sizes[2], own[4] = {h * w * c, 1, w * c, c};
    for (int d = 0; d < 4; d++) {
        sizes[d] = x->sizes[d];
        strides[d] = x->sizes[d] == 1 ? own[d] : x->strides[d];
    }
    ONEDNN_TRY(onednn_status(dnnl_memory_desc_init_by_strides(user, 4, sizes, dnnl_f32, strides), "image"));
    return onednn_status(dnnl_memory_desc_init_by_tag(wish, 4, sizes, dnnl_f32, dnnl_nhwc), "image");
}

static td_status describe_weight(const td_tensor *w, int64_t groups, dnnl_memory_desc_t *user,
                                 dnnl_memory_desc_t *wish) {
    const int ndim = groups > 1 ? 5 : 4;
    dnnl_dims_t sizes = {groups, w->sizes[0] / groups},
                strides = {w->sizes[0] / groups * w->strides[0], w->strides[0]};
    const int first = groups > 1 ? 1 : 0;
    for (int d = 0; d < 4; d++) {
        sizes[first + d] = d == 0 ? w->sizes[0] / groups : w->sizes[d];
        strides[first + d] = w->strides[d];
    }
    ONEDNN_TRY(
        onednn_status(dnnl_memory_desc_init_by_strides(user, ndim, sizes, dnnl_f32, strides), "weight"));
    return onednn_status(dnnl_memory_desc_init_by_tag(wish, ndim, sizes, dnnl_f32, dnnl_format_tag_any),
                         "weight");
}

static td_status init_forward(const wishes *w, bool bias, dnnl_convolution_desc_t *out) {
    return onednn_status(
        dnnl_dilated_convolution_forward_desc_init(out, dnnl_forward_training, dnnl_convolution_direct,
                                                   &w->image, &w->weight, bias ? &w->bias : NULL, &w->result,
                                                   w->stride, w->dilation, w->padding, w->padding_after),
        "convolution");
}

static td_status init(const convolution *v, const wishes *w, dnnl_convolution_desc_t *out) {
    if (v->op == TD_OP_CONV2D_FORWARD) return init_forward(w, v->bias != NULL, out);
    if (v->op == TD_OP_CONV2D_BACKWARD_INPUT)
        return onednn_status(dnnl_dilated_convolution_backward_data_desc_init(
                                 out, dnnl_convolution_direct, &w->image, &w->weight, &w->result, w->stride,
                                 w->dilation, w->padding, w->padding_after),
                             "convolution");
    return onednn_status(dnnl_dilated_convolution_backward_weights_desc_init(
                             out, dnnl_convolution_direct, &w->image, &w->weight, NULL, &w->result, w->stride,
                             w->dilation, w->padding, w->padding_after),
                         "convolution");
}

/* Backward descriptors take the forward one as a hint. */
static td_status make_descriptor(const onednn_state *state, const convolution *v, const wishes *w,
                                 dnnl_primitive_desc_t *out) {
    dnnl_convolution_desc_t forward, desc;
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t hint = NULL;
    td_status status = init(v, w, &desc);
    if (status == TD_OK) status = init_forward(w, false, &forward);
    if (status != TD_OK) return status;
    ONEDNN_TRY(onednn_attributes(&attributes));
    if (v->op != TD_OP_CONV2D_FORWARD)
        status = onednn_status(dnnl_primitive_desc_create(&hint, &forward, NULL, state->engine, NULL),
                               "convolution");
    if (status == TD_OK)
        status = onednn_status(dnnl_primitive_desc_create(out, &desc, attributes, state->engine, hint),
                               "convolution");
    if (hint) dnnl_primitive_desc_destroy(hint);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

static void set_window(const convolution *v, wishes *w) {
    for (int i = 0; i < 2; i++) {
        const int64_t reach = (v->weight->sizes[2 + i] - 1) * v->dilation[i] + 1;
        w->stride[i] = v->stride[i];
        w->dilation[i] = v->dilation[i] - 1;
        w->padding[i] = v->padding[i];
        w->padding_after[i] =
            (v->result->sizes[2 + i] - 1) * v->stride[i] + reach - v->image->sizes[2 + i] - v->padding[i];
    }
}

static td_status make(onednn_state *state, onednn_primitive *p, const convolution *v) {
    const bool input_made = v->op == TD_OP_CONV2D_BACKWARD_INPUT,
               weight_made = v->op == TD_OP_CONV2D_BACKWARD_WEIGHT;
    onednn_want wants[] = {
        {input_made ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC,
         input_made,
         input_made ? dnnl_query_diff_src_md : dnnl_query_src_md,
         0,
         {0}},
        {weight_made ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS,
         weight_made,
         weight_made ? dnnl_query_diff_weights_md : dnnl_query_weights_md,
         0,
         {0}},
        {input_made || weight_made ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST,
         !input_made && !weight_made,
         input_made || weight_made ? dnnl_query_diff_dst_md : dnnl_query_dst_md,
         0,
         {0}},
        {DNNL_ARG_BIAS, false, dnnl_query_weights_md, 1, {0}},
    };
    wishes w = {0};
    dnnl_primitive_desc_t descriptor;
    ONEDNN_TRY(describe_image(v->image, &wants[0].user, &w.image));
    ONEDNN_TRY(describe_weight(v->weight, v->groups, &wants[1].user, &w.weight));
    ONEDNN_TRY(describe_image(v->result, &wants[2].user, &w.result));
    if (v->bias) {
        const dnnl_dims_t sizes = {v->bias->sizes[0]};
        ONEDNN_TRY(onednn_status(dnnl_memory_desc_init_by_tag(&w.bias, 1, sizes, dnnl_f32, dnnl_a), "bias"));
        wants[3].user = w.bias;
    }
    set_window(v, &w);
    td_status status = make_descriptor(state, v, &w, &descriptor);
    return status == TD_OK ? onednn_make(state, p, descriptor, wants, v->bias ? 4 : 3) : status;
}

static td_status run(td_context *context, const convolution *v) {
    const td_tensor *const all[] = {v->image, v->weight, v->result, v->bias};
    for (int i = 0; i < (v->bias ? 4 : 3); i++)
        if (all[i]->dtype != TD_DTYPE_F32 || all[i]->count == 0) return TD_PENDING;
    if (v->bias && v->bias->strides[0] != 1 && v->bias->sizes[0] != 1) return TD_PENDING;
    onednn_state *state = onednn_state_of(context);
    onednn_key key = {0};
    onednn_key_add(&key, v->op);
    onednn_key_add(&key, onednn_set_threads());
    for (int i = 0; i < 3; i++) onednn_key_add_tensor(&key, all[i]);
    for (int i = 0; i < 2; i++) {
        onednn_key_add(&key, v->stride[i]);
        onednn_key_add(&key, v->padding[i]);
        onednn_key_add(&key, v->dilation[i]);
    }
    onednn_key_add(&key, v->groups);
    onednn_key_add(&key, v->bias != NULL);
    onednn_primitive *p;
    bool is_new;
    ONEDNN_TRY(onednn_find(state, &key, &p, &is_new));
    if (is_new) ONEDNN_TRY(make(state, p, v));
    return onednn_run(state, p, (td_tensor *const[]){v->image, v->weight, v->result, v->bias});
}

static td_status conv2d_forward(td_context *context, const void *args, td_tensor *const *out) {
    const td_conv2d_forward_args *a = args;
    return run(context, &(convolution){TD_OP_CONV2D_FORWARD, a->input, a->weight, a->bias, out[0], a->stride,
                                       a->padding, a->dilation, a->groups});
}

static td_status conv2d_backward_input(td_context *context, const void *args, td_tensor *const *out) {
    const td_conv2d_backward_input_args *a = args;
    return run(context, &(convolution){TD_OP_CONV2D_BACKWARD_INPUT, out[0], a->weight, NULL, a->grad_output,
                                       a->stride, a->padding, a->dilation, a->groups});
}

static td_status conv2d_backward_weight(td_context *context, const void *args, td_tensor *const *out) {
    const td_conv2d_backward_weight_args *a = args;
    return run(context, &(convolution){TD_OP_CONV2D_BACKWARD_WEIGHT, a->input, out[0], NULL, a->grad_output,
                                       a->stride, a->padding, a->dilation, a->groups});
}

const td_kernel_row onednn_conv[] = {
    {TD_OP_CONV2D_FORWARD, conv2d_forward},
    {TD_OP_CONV2D_BACKWARD_INPUT, conv2d_backward_input},
    {TD_OP_CONV2D_BACKWARD_WEIGHT, conv2d_backward_weight},
    TD_KERNELS_END,
};
