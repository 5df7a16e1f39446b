/* Dimensions are ordered and joined once; then the innermost one is a loop's stretch, the others an odometer.
 */
#include "model/cpu/iter.h"

#include <string.h>

#define STRETCH 256 /* elements converted at a time */

typedef struct plan {
    int operands, ndim;
    int64_t sizes[TD_MAX_DIMS];                      /* from the innermost dimension outwards */
    int64_t strides[CPU_ITER_OPERANDS][TD_MAX_DIMS]; /* in bytes */
    char *data[CPU_ITER_OPERANDS];
    td_dtype dtypes[CPU_ITER_OPERANDS];
} plan;

/* Strides of x under the sizes of `out`: 0 where it is repeated. */
static void add_operand(plan *p, const td_tensor *x, const td_tensor *out, const int *order) {
    int k = p->operands++, added = out->ndim - x->ndim;
    int64_t size = (int64_t)td_dtype_size((td_dtype)x->dtype);
    for (int i = 0; i < out->ndim; i++) {
        int d = order[i] - added;
        p->strides[k][i] = d < 0 || x->sizes[d] == 1 ? 0 : x->strides[d] * size;
    }
    p->data[k] = td_tensor_bytes(x);
    p->dtypes[k] = (td_dtype)x->dtype;
}

/* Dimensions from the result's smallest stride to its largest. */
static void order_dims(const td_tensor *out, int *order) {
    for (int d = 0; d < out->ndim; d++) order[d] = out->ndim - 1 - d;
    if (out->contiguous) return;
    for (int i = 1; i < out->ndim; i++)
        for (int k = i; k > 0 && out->strides[order[k]] < out->strides[order[k - 1]]; k--) {
            int swapped = order[k];
            order[k] = order[k - 1];
            order[k - 1] = swapped;
        }
}

/* Can dimension `next` be walked as a continuation of `d`, for every operand. */
static bool joins(const plan *p, int d, int next) {
    for (int k = 0; k < p->operands; k++)
        if (p->strides[k][next] != p->strides[k][d] * p->sizes[d]) return false;
    return true;
}

static void join_dims(plan *p) {
    int kept = 0;
    for (int d = 0; d < p->ndim; d++) {
        if (p->sizes[d] == 1) continue;
        if (kept && joins(p, kept - 1, d)) {
            p->sizes[kept - 1] *= p->sizes[d];
            continue;
        }
        p->sizes[kept] = p->sizes[d];
        for (int k = 0; k < p->operands; k++) p->strides[k][kept] = p->strides[k][d];
        kept++;
    }
    if (kept == 0) {
        p->sizes[0] = 1;
        for (int k = 0; k < p->operands; k++) p->strides[k][0] = 0;
        kept = 1;
    }
    p->ndim = kept;
}

/* --- stretches --------------------------------------------------------------------------------------- */

/* Arguments of another dtype pass through buffers, and so does the result. */
static void run_converted(const cpu_pointwise *what, const plan *p, char *const *data, int64_t count) {
    _Alignas(16) char buffers[CPU_ITER_OPERANDS][STRETCH * 8];
    for (int64_t done = 0; done < count; done += STRETCH) {
        int64_t now = count - done < STRETCH ? count - done : STRETCH;
        char *at[CPU_ITER_OPERANDS];
        int64_t strides[CPU_ITER_OPERANDS];
        for (int k = 0; k < p->operands; k++) {
            td_dtype wanted = k ? what->dtype : what->result_dtype;
            at[k] = data[k] + done * p->strides[k][0];
            strides[k] = p->strides[k][0];
            if (p->dtypes[k] == wanted) continue;
            if (k)
                cpu_convert(p->dtypes[k], at[k], strides[k], wanted, buffers[k],
                            (int64_t)td_dtype_size(wanted), now);
            at[k] = buffers[k];
            strides[k] = (int64_t)td_dtype_size(wanted);
        }
        what->loop(at, strides, now, what->cookie);
        if (p->dtypes[0] != what->result_dtype)
            cpu_convert(what->result_dtype, at[0], strides[0], p->dtypes[0],
                        data[0] + done * p->strides[0][0], p->strides[0][0], now);
    }
}

static bool needs_conversion(const cpu_pointwise *what, const plan *p) {
    for (int k = 0; k < p->operands; k++)
        if (p->dtypes[k] != (k ? what->dtype : what->result_dtype)) return true;
    return false;
}

static void run(const cpu_pointwise *what, const plan *p) {
    int64_t index[TD_MAX_DIMS] = {0}, strides[CPU_ITER_OPERANDS];
    char *data[CPU_ITER_OPERANDS];
    bool converts = needs_conversion(what, p);
    for (int k = 0; k < p->operands; k++) {
        data[k] = p->data[k];
        strides[k] = p->strides[k][0];
    }
    for (;;) {
        if (converts)
            run_converted(what, p, data, p->sizes[0]);
        else
            what->loop(data, strides, p->sizes[0], what->cookie);
        int d = 1;
        for (; d < p->ndim; d++) {
            for (int k = 0; k < p->operands; k++) data[k] += p->strides[k][d];
            if (++index[d] < p->sizes[d]) break;
            for (int k = 0; k < p->operands; k++) data[k] -= p->strides[k][d] * p->sizes[d];
            index[d] = 0;
        }
        if (d >= p->ndim) return;
    }
}

void cpu_iterate(const cpu_pointwise *what, td_tensor *out, const td_tensor *const *inputs, int count) {
    if (out->count == 0) return;
    plan p = {.ndim = out->ndim};
    int order[TD_MAX_DIMS];
    order_dims(out, order);
    for (int i = 0; i < out->ndim; i++) p.sizes[i] = out->sizes[order[i]];
    add_operand(&p, out, out, order);
    for (int i = 0; i < count; i++) add_operand(&p, inputs[i], out, order);
    join_dims(&p);
    run(what, &p);
}
