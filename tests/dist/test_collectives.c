/* Every collective on 1 to 8 ranks, as threads and as processes, at sizes around every border. */
#include "dist/ranks.h"
#include "dist/shm/protocol.h"
#include "support/check.h"

#include <stdio.h>

static const int rank_counts[] = {1, 2, 3, 4, 8};
enum { RANK_COUNTS = 5 };

/* Elements at which the way of an f32 collective changes, and their neighbours. */
static const size_t sizes[] = {
    0,
    1,
    2,
    7,
    TD_SHM_SMALL / 4 - 1,
    TD_SHM_SMALL / 4,
    TD_SHM_SMALL / 4 + 1,
    3 * TD_SHM_SLICE - 1,
    3 * TD_SHM_SLICE,
    3 * TD_SHM_SLICE + 1,
    TD_SHM_CHUNK / 8 - 1,
    TD_SHM_CHUNK / 8 + 1,
    TD_SHM_CHUNK / 4 - 1,
    TD_SHM_CHUNK / 4,
    TD_SHM_CHUNK / 4 + 1,
    TD_SHM_CHUNK / 2,
    TD_SHM_SLOTS *(TD_SHM_CHUNK / 4) - 1,
    TD_SHM_SLOTS *(TD_SHM_CHUNK / 4) + 1,
    5 * (TD_SHM_CHUNK / 4) + 13,
};
enum { SIZES = sizeof sizes / sizeof *sizes, LARGEST = 5 * (TD_SHM_CHUNK / 4) + 13 };

static double value_at(int rank, size_t i) { return (rank + 1) * 0.25 + (double)(i % 1000) * 3; }

static void fill(void *data, td_dtype dtype, size_t count, int rank) {
    for (size_t i = 0; i < count; i++) {
        if (dtype == TD_DTYPE_F32) ((float *)data)[i] = (float)value_at(rank, i);
        if (dtype == TD_DTYPE_F64) ((double *)data)[i] = value_at(rank, i);
        if (dtype == TD_DTYPE_I64) ((int64_t *)data)[i] = (int64_t)(4 * value_at(rank, i));
    }
}

/* The sum in rank order, in the arithmetic of the dtype. */
static void check_sum(const void *data, td_dtype dtype, size_t count, int ranks, bool average) {
    for (size_t i = 0; i < count; i++) {
        float f = 0;
        double d = 0;
        int64_t n = 0;
        for (int r = 0; r < ranks; r++) {
            f = r ? f + (float)value_at(r, i) : (float)value_at(r, i);
            d = r ? d + value_at(r, i) : value_at(r, i);
            n += (int64_t)(4 * value_at(r, i));
        }
        if (average) f /= (float)ranks, d /= ranks;
        bool right = dtype == TD_DTYPE_F32   ? ((const float *)data)[i] == f
                     : dtype == TD_DTYPE_F64 ? ((const double *)data)[i] == d
                                             : ((const int64_t *)data)[i] == n;
        if (!right)
            ck_abort_msg("element %zu of %zu %s over %d ranks is wrong", i, count, td_dtype_name(dtype),
                         ranks);
    }
}

/* Where the data of a rank lies. */
typedef enum where { IN_ARENA, PRIVATE, MIXED, ODD_ADDRESS, WHERES } where;

static void *place(where w, int rank, void *arena, void *private) {
    if (w == ODD_ADDRESS) return (char *)arena + 1; /* a legal address for bytes only; used for broadcast */
    return w == IN_ARENA || (w == MIXED && rank % 2 == 0) ? arena : private;
}

static void all_reduce_everything(td_job *job, void *cookie) {
    (void)cookie;
    static const td_dtype dtypes[] = {TD_DTYPE_F32, TD_DTYPE_F64, TD_DTYPE_I64};
    td_group *group;
    void *arena, *private = malloc(LARGEST * 8);
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_arena_alloc(td_group_arena(group), LARGEST * 8, &arena));
    int rank = td_group_rank(group), ranks = td_group_size(group);
    for (where w = 0; w < ODD_ADDRESS; w++)
        for (int s = 0; s < SIZES; s++)
            for (int t = 0; t < 3; t++) {
                void *data = place(w, rank, arena, private);
                bool average = dtypes[t] != TD_DTYPE_I64 && s % 2;
                size_t count = dtypes[t] == TD_DTYPE_F32 ? sizes[s] : sizes[s] / 2;
                fill(data, dtypes[t], count, rank);
                ck_ok(td_group_all_reduce(group, data, count, dtypes[t],
                                          average ? TD_REDUCE_AVG : TD_REDUCE_SUM, CPU, NULL, NULL));
                check_sum(data, dtypes[t], count, ranks, average);
            }
    free(private);
    td_group_close(&group);
}

START_TEST(all_reduce_sums_in_rank_order_on_threads) {
    run_threads(rank_counts[_i], all_reduce_everything, NULL);
}
END_TEST

START_TEST(all_reduce_sums_in_rank_order_on_processes) {
    run_processes(rank_counts[_i], all_reduce_everything, NULL);
}
END_TEST

static void broadcast_everything(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group;
    uint8_t *arena, *private = malloc(LARGEST * 4 + 1);
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_arena_alloc(td_group_arena(group), LARGEST * 4 + 1, (void **)&arena));
    int rank = td_group_rank(group), ranks = td_group_size(group);
    for (where w = 0; w < WHERES; w++)
        for (int s = 0; s < SIZES; s++) {
            int root = s % ranks;
            size_t count = sizes[s] * 4;
            uint8_t *data = place(w, rank, arena, private);
            for (size_t i = 0; i < count; i++) data[i] = (uint8_t)(rank == root ? i * 7 + (size_t)s : 0xee);
            ck_ok(td_group_broadcast(group, data, count, TD_DTYPE_U8, root, CPU, NULL, NULL));
            for (size_t i = 0; i < count; i++)
                if (data[i] != (uint8_t)(i * 7 + (size_t)s))
                    ck_abort_msg("byte %zu of %zu from rank %d is wrong", i, count, root);
        }
    free(private);
    td_group_close(&group);
}

START_TEST(broadcast_copies_the_root_on_threads) { run_threads(rank_counts[_i], broadcast_everything, NULL); }
END_TEST

START_TEST(broadcast_copies_the_root_on_processes) {
    run_processes(rank_counts[_i], broadcast_everything, NULL);
}
END_TEST

/* More works in flight than the ring has places, of all kinds, completed from the last to the first. */
static void post_many(td_job *job, void *cookie) {
    (void)cookie;
    enum { WORKS = 3 * TD_SHM_RING, COUNT = 3000, STAGED = TD_SHM_CHUNK };
    td_group *group;
    float *arena, *private = malloc(WORKS * sizeof(float) * STAGED);
    td_work *works[WORKS];
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_arena_alloc(td_group_arena(group), WORKS * COUNT * sizeof(float), (void **)&arena));
    int rank = td_group_rank(group), ranks = td_group_size(group);
    for (int round = 0; round < 3; round++) {
        for (int k = 0; k < WORKS; k++) {
            float *data = k % 3 ? arena + k * COUNT : private + (size_t)k * STAGED;
            size_t count = k % 3 == 0 ? STAGED : k % 3 == 1 ? COUNT : 5;
            fill(data, TD_DTYPE_F32, count, rank + k);
            ck_ok(td_group_all_reduce(group, data, count, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, &works[k]));
            if (k % 5 == rank) ck_assert_int_ge(td_work_test(works[k / 2]), 0);
        }
        for (int k = WORKS; k-- > 0;) {
            float *data = k % 3 ? arena + k * COUNT : private + (size_t)k * STAGED;
            size_t count = k % 3 == 0 ? STAGED : k % 3 == 1 ? COUNT : 5;
            ck_ok(td_work_wait(works[k]));
            td_work_release(&works[k]);
            for (size_t i = 0; i < count; i++) {
                float sum = 0;
                for (int r = 0; r < ranks; r++) sum += (float)value_at(r + k, i);
                if (data[i] != sum) ck_abort_msg("element %zu of work %d", i, k);
            }
        }
    }
    free(private);
    td_group_close(&group);
}

START_TEST(many_works_in_flight_complete) { run_threads(rank_counts[_i], post_many, NULL); }
END_TEST

static void post_and_forget(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group;
    int64_t values[20];
    ck_ok(td_group_open(job, NULL, &group));
    for (int k = 0; k < 20; k++) {
        td_work *work;
        values[k] = k;
        ck_ok(td_group_all_reduce(group, &values[k], 1, TD_DTYPE_I64, TD_REDUCE_SUM, CPU, NULL, &work));
        td_work_release(&work);
        ck_assert_ptr_null(work);
    }
    ck_ok(td_group_barrier(group, NULL));
    for (int k = 0; k < 20; k++) ck_assert_int_eq(values[k], k * td_group_size(group));
    td_group_close(&group);
}

START_TEST(released_works_go_on_and_are_done_before_a_later_one) { run_threads(3, post_and_forget, NULL); }
END_TEST

static void order_a_queue(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group;
    td_work *work;
    double value = 1;
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_group_all_reduce(group, &value, 1, TD_DTYPE_F64, TD_REDUCE_SUM, CPU, NULL, &work));
    ck_ok(td_work_order(work, NULL));
    ck_assert(value == td_group_size(group));
    ck_ok(td_work_test(work));
    td_work_release(&work);
    td_work_release(&work);
    td_group_close(&group);
}

START_TEST(a_queue_on_the_cpu_waits_at_once) { run_threads(2, order_a_queue, NULL); }
END_TEST

/* Ten million elements, twice, must give the same bits on all ranks. */
static void reduce_ten_million(td_job *job, void *cookie) {
    enum { COUNT = 10000000 };
    td_group *group;
    float *data;
    uint32_t *hashes = cookie;
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_arena_alloc(td_group_arena(group), COUNT * sizeof *data, (void **)&data));
    for (int run = 0; run < 2; run++) {
        uint32_t hash = 0, bits;
        for (size_t i = 0; i < COUNT; i++)
            data[i] = 1.0f / (float)(i % 977 + (size_t)td_group_rank(group) + 1);
        ck_ok(td_group_all_reduce(group, data, COUNT, TD_DTYPE_F32, TD_REDUCE_AVG, CPU, NULL, NULL));
        for (size_t i = 0; i < COUNT; i++) {
            memcpy(&bits, &data[i], sizeof bits);
            hash = hash * 31 + bits;
        }
        hashes[run * 4 + td_group_rank(group)] = hash;
    }
    td_group_close(&group);
}

START_TEST(ten_million_elements_have_the_same_bits_on_all_ranks_and_runs) {
    uint32_t hashes[8] = {0};
    run_threads(4, reduce_ten_million, hashes);
    for (int i = 1; i < 8; i++) ck_assert_uint_eq(hashes[i], hashes[0]);
}
END_TEST

static void call_wrongly(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group;
    float x = 0;
    ck_ok(td_group_open(job, NULL, &group));
    ck_fails(td_group_all_reduce(group, &x, 1, (td_dtype)77, TD_REDUCE_SUM, CPU, NULL, NULL), TD_ERR_ARG,
             "dtype 77");
    ck_fails(td_group_all_reduce(group, &x, 1, TD_DTYPE_F32, (td_reduce)99, CPU, NULL, NULL), TD_ERR_ARG,
             "reduction 99");
    ck_fails(td_group_all_reduce(group, NULL, 1, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, NULL), TD_ERR_ARG,
             "NULL");
    ck_fails(td_group_all_reduce(group, &x, SIZE_MAX / 2, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, NULL),
             TD_ERR_ARG, "do not fit");
    ck_fails(td_group_all_reduce(group, &x, 1, TD_DTYPE_I64, TD_REDUCE_AVG, CPU, NULL, NULL), TD_ERR_ARG,
             "average of i64");
    ck_fails(td_group_all_reduce(group, &x, 1, TD_DTYPE_F32, TD_REDUCE_SUM, ((td_device){TD_DEVICE_CUDA, 0}),
                                 NULL, NULL),
             TD_ERR_UNSUPPORTED, "not on cuda");
    ck_fails(td_group_broadcast(group, &x, 1, TD_DTYPE_F32, 99, CPU, NULL, NULL), TD_ERR_ARG, "root 99");
    ck_fails(td_group_broadcast(group, &x, 1, TD_DTYPE_F32, -1, CPU, NULL, NULL), TD_ERR_ARG, "root -1");
    ck_ok(td_group_barrier(group, NULL)); /* none of it has broken anything */
    td_group_close(&group);
}

START_TEST(wrong_arguments_are_refused_and_break_nothing) {
    run_threads(rank_counts[_i % 2], call_wrongly, NULL);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("collectives");
    TCase *tcase = tcase_create("collectives");
    tcase_add_loop_test(tcase, all_reduce_sums_in_rank_order_on_threads, 0, RANK_COUNTS);
    tcase_add_loop_test(tcase, all_reduce_sums_in_rank_order_on_processes, 0, RANK_COUNTS);
    tcase_add_loop_test(tcase, broadcast_copies_the_root_on_threads, 0, RANK_COUNTS);
    tcase_add_loop_test(tcase, broadcast_copies_the_root_on_processes, 0, RANK_COUNTS);
    tcase_add_loop_test(tcase, many_works_in_flight_complete, 0, RANK_COUNTS);
    tcase_add_test(tcase, released_works_go_on_and_are_done_before_a_later_one);
    tcase_add_test(tcase, a_queue_on_the_cpu_waits_at_once);
    tcase_add_test(tcase, ten_million_elements_have_the_same_bits_on_all_ranks_and_runs);
    tcase_add_loop_test(tcase, wrong_arguments_are_refused_and_break_nothing, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
