/* view and reshape: whether other sizes can be had without a copy, and with which strides. */
#include "model/ops/view/sized.h"

#include <string.h>

td_status view_infer_size(const td_tensor *self, const td_ints *size, td_ints *inferred) {
    int64_t product = 1;
    int open = -1;
    char texts[2][96];
    bool fits = true;
    *inferred = *size;
    for (int d = 0; d < size->count; d++) {
        if (size->at[d] == -1 && open < 0)
            open = d;
        else if (size->at[d] < 0 || __builtin_mul_overflow(product, size->at[d], &product))
            fits = false;
    }
    if (fits && open >= 0) {
        fits = product > 0 && self->count % product == 0;
        if (fits) inferred->at[open] = self->count / product;
    } else if (fits) {
        fits = product == self->count;
    }
    if (fits) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "sizes %s cannot become %s",
                   td_sizes_text(self->sizes, self->ndim, texts[0], sizeof texts[0]),
                   td_sizes_text(size->at, (int)size->count, texts[1], sizeof texts[1]));
}

/* Walk from the back: each run of old dimensions that lie in memory as one is split into new ones. */
bool view_find_strides(const td_tensor *self, td_layout *out) {
    if (self->count == 0 || self->contiguous) {
        td_layout_set_contiguous(out);
        return true;
    }
    int to = out->ndim - 1;
    int64_t run = 1, split = 1, base = self->ndim ? self->strides[self->ndim - 1] : 1;
    for (int d = self->ndim - 1; d >= 0; d--) {
        run *= self->sizes[d];
        bool ends = d == 0 || (self->sizes[d - 1] != 1 && self->strides[d - 1] != run * base);
        if (!ends) continue;
        for (; to >= 0 && (split < run || out->sizes[to] == 1); to--) {
            out->strides[to] = split * base;
            split *= out->sizes[to];
        }
        if (split != run) return false;
        if (d > 0) {
            base = self->strides[d - 1];
            run = split = 1;
        }
    }
    return to == -1;
}

td_status view_sized(const td_tensor *self, const td_ints *size, td_layout *out) {
    td_ints inferred;
    TD_TRY(view_infer_size(self, size, &inferred));
    td_layout_of(self, out);
    out->ndim = (int)inferred.count;
    memcpy(out->sizes, inferred.at, sizeof(int64_t) * (size_t)inferred.count);
    if (view_find_strides(self, out)) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model",
                   "the strides do not allow these sizes without a copy; use reshape");
}
