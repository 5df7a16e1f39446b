/*
 * Our own matrix products. Before oneDNN they take those they compute faster: the small ones (its call costs
 * 300 ns) and the thin ones of a training step, which it computes at half speed; after it, or without it,
 * all. Threads get whole stripes of rows or columns, so the result does not depend on their number.
 */
#include "base/parallel.h"
#include "model/cpu/internal.h"

typedef struct stripes {
    const cpu_fast *fast;
    const cpu_product *p;
    float *scratch;
    bool by_rows;
    int64_t width; /* rows or columns of a stripe */
} stripes;

static void run_stripes(size_t begin, size_t end, int thread, void *cookie) {
    const stripes *s = cookie;
    cpu_product p = *s->p;
    int64_t *extent = s->by_rows ? &p.rows : &p.cols;
    const int64_t first = (int64_t)begin * s->width, all = *extent, last = (int64_t)end * s->width;
    *extent = (last < all ? last : all) - first;
    if (s->by_rows) {
        p.a.data += first * p.a.row;
        p.c.data += first * p.c.row;
    } else {
        p.b.data += first * p.b.col;
        p.c.data += first * p.c.col;
        if (p.bias) p.bias += first;
    }
    s->fast->matmul(&p, s->scratch + (size_t)thread * CPU_PRODUCT_SCRATCH);
}

static td_status multiply(td_context *context, const cpu_product *p) {
    const double work = (double)p->rows * (double)p->cols * (double)p->depth;
    const int threads = work < 5e5 ? 1 : td_parallel_threads();
    float *scratch = cpu_scratch(context, (size_t)threads * CPU_PRODUCT_SCRATCH);
    if (!scratch) return TD_ERR_MEMORY;
    stripes s = {cpu_state_of(context)->fast, p, scratch, p->rows > p->cols, 96};
    const int64_t extent = s.by_rows ? p->rows : p->cols;
    if (threads == 1 || extent < 2 * 32) {
        s.fast->matmul(p, scratch);
        return TD_OK;
    }
    if (extent < 96 * threads) s.width = 32;
    td_parallel_for((size_t)((extent + s.width - 1) / s.width), 1, run_stripes, &s);
    return TD_OK;
}

/* Is this product faster here than in oneDNN? */
static bool is_thin(const cpu_product *p) { return p->rows <= 64 || p->cols <= 64 || p->depth <= 64; }

static cpu_matrix matrix_of(const td_tensor *x) {
    return (cpu_matrix){cpu_f32(x), x->strides[x->ndim - 2], x->strides[x->ndim - 1]};
}

static bool all_f32(const td_tensor *a, const td_tensor *b, const td_tensor *c) {
    return a->dtype == TD_DTYPE_F32 && b->dtype == TD_DTYPE_F32 && c->dtype == TD_DTYPE_F32 && c->count > 0;
}

static td_status run_mm(td_context *context, const void *args, td_tensor *const *out, bool only_thin) {
    const td_mm_args *a = args;
    const cpu_product p = {out[0]->sizes[0],
                           out[0]->sizes[1],
                           a->self->sizes[1],
                           matrix_of(a->self),
                           matrix_of(a->mat2),
                           matrix_of(out[0]),
                           NULL};
    if (!all_f32(a->self, a->mat2, out[0]) || p.depth == 0) return TD_PENDING;
    if (only_thin && !is_thin(&p)) return TD_PENDING;
    return multiply(context, &p);
}

static td_status run_bmm(td_context *context, const void *args, td_tensor *const *out, bool only_thin) {
    const td_bmm_args *a = args;
    const td_tensor *c = out[0];
    cpu_product p = {c->sizes[1],  c->sizes[2], a->self->sizes[2], matrix_of(a->self), matrix_of(a->mat2),
                     matrix_of(c), NULL};
    if (!all_f32(a->self, a->mat2, c) || p.depth == 0) return TD_PENDING;
    if (only_thin && !is_thin(&p)) return TD_PENDING;
    for (int64_t i = 0; i < c->sizes[0]; i++) {
        TD_TRY(multiply(context, &p));
        p.a.data += a->self->strides[0];
        p.b.data += a->mat2->strides[0];
        p.c.data += c->strides[0];
    }
    return TD_OK;
}

/* All leading dimensions as the rows of one matrix, where strides allow: false where not. */
static bool as_rows(const td_tensor *x, int64_t *rows, int64_t *stride) {
    *rows = 1;
    *stride = 0;
    for (int d = x->ndim - 2; d >= 0; d--) {
        if (x->sizes[d] == 1) continue;
        if (*rows > 1 && x->strides[d] != *rows * *stride) return false;
        if (*rows == 1) *stride = x->strides[d];
        *rows *= x->sizes[d];
    }
    return true;
}

static td_status run_linear(td_context *context, const void *args, td_tensor *const *out, bool only_thin) {
    const td_linear_args *a = args;
    const td_tensor *x = a->input, *w = a->weight, *y = out[0];
    if (!all_f32(x, w, y) || w->sizes[1] == 0) return TD_PENDING;
    if (a->bias && (a->bias->dtype != TD_DTYPE_F32 || (a->bias->strides[0] != 1 && a->bias->sizes[0] > 1)))
        return TD_PENDING;
    int64_t rows, x_row, y_rows, y_row;
    if (!as_rows(x, &rows, &x_row) || !as_rows(y, &y_rows, &y_row)) return TD_PENDING;
    const cpu_product p = {rows,
                           w->sizes[0],
                           w->sizes[1],
                           {cpu_f32(x), x_row, x->strides[x->ndim - 1]},
                           {cpu_f32(w), w->strides[1], w->strides[0]},
                           {cpu_f32(y), y_row, y->strides[y->ndim - 1]},
                           a->bias ? cpu_f32(a->bias) : NULL};
    if (only_thin && !is_thin(&p)) return TD_PENDING;
    return multiply(context, &p);
}

static td_status thin_mm(td_context *context, const void *args, td_tensor *const *out) {
    return run_mm(context, args, out, true);
}
static td_status any_mm(td_context *context, const void *args, td_tensor *const *out) {
    return run_mm(context, args, out, false);
}
static td_status thin_bmm(td_context *context, const void *args, td_tensor *const *out) {
    return run_bmm(context, args, out, true);
}
static td_status any_bmm(td_context *context, const void *args, td_tensor *const *out) {
    return run_bmm(context, args, out, false);
}
static td_status thin_linear(td_context *context, const void *args, td_tensor *const *out) {
    return run_linear(context, args, out, true);
}
static td_status any_linear(td_context *context, const void *args, td_tensor *const *out) {
    return run_linear(context, args, out, false);
}

const td_kernel_row cpu_native_matmul[] = {
    {TD_OP_MM, thin_mm},
    {TD_OP_BMM, thin_bmm},
    {TD_OP_LINEAR, thin_linear},
    TD_KERNELS_END,
};

const td_kernel_row cpu_spare_matmul[] = {
    {TD_OP_MM, any_mm},
    {TD_OP_BMM, any_bmm},
    {TD_OP_LINEAR, any_linear},
    TD_KERNELS_END,
};
