/* matmul from mm and bmm, case by case as PyTorch has it. */
#include "model/ops/dispatch.h"

/* Sizes of two lists of matrices' leading dimensions, broadcast; false when they do not. */
static bool broadcast_lead(const td_tensor *a, const td_tensor *b, td_ints *lead) {
    int na = a->ndim - 2, nb = b->ndim - 2, n = na > nb ? na : nb;
    lead->count = n;
    for (int back = 1; back <= n; back++) {
        int64_t x = back <= na ? a->sizes[na - back] : 1, y = back <= nb ? b->sizes[nb - back] : 1;
        if (x != y && x != 1 && y != 1) return false;
        lead->at[n - back] = x == 1 ? y : x;
    }
    return true;
}

static td_ints with_matrix(const td_ints *lead, int64_t rows, int64_t columns) {
    td_ints sizes = *lead;
    sizes.at[sizes.count++] = rows;
    sizes.at[sizes.count++] = columns;
    return sizes;
}

static int64_t product(const td_ints *sizes) {
    int64_t count = 1;
    for (int i = 0; i < sizes->count; i++) count *= sizes->at[i];
    return count;
}

/* Both have at least two dimensions and one has more. */
static td_tensor *batched(td_tensor *a, td_tensor *b) {
    td_ints lead;
    char texts[2][96];
    if (!broadcast_lead(a, b, &lead))
        return td_scope_fail(td_fail(TD_ERR_ARG, 0, "model",
                                     "matmul: leading sizes of %s and %s do not broadcast",
                                     td_sizes_text(a->sizes, a->ndim, texts[0], sizeof texts[0]),
                                     td_sizes_text(b->sizes, b->ndim, texts[1], sizeof texts[1])));
    int64_t n = a->sizes[a->ndim - 2], k = a->sizes[a->ndim - 1];
    int64_t kb = b->sizes[b->ndim - 2], m = b->sizes[b->ndim - 1], count = product(&lead);
    td_tensor *x = td_reshape(td_expand(a, with_matrix(&lead, n, k)), TD_INTS(count, n, k));
    td_tensor *y = td_reshape(td_expand(b, with_matrix(&lead, kb, m)), TD_INTS(count, kb, m));
    return td_view(td_bmm(x, y), with_matrix(&lead, n, m));
}

/* A list of matrices times one matrix is one taller matrix times it. */
static td_tensor *folded(td_tensor *a, td_tensor *b) {
    td_ints sizes = td_tensor_sizes(a);
    int64_t k = sizes.at[sizes.count - 1];
    sizes.at[sizes.count - 1] = b->sizes[1];
    td_tensor *tall =
        td_reshape(a, TD_INTS(k ? a->count / k : product(&sizes) / (b->sizes[1] ? b->sizes[1] : 1), k));
    return td_view(td_mm(tall, b), sizes);
}

td_tensor *composite_matmul(const td_matmul_args *args) {
    td_tensor *a = args->self, *b = args->other;
    if (a->ndim == 0 || b->ndim == 0)
        return td_scope_fail(
            td_fail(TD_ERR_ARG, 0, "model", "matmul: a tensor without dimensions is no matrix; use mul"));
    if (a->ndim == 1 && b->ndim == 1)
        return td_view(td_mm(td_unsqueeze(a, 0), td_unsqueeze(b, 1)), (td_ints){0});
    if (a->ndim == 1) return td_squeeze(td_matmul(td_unsqueeze(a, 0), b), TD_INTS(-2));
    if (b->ndim == 1) return td_squeeze(td_matmul(a, td_unsqueeze(b, 1)), TD_INTS(-1));
    if (a->ndim == 2 && b->ndim == 2) return td_mm(a, b);
    if (b->ndim == 2) return folded(a, b);
    return batched(a, b);
}
