/* Samplers against PyTorch's, and the cut into global batches against its own promises. */
#include "base/context.h"
#include "base/memory.h"
#include "sampler/sampler.h"
#include "support/check.h"
#include "support/golden.h"

#include <stdio.h>

enum { MOST = 60032 }; /* entries of the longest list here */

/* The rest of a pass, batch after batch, as one list; returns its length. */
static int64_t read_all(td_sampler *sampler, int64_t *list) {
    int64_t total = 0, count;
    for (;;) {
        ck_ok(td_sampler_next(sampler, list + total, &count));
        if (count == TD_SAMPLER_END) return total;
        ck_quietly(count <= td_sampler_capacity(sampler));
        total += count;
    }
}

static td_sampler *distributed(int64_t size, td_distributed_options options) {
    td_sampler *sampler = NULL;
    ck_ok(td_sampler_distributed(size, &options, &sampler));
    return sampler;
}

static td_sampler *global_batch(int64_t size, td_global_batch_options options) {
    td_sampler *sampler = NULL;
    ck_ok(td_sampler_global_batch(size, &options, &sampler));
    return sampler;
}

/* DistributedSampler: the table of the reference. */

static const struct {
    int64_t size;
    int world_size, rank;
    bool drop_last;
    uint64_t epoch;
    int64_t length, list[3];
} lists[] = {
    {10, 4, 0, false, 0, 3, {4, 3, 6}}, {10, 4, 1, false, 0, 3, {1, 9, 2}},
    {10, 4, 2, false, 0, 3, {7, 0, 4}}, {10, 4, 3, false, 0, 3, {5, 8, 1}},
    {10, 4, 0, false, 1, 3, {5, 0, 7}}, {10, 4, 1, false, 1, 3, {6, 8, 4}},
    {10, 4, 2, false, 1, 3, {1, 9, 5}}, {10, 4, 3, false, 1, 3, {2, 3, 6}},
    {10, 4, 0, false, 2, 3, {8, 6, 2}}, {10, 4, 1, false, 2, 3, {7, 9, 3}},
    {10, 4, 2, false, 2, 3, {1, 0, 8}}, {10, 4, 3, false, 2, 3, {5, 4, 7}},
    {10, 4, 0, true, 0, 2, {4, 3}},     {10, 4, 1, true, 0, 2, {1, 9}},
    {10, 4, 2, true, 0, 2, {7, 0}},     {10, 4, 3, true, 0, 2, {5, 8}},
    {3, 8, 0, false, 0, 1, {2}},        {3, 8, 1, false, 0, 1, {0}},
    {3, 8, 2, false, 0, 1, {1}},        {3, 8, 3, false, 0, 1, {2}},
    {3, 8, 7, false, 0, 1, {0}},        {3, 8, 2, true, 0, 0, {0}},
};

START_TEST(a_distributed_sampler_gives_the_known_lists) {
    td_distributed_options options = TD_DISTRIBUTED_DEFAULTS;
    options.world_size = lists[_i].world_size;
    options.rank = lists[_i].rank;
    options.drop_last = lists[_i].drop_last;
    td_sampler *sampler = distributed(lists[_i].size, options);
    td_sampler_set_epoch(sampler, lists[_i].epoch);
    ck_ok(td_sampler_start(sampler, 0));
    int64_t list[16];
    ck_assert_int_eq(td_sampler_length(sampler), lists[_i].length);
    ck_assert_int_eq(td_sampler_batches_left(sampler), lists[_i].length);
    ck_assert_int_eq(read_all(sampler, list), lists[_i].length);
    ck_assert_mem_eq(list, lists[_i].list, (size_t)lists[_i].length * sizeof *list);
    ck_assert_int_eq(td_sampler_batches_left(sampler), 0);
    td_sampler_close(&sampler);
    ck_assert_ptr_null(sampler);
}
END_TEST

static void compare_distributed(const json_t *record, int rank) {
    static int64_t list[MOST];
    td_distributed_options options = {
        .batch_size = 1 + (rank + golden_int(record, "n")) % 7, /* the list must not depend on it */
        .world_size = (int)golden_int(record, "world"),
        .rank = rank,
        .shuffle = golden_flag(record, "shuffle"),
        .drop_last = golden_flag(record, "drop_last"),
        .seed = golden_seed(record),
    };
    td_sampler *sampler = distributed(golden_int(record, "n"), options);
    td_sampler_set_epoch(sampler, (uint64_t)golden_int(record, "epoch"));
    ck_ok(td_sampler_start(sampler, 0));
    ck_assert_int_eq(td_sampler_length(sampler), golden_int(record, "per_rank"));
    int64_t length = read_all(sampler, list);
    ck_assert_int_eq(length, golden_int(record, "per_rank"));
    int64_t crc = json_integer_value(json_array_get(json_object_get(record, "crc32"), (size_t)rank));
    ck_assert_msg(golden_crc(list, (size_t)length * sizeof *list) == crc, "rank %d of %s", rank,
                  golden_describe(record));
    td_sampler_close(&sampler);
}

START_TEST(distributed_samplers_equal_pytorchs_over_many_settings) {
    json_t *root = golden_load("sampler.json"), *record;
    size_t i;
    json_array_foreach(golden_list(root, "distributed"), i,
                       record) for (int rank = 0; rank < golden_int(record, "world"); rank++)
        compare_distributed(record, rank);
    json_decref(root);
}
END_TEST

START_TEST(a_new_epoch_counts_only_at_the_next_start) {
    td_distributed_options options = TD_DISTRIBUTED_DEFAULTS;
    options.batch_size = 4;
    td_sampler *sampler = distributed(10, options);
    int64_t list[10], first[10], count;
    ck_ok(td_sampler_next(sampler, list, &count));
    td_sampler_set_epoch(sampler, 1);
    ck_assert_int_eq(read_all(sampler, list + 4), 6);
    ck_ok(td_sampler_start(sampler, 0));
    read_all(sampler, first);
    ck_assert_mem_ne(list, first, sizeof list);
    td_sampler_set_epoch(sampler, 0);
    ck_ok(td_sampler_start(sampler, 0));
    read_all(sampler, first);
    ck_assert_mem_eq(list, first, sizeof list);
    td_sampler_close(&sampler);
}
END_TEST

START_TEST(the_end_is_said_again_and_again) {
    td_sampler *sampler = distributed(3, (td_distributed_options)TD_DISTRIBUTED_DEFAULTS);
    int64_t list[3], count;
    read_all(sampler, list);
    for (int i = 0; i < 3; i++) {
        ck_ok(td_sampler_next(sampler, list, &count));
        ck_assert_int_eq(count, TD_SAMPLER_END);
    }
    td_sampler_close(&sampler);
}
END_TEST

START_TEST(a_short_last_batch_can_be_dropped) {
    td_distributed_options options = TD_DISTRIBUTED_DEFAULTS;
    options.batch_size = 4;
    options.drop_short_batch = true;
    td_sampler *sampler = distributed(10, options);
    int64_t list[12];
    ck_assert_int_eq(td_sampler_batches_left(sampler), 2);
    ck_assert_int_eq(td_sampler_length(sampler), 10);
    ck_assert_int_eq(read_all(sampler, list), 8);
    td_sampler_close(&sampler);
}
END_TEST

/* A pass may begin at any cursor and then gives what is left of the whole pass. */
START_TEST(a_distributed_pass_goes_on_from_every_cursor) {
    static const int64_t sizes[] = {1, 2, 7, 16, 33};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (int world = 1; world <= 5; world++) {
            td_distributed_options options = {
                .batch_size = 3, .world_size = world, .rank = world - 1, .shuffle = true, .seed = 5};
            td_sampler *whole = distributed(sizes[s], options), *part = distributed(sizes[s], options);
            int64_t list[40], rest[40], length = read_all(whole, list);
            for (int64_t cursor = 0; cursor <= length; cursor++) {
                ck_ok(td_sampler_start(part, cursor));
                ck_assert_int_eq(td_sampler_cursor(part), cursor);
                ck_assert_int_eq(td_sampler_batches_left(part), (length - cursor + 2) / 3);
                ck_assert_int_eq(read_all(part, rest), length - cursor);
                ck_assert_mem_eq(rest, list + cursor, (size_t)(length - cursor) * sizeof *rest);
            }
            ck_fails(td_sampler_start(part, length + 1), TD_ERR_ARG, "a pass goes from 0 to");
            ck_fails(td_sampler_start(part, -1), TD_ERR_ARG, "start at -1");
            td_sampler_close(&whole);
            td_sampler_close(&part);
        }
    }
}
END_TEST

/* Global batches. */

static const int64_t cut_sizes[] = {1, 2, 5, 16, 37, 64, 101};
enum { N_CUT_SIZES = sizeof cut_sizes / sizeof *cut_sizes };

/* Mark what the ranks of a world get in the next batch of each; returns whether there was one. */
static bool mark_step(td_sampler **ranks, int world, int64_t most, int *seen) {
    int64_t list[128], count, cursor = -1, least = INT64_MAX, largest = -1, total = 0;
    for (int r = 0; r < world; r++) {
        ck_ok(td_sampler_next(ranks[r], list, &count));
        if (count == TD_SAMPLER_END) {
            ck_quietly(total == 0); /* all ranks end together */
            least = -1;
            continue;
        }
        ck_quietly(least != -1);
        ck_quietly(count <= td_sampler_capacity(ranks[r]));
        least = count < least ? count : least;
        largest = count > largest ? count : largest;
        total += count;
        for (int64_t i = 0; i < count; i++) seen[list[i]]++;
        ck_quietly(cursor == -1 || cursor == td_sampler_cursor(ranks[r]));
        cursor = td_sampler_cursor(ranks[r]);
    }
    if (least == -1) return false;
    ck_quietly(largest - least <= 1);
    ck_quietly(total >= 1);
    ck_quietly(total <= most);
    return true;
}

static void open_world(td_sampler **ranks, int world, int64_t size, int64_t batch, int64_t cursor) {
    for (int r = 0; r < world; r++) {
        ranks[r] = global_batch(
            size,
            (td_global_batch_options){
                .global_batch_size = batch, .world_size = world, .rank = r, .shuffle = true, .seed = 3});
        td_sampler_set_epoch(ranks[r], 2);
        ck_ok(td_sampler_start(ranks[r], cursor));
    }
}

static void close_world(td_sampler **ranks, int world) {
    for (int r = 0; r < world; r++) td_sampler_close(&ranks[r]);
}

/* Some steps in one world, the rest in another, with another batch size: every sample exactly once. */
static void resume(int64_t size, int64_t batch, int world, int steps, int other_world, int64_t other_batch) {
    td_sampler *ranks[9];
    int seen[128] = {0};
    open_world(ranks, world, size, batch, 0);
    bool more = true;
    for (int step = 0; step < steps && more; step++) more = mark_step(ranks, world, batch, seen);
    int64_t cursor = td_sampler_cursor(ranks[0]);
    close_world(ranks, world);
    open_world(ranks, other_world, size, other_batch, cursor);
    int64_t left = td_sampler_batches_left(ranks[0]), counted = 0;
    while (mark_step(ranks, other_world, other_batch, seen)) counted++;
    close_world(ranks, other_world);
    ck_assert_int_eq(counted, left);
    for (int64_t i = 0; i < size; i++)
        if (seen[i] != 1)
            ck_abort_msg("size %ld, batch %ld, world %d then %d: sample %ld came %d times", (long)size,
                         (long)batch, world, other_world, (long)i, seen[i]);
}

START_TEST(a_pass_resumed_in_another_world_gives_every_sample_once) {
    static const int64_t batches[] = {1, 3, 8, 40};
    for (size_t b = 0; b < 4; b++)
        for (int world = 1; world <= 8; world += 1 + (world > 3))
            for (int other = 1; other <= 8; other += 2)
                for (int steps = 0; steps < 4; steps++)
                    resume(cut_sizes[_i], batches[b], world, steps, other, batches[(b + (size_t)steps) % 4]);
}
END_TEST

START_TEST(a_steps_samples_do_not_depend_on_the_world_size) {
    for (int world = 2; world <= 8; world++) {
        td_sampler *alone[1], *ranks[8];
        open_world(alone, 1, cut_sizes[_i], 12, 0);
        open_world(ranks, world, cut_sizes[_i], 12, 0);
        for (bool more = true; more;) {
            int here[128] = {0}, there[128] = {0};
            more = mark_step(alone, 1, 12, here);
            ck_assert(more == mark_step(ranks, world, 12, there));
            ck_assert_mem_eq(here, there, sizeof here);
        }
        close_world(alone, 1);
        close_world(ranks, world);
    }
}
END_TEST

START_TEST(where_the_world_divides_the_batch_the_order_is_distributed_samplers) {
    for (int world = 1; world <= 4; world++) {
        for (int rank = 0; rank < world; rank++) {
            int64_t size = 48, list[48], other[48];
            td_sampler *cut = global_batch(
                size,
                (td_global_batch_options){
                    .global_batch_size = 12, .world_size = world, .rank = rank, .shuffle = _i, .seed = 9});
            td_sampler *plain = distributed(
                size,
                (td_distributed_options){
                    .batch_size = 12 / world, .world_size = world, .rank = rank, .shuffle = _i, .seed = 9});
            for (int64_t count = 0, same; count != TD_SAMPLER_END;) {
                ck_ok(td_sampler_next(cut, list, &count));
                ck_ok(td_sampler_next(plain, other, &same));
                ck_assert_int_eq(count, same);
                if (count > 0) ck_assert_mem_eq(list, other, (size_t)count * sizeof *list);
            }
            td_sampler_close(&cut);
            td_sampler_close(&plain);
        }
    }
}
END_TEST

START_TEST(a_short_last_global_batch_is_kept_or_dropped_on_all_ranks) {
    for (int drop = 0; drop < 2; drop++) {
        int64_t total = 0, list[16];
        for (int rank = 0; rank < 4; rank++) {
            td_sampler *sampler = global_batch(
                10, (td_global_batch_options){
                        .global_batch_size = 8, .drop_short_batch = drop, .world_size = 4, .rank = rank});
            ck_assert_int_eq(td_sampler_batches_left(sampler), drop ? 1 : 2);
            total += read_all(sampler, list);
            td_sampler_close(&sampler);
        }
        ck_assert_int_eq(total, drop ? 8 : 10);
    }
}
END_TEST

/* Sequential and random samplers. */

/* Shares of ranks 2 to 4 of 5, beside samplers of each of them. */
START_TEST(shares_of_several_ranks_lie_one_behind_the_other) {
    td_global_batch_options options = {
        .global_batch_size = 7, .world_size = 5, .rank = 2, .shuffle = _i, .seed = 4};
    td_sampler *shares = NULL, *each[3];
    ck_ok(td_sampler_shares(31, &options, 3, &shares));
    int64_t length = 0;
    for (int r = 0; r < 3; r++, options.rank++) {
        each[r] = global_batch(31, options);
        length += td_sampler_length(each[r]);
    }
    ck_assert_int_eq(td_sampler_length(shares), length);
    ck_assert_int_eq(td_sampler_batches_left(shares), 5);
    for (uint64_t epoch = 1; epoch < 3; epoch++) {
        td_sampler_set_epoch(shares, epoch);
        ck_ok(td_sampler_start(shares, 0));
        for (int r = 0; r < 3; r++) {
            td_sampler_set_epoch(each[r], epoch);
            ck_ok(td_sampler_start(each[r], 0));
        }
        for (;;) {
            int64_t all[16], own[16], count, own_count, at = 0, begin = td_sampler_cursor(shares);
            ck_ok(td_sampler_next(shares, all, &count));
            if (count == TD_SAMPLER_END) break;
            ck_assert_int_le(count, td_sampler_capacity(shares));
            for (int r = 0; r < 3; r++, at += own_count) {
                ck_ok(td_sampler_next(each[r], own, &own_count));
                ck_assert_int_eq(own_count, td_sampler_share(begin, td_sampler_cursor(shares), 5, 2 + r));
                ck_assert_mem_eq(all + at, own, (size_t)own_count * sizeof *own);
            }
            ck_assert_int_eq(at, count);
        }
    }
    td_sampler_close(&shares);
    for (int r = 0; r < 3; r++) td_sampler_close(&each[r]);
}
END_TEST

START_TEST(shares_of_ranks_that_are_not_there_are_refused) {
    td_global_batch_options options = {.global_batch_size = 7, .world_size = 5, .rank = 3};
    td_sampler *shares = NULL;
    ck_fails(td_sampler_shares(31, &options, 3, &shares), TD_ERR_ARG, "3 ranks from rank 3");
    ck_fails(td_sampler_shares(31, &options, 0, &shares), TD_ERR_ARG, "0 ranks from rank 3");
    options.global_batch_size = 0;
    ck_fails(td_sampler_shares(31, &options, 1, &shares), TD_ERR_ARG, "batch size 0");
    ck_assert_ptr_null(shares);
}
END_TEST

START_TEST(a_sequential_sampler_counts) {
    td_sampler *sampler = NULL;
    int64_t list[5], count;
    ck_ok(td_sampler_sequential(5, &(td_sequential_options){.batch_size = 2}, &sampler));
    for (int64_t begin = 0; begin < 5; begin += 2) {
        ck_ok(td_sampler_next(sampler, list, &count));
        ck_assert_int_eq(count, begin < 4 ? 2 : 1);
        for (int64_t i = 0; i < count; i++) ck_assert_int_eq(list[i], begin + i);
    }
    ck_ok(td_sampler_start(sampler, 4));
    ck_assert_int_eq(read_all(sampler, list), 1);
    ck_assert_int_eq(list[0], 4);
    td_sampler_close(&sampler);
}
END_TEST

static int64_t state_crc(const td_generator *generator) {
    uint8_t state[TD_GENERATOR_STATE_BYTES];
    td_generator_get_state(generator, state);
    return golden_crc(state, sizeof state);
}

START_TEST(random_samplers_equal_pytorchs) {
    static int64_t list[MOST];
    json_t *root = golden_load("sampler.json"), *record;
    size_t i;
    td_context *context = NULL;
    ck_ok(td_context_open(&context));
    json_array_foreach(golden_list(root, "random_samplers"), i, record) {
        td_random_options options = {.batch_size = 1 + (int64_t)i % 40,
                                     .replacement = golden_flag(record, "replacement"),
                                     .num_samples = golden_int_or(record, "num_samples", 0)};
        td_sampler *sampler = NULL;
        ck_ok(td_manual_seed(golden_seed(record)));
        ck_ok(td_sampler_random(golden_int(record, "n"), &options, &sampler));
        int64_t length = read_all(sampler, list);
        ck_assert_int_eq(length, golden_int(record, "count"));
        ck_assert_msg(golden_crc(list, (size_t)length * sizeof *list) == golden_int(record, "crc32"),
                      "not %s", golden_describe(record));
        ck_assert_int_eq(state_crc(td_context_generator(context)), golden_int(record, "state_crc32"));
        td_sampler_close(&sampler);
    }
    td_context_close(&context);
    json_decref(root);
}
END_TEST

/* Words taken from a generator of the caller's by a pass over 10 in batches of 4, as the reference says. */
static const struct {
    bool replacement;
    int64_t num_samples;
    bool drop_short;
    int batches; /* read before the count */
    int words;
} draws[] = {
    {false, 0, false, 0, 0},   {false, 0, false, 1, 9},   {false, 0, false, 2, 9},
    {false, 0, false, 3, 18},  {false, 0, true, 2, 9},    {false, 0, true, 3, 18},
    {false, 20, false, 5, 18}, {false, 20, false, 6, 27}, {false, 25, false, 7, 27},
    {false, 8, false, 2, 9},   {false, 8, false, 3, 9},   {true, 40, false, 1, 32},
    {true, 40, false, 10, 40}, {true, 40, false, 11, 40}, {true, 10, false, 1, 10},
};

START_TEST(a_lent_generator_is_drawn_from_as_in_pytorch) {
    td_generator *generator = NULL, *counted = NULL;
    ck_ok(td_generator_open(&generator));
    ck_ok(td_generator_open(&counted));
    td_random_options options = {.batch_size = 4,
                                 .drop_short_batch = draws[_i].drop_short,
                                 .replacement = draws[_i].replacement,
                                 .num_samples = draws[_i].num_samples,
                                 .generator = generator};
    td_sampler *sampler = NULL;
    int64_t list[4], count;
    ck_ok(td_sampler_random(10, &options, &sampler));
    for (int i = 0; i < draws[_i].batches; i++) ck_ok(td_sampler_next(sampler, list, &count));
    for (int i = 0; i < draws[_i].words; i++) td_generator_random(counted);
    ck_assert_int_eq(state_crc(generator), state_crc(counted));
    td_sampler_close(&sampler);
    td_generator_close(&generator);
    td_generator_close(&counted);
}
END_TEST

START_TEST(a_random_pass_goes_on_from_every_cursor) {
    td_context *context = NULL;
    ck_ok(td_context_open(&context));
    for (int replacement = 0; replacement < 2; replacement++) {
        td_random_options options = {.batch_size = 3, .replacement = replacement, .num_samples = 70};
        td_sampler *sampler = NULL;
        int64_t list[80], rest[80];
        ck_ok(td_sampler_random(20, &options, &sampler));
        for (int64_t cursor = 0; cursor <= 70; cursor++) {
            ck_ok(td_manual_seed(8));
            ck_ok(td_sampler_start(sampler, 0));
            ck_assert_int_eq(read_all(sampler, list), 70);
            ck_ok(td_manual_seed(8));
            ck_ok(td_sampler_start(sampler, cursor));
            ck_assert_int_eq(read_all(sampler, rest), 70 - cursor);
            ck_assert_mem_eq(rest, list + cursor, (size_t)(70 - cursor) * sizeof *list);
        }
        td_sampler_close(&sampler);
    }
    td_context_close(&context);
}
END_TEST

START_TEST(a_random_sampler_needs_a_context_or_a_generator) {
    td_sampler *sampler = NULL;
    int64_t list[1], count = 77;
    ck_ok(td_sampler_random(5, NULL, &sampler));
    ck_fails(td_sampler_next(sampler, list, &count), TD_ERR_STATE, "has no context");
    ck_assert_int_eq(count, 77);
    td_sampler_close(&sampler);
}
END_TEST

/* Errors. */

static const struct {
    int64_t size;
    td_distributed_options options;
    const char *part;
} wrong[] = {
    {-1, TD_DISTRIBUTED_DEFAULTS, "size -1"},
    {INT64_MAX, TD_DISTRIBUTED_DEFAULTS, "size 9223372036854775807"},
    {4, {.batch_size = 0, .world_size = 1}, "batch size 0"},
    {4, {.batch_size = -3, .world_size = 1}, "batch size -3"},
    {4, {.batch_size = 1, .world_size = 0}, "world size 0"},
    {4, {.batch_size = 1, .world_size = 2, .rank = 2}, "rank 2, but a world of 2 has ranks 0 to 1"},
    {4, {.batch_size = 1, .world_size = 2, .rank = -1}, "rank -1"},
};

START_TEST(impossible_options_are_named) {
    td_sampler *sampler = NULL;
    ck_fails(td_sampler_distributed(wrong[_i].size, &wrong[_i].options, &sampler), TD_ERR_ARG,
             wrong[_i].part);
    ck_assert_ptr_null(sampler);
    td_global_batch_options cut = {.global_batch_size = wrong[_i].options.batch_size,
                                   .world_size = wrong[_i].options.world_size,
                                   .rank = wrong[_i].options.rank};
    ck_fails(td_sampler_global_batch(wrong[_i].size, &cut, &sampler), TD_ERR_ARG, wrong[_i].part);
    ck_assert_ptr_null(sampler);
}
END_TEST

START_TEST(no_samples_are_an_empty_pass) {
    td_sampler *samplers[3] = {NULL};
    int64_t count;
    ck_ok(td_sampler_sequential(0, NULL, &samplers[0]));
    ck_ok(td_sampler_distributed(0, NULL, &samplers[1]));
    ck_ok(td_sampler_global_batch(0, NULL, &samplers[2]));
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(td_sampler_batches_left(samplers[i]), 0);
        ck_ok(td_sampler_next(samplers[i], NULL, &count));
        ck_assert_int_eq(count, TD_SAMPLER_END);
        td_sampler_close(&samplers[i]);
    }
    ck_fails(td_sampler_random(0, &(td_random_options){.batch_size = 1, .num_samples = 3}, &samplers[0]),
             TD_ERR_ARG, "num_samples 3 of a data set of 0");
}
END_TEST

START_TEST(every_failed_allocation_is_a_status) {
    td_generator *generator = NULL;
    ck_ok(td_generator_open(&generator));
    int failures = 0;
    for (long k = 0;; k++) {
        td_sampler *random = NULL, *part = NULL, *shares = NULL;
        int64_t list[4], count;
        td_alloc_fail_after(k);
        td_status status = td_sampler_random(9, &(td_random_options){.batch_size = 2}, &random);
        if (status >= 0)
            status = td_sampler_distributed(
                9, &(td_distributed_options){.batch_size = 2, .world_size = 2, .shuffle = true}, &part);
        if (status >= 0)
            status = td_sampler_shares(
                9, &(td_global_batch_options){.global_batch_size = 4, .world_size = 2, .shuffle = true}, 2,
                &shares);
        if (status >= 0) status = td_sampler_next(part, list, &count);
        td_alloc_fail_after(-1);
        td_sampler_close(&shares);
        if (status >= 0) {
            ck_assert_int_eq(count, 2);
            ck_assert_int_eq(list[1] >= 0 && list[1] < 9, 1);
        } else {
            ck_assert_int_eq(status, TD_ERR_MEMORY);
            failures++;
            if (part) { /* a failed batch can be asked for again */
                ck_ok(td_sampler_next(part, list, &count));
                ck_assert_int_eq(count, 2);
            }
        }
        td_sampler_close(&random);
        td_sampler_close(&part);
        if (status >= 0 && k > failures + 2) break; /* shrinking may fail in silence */
    }
    ck_assert_int_ge(failures, 5);
    td_generator_close(&generator);
}
END_TEST

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

Suite *make_suite(void) {
    Suite *suite = suite_create("sampler");
    TCase *tcase = tcase_create("sampler");
    tcase_add_loop_test(tcase, a_distributed_sampler_gives_the_known_lists, 0, LENGTH(lists));
    tcase_add_test(tcase, distributed_samplers_equal_pytorchs_over_many_settings);
    tcase_add_test(tcase, a_new_epoch_counts_only_at_the_next_start);
    tcase_add_test(tcase, the_end_is_said_again_and_again);
    tcase_add_test(tcase, a_short_last_batch_can_be_dropped);
    tcase_add_test(tcase, a_distributed_pass_goes_on_from_every_cursor);
    tcase_add_loop_test(tcase, a_pass_resumed_in_another_world_gives_every_sample_once, 0, N_CUT_SIZES);
    tcase_add_loop_test(tcase, a_steps_samples_do_not_depend_on_the_world_size, 0, N_CUT_SIZES);
    tcase_add_loop_test(tcase, where_the_world_divides_the_batch_the_order_is_distributed_samplers, 0, 2);
    tcase_add_test(tcase, a_short_last_global_batch_is_kept_or_dropped_on_all_ranks);
    tcase_add_loop_test(tcase, shares_of_several_ranks_lie_one_behind_the_other, 0, 2);
    tcase_add_test(tcase, shares_of_ranks_that_are_not_there_are_refused);
    tcase_add_test(tcase, a_sequential_sampler_counts);
    tcase_add_test(tcase, random_samplers_equal_pytorchs);
    tcase_add_loop_test(tcase, a_lent_generator_is_drawn_from_as_in_pytorch, 0, LENGTH(draws));
    tcase_add_test(tcase, a_random_pass_goes_on_from_every_cursor);
    tcase_add_test(tcase, a_random_sampler_needs_a_context_or_a_generator);
    tcase_add_loop_test(tcase, impossible_options_are_named, 0, LENGTH(wrong));
    tcase_add_test(tcase, no_samples_are_an_empty_pass);
    tcase_add_test(tcase, every_failed_allocation_is_a_status);
    suite_add_tcase(suite, tcase);
    return suite;
}
