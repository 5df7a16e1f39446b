/*
 * Kernels against each other. For every row that has kernels, each one in the context's chain computes the
 * calls of support/op_cases.c over inputs in several layouts and dtypes, into results with guard bytes around
 * and, where they are strided, between their elements. The last of a chain is the plain reference; the others
 * must agree with it, and so must the ordinary call and its in-place form.
 */
#include "base/context.h"
#include "model/ops/kernel.h"
#include "model/ops/value.h"
#include "model/tensor/scope.h"
#include "model/tensor/storage.h"
#include "support/check.h"
#include "support/op_inputs.h"
#include "support/tensors.h"

#include <math.h>
#include <stdio.h>

#define SEED          42
#define GUARD         0xA5
#define GUARD_BYTES   192 /* on either side of a result; a multiple of 64, so that results stay aligned */
#define MAX_ARGS_SIZE 1024

static td_context *context;

static void open_context(void) { ck_ok(td_context_open(&context)); }
static void close_context(void) { td_context_close(&context); }

static bool has_kernel(const td_op_info *info) { return !info->view && !info->composite; }

/* --- one call ------------------------------------------------------------------------------------------- */

typedef struct subject {
    op_inputs inputs;
    char title[500];
    union {
        char bytes[MAX_ARGS_SIZE];
        max_align_t aligned;
    } args;                              /* the row's td_<op>_args */
    td_tensor *plain[TD_OP_MAX_RESULTS]; /* the ordinary call's results: their sizes and dtypes are right */
    double *wanted[TD_OP_MAX_RESULTS];   /* the reference's */
} subject;

/* An argument's bytes in its struct: a value's union has the same types. */
static size_t size_of_kind(td_value_kind kind) {
    const td_value v = {TD_VALUE_ABSENT, {0}};
    switch (kind) {
    case TD_VALUE_ABSENT: return 0;
    case TD_VALUE_TENSOR: return sizeof v.as.tensor;
    case TD_VALUE_TENSORS: return sizeof v.as.tensors;
    case TD_VALUE_SCALAR: return sizeof v.as.scalar;
    case TD_VALUE_INT: return sizeof v.as.integer;
    case TD_VALUE_INTS: return sizeof v.as.ints;
    case TD_VALUE_PAIR: return sizeof v.as.pair;
    case TD_VALUE_FLOAT: return sizeof v.as.real;
    case TD_VALUE_BOOL: return sizeof v.as.boolean;
    case TD_VALUE_DTYPE: return sizeof v.as.dtype;
    case TD_VALUE_MEMORY_FORMAT: return sizeof v.as.memory_format;
    case TD_VALUE_REDUCTION: return sizeof v.as.reduction;
    }
    return 0;
}

static void fill_args(subject *s) {
    const td_op_info *info = s->inputs.info;
    ck_assert_uint_le(info->args_size, sizeof s->args);
    memcpy(s->args.bytes, info->defaults, info->args_size);
    for (int i = 0; i < info->arg_count; i++) {
        const td_value *v = &s->inputs.in[i];
        memcpy(s->args.bytes + info->args[i].offset, &v->as, size_of_kind(v->kind));
    }
}

static bool writes(const subject *s) { return s->inputs.info->effects & TD_EFFECT_WRITE; }

/* The call as users make it; what it writes is a copy. */
static void call(subject *s, td_op form, td_tensor **results) {
    td_value in[TD_OP_MAX_ARGS], out[TD_OP_MAX_RESULTS] = {{0}};
    memcpy(in, s->inputs.in, sizeof in);
    if (form || writes(s)) in[0].as.tensor = td_clone(in[0].as.tensor);
    ck_ok(td_manual_seed(SEED));
    ck_expect(td_op_call((td_op)(s->inputs.op | form), in, out) == TD_OK, "%s: %s", s->title,
              td_error_last()->text);
    for (int i = 0; i < s->inputs.info->result_count; i++) results[i] = out[i].as.tensor;
}

/* --- guarded results ------------------------------------------------------------------------------------ */

/* A tensor like `like` in a buffer of its own full of GUARD; `sliced` leaves gaps between its elements. */
typedef struct guarded {
    td_tensor *tensor;
    unsigned char *buffer;
    size_t bytes;
} guarded;

static guarded guard(const td_tensor *like, bool sliced) {
    td_ints sizes = td_tensor_sizes(like), strides = td_tensor_strides(like);
    size_t size = td_dtype_size(td_tensor_dtype(like));
    int64_t last = 0, empty = td_tensor_count(like) == 0;
    for (int64_t d = 0; d < sizes.count; d++) {
        if (sliced) strides.at[d] *= 2;
        last += (sizes.at[d] - 1) * strides.at[d];
    }
    size_t payload = empty ? 0 : (size_t)(last + 1) * size;
    guarded g = {.bytes = (payload + 2 * GUARD_BYTES + 63) / 64 * 64};
    g.buffer = aligned_alloc(64, g.bytes);
    ck_quietly(g.buffer);
    memset(g.buffer, GUARD, g.bytes);
    td_storage *storage;
    ck_ok(td_storage_wrap(g.buffer, g.bytes, NULL, NULL, &storage));
    g.tensor = td_tensor_wrap(storage, (int64_t)(GUARD_BYTES / size), td_tensor_dtype(like), sizes, &strides);
    ck_quietly(g.tensor);
    td_storage_release(&storage);
    return g;
}

/* Every byte outside the tensor's elements is as it was. */
static void check_guards(const guarded *g, const char *title) {
    size_t size = td_dtype_size(td_tensor_dtype(g->tensor));
    unsigned char *own = calloc(g->bytes, 1);
    ck_quietly(own);
    for (int64_t i = 0; i < td_tensor_count(g->tensor); i++)
        memset(own + GUARD_BYTES + (size_t)tensor_place(g->tensor, i) * size, 1, size);
    for (size_t i = 0; i < g->bytes; i++)
        ck_expect(own[i] || g->buffer[i] == GUARD, "%s: byte %ld beside the result was written", title,
                  (long)i - GUARD_BYTES);
    free(own);
}

/* --- comparing ------------------------------------------------------------------------------------------ */

/* Other kernels may sum in another order: what is allowed grows with the largest element, and is not below
 * what sums of numbers around 1 differ by. */
static void check_same(const subject *s, int result, const td_tensor *x, const char *who) {
    int64_t count = td_tensor_count(x);
    const double *wanted = s->wanted[result];
    double *got = tensor_numbers(x), most = 1;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(wanted[i])) most = fmax(most, fabs(wanted[i]));
    td_dtype dtype = td_tensor_dtype(x);
    double unit = dtype == TD_DTYPE_F32 ? 2e-6 : dtype == TD_DTYPE_F64 ? 1e-14 : 0;
    char what[700];
    snprintf(what, sizeof what, "%s: %s, %s", s->title, who, s->inputs.info->results[result]);
    numbers_agree(got, wanted, count, 2 * unit, unit * most, what);
    free(got);
}

/* Run one kernel into guarded results. False if it declined. The first to run, the reference, is believed. */
static bool try_kernel(subject *s, td_kernel *kernel, const char *who, bool sliced) {
    guarded out[TD_OP_MAX_RESULTS];
    td_tensor *tensors[TD_OP_MAX_RESULTS];
    int count = s->inputs.info->result_count;
    for (int i = 0; i < count; i++) {
        out[i] = guard(s->plain[i], sliced);
        tensors[i] = out[i].tensor;
    }
    fill_args(s);
    if (writes(s)) {
        const td_tensor *self = s->inputs.in[0].as.tensor;
        for (int64_t i = 0; i < td_tensor_count(self); i++) tensor_set(tensors[0], i, tensor_get(self, i));
        memcpy(s->args.bytes + s->inputs.info->args[0].offset, &tensors[0], sizeof tensors[0]);
    }
    ck_ok(td_manual_seed(SEED));
    td_status status = kernel(context, s->args.bytes, tensors);
    ck_expect(status >= 0, "%s: %s: %s", s->title, who, td_error_last()->text);
    for (int i = 0; i < count; i++) {
        check_guards(&out[i], s->title);
        if (status != TD_PENDING && !s->wanted[i]) s->wanted[i] = tensor_numbers(tensors[i]);
        if (status != TD_PENDING) check_same(s, i, tensors[i], who);
        td_release(&out[i].tensor);
        free(out[i].buffer);
    }
    return status != TD_PENDING;
}

/* The in-place form gives the same, where the result has the first argument's sizes and dtype. */
static void check_in_place(subject *s) {
    if (!s->inputs.info->in_place) return;
    const td_tensor *self = s->inputs.in[0].as.tensor;
    td_ints mine = td_tensor_sizes(self), results = td_tensor_sizes(s->plain[0]);
    if (td_tensor_dtype(self) != td_tensor_dtype(s->plain[0]) || memcmp(&mine, &results, sizeof mine) != 0)
        return;
    td_tensor *in_place[TD_OP_MAX_RESULTS];
    call(s, TD_OP_INPLACE, in_place);
    check_same(s, 0, in_place[0], "in place");
}

/* All kernels of the chain, then the ordinary call. */
static void check_case(const op_case *source, td_dtype dtype, op_layout layout) {
    subject s = {.inputs = {0}};
    td_scope *scope = td_scope_open(context);
    op_inputs_make(&s.inputs, source, dtype, layout, NAN);
    snprintf(s.title, sizeof s.title, "%s", op_case_describe(source, dtype, layout));
    call(&s, 0, s.plain);
    td_kernel *const *chain = td_kernels_of(context)->chain[s.inputs.op];
    int count = 0;
    while (chain[count]) count++;
    ck_expect(count > 0, "%s has no kernel", source->op);
    ck_expect(try_kernel(&s, chain[count - 1], "the reference", false), "%s: the reference declined",
              s.title);
    for (int k = 0; k < count; k++) {
        char who[64];
        snprintf(who, sizeof who, "kernel %d of %d", k + 1, count);
        try_kernel(&s, chain[k], who, false);
        if (!(source->flags & OP_CONTIGUOUS_ONLY)) try_kernel(&s, chain[k], who, true);
    }
    for (int i = 0; i < s.inputs.info->result_count; i++) check_same(&s, i, s.plain[i], "the ordinary call");
    check_in_place(&s);
    for (int i = 0; i < s.inputs.info->result_count; i++) free(s.wanted[i]);
    ck_ok(td_scope_close(scope));
}

/* --- the tests ------------------------------------------------------------------------------------------ */

START_TEST(kernels_agree_with_the_reference) {
    static const td_dtype dtypes[] = {TD_DTYPE_F32, TD_DTYPE_F64};
    const td_op_info *info = td_op_describe((td_op)_i);
    if (!has_kernel(info)) return;
    const op_case *c = op_case_next(op_cases, info->name);
    ck_expect(c != NULL, "the row %s has no call in support/op_cases.c", info->name);
    for (; c; c = op_case_next(c + 1, info->name))
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
            for (int layout = 0; layout < (c->flags & OP_CONTIGUOUS_ONLY ? 1 : OP_LAYOUTS); layout++)
                if (layout != OP_EXPANDED || !(info->effects & TD_EFFECT_WRITE))
                    check_case(c, dtypes[d], (op_layout)layout);
}
END_TEST

/* TANDEM_KERNELS=reference leaves one kernel for each row: the last of the full chain. */
START_TEST(reference_kernels_can_be_forced) {
    td_context *plain;
    ck_ok(td_scope_close(td_scope_open(context)));
    setenv("TANDEM_KERNELS", "reference", 1);
    ck_ok(td_context_open(&plain));
    ck_ok(td_scope_close(td_scope_open(plain)));
    unsetenv("TANDEM_KERNELS");
    for (int op = 0; op < TD_OP_COUNT; op++) {
        const td_op_info *info = td_op_describe((td_op)op);
        td_kernel *const *full = td_kernels_of(context)->chain[op], *const *one =
                                                                        td_kernels_of(plain)->chain[op];
        ck_expect((one[0] != NULL) == has_kernel(info), "%s: %s", info->name,
                  one[0] ? "has a kernel that nobody can reach" : "has no reference kernel");
        if (!one[0]) continue;
        ck_expect(one[1] == NULL, "%s has a second kernel beside the forced reference", info->name);
        while (full[1]) full++;
        ck_expect(full[0] == one[0], "%s: the reference is not the last one asked", info->name);
    }
    td_context_close(&plain);
    td_context_adopt(context);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("kernel_tables");
    TCase *tcase = tcase_create("rows");
    tcase_add_checked_fixture(tcase, open_context, close_context);
    tcase_add_loop_test(tcase, kernels_agree_with_the_reference, 0, TD_OP_COUNT);
    tcase_add_test(tcase, reference_kernels_can_be_forced);
    suite_add_tcase(suite, tcase);
    return suite;
}
