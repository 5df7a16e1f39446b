/* The data set interface and the data set in memory. */
#include "base/memory.h"
#include "sampler/dataset.h"
#include "support/check.h"

#include <stdio.h>

enum { COUNT = 6 };

static float points[COUNT][2][3];
static int64_t classes[COUNT];
static const td_dataset_part parts[2] = {{TD_DTYPE_F32, 2, {2, 3}}, {TD_DTYPE_I64, 0, {0}}};
static const void *const arrays[2] = {points, classes};

static void fill_arrays(void) {
    for (int i = 0; i < COUNT; i++) {
        classes[i] = 10 * i;
        for (int j = 0; j < 6; j++) points[i][j / 3][j % 3] = (float)(100 * i + j);
    }
}

static td_dataset *open_memory(void) {
    td_dataset *dataset = NULL;
    fill_arrays();
    ck_ok(td_dataset_memory(COUNT, parts, arrays, 2, NULL, &dataset));
    return dataset;
}

START_TEST(a_data_set_in_memory_gives_chosen_samples) {
    td_dataset *dataset = open_memory();
    static const int64_t chosen[4] = {5, 0, 5, 2};
    float got[4][2][3];
    int64_t labels[4];
    ck_ok(td_dataset_gather(dataset, 0, chosen, 4, got));
    ck_ok(td_dataset_gather(dataset, 1, chosen, 4, labels));
    for (int i = 0; i < 4; i++) {
        ck_assert_mem_eq(got[i], points[chosen[i]], sizeof got[i]);
        ck_assert_int_eq(labels[i], classes[chosen[i]]);
    }
    td_dataset_close(&dataset);
    ck_assert_ptr_null(dataset);
    td_dataset_close(&dataset);
    td_dataset_close(NULL);
}
END_TEST

START_TEST(a_data_set_says_what_it_holds) {
    td_dataset *dataset = open_memory();
    ck_assert_int_eq(td_dataset_count(dataset), COUNT);
    ck_assert_int_eq(td_dataset_parts(dataset), 2);
    ck_assert_int_eq(td_dataset_part_of(dataset, 0)->dims, 2);
    ck_assert_int_eq(td_dataset_part_of(dataset, 0)->sizes[1], 3);
    ck_assert_uint_eq(td_dataset_part_bytes(dataset, 0), 24);
    ck_assert_uint_eq(td_dataset_part_bytes(dataset, 1), 8);
    ck_assert_ptr_eq(td_dataset_rows(dataset, 1), classes);
    ck_assert_ptr_null(td_dataset_part_of(dataset, 2));
    ck_assert_ptr_null(td_dataset_part_of(dataset, -1));
    ck_assert_uint_eq(td_dataset_part_bytes(dataset, 2), 0);
    ck_assert_ptr_null(td_dataset_rows(dataset, 2));
    td_dataset_close(&dataset);
}
END_TEST

START_TEST(a_sample_out_of_range_is_named_and_nothing_is_written) {
    td_dataset *dataset = open_memory();
    int64_t labels[3] = {-1, -1, -1};
    ck_fails(td_dataset_gather(dataset, 1, (int64_t[]){1, 2, COUNT}, 3, labels), TD_ERR_ARG,
             "sample 6, but there are 6");
    ck_fails(td_dataset_gather(dataset, 1, (int64_t[]){1, -1}, 2, labels), TD_ERR_ARG, "sample -1");
    ck_fails(td_dataset_gather(dataset, 2, (int64_t[]){1}, 1, labels), TD_ERR_ARG, "part 2, but there are 2");
    for (int i = 0; i < 3; i++) ck_assert_int_eq(labels[i], -1);
    td_dataset_close(&dataset);
}
END_TEST

static int released;
static void count_release(void *data) {
    released++;
    ck_assert(data == (void *)points || data == (void *)classes);
}

START_TEST(given_arrays_are_released_once_and_only_when_taken) {
    td_dataset *dataset = NULL;
    fill_arrays();
    ck_fails(td_dataset_memory(-1, parts, arrays, 2, count_release, &dataset), TD_ERR_ARG, "-1 samples");
    ck_assert_int_eq(released, 0);
    ck_ok(td_dataset_memory(COUNT, parts, arrays, 2, count_release, &dataset));
    td_dataset_close(&dataset);
    ck_assert_int_eq(released, 2);
}
END_TEST

static const struct {
    int64_t count;
    td_dataset_part part;
    int n_parts;
    const char *text;
} wrong[] = {
    {-1, {TD_DTYPE_U8, 0, {0}}, 1, "-1 samples"},
    {1, {TD_DTYPE_U8, 0, {0}}, 0, "0 parts"},
    {1, {TD_DTYPE_U8, 0, {0}}, TD_DATASET_MAX_PARTS + 1, "expected 1 to 4 parts"},
    {1, {TD_DTYPE_COUNT, 0, {0}}, 1, "dtype 10"},
    {1, {TD_DTYPE_U8, TD_DATASET_MAX_DIMS + 1, {1}}, 1, "8 dimensions"},
    {1, {TD_DTYPE_U8, -1, {1}}, 1, "-1 dimensions"},
    {1, {TD_DTYPE_U8, 2, {28, 0}}, 1, "size 0 in dimension 1"},
    {1, {TD_DTYPE_F32, 2, {INT64_MAX, 2}}, 1, "one sample of part 0"},
    {INT64_MAX, {TD_DTYPE_F32, 1, {4}}, 1, "9223372036854775807 samples of 16 bytes"},
};

START_TEST(impossible_shapes_are_named) {
    td_dataset *dataset = NULL;
    td_dataset_part same[TD_DATASET_MAX_PARTS + 1];
    const void *data[TD_DATASET_MAX_PARTS + 1] = {points, points, points, points, points};
    for (int i = 0; i <= TD_DATASET_MAX_PARTS; i++) same[i] = wrong[_i].part;
    ck_fails(td_dataset_memory(wrong[_i].count, same, data, wrong[_i].n_parts, NULL, &dataset), TD_ERR_ARG,
             wrong[_i].text);
    ck_assert_ptr_null(dataset);
}
END_TEST

START_TEST(every_failed_allocation_is_a_status) {
    td_dataset *dataset = NULL;
    for (long k = 0; k < 2; k++) {
        td_alloc_fail_after(k);
        ck_fails(td_dataset_memory(COUNT, parts, arrays, 2, count_release, &dataset), TD_ERR_MEMORY,
                 "no memory");
        ck_assert_ptr_null(dataset);
        ck_assert_int_eq(released, 0);
    }
    td_alloc_fail_after(-1);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("dataset");
    TCase *tcase = tcase_create("dataset");
    tcase_add_test(tcase, a_data_set_in_memory_gives_chosen_samples);
    tcase_add_test(tcase, a_data_set_says_what_it_holds);
    tcase_add_test(tcase, a_sample_out_of_range_is_named_and_nothing_is_written);
    tcase_add_test(tcase, given_arrays_are_released_once_and_only_when_taken);
    tcase_add_loop_test(tcase, impossible_shapes_are_named, 0, (int)(sizeof wrong / sizeof *wrong));
    tcase_add_test(tcase, every_failed_allocation_is_a_status);
    suite_add_tcase(suite, tcase);
    return suite;
}
