#include "base/checked.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/dtype.h"
#include "base/generator.h"
#include "base/log.h"
#include "base/memory.h"
#include "support/check.h"

#include <stdio.h>

START_TEST(the_chosen_allocation_fails_once) {
    td_alloc_fail_after(1);
    void *first = td_alloc(8);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(td_calloc(2, 8));
    ck_assert_int_eq(td_error_last()->status, TD_ERR_MEMORY);
    void *third = td_strdup("x");
    ck_assert_ptr_nonnull(third);
    td_free(first);
    td_free(third);
}
END_TEST

START_TEST(sizes_that_overflow_are_refused) {
    ck_assert_ptr_null(td_calloc(SIZE_MAX / 2, 3));
    void *block = td_alloc(4);
    ck_assert_ptr_null(td_realloc(block, SIZE_MAX / 2, 3));
    td_free(block);
    ck_assert_ptr_null(td_alloc_aligned(SIZE_MAX - 3));
    size_t size;
    int64_t whole;
    ck_assert(!td_mul_size(SIZE_MAX, 2, &size) && td_mul_size(3, 4, &size) && size == 12);
    ck_assert(!td_add_size(SIZE_MAX, 1, &size) && td_add_size(3, 4, &size) && size == 7);
    ck_assert(!td_mul_i64(INT64_MAX, 2, &whole) && td_mul_i64(-3, 4, &whole) && whole == -12);
    ck_assert(!td_add_i64(INT64_MAX, 1, &whole) && td_add_i64(-3, 4, &whole) && whole == 1);
    ck_assert(!td_round_up_size(SIZE_MAX, 64, &size) && td_round_up_size(65, 64, &size) && size == 128);
}
END_TEST

START_TEST(aligned_memory_is_aligned_and_resizing_keeps_the_content) {
    char *block = td_alloc_aligned(3);
    ck_assert_uint_eq((uintptr_t)block % 64, 0);
    memset(block, 1, 3 + 61); /* the tail padding may be written */
    td_free(block);
    block = td_strdup("abc");
    block = td_realloc(block, 100, 1);
    ck_assert_str_eq(block, "abc");
    td_free(block);
    block = td_alloc(0);
    ck_assert_ptr_nonnull(block);
    td_free(block);
    td_free(NULL);
}
END_TEST

START_TEST(dtypes_have_sizes_and_both_names) {
    td_dtype dtype;
    for (int i = 0; i < TD_DTYPE_COUNT; i++) {
        ck_assert_uint_gt(td_dtype_size((td_dtype)i), 0);
        ck_ok(td_dtype_parse(td_dtype_name((td_dtype)i), &dtype));
        ck_assert_int_eq(dtype, i);
    }
    ck_ok(td_dtype_parse("float32", &dtype));
    ck_assert_int_eq(dtype, TD_DTYPE_F32);
    ck_fails(td_dtype_parse("float8", &dtype), TD_ERR_ARG, "float8");
    ck_assert_uint_eq(td_dtype_size(TD_DTYPE_COUNT), 0);
    ck_assert_str_eq(td_dtype_name((td_dtype)77), "?");
    ck_assert(td_dtype_is_floating(TD_DTYPE_BF16) && !td_dtype_is_floating(TD_DTYPE_BOOL));
    ck_assert_str_eq(td_device_name(TD_DEVICE_CUDA), "cuda");
}
END_TEST

START_TEST(a_context_is_current_until_closed) {
    ck_fails(td_manual_seed(1), TD_ERR_STATE, "no context");
    td_context *one = NULL, *two = NULL;
    ck_ok(td_context_open(&one));
    ck_assert_uint_eq(td_generator_initial_seed(td_context_generator(one)), TD_GENERATOR_DEFAULT_SEED);
    ck_ok(td_context_open(&two));
    ck_assert_ptr_eq(td_context_current(), two);
    td_context_adopt(one);
    ck_ok(td_manual_seed(7));
    ck_assert_uint_eq(td_generator_initial_seed(td_context_generator(one)), 7);
    td_context_close(&two);
    ck_assert_ptr_eq(td_context_current(), one);
    td_context_close(&one);
    ck_assert_ptr_null(td_context_current());
    td_context_close(&one);
}
END_TEST

START_TEST(opening_a_context_survives_each_failing_allocation) {
    td_context *context = NULL;
    for (long k = 0;; k++) {
        td_alloc_fail_after(k);
        td_status status = td_context_open(&context);
        td_alloc_fail_after(-1);
        if (status == TD_OK) break;
        ck_assert_int_eq(status, TD_ERR_MEMORY);
        ck_assert_ptr_null(context);
        ck_assert_int_lt(k, 10);
    }
    td_context_close(&context);
}
END_TEST

static char last_line[128];

static void keep_line(td_log_level level, const char *origin, const char *text, void *cookie) {
    *(int *)cookie = (int)level;
    snprintf(last_line, sizeof last_line, "%s: %s", origin, text);
}

START_TEST(the_log_goes_to_the_hook_up_to_its_level) {
    int level = -1;
    td_log_line(TD_LOG_ERROR, "base", "dropped");
    td_log_set_hook(keep_line, TD_LOG_WARN, &level);
    td_log_line(TD_LOG_INFO, "base", "too chatty");
    ck_assert_int_eq(level, -1);
    td_log_line(TD_LOG_WARN, "base", "%d cores", 2);
    ck_assert_int_eq(level, TD_LOG_WARN);
    ck_assert_str_eq(last_line, "base: 2 cores");
    td_log_set_hook(NULL, TD_LOG_ERROR, NULL);
}
END_TEST

START_TEST(the_clock_never_goes_back) {
    int64_t before = td_clock_ns();
    for (int i = 0; i < 1000; i++) {
        int64_t now = td_clock_ns();
        ck_assert_int_ge(now, before);
        before = now;
    }
}
END_TEST

SUITE("memory", the_chosen_allocation_fails_once, sizes_that_overflow_are_refused,
      aligned_memory_is_aligned_and_resizing_keeps_the_content, dtypes_have_sizes_and_both_names,
      a_context_is_current_until_closed, opening_a_context_survives_each_failing_allocation,
      the_log_goes_to_the_hook_up_to_its_level, the_clock_never_goes_back)
