/* Tensors in guarded memory. */
#include "support/guarded.h"

#include "support/check.h"

#include <math.h>

#define GUARD   64
#define PATTERN 0xa5

static uint64_t state = 88172645463325252u;

uint32_t guarded_random(uint32_t below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 33) % below;
}

/* Dimensions from outermost to innermost in memory. */
static void order_dims(const char *layout, int ndim, int order[TD_MAX_DIMS]) {
    const bool last = strncmp(layout, "last", 4) == 0;
    ck_assert_msg(!last || ndim == 4, "layout %s needs four dimensions", layout);
    for (int d = 0; d < ndim; d++) order[d] = strcmp(layout, "flip") == 0 ? ndim - 1 - d : d;
    if (last) order[1] = 2, order[2] = 3, order[3] = 1;
}

static void set_strides(td_tensor *x, const char *layout) {
    int order[TD_MAX_DIMS];
    order_dims(layout, x->ndim, order);
    int64_t stride = strcmp(layout, "gap") == 0 ? 2 : 1;
    for (int i = x->ndim - 1; i >= 0; i--) {
        x->strides[order[i]] = stride;
        stride *= x->sizes[order[i]];
        if (i == x->ndim - 1 && (strcmp(layout, "padded") == 0 || strcmp(layout, "lastpad") == 0))
            stride += 5;
    }
    if (strcmp(layout, "same") == 0 && x->ndim > 0) x->strides[0] = 0;
}

static int64_t offset_of(const td_tensor *x, int64_t i) {
    int64_t offset = 0;
    for (int d = x->ndim - 1; d >= 0; d--) {
        offset += i % x->sizes[d] * x->strides[d];
        i /= x->sizes[d];
    }
    return offset;
}

static bool is_contiguous(const td_tensor *x) {
    int64_t stride = 1;
    for (int d = x->ndim - 1; d >= 0; d--) {
        if (x->sizes[d] != 1 && x->strides[d] != stride) return false;
        stride *= x->sizes[d];
    }
    return true;
}

static double random_value(td_dtype dtype) {
    if (dtype == TD_DTYPE_BOOL) return guarded_random(2);
    if (dtype == TD_DTYPE_U8) return guarded_random(8);
    if (td_dtype_is_floating(dtype)) return (double)guarded_random(1 << 24) / (1 << 23) - 1;
    return (double)guarded_random(16) - 8;
}

void guarded_make(guarded *g, td_dtype dtype, int ndim, const int64_t *sizes, const char *layout) {
    memset(g, 0, sizeof *g);
    td_tensor *x = &g->tensor;
    x->ndim = (uint8_t)ndim;
    x->dtype = (uint8_t)dtype;
    x->count = 1;
    for (int d = 0; d < ndim; d++) {
        x->sizes[d] = sizes[d];
        x->count *= sizes[d];
    }
    set_strides(x, layout);
    x->contiguous = is_contiguous(x);
    const int64_t extent = x->count ? offset_of(x, x->count - 1) + 1 : 0;
    g->bytes = (size_t)extent * td_dtype_size(dtype) + 2 * GUARD;
    g->block = aligned_alloc(64, (g->bytes + 63) / 64 * 64);
    ck_assert_ptr_nonnull(g->block);
    memset(g->block, PATTERN, g->bytes);
    g->storage = (td_storage){.data = (char *)g->block + GUARD, .bytes = g->bytes - (size_t)2 * GUARD};
    atomic_init(&g->storage.refs, 1);
    atomic_init(&x->refs, 1);
    x->storage = &g->storage;
    for (int64_t i = 0; i < x->count; i++) guarded_set(g, i, random_value(dtype));
}

void guarded_free(guarded *g) {
    free(g->block);
    g->block = NULL;
}

void guarded_check(const guarded *g, const char *what) {
    const td_tensor *x = &g->tensor;
    const size_t size = td_dtype_size((td_dtype)x->dtype);
    bool *owned = calloc(g->bytes, sizeof *owned);
    ck_assert_ptr_nonnull(owned);
    for (int64_t i = 0; i < x->count; i++) memset(owned + GUARD + (size_t)offset_of(x, i) * size, 1, size);
    size_t b = 0; /* Check reports every assertion with a system call, so there is only one */
    while (b < g->bytes && (owned[b] || g->block[b] == PATTERN)) b++;
    free(owned);
    ck_assert_msg(b == g->bytes, "%s wrote byte %zu of %zu, outside its result", what, b, g->bytes);
}

double guarded_at(const guarded *g, int64_t i) {
    const char *at =
        g->storage.data + offset_of(&g->tensor, i) * (int64_t)td_dtype_size((td_dtype)g->tensor.dtype);
    switch ((td_dtype)g->tensor.dtype) {
    case TD_DTYPE_F32: return (double)*(const float *)(const void *)at;
    case TD_DTYPE_F64: return *(const double *)(const void *)at;
    case TD_DTYPE_I64: return (double)*(const int64_t *)(const void *)at;
    case TD_DTYPE_I32: return *(const int32_t *)(const void *)at;
    case TD_DTYPE_U8:
    case TD_DTYPE_BOOL: return *(const uint8_t *)at;
    default: ck_abort_msg("no such dtype in these tests"); return 0;
    }
}

void guarded_set(guarded *g, int64_t i, double value) {
    char *at = g->storage.data + offset_of(&g->tensor, i) * (int64_t)td_dtype_size((td_dtype)g->tensor.dtype);
    switch ((td_dtype)g->tensor.dtype) {
    case TD_DTYPE_F32: *(float *)(void *)at = (float)value; break;
    case TD_DTYPE_F64: *(double *)(void *)at = value; break;
    case TD_DTYPE_I64: *(int64_t *)(void *)at = (int64_t)value; break;
    case TD_DTYPE_I32: *(int32_t *)(void *)at = (int32_t)value; break;
    case TD_DTYPE_U8:
    case TD_DTYPE_BOOL: *(uint8_t *)at = (uint8_t)value; break;
    default: ck_abort_msg("no such dtype in these tests");
    }
}

double guarded_difference(const guarded *a, const guarded *b, double floor) {
    double worst = 0;
    ck_assert_int_eq(a->tensor.count, b->tensor.count);
    for (int64_t i = 0; i < a->tensor.count; i++) {
        const double x = guarded_at(a, i), y = guarded_at(b, i);
        if (isnan(x) != isnan(y)) return INFINITY;
        const double d = x == y || isnan(x) ? 0 : fabs(x - y) / (floor + fabs(y));
        if (d > worst) worst = d;
    }
    return worst;
}

bool guarded_same(const guarded *a, const guarded *b) {
    for (int64_t i = 0; i < a->tensor.count; i++) {
        const double x = guarded_at(a, i), y = guarded_at(b, i);
        if (memcmp(&x, &y, sizeof x) != 0 && !(isnan(x) && isnan(y))) return false;
    }
    return a->tensor.count == b->tensor.count;
}
