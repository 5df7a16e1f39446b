/* Tensors: layouts, memory of several origins, and the way in and out. */
#include "base/context.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/ops/ops.h"
#include "model/tensor/internal.h"
#include "support/check.h"

#include <math.h>

static td_context *context;

static void open(void) {
    ck_ok(td_context_open(&context));
    ck_assert_ptr_nonnull(td_scope_open(context));
}

static void close(void) { td_context_close(&context); }

static td_tensor *counting(td_ints sizes) {
    int64_t count = 1;
    for (int d = 0; d < sizes.count; d++) count *= sizes.at[d];
    return td_reshape(td_arange(td_num(count), .dtype = TD_DTYPE_F32), sizes);
}

static void check_values(const td_tensor *x, const float *expected, size_t count) {
    float values[64];
    ck_ok(td_tensor_copy_to(x, values, count * sizeof *values));
    for (size_t i = 0; i < count; i++) ck_assert_float_eq(values[i], expected[i]);
}

START_TEST(data_is_aligned_and_padded) {
    for (int64_t n = 0; n < 5000; n += 123) {
        td_tensor *x = td_empty(TD_INTS(n));
        if (n) ck_assert_uint_eq((uintptr_t)td_tensor_data(x) % 64, 0);
        /* Under the address sanitizer this fails when the padding is missing. */
        volatile char *end = (volatile char *)x->storage->data + x->storage->bytes;
        end[63] = 1;
    }
}
END_TEST

START_TEST(a_scalar_has_no_dimensions_and_one_element) {
    td_tensor *x = td_full((td_ints){0}, td_num(2.5));
    ck_assert_int_eq(td_tensor_ndim(x), 0);
    ck_assert_int_eq(td_tensor_count(x), 1);
    double value = 0;
    ck_ok(td_tensor_item(x, &value));
    ck_assert_double_eq(value, 2.5);
}
END_TEST

START_TEST(strides_give_what_is_seen) {
    td_tensor *x = counting(TD_INTS(2, 3));
    check_values(td_t(x), (const float[]){0, 3, 1, 4, 2, 5}, 6);
    check_values(td_select(x, 1, -1), (const float[]){2, 5}, 2);
    check_values(td_slice(x, 1, .step = 2), (const float[]){0, 2, 3, 5}, 4);
    check_values(td_expand(td_narrow(x, 0, 1, 1), TD_INTS(2, -1)), (const float[]){3, 4, 5, 3, 4, 5}, 6);
    ck_assert(!td_tensor_is_contiguous(td_t(x)));
    ck_assert(td_tensor_is_contiguous(td_contiguous(td_t(x))));
    ck_assert_ptr_eq(td_tensor_base(td_t(td_t(x))), x->base ? x->base : x);
}
END_TEST

START_TEST(channels_last_stays_so_through_element_wise_operations) {
    td_tensor *x =
        td_contiguous(counting(TD_INTS(2, 3, 2, 2)), .memory_format = TD_MEMORY_FORMAT_CHANNELS_LAST);
    ck_assert(td_tensor_is_channels_last(x));
    ck_assert(td_tensor_is_channels_last(td_relu(x)));
    ck_assert(td_tensor_is_channels_last(td_add(x, td_mul_scalar(x, td_num(2)))));
    ck_assert(td_tensor_is_channels_last(td_mul(td_ones(TD_INTS(3, 1, 1)), x)));
    ck_assert(td_tensor_is_contiguous(td_flatten(x, 1)));
    ck_assert_ptr_null(td_view(x, TD_INTS(2, 12)));
}
END_TEST

START_TEST(reshape_views_where_it_can_and_copies_where_it_must) {
    td_tensor *x = counting(TD_INTS(2, 3, 4));
    ck_assert_ptr_eq(td_reshape(x, TD_INTS(6, -1))->storage, x->storage);
    td_tensor *y = td_transpose(x, 0, 1);
    ck_assert_ptr_eq(td_reshape(y, TD_INTS(3, 2, 2, 2))->storage, x->storage);
    ck_assert_ptr_ne(td_reshape(y, TD_INTS(6, 4))->storage, x->storage);
    check_values(td_reshape(td_t(counting(TD_INTS(2, 3))), TD_INTS(6)), (const float[]){0, 3, 1, 4, 2, 5}, 6);
}
END_TEST

START_TEST(too_many_dimensions_are_refused) {
    int64_t ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    td_scope *s = td_scope_open(context);
    ck_assert_ptr_null(td_empty(td_ints_from(ones, 9)));
    ck_assert_int_eq(td_scope_close(s), TD_ERR_ARG);
}
END_TEST

START_TEST(a_product_of_sizes_that_overflows_is_refused) {
    ck_assert_ptr_null(td_empty(TD_INTS(INT64_MAX / 2, 4)));
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "too large"));
}
END_TEST

static int given_back;
static void count_give_back(void *data, size_t bytes, void *cookie) {
    (void)data, (void)bytes;
    given_back += *(int *)cookie;
}

START_TEST(wrapped_memory_is_seen_and_given_back_once) {
    _Alignas(64) float memory[6] = {0, 1, 2, 3, 4, 5};
    int one = 1;
    td_storage *storage = NULL;
    ck_ok(td_storage_wrap(memory, sizeof memory, count_give_back, &one, &storage));
    td_scope *s = td_scope_open(context);
    td_tensor *x = td_tensor_wrap(storage, 1, TD_DTYPE_F32, TD_INTS(5), NULL);
    td_storage_release(&storage);
    td_add_(x, x);
    ck_assert_float_eq(memory[5], 10);
    ck_assert_int_eq(given_back, 0);
    ck_ok(td_scope_close(s));
    ck_assert_int_eq(given_back, 1);
}
END_TEST

START_TEST(a_tensor_beyond_its_storage_is_refused) {
    _Alignas(64) float memory[6] = {0};
    td_storage *storage = NULL;
    ck_ok(td_storage_wrap(memory, sizeof memory, NULL, NULL, &storage));
    td_ints strides = TD_INTS(4, 1);
    td_scope *s = td_scope_open(context);
    ck_assert_ptr_nonnull(td_tensor_wrap(storage, 0, TD_DTYPE_F32, TD_INTS(2, 2), &strides));
    ck_assert_ptr_null(td_tensor_wrap(storage, 1, TD_DTYPE_F32, TD_INTS(2, 2), &strides));
    ck_assert_int_eq(td_scope_close(s), TD_ERR_ARG);
    td_storage_release(&storage);
}
END_TEST

START_TEST(rehomed_bytes_move_with_all_their_views) {
    td_storage *host = NULL;
    char *memory = td_alloc_aligned(1 << 16);
    ck_ok(td_storage_wrap(memory, 1 << 16, NULL, NULL, &host));
    for (int64_t n = 3; n < 4000; n += 3000) {
        td_tensor *x = counting(TD_INTS(n)), *view = td_narrow(x, 0, 1, 2);
        uint32_t version = td_tensor_version(x);
        ck_ok(td_storage_rehome(x->storage, host, 128));
        ck_assert_ptr_eq(td_tensor_data(x), memory + 128);
        check_values(view, (const float[]){1, 2}, 2);
        ((float *)(memory + 128))[1] = 9;
        check_values(view, (const float[]){9, 2}, 2);
        ck_assert_uint_eq(td_tensor_version(view), version);
        ck_fails(td_storage_rehome(x->storage, host, (1 << 16) - 64 * (n > 16) - 0), TD_ERR_ARG,
                 "do not fit");
        ck_fails(td_storage_rehome(x->storage, host, 8), TD_ERR_ARG, "multiple of 64");
    }
    td_storage_release(&host);
    td_context_close(&context);
    td_free(memory);
}
END_TEST

START_TEST(numbers_come_out_as_they_went_in) {
    const struct {
        td_dtype dtype;
        double value;
    } cases[] = {{TD_DTYPE_F32, 1.5},       {TD_DTYPE_F64, -0.1},    {TD_DTYPE_F16, 0.333251953125},
                 {TD_DTYPE_BF16, 3.140625}, {TD_DTYPE_I8, -100},     {TD_DTYPE_U8, 200},
                 {TD_DTYPE_I16, -30000},    {TD_DTYPE_I32, 1 << 30}, {TD_DTYPE_I64, 1e15},
                 {TD_DTYPE_BOOL, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double value = 0;
        td_tensor *x = td_full(TD_INTS(3), td_num(cases[i].value), .dtype = cases[i].dtype);
        ck_ok(td_tensor_item(td_select(x, 0, 2), &value));
        ck_assert_double_eq(value, cases[i].value);
        ck_ok(td_tensor_item(td_select(td_to(x, TD_DTYPE_F64), 0, 1), &value));
        ck_assert_double_eq(value, cases[i].value);
    }
}
END_TEST

START_TEST(halves_round_to_nearest_even) {
    const struct {
        float from;
        uint16_t f16, bf16;
    } cases[] = {
        {1, 0x3c00, 0x3f80},
        {65504, 0x7bff, 0x4780},
        {65520, 0x7c00, 0x4780},
        {0x1p-24f, 0x0001, 0x3380},
        {0x1p-25f, 0x0000, 0x3300},
        {0x1.8p-24f, 0x0002, 0x33c0},
        {1 + 0x1p-11f, 0x3c00, 0x3f80},
        {1 + 0x3p-11f, 0x3c02, 0x3f80},
        {1 + 0x1p-8f, 0x3c04, 0x3f80},
        {1 + 0x3p-8f, 0x3c0c, 0x3f82},
        {-0.0f, 0x8000, 0x8000},
        {INFINITY, 0x7c00, 0x7f80},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_uint_eq(td_f32_to_f16(cases[i].from), cases[i].f16);
        ck_assert_uint_eq(td_f32_to_bf16(cases[i].from), cases[i].bf16);
    }
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float f = td_f16_to_f32((uint16_t)bits), b = td_bf16_to_f32((uint16_t)bits);
        if (f == f) ck_quietly(td_f32_to_f16(f) == bits);
        if (b == b) ck_quietly(td_f32_to_bf16(b) == bits);
    }
}
END_TEST

START_TEST(copies_want_exactly_the_tensors_bytes) {
    float values[4] = {0};
    td_tensor *x = td_zeros(TD_INTS(3));
    ck_fails(td_tensor_copy_to(x, values, sizeof values), TD_ERR_ARG, "16 bytes for f32 (3), which has 12");
    ck_fails(td_tensor_item(x, &(double){0}), TD_ERR_ARG, "f32 (3) has not one element");
    uint32_t version = td_tensor_version(x);
    ck_ok(td_tensor_copy_from(x, values, 12));
    ck_assert_uint_eq(td_tensor_version(x), version + 1);
}
END_TEST

START_TEST(copying_in_follows_strides) {
    td_tensor *x = td_zeros(TD_INTS(2, 3));
    ck_ok(td_tensor_copy_from(td_t(x), (const float[]){0, 3, 1, 4, 2, 5}, 24));
    check_values(x, (const float[]){0, 1, 2, 3, 4, 5}, 6);
}
END_TEST

START_TEST(a_leaf_is_not_overwritten_behind_autograds_back) {
    td_tensor *x = td_zeros(TD_INTS(1));
    ck_ok(td_tensor_set_requires_grad(x, true));
    ck_fails(td_tensor_copy_from(x, (const float[]){1}, 4), TD_ERR_STATE, "no_grad");
    td_no_grad_begin();
    ck_ok(td_tensor_copy_from(x, (const float[]){1}, 4));
    td_no_grad_end();
}
END_TEST

START_TEST(out_forms_write_where_they_are_told) {
    td_tensor *x = counting(TD_INTS(2, 2)), *to = td_zeros(TD_INTS(2, 4));
    td_tensor *every_second = td_slice(to, 1, .step = 2);
    ck_assert_ptr_eq(td_add_out(every_second, x, x, .alpha = td_num(2)), every_second);
    check_values(to, (const float[]){0, 0, 3, 0, 6, 0, 9, 0}, 8);
    td_scope *s = td_scope_open(context);
    ck_assert_ptr_null(td_add_out(td_zeros(TD_INTS(3)), x, x));
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "sizes (2, 2) is to be written to (3)"));
    ck_assert_int_eq(td_scope_close(s), TD_ERR_ARG);
}
END_TEST

START_TEST(in_place_results_must_fit_in_size_and_kind) {
    td_scope *s = td_scope_open(context);
    td_add_(td_zeros(TD_INTS(3)), td_zeros(TD_INTS(2, 3)));
    ck_assert_str_eq(td_error_last()->text, "add_: a result of sizes (2, 3) is to be written to (3)");
    ck_assert_int_eq(td_scope_close(s), TD_ERR_ARG);
    td_context_close(&context);
    open();
    td_add_(td_zeros(TD_INTS(3), .dtype = TD_DTYPE_I64), td_zeros(TD_INTS(3)));
    ck_assert_str_eq(td_error_last()->text, "add_: a result of f32 is to be written to i64");
}
END_TEST

/* Every allocation of a small training step fails once: always an orderly TD_ERR_MEMORY, and no leak (which
 * the sanitizer builds see). */
START_TEST(running_out_of_memory_is_an_orderly_failure) {
    td_context_close(&context);
    int failures = 0;
    for (long k = 0;; k++) {
        ck_ok(td_context_open(&context));
        td_alloc_fail_after(k);
        td_scope *s = td_scope_open(context);
        td_tensor *w = td_full(TD_INTS(3, 2), td_num(0.5));
        if (w && td_tensor_set_requires_grad(w, true) < 0) td_scope_fail(td_error_last()->status);
        td_tensor *h = td_neg(td_matmul(td_ones(TD_INTS(4, 3)), w));
        td_mul_(td_narrow(h, 0, 1, 2), td_full(TD_INTS(2), td_num(3.0)));
        td_backward(td_mean(td_mul(h, td_cat(TD_TENSORS(h), 0))));
        td_status status = td_scope_close(s);
        td_alloc_fail_after(-1);
        td_context_close(&context);
        if (status == TD_OK) break;
        if (!s) continue; /* without a scope every operation has its own complaint */
        ck_assert_msg(status == TD_ERR_MEMORY, "allocation %ld gave %s: %s", k, td_status_name(status),
                      td_error_last()->text);
        failures++;
    }
    ck_assert_int_gt(failures, 20);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("tensor");
    TCase *tcase = tcase_create("tensor");
    const TTest *const tests[] = {
        data_is_aligned_and_padded,
        a_scalar_has_no_dimensions_and_one_element,
        strides_give_what_is_seen,
        channels_last_stays_so_through_element_wise_operations,
        reshape_views_where_it_can_and_copies_where_it_must,
        too_many_dimensions_are_refused,
        a_product_of_sizes_that_overflows_is_refused,
        wrapped_memory_is_seen_and_given_back_once,
        a_tensor_beyond_its_storage_is_refused,
        rehomed_bytes_move_with_all_their_views,
        numbers_come_out_as_they_went_in,
        halves_round_to_nearest_even,
        copies_want_exactly_the_tensors_bytes,
        copying_in_follows_strides,
        a_leaf_is_not_overwritten_behind_autograds_back,
        out_forms_write_where_they_are_told,
        in_place_results_must_fit_in_size_and_kind,
        running_out_of_memory_is_an_orderly_failure,
    };
    tcase_add_checked_fixture(tcase, open, close);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
