/* Sizes and strides: orders of dimensions, density, overlap, and their text. */
#include "base/checked.h"
#include "model/tensor/internal.h"

#include <stdio.h>
#include <string.h>

void td_layout_set_contiguous(td_layout *layout) {
    int64_t stride = 1;
    for (int d = layout->ndim - 1; d >= 0; d--) {
        layout->strides[d] = stride;
        if (layout->sizes[d] > 1) stride *= layout->sizes[d];
    }
}

void td_layout_set_channels_last(td_layout *layout) {
    static const int order[] = {1, 3, 2, 0}; /* from the innermost dimension outwards */
    int64_t stride = 1;
    for (int i = 0; i < 4; i++) {
        layout->strides[order[i]] = stride;
        if (layout->sizes[order[i]] > 1) stride *= layout->sizes[order[i]];
    }
}

/* Dimensions from the smallest stride to the largest; equal ones keep row-major order. */
static void order_by_stride(const td_tensor *x, int *order) {
    for (int d = 0; d < x->ndim; d++) order[d] = x->ndim - 1 - d;
    for (int i = 1; i < x->ndim; i++)
        for (int k = i; k > 0 && x->strides[order[k]] < x->strides[order[k - 1]]; k--) {
            int swapped = order[k];
            order[k] = order[k - 1];
            order[k - 1] = swapped;
        }
}

bool td_tensor_is_dense(const td_tensor *x) {
    if (x->contiguous) return true;
    int order[TD_MAX_DIMS];
    order_by_stride(x, order);
    int64_t expected = 1;
    for (int i = 0; i < x->ndim; i++) {
        if (x->sizes[order[i]] == 1) continue;
        if (x->strides[order[i]] != expected) return x->count == 0;
        expected *= x->sizes[order[i]];
    }
    return true;
}

void td_layout_set_like(td_layout *layout, const td_tensor *x) {
    if (td_tensor_is_dense(x))
        memcpy(layout->strides, x->strides, sizeof(int64_t) * x->ndim);
    else
        td_layout_set_contiguous(layout);
}

bool td_tensor_overlaps_itself(const td_tensor *x) {
    if (x->contiguous || x->count <= 1) return false;
    int order[TD_MAX_DIMS];
    order_by_stride(x, order);
    int64_t reach = 0; /* the last element that the dimensions so far can name */
    for (int i = 0; i < x->ndim; i++) {
        int d = order[i];
        if (x->sizes[d] == 1) continue;
        if (x->strides[d] <= reach) return true;
        reach += x->strides[d] * (x->sizes[d] - 1);
    }
    return false;
}

bool td_layout_count(const td_layout *layout, int64_t *count) {
    int64_t product = 1;
    bool fits = true, empty = false;
    for (int d = 0; d < layout->ndim; d++) {
        empty |= layout->sizes[d] == 0;
        fits &= td_mul_i64(product, layout->sizes[d], &product);
    }
    *count = empty ? 0 : product;
    return fits || empty;
}

char *td_sizes_text(const int64_t *sizes, int ndim, char *text, size_t bytes) {
    size_t used = (size_t)snprintf(text, bytes, "(");
    for (int d = 0; d < ndim && used < bytes; d++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%lld", d ? ", " : "", (long long)sizes[d]);
    if (used < bytes) snprintf(text + used, bytes - used, ")");
    return text;
}
