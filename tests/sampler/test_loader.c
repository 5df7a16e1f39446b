/* The loader: order, values, reading ahead within bounds, failures of the data set, and closing at any
 * moment. */
#include "base/context.h"
#include "base/memory.h"
#include "sampler/loader.h"
#include "support/check.h"
#include "support/golden.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { COUNT = 103, PIXELS = 21 };

static uint8_t pixels[COUNT][PIXELS], digits[COUNT];

static void nap(long microseconds) {
    nanosleep(&(struct timespec){microseconds / 1000000, microseconds % 1000000 * 1000}, NULL);
}

static void fill_arrays(void) {
    for (int i = 0; i < COUNT; i++) {
        digits[i] = (uint8_t)(i % 10);
        for (int j = 0; j < PIXELS; j++) pixels[i][j] = (uint8_t)(i * 31 + j * 7);
    }
}

static td_dataset *open_arrays(void) {
    static const td_dataset_part parts[2] = {{TD_DTYPE_U8, 2, {3, 7}}, {TD_DTYPE_U8, 0, {0}}};
    static const void *const arrays[2] = {pixels, digits};
    td_dataset *dataset = NULL;
    fill_arrays();
    ck_ok(td_dataset_memory(COUNT, parts, arrays, 2, NULL, &dataset));
    return dataset;
}

static td_sampler *open_sampler(int64_t size, int64_t batch_size) {
    td_sampler *sampler = NULL;
    td_distributed_options options = TD_DISTRIBUTED_DEFAULTS;
    options.batch_size = batch_size;
    options.seed = 4;
    ck_ok(td_sampler_distributed(size, &options, &sampler));
    return sampler;
}

static td_loader *open_loader(const td_dataset *dataset, td_sampler *sampler, int read_ahead) {
    td_loader_options options = TD_LOADER_DEFAULTS;
    td_loader *loader = NULL;
    options.read_ahead = read_ahead;
    ck_ok(td_loader_open(dataset, sampler, &options, &loader));
    return loader;
}

static void check_batch(const td_batch *batch) {
    ck_quietly((uintptr_t)batch->inputs % 64 == 0);
    for (int64_t i = 0; i < batch->count; i++) {
        int64_t index = batch->indices[i];
        ck_quietly(index >= 0 && index < COUNT && batch->labels[i] == index % 10);
        for (int j = 0; j < PIXELS; j++) {
            float value = ((float)pixels[index][j] / 255.0f - 0.1307f) / 0.3081f;
            ck_quietly(batch->inputs[i * PIXELS + j] == value);
        }
    }
}

/* The rest of a pass; its indices, one after another, go to `order`. Returns their count. */
static int64_t drain(td_loader *loader, int64_t *order) {
    int64_t total = 0;
    for (td_batch batch;;) {
        ck_ok(td_loader_next(loader, &batch));
        if (batch.count == TD_SAMPLER_END) return total;
        for (int64_t i = 0; i < batch.count; i++) order[total++] = batch.indices[i];
    }
}

static const int read_aheads[] = {1, 2, 3, 17, 64};

START_TEST(batches_come_in_the_samplers_order_with_the_right_values) {
    td_dataset *dataset = open_arrays();
    td_sampler *sampler = open_sampler(COUNT, 8), *same = open_sampler(COUNT, 8);
    td_loader *loader = open_loader(dataset, sampler, read_aheads[_i]);
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        int64_t expected[8], count;
        td_batch batch;
        td_sampler_set_epoch(sampler, epoch);
        td_sampler_set_epoch(same, epoch);
        ck_ok(td_loader_start(loader, 0));
        ck_ok(td_sampler_start(same, 0));
        do {
            ck_ok(td_loader_next(loader, &batch));
            ck_ok(td_sampler_next(same, expected, &count));
            ck_assert_int_eq(batch.count, count);
            ck_assert_int_eq(batch.cursor, td_sampler_cursor(same));
            if (count > 0) ck_assert_mem_eq(batch.indices, expected, (size_t)count * sizeof *expected);
            check_batch(&batch);
        } while (count != TD_SAMPLER_END);
        ck_ok(td_loader_next(loader, &batch)); /* the end is said again */
        ck_assert_int_eq(batch.count, TD_SAMPLER_END);
    }
    td_loader_close(&loader);
    td_sampler_close(&same);
    td_sampler_close(&sampler);
    td_dataset_close(&dataset);
}
END_TEST

START_TEST(a_pass_goes_on_from_any_batchs_cursor) {
    td_dataset *dataset = open_arrays();
    td_sampler *sampler = open_sampler(COUNT, 8), *other = open_sampler(COUNT, 5);
    td_loader *loader = open_loader(dataset, sampler, 3), *rest = open_loader(dataset, other, 2);
    int64_t order[COUNT], again[COUNT];
    ck_ok(td_loader_start(loader, 0));
    ck_assert_int_eq(drain(loader, order), COUNT);
    for (int64_t batches = 0; batches <= 13; batches++) {
        td_batch batch = {.cursor = 0};
        ck_ok(td_loader_start(loader, 0));
        for (int64_t i = 0; i < batches; i++) ck_ok(td_loader_next(loader, &batch));
        int64_t cursor = batch.cursor;
        ck_ok(td_loader_start(rest, cursor));
        ck_assert_int_eq(drain(rest, again), COUNT - cursor);
        ck_assert_mem_eq(again, order + cursor, (size_t)(COUNT - cursor) * sizeof *order);
    }
    td_loader_close(&loader);
    td_loader_close(&rest);
    td_sampler_close(&sampler);
    td_sampler_close(&other);
    td_dataset_close(&dataset);
}
END_TEST

START_TEST(empty_shares_are_batches_too) {
    td_dataset *dataset = open_arrays();
    for (int rank = 0; rank < 8; rank++) {
        td_sampler *sampler = NULL;
        td_global_batch_options options = TD_GLOBAL_BATCH_DEFAULTS;
        options.global_batch_size = 20;
        options.world_size = 8;
        options.rank = rank;
        ck_ok(td_sampler_global_batch(COUNT, &options, &sampler));
        td_loader *loader = open_loader(dataset, sampler, 3);
        int batches = 0, empty = 0;
        ck_ok(td_loader_start(loader, 0));
        for (td_batch batch;;) {
            ck_ok(td_loader_next(loader, &batch));
            if (batch.count == TD_SAMPLER_END) break;
            check_batch(&batch);
            batches++;
            empty += batch.count == 0;
        }
        ck_assert_int_eq(batches, 6);
        ck_assert_int_eq(empty, rank < 4 || rank == 7); /* the last three entries are 100, 101, 102 */
        td_loader_close(&loader);
        td_sampler_close(&sampler);
    }
    td_dataset_close(&dataset);
}
END_TEST

/* DataLoader's draws and order, from PyTorch. */

static int64_t state_crc(const td_generator *generator) {
    uint8_t state[TD_GENERATOR_STATE_BYTES];
    td_generator_get_state(generator, state);
    return golden_crc(state, sizeof state);
}

static td_sampler *sampler_of(const json_t *record, td_generator *own) {
    td_sampler *sampler = NULL;
    int64_t n = golden_int(record, "n"), batch_size = golden_int(record, "batch_size");
    bool drop = golden_flag(record, "drop_last");
    if (json_object_get(record, "world")) {
        td_distributed_options options = {.batch_size = batch_size,
                                          .world_size = (int)golden_int(record, "world"),
                                          .rank = (int)golden_int(record, "rank"),
                                          .shuffle = true,
                                          .seed = golden_seed(record)};
        ck_ok(td_sampler_distributed(n, &options, &sampler));
    } else if (golden_flag(record, "shuffle")) {
        td_random_options options = {.batch_size = batch_size, .drop_short_batch = drop, .generator = own};
        ck_ok(td_sampler_random(n, &options, &sampler));
    } else
        ck_ok(td_sampler_sequential(n, &(td_sequential_options){batch_size, drop}, &sampler));
    return sampler;
}

/* Do the epoch as the record says and compare everything that it says of it. */
static void compare_epoch(const json_t *record, td_loader *loader, td_context *context, td_generator *own) {
    static int64_t order[60000];
    int64_t total = 0, batches = 0, stop_after = golden_int_or(record, "stop_after", -1);
    ck_ok(td_loader_start(loader, 0));
    ck_assert_int_eq(td_loader_base_seed(loader), golden_int(record, "base_seed"));
    for (td_batch batch; batches != stop_after; batches++) {
        ck_ok(td_loader_next(loader, &batch));
        if (batch.count == TD_SAMPLER_END) break;
        for (int64_t i = 0; i < batch.count; i++) order[total++] = batch.indices[i];
    }
    ck_assert_int_eq(batches, golden_int(record, "batches_count"));
    ck_assert_msg(golden_crc(order, (size_t)total * sizeof *order) == golden_int(record, "crc32"),
                  "order of %s", golden_describe(record));
    ck_assert_msg(state_crc(td_context_generator(context)) == golden_int(record, "state_crc32"),
                  "state of %s", golden_describe(record));
    if (own)
        ck_assert_msg(state_crc(own) == golden_int(record, "generator_crc32"), "generator of %s",
                      golden_describe(record));
}

START_TEST(draws_and_order_are_dataloaders) {
    static uint8_t bytes[60000];
    td_dataset *dataset = NULL;
    td_dataset_part byte = {TD_DTYPE_U8, 0, {0}};
    td_context *context = NULL;
    td_generator *own = NULL;
    td_sampler *sampler = NULL;
    td_loader *loader = NULL;
    json_t *root = golden_load("sampler.json"), *record;
    size_t i;
    ck_ok(td_dataset_memory(60000, &byte, (const void *[]){bytes}, 1, NULL, &dataset));
    ck_ok(td_context_open(&context));
    json_array_foreach(golden_list(root, "loaders"), i, record) {
        bool lends = golden_flag(record, "with_generator");
        if (golden_int(record, "epoch") == 0) { /* another DataLoader */
            td_loader_close(&loader);
            td_sampler_close(&sampler);
            if (own) td_generator_close(&own);
            ck_ok(td_manual_seed(golden_seed(record)));
            if (lends) ck_ok(td_generator_open(&own));
            if (lends) td_generator_seed(own, golden_seed(record));
            sampler = sampler_of(record, own);
            td_loader_options options = TD_LOADER_DEFAULTS;
            options.generator = lends ? own : td_context_generator(context);
            ck_ok(td_loader_open(dataset, sampler, &options, &loader));
        }
        td_sampler_set_epoch(sampler, (uint64_t)golden_int(record, "epoch"));
        compare_epoch(record, loader, context, own);
    }
    td_loader_close(&loader);
    td_sampler_close(&sampler);
    td_context_close(&context);
    td_dataset_close(&dataset);
    json_decref(root);
}
END_TEST

START_TEST(without_a_generator_nothing_is_drawn) {
    td_context *context = NULL;
    ck_ok(td_context_open(&context));
    int64_t before = state_crc(td_context_generator(context)), order[COUNT];
    td_dataset *dataset = open_arrays();
    td_sampler *sampler = open_sampler(COUNT, 8);
    td_loader *loader = open_loader(dataset, sampler, 3);
    ck_ok(td_loader_start(loader, 0));
    drain(loader, order);
    ck_assert_int_eq(state_crc(td_context_generator(context)), before);
    ck_assert_int_eq(td_loader_base_seed(loader), 0);
    td_loader_close(&loader);
    td_sampler_close(&sampler);
    td_dataset_close(&dataset);
    td_context_close(&context);
}
END_TEST

/* A data set that counts, naps and fails, through the table of functions. */

typedef struct odd_dataset {
    atomic_int gathered; /* batches of part 0 */
    long nap_us;
    _Atomic int64_t broken; /* a sample that cannot be read */
} odd_dataset;

static td_status gather_odd(const void *self, int part, const int64_t *indices, int64_t count, void *out) {
    odd_dataset *odd = (odd_dataset *)(uintptr_t)self;
    if (part == 0 && odd->nap_us) nap(odd->nap_us);
    for (int64_t i = 0; i < count; i++) {
        if (indices[i] == odd->broken)
            return td_fail(TD_ERR_SYSTEM, 5, "test", "sample %lld cannot be read", (long long)indices[i]);
        if (part == 0)
            memcpy((uint8_t *)out + i * PIXELS, pixels[indices[i]], PIXELS);
        else
            ((uint8_t *)out)[i] = digits[indices[i]];
    }
    if (part == 0) atomic_fetch_add(&odd->gathered, 1);
    return TD_OK;
}

static td_dataset *open_odd(odd_dataset *odd) {
    static const td_dataset_table table = {.gather = gather_odd};
    static const td_dataset_part parts[2] = {{TD_DTYPE_U8, 1, {PIXELS}}, {TD_DTYPE_U8, 0, {0}}};
    td_dataset *dataset = NULL;
    fill_arrays();
    ck_ok(td_dataset_open(&table, odd, COUNT, parts, 2, &dataset));
    return dataset;
}

START_TEST(a_data_set_without_rows_in_memory_gives_the_same) {
    odd_dataset odd = {.broken = -1};
    td_dataset *dataset = open_odd(&odd);
    td_sampler *sampler = open_sampler(COUNT, 8);
    td_loader *loader = open_loader(dataset, sampler, 3);
    td_batch batch;
    int64_t total = 0;
    ck_ok(td_loader_start(loader, 0));
    for (;;) {
        ck_ok(td_loader_next(loader, &batch));
        if (batch.count == TD_SAMPLER_END) break;
        check_batch(&batch);
        total += batch.count;
    }
    ck_assert_int_eq(total, COUNT);
    td_loader_close(&loader);
    td_sampler_close(&sampler);
    td_dataset_close(&dataset);
}
END_TEST

/* Wait, with a generous deadline, until the thread has gathered so many batches. */
static void await_gathered(odd_dataset *odd, int batches) {
    for (int i = 0; i < 10000 && atomic_load(&odd->gathered) < batches; i++) nap(1000);
    ck_assert_int_eq(atomic_load(&odd->gathered), batches);
}

START_TEST(reading_ahead_happens_and_is_bounded) {
    odd_dataset odd = {.broken = -1};
    td_dataset *dataset = open_odd(&odd);
    td_sampler *sampler = open_sampler(COUNT, 4);
    td_loader *loader = open_loader(dataset, sampler, 3);
    td_batch batch;
    ck_ok(td_loader_start(loader, 0));
    for (int taken = 1; taken <= 5; taken++) {
        ck_ok(td_loader_next(loader, &batch));
        await_gathered(&odd, taken + 3);
        nap(2000);
        ck_assert_int_eq(atomic_load(&odd.gathered), taken + 3); /* and no further */
        check_batch(&batch);                                     /* the one in use is left alone */
    }
    td_loader_close(&loader);
    td_sampler_close(&sampler);
    td_dataset_close(&dataset);
}
END_TEST

/* Closed or started anew after so many batches, while the thread is at work. */
START_TEST(a_loader_can_be_closed_or_restarted_at_any_moment) {
    odd_dataset odd = {.broken = -1, .nap_us = 300};
    td_dataset *dataset = open_odd(&odd);
    td_sampler *sampler = open_sampler(COUNT, 8);
    int64_t order[COUNT], again[COUNT];
    td_loader *loader = open_loader(dataset, sampler, 3);
    ck_ok(td_loader_start(loader, 0));
    ck_assert_int_eq(drain(loader, order), COUNT);
    td_loader_close(&loader);
    for (int batches = 0; batches < 14; batches++) {
        td_batch batch;
        loader = open_loader(dataset, sampler, 1 + batches % 4);
        ck_ok(td_loader_start(loader, 0));
        for (int i = 0; i < batches; i++) ck_ok(td_loader_next(loader, &batch));
        ck_ok(td_loader_start(loader, 0));
        ck_assert_int_eq(drain(loader, again), COUNT);
        ck_assert_mem_eq(order, again, sizeof order);
        ck_ok(td_loader_start(loader, 0));
        for (int i = 0; i < batches; i++) ck_ok(td_loader_next(loader, &batch));
        td_loader_close(&loader);
        ck_assert_ptr_null(loader);
    }
    loader = open_loader(dataset, sampler, 3); /* never started */
    td_loader_close(&loader);
    td_loader_close(&loader);
    td_loader_close(NULL);
    td_sampler_close(&sampler);
    td_dataset_close(&dataset);
}
END_TEST

START_TEST(a_failure_of_the_data_set_comes_out_at_its_batch) {
    td_sampler *sampler = open_sampler(COUNT, 8);
    int64_t order[COUNT], count = 0;
    for (int64_t total = 0; count != TD_SAMPLER_END; total += count)
        ck_ok(td_sampler_next(sampler, order + total, &count));
    odd_dataset odd = {.broken = order[29]}; /* in the fourth batch */
    td_dataset *dataset = open_odd(&odd);
    td_loader *loader = open_loader(dataset, sampler, 5);
    for (int pass = 0; pass < 2; pass++) {
        td_batch batch = {0};
        ck_ok(td_loader_start(loader, 0));
        for (int i = 0; i < 3; i++) {
            ck_ok(td_loader_next(loader, &batch));
            check_batch(&batch);
        }
        td_batch before = batch;
        for (int i = 0; i < 3; i++) {
            ck_fails(td_loader_next(loader, &batch), TD_ERR_SYSTEM, "cannot be read");
            ck_assert_int_eq(td_error_last()->foreign, 5);
            ck_assert_str_eq(td_error_last()->origin, "test");
            ck_assert_mem_eq(&batch, &before, sizeof batch);
        }
    }
    odd.broken = -1;
    ck_ok(td_loader_start(loader, 0));
    ck_assert_int_eq(drain(loader, order), COUNT);
    td_loader_close(&loader);
    td_sampler_close(&sampler);
    td_dataset_close(&dataset);
}
END_TEST

/* Kinds of parts. */

static const struct {
    td_dtype input, label;
    int n_parts;
    const char *refused; /* NULL: it works */
} kinds[] = {
    {TD_DTYPE_F32, TD_DTYPE_I64, 2, NULL},
    {TD_DTYPE_U8, TD_DTYPE_I32, 2, NULL},
    {TD_DTYPE_F32, TD_DTYPE_U8, 2, NULL},
    {TD_DTYPE_U8, TD_DTYPE_U8, 1, NULL},
    {TD_DTYPE_F64, TD_DTYPE_U8, 2, "inputs of f64, expected u8 or f32"},
    {TD_DTYPE_U8, TD_DTYPE_F32, 2, "labels of f32 with 0 dimensions"},
};

START_TEST(parts_of_other_dtypes_are_converted_or_refused) {
    static float floats[COUNT];
    static int64_t wide[COUNT];
    static int32_t narrow[COUNT];
    const void *arrays[TD_DTYPE_COUNT] = {[TD_DTYPE_U8] = digits,
                                          [TD_DTYPE_F32] = floats,
                                          [TD_DTYPE_F64] = wide,
                                          [TD_DTYPE_I32] = narrow,
                                          [TD_DTYPE_I64] = wide};
    fill_arrays();
    for (int i = 0; i < COUNT; i++) {
        floats[i] = (float)i / 3;
        narrow[i] = -i;
        wide[i] = INT64_C(1) << 40 | i;
    }
    td_dataset_part parts[2] = {{kinds[_i].input, 0, {0}}, {kinds[_i].label, 0, {0}}};
    const void *data[2] = {arrays[kinds[_i].input], arrays[kinds[_i].label]};
    td_dataset *dataset = NULL;
    td_loader *loader = NULL;
    td_batch batch;
    td_sampler *sampler = open_sampler(COUNT, 4);
    ck_ok(td_dataset_memory(COUNT, parts, data, kinds[_i].n_parts, NULL, &dataset));
    if (kinds[_i].refused) {
        ck_fails(td_loader_open(dataset, sampler, NULL, &loader), TD_ERR_UNSUPPORTED, kinds[_i].refused);
        ck_assert_ptr_null(loader);
    } else {
        ck_ok(td_loader_open(dataset, sampler, NULL, &loader));
        ck_ok(td_loader_start(loader, 0));
        ck_ok(td_loader_next(loader, &batch));
        for (int i = 0; i < 4; i++) {
            int64_t index = batch.indices[i];
            if (kinds[_i].input == TD_DTYPE_F32) ck_assert_float_eq(batch.inputs[i], floats[index]);
            if (kinds[_i].n_parts == 1)
                ck_assert_ptr_null(batch.labels);
            else if (kinds[_i].label == TD_DTYPE_I64)
                ck_assert_int_eq(batch.labels[i], wide[index]);
            else if (kinds[_i].label == TD_DTYPE_I32)
                ck_assert_int_eq(batch.labels[i], -index);
            else
                ck_assert_int_eq(batch.labels[i], digits[index]);
        }
        td_loader_close(&loader);
    }
    td_dataset_close(&dataset);
    td_sampler_close(&sampler);
}
END_TEST

static const struct {
    td_loader_options options;
    const char *part;
} wrong[] = {
    {{.read_ahead = 0, .mean = 0, .std = 1}, "read_ahead 0"},
    {{.read_ahead = 65, .mean = 0, .std = 1}, "read_ahead 65, expected 1 to 64"},
    {{.read_ahead = 1, .mean = 0, .std = 0}, "mean 0 and std 0"},
    {{.read_ahead = 1, .mean = 0, .std = -1}, "std -1"},
    {{.read_ahead = 1, .mean = 0.0 / 0.0, .std = 1}, "nan"},
};

START_TEST(impossible_options_are_named) {
    td_dataset *dataset = open_arrays();
    td_sampler *sampler = open_sampler(COUNT, 8), *larger = open_sampler(COUNT + 1, 8);
    td_loader *loader = NULL;
    ck_fails(td_loader_open(dataset, sampler, &wrong[_i].options, &loader), TD_ERR_ARG, wrong[_i].part);
    ck_fails(td_loader_open(dataset, larger, NULL, &loader), TD_ERR_ARG,
             "over 104 samples, the data set has 103");
    ck_assert_ptr_null(loader);
    td_batch batch;
    loader = open_loader(dataset, sampler, 1);
    ck_fails(td_loader_next(loader, &batch), TD_ERR_STATE, "no pass was started");
    ck_fails(td_loader_start(loader, COUNT + 1), TD_ERR_ARG, "start at 104");
    ck_fails(td_loader_next(loader, &batch), TD_ERR_STATE, "no pass was started");
    td_loader_close(&loader);
    td_sampler_close(&larger);
    td_sampler_close(&sampler);
    td_dataset_close(&dataset);
}
END_TEST

START_TEST(every_failed_allocation_is_a_status) {
    td_dataset *dataset = open_arrays();
    td_sampler *sampler = open_sampler(COUNT, 8);
    td_loader *loader = NULL;
    long k = 0;
    for (;; k++) {
        td_alloc_fail_after(k);
        td_status status = td_loader_open(dataset, sampler, NULL, &loader);
        td_alloc_fail_after(-1);
        if (status >= 0) break;
        ck_assert_int_eq(status, TD_ERR_MEMORY);
        ck_assert_ptr_null(loader);
    }
    ck_assert_int_eq(k, 2 + 4 * 3 + 2);
    td_loader_close(&loader);
    td_sampler_close(&sampler);
    td_dataset_close(&dataset);
}
END_TEST

START_TEST(no_batch_after_the_first_allocates) {
    td_dataset *dataset = open_arrays();
    td_sampler *sampler = open_sampler(COUNT, 8);
    td_loader *loader = open_loader(dataset, sampler, 3);
    td_batch batch;
    int64_t order[COUNT];
    ck_ok(td_loader_start(loader, 0));
    ck_ok(td_loader_next(loader, &batch)); /* computes the epoch's order */
    td_alloc_fail_after(0);
    ck_assert_int_eq(drain(loader, order), COUNT - 8);
    td_alloc_fail_after(-1);
    td_loader_close(&loader);
    td_sampler_close(&sampler);
    td_dataset_close(&dataset);
}
END_TEST

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

Suite *make_suite(void) {
    Suite *suite = suite_create("loader");
    TCase *tcase = tcase_create("loader");
    tcase_add_loop_test(tcase, batches_come_in_the_samplers_order_with_the_right_values, 0,
                        LENGTH(read_aheads));
    tcase_add_test(tcase, a_pass_goes_on_from_any_batchs_cursor);
    tcase_add_test(tcase, empty_shares_are_batches_too);
    tcase_add_test(tcase, draws_and_order_are_dataloaders);
    tcase_add_test(tcase, without_a_generator_nothing_is_drawn);
    tcase_add_test(tcase, a_data_set_without_rows_in_memory_gives_the_same);
    tcase_add_test(tcase, reading_ahead_happens_and_is_bounded);
    tcase_add_test(tcase, a_loader_can_be_closed_or_restarted_at_any_moment);
    tcase_add_test(tcase, a_failure_of_the_data_set_comes_out_at_its_batch);
    tcase_add_loop_test(tcase, parts_of_other_dtypes_are_converted_or_refused, 0, LENGTH(kinds));
    tcase_add_loop_test(tcase, impossible_options_are_named, 0, LENGTH(wrong));
    tcase_add_test(tcase, every_failed_allocation_is_a_status);
    tcase_add_test(tcase, no_batch_after_the_first_allocates);
    suite_add_tcase(suite, tcase);
    return suite;
}
