/*
 * A rank of the tests of groups over MPI, on the public interface: mpi_ranks WHAT [BACKEND]. "all" compares every call with a
 * plain model of it; the others are single faults. Says "ok", or what is wrong and leaves with 1.
 */
#include "dist/group.h"
#include "dist/job.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static td_job *job;
static td_group *group;
static int me, n;

#define EXPECT(condition, ...)                                                                               \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "rank %d: ", me), fprintf(stderr, __VA_ARGS__), fputc('\n', stderr);             \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)
#define OK(call) EXPECT((call) >= 0, "%s: %s", #call, td_error_last()->text)

enum { LARGEST = 70001, RANKS_MOST = 8, ROOM = LARGEST * RANKS_MOST };
static double values[RANKS_MOST][ROOM]; /* what each rank puts in */
static _Alignas(16) unsigned char input[ROOM * 8], output[ROOM * 8];

static const td_dtype dtypes[] = {TD_DTYPE_F32, TD_DTYPE_F64, TD_DTYPE_I32, TD_DTYPE_I64, TD_DTYPE_U8};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

static void put(void *data, td_dtype dtype, size_t i, double v) {
    if (dtype == TD_DTYPE_F32) ((float *)data)[i] = (float)v;
    if (dtype == TD_DTYPE_F64) ((double *)data)[i] = v;
    if (dtype == TD_DTYPE_I32) ((int32_t *)data)[i] = (int32_t)v;
    if (dtype == TD_DTYPE_I64) ((int64_t *)data)[i] = (int64_t)v;
    if (dtype == TD_DTYPE_U8) ((uint8_t *)data)[i] = (uint8_t)v;
}
static double get(const void *data, td_dtype dtype, size_t i) {
    if (dtype == TD_DTYPE_F32) return ((const float *)data)[i];
    if (dtype == TD_DTYPE_F64) return ((const double *)data)[i];
    if (dtype == TD_DTYPE_I32) return ((const int32_t *)data)[i];
    if (dtype == TD_DTYPE_I64) return (double)((const int64_t *)data)[i];
    return ((const uint8_t *)data)[i];
}

/* Small whole numbers, so that every sum and product of 8 ranks is exact in every dtype but u8's. */
static double value_at(int rank, size_t i) { return (double)((i * 7 + (size_t)rank * 3) % 5 + 1); }

static double reduced(td_reduce op, size_t i, td_dtype dtype) {
    double all = values[0][i];
    for (int r = 1; r < n; r++) {
        double v = values[r][i];
        if (op == TD_REDUCE_SUM || op == TD_REDUCE_AVG) all += v;
        if (op == TD_REDUCE_MIN) all = v < all ? v : all;
        if (op == TD_REDUCE_MAX) all = v > all ? v : all;
        if (op == TD_REDUCE_PROD) all *= v;
    }
    if (op == TD_REDUCE_AVG) all = dtype == TD_DTYPE_F32 ? (float)all / (float)n : all / n;
    return dtype == TD_DTYPE_U8 ? fmod(all, 256) : all;
}

/* The element `i` of this rank's output, by the definition of the call. */
static double wanted(const td_call *c, size_t i) {
    size_t part = c->count, from = part ? i / part : 0, at = part ? i % part : 0;
    switch (c->kind) {
    case TD_CALL_ALL_REDUCE:
    case TD_CALL_REDUCE: return reduced(c->op, i, c->dtype);
    case TD_CALL_BROADCAST: return values[c->root][i];
    case TD_CALL_REDUCE_SCATTER: return reduced(c->op, (size_t)me * part + i, c->dtype);
    case TD_CALL_ALL_GATHER:
    case TD_CALL_GATHER: return values[from][at];
    case TD_CALL_SCATTER: return values[c->root][(size_t)me * part + i];
    default: return values[from][(size_t)me * part + at]; /* all_to_all */
    }
}

static void check_call(td_call c) {
    size_t count = td_call_output_count(&c, me, n), given = td_call_input_count(&c, me, n);
    for (int r = 0; r < n; r++)
        for (size_t i = 0; i < (size_t)n * c.count; i++) values[r][i] = value_at(r, i);
    for (size_t i = 0; i < given; i++) put(input, c.dtype, i, values[me][i]);
    memset(output, 0x55, count * 8);
    c.input = input, c.output = output;
    if (c.kind == TD_CALL_BROADCAST && me == c.root) c.output = NULL;
    OK(td_group_post(group, &c, NULL));
    for (size_t i = 0; c.output && i < count; i++)
        EXPECT(get(output, c.dtype, i) == wanted(&c, i),
               "%s(%s) of %zu %s from %d: element %zu is %g, not %g", td_call_name(c.kind),
               td_reduce_name(c.op), c.count, td_dtype_name(c.dtype), c.root, i, get(output, c.dtype, i),
               wanted(&c, i));
}

static void run_all(void) {
    static const size_t counts[] = {0, 1, 2, 5, 1000, LARGEST};
    for (int kind = TD_CALL_ALL_REDUCE; kind <= TD_CALL_ALL_TO_ALL; kind++)
        for (int d = 0; d < DTYPES; d++)
            for (int s = 0; s < 6; s++)
                for (int op = 0; op <= TD_REDUCE_PROD; op++) {
                    const td_call_traits *traits = td_call_traits_of(kind);
                    if (op > 0 && (!traits->reduces || !td_reduce_takes(op, dtypes[d]) || counts[s] > 1000))
                        continue;
                    for (int root = 0; root < (traits->rooted ? n : 1); root++)
                        check_call((td_call){
                            .kind = kind, .dtype = dtypes[d], .op = op, .root = root, .count = counts[s]});
                }
}

/* In place, uneven, several in flight, and the same bits on all ranks. */
static void run_forms(void) {
    float *x = (float *)input;
    size_t parts[RANKS_MOST], all = 0;
    td_work *works[20];
    for (size_t i = 0; i < 1003; i++) x[i] = 0.1f * (float)(me + 1) + (float)i;
    td_call sum = {.kind = TD_CALL_ALL_REDUCE, .count = 1003, .input = x, .output = x};
    OK(td_group_post(group, &sum, NULL));
    float *everyone = (float *)output;
    td_call gather = {.kind = TD_CALL_ALL_GATHER, .count = 1003, .input = x, .output = everyone};
    OK(td_group_post(group, &gather, NULL));
    for (int r = 1; r < n; r++)
        EXPECT(memcmp(everyone, everyone + 1003 * r, 4012) == 0, "rank %d has other bits", r);

    for (int r = 0; r < n; r++) parts[r] = (size_t)r * 3, all += parts[r];
    for (size_t i = 0; i < parts[me]; i++) x[i] = (float)(me * 100) + (float)i;
    td_call uneven = {.kind = TD_CALL_ALL_GATHER, .counts = parts, .input = x, .output = everyone};
    OK(td_group_post(group, &uneven, NULL));
    for (size_t i = 0, r = 0, at = 0; i < all; i++, at++) {
        while (at >= parts[r]) r++, at = 0;
        EXPECT(everyone[i] == (float)(r * 100 + at), "uneven all_gather: element %zu is %g", i, everyone[i]);
    }
    for (int i = 0; i < 20; i++) {
        x[i] = (float)i;
        td_call one = {.kind = TD_CALL_ALL_REDUCE, .count = 1, .input = &x[i], .output = &x[i]};
        OK(td_group_post(group, &one, &works[i]));
    }
    for (int i = 19; i >= 0; i--) {
        OK(td_work_wait(works[i]));
        EXPECT(x[i] == (float)(i * n), "the %d. of 20 in flight is %g", i, x[i]);
        td_work_release(&works[i]);
    }
}

static void run_pairs(void) {
    if (n == 1) return; /* no rank sends to itself */
    int64_t to[3] = {0}, from[3] = {me * 10, me * 10 + 1, me * 10 + 2};
    td_work *works[6];
    int next = (me + 1) % n, before = (me + n - 1) % n;
    for (int i = 0; i < 3; i++) {
        td_call take = {.kind = TD_CALL_RECV,
                        .dtype = TD_DTYPE_I64,
                        .root = before,
                        .tag = i == 2,
                        .count = 1,
                        .output = &to[i]};
        td_call give = {.kind = TD_CALL_SEND,
                        .dtype = TD_DTYPE_I64,
                        .root = next,
                        .tag = i == 2,
                        .count = 1,
                        .input = &from[i]};
        OK(td_group_post(group, &take, &works[i]));
        OK(td_group_post(group, &give, &works[3 + i]));
    }
    for (int i = 0; i < 6; i++) {
        OK(td_work_wait(works[i]));
        td_work_release(&works[i]);
    }
    for (int i = 0; i < 3; i++) EXPECT(to[i] == before * 10 + i, "message %d is %lld", i, (long long)to[i]);
}

static void run_parts(void) {
    td_group *part = NULL;
    float x = (float)me;
    OK(td_group_split(group, me % 2, -me, &part));
    td_call sum = {.kind = TD_CALL_ALL_REDUCE, .count = 1, .input = &x, .output = &x};
    OK(td_group_post(part, &sum, NULL));
    int same = 0;
    for (int r = me % 2; r < n; r += 2) same += r;
    EXPECT(x == (float)same, "the sum over a part is %g, not %d", x, same);
    EXPECT(td_group_job_rank(part, 0) >= td_group_job_rank(part, td_group_size(part) - 1),
           "the key gives no order");
    td_group_close(&part);
}

/* Parts of parts, beside each other; and a group opened anew after all of them are closed. */
static void run_groups(void) {
    for (int i = 0; i < 100; i++) {
        td_group *half = NULL, *quarter = NULL, *again = NULL;
        float x = 1;
        td_call sum = {.kind = TD_CALL_ALL_REDUCE, .count = 1, .input = &x, .output = &x};
        OK(td_group_split(group, me < n / 2, me, &half));
        OK(td_group_split(half, td_group_rank(half) % 2 ? -1 : 0, 0, &quarter));
        EXPECT((quarter == NULL) == (td_group_rank(half) % 2 == 1), "a rank is in the wrong part");
        OK(td_group_post(half, &sum, NULL));
        EXPECT(x == (float)td_group_size(half), "the sum over a half is %g", x);
        if (quarter) OK(td_group_post(quarter, &sum, NULL));
        EXPECT(!quarter || x == (float)(td_group_size(half) * td_group_size(quarter)), "over a quarter %g",
               x);
        td_group_close(&half); /* the part outlives it */
        if (quarter) OK(td_group_barrier(quarter, NULL));
        td_group_close(&quarter);
        if (i % 10) continue;
        OK(td_group_open(job, &(td_group_options){.backend = td_group_backend(group)}, &again));
        OK(td_group_barrier(again, NULL));
        td_group_close(&again);
    }
}

static void *use_group(void *cookie) {
    td_group *part = cookie;
    for (int i = 0; i < 300; i++) {
        float x[40];
        for (int k = 0; k < 40; k++) x[k] = (float)(i + k);
        OK(td_group_all_reduce(part, x, 40, TD_DTYPE_F32, TD_REDUCE_SUM, (td_device){0}, NULL, NULL));
        for (int k = 0; k < 40; k++) EXPECT(x[k] == (float)((i + k) * n), "thread's sum %d is %g", i, x[k]);
    }
    return NULL;
}

/* A group for each of several threads, all at once. */
static void run_threads(void) {
    enum { THREADS = 3 };
    td_group *parts[THREADS];
    pthread_t threads[THREADS];
    for (int t = 0; t < THREADS; t++) OK(td_group_split(group, 0, me, &parts[t]));
    for (int t = 0; t < THREADS; t++)
        EXPECT(!pthread_create(&threads[t], NULL, use_group, parts[t]), "no thread");
    for (int t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
    for (int t = 0; t < THREADS; t++) td_group_close(&parts[t]);
}

/* More bytes than an int can count. */
static void run_big(void) {
    const size_t count = ((size_t)1 << 31) + 8;
    uint8_t *data = malloc(count);
    EXPECT(data, "no memory");
    for (size_t i = 0; i < count; i++) data[i] = (uint8_t)(me ? 0 : i * 2654435761u >> 24);
    OK(td_group_broadcast(group, data, count, TD_DTYPE_U8, 0, (td_device){0}, NULL, NULL));
    for (size_t i = 0; i < count; i++)
        EXPECT(data[i] == (uint8_t)(i * 2654435761u >> 24), "byte %zu is %d", i, data[i]);
    free(data);
}

/* Two ranks do not mean the same by a message. */
static void run_message(void) {
    float x[4] = {0};
    td_call call = {.kind = me ? TD_CALL_RECV : TD_CALL_SEND, .root = !me, .tag = INT_MAX, .count = 0};
    call.input = call.output = x;
    if (me < 2) OK(td_group_post(group, &call, NULL)); /* no data at all, under the largest tag */
    call.count = me ? 4 : 3;
    td_status status = td_group_post(group, me < 2 ? &call : &(td_call){.kind = TD_CALL_BARRIER}, NULL);
    if (me == 0 && status >= 0) status = td_group_barrier(group, NULL); /* its message was gone */
    printf("rank %d: %s: %s\n", me, td_status_name(status), td_error_last()->text);
    fflush(stdout);
}

static void run_fault(const char *what) {
    float x = 1;
    td_call sum = {.kind = TD_CALL_ALL_REDUCE, .count = 1, .input = &x, .output = &x};
    if (strcmp(what, "mismatch") == 0 && me == 1) sum.kind = TD_CALL_BARRIER;
    if (strcmp(what, "late") == 0 && me == 1) nanosleep(&(struct timespec){3, 0}, NULL);
    if (strcmp(what, "abort") == 0 && me == 1) td_group_abort(group, "out of cheese");
    if (strcmp(what, "leave") == 0 && me == 1) {
        td_group_close(&group);
        nanosleep(&(struct timespec){2, 0}, NULL);
        _exit(0);
    }
    if (strcmp(what, "late") == 0 || strcmp(what, "stop") == 0) sum.timeout = 1;
    if (strcmp(what, "kill") == 0 && me == 1) raise(SIGKILL);
    if (strcmp(what, "stop") == 0 && me == 1) raise(SIGSTOP);
    td_group *part;
    bool splits = strcmp(what, "split") == 0;
    if (splits && me == 1) nanosleep(&(struct timespec){8, 0}, NULL);
    td_status status = splits ? td_group_split(group, 0, 0, &part) : td_group_post(group, &sum, NULL);
    printf("rank %d: %s: %s\n", me, td_status_name(status), td_error_last()->text);
    fflush(stdout);
    nanosleep(&(struct timespec){0, 300000000}, NULL); /* the others say theirs before a launcher ends them */
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "all";
    const char *backend = argc > 2 ? argv[2] : "mpi";
    td_group_options options = {.backend = backend,
                                .stall_timeout = strcmp(what, "absent") == 0  ? 1
                                                 : strcmp(what, "split") == 0 ? 6
                                                                              : 30};
    if (strcmp(what, "absent") == 0 && getenv("OMPI_COMM_WORLD_RANK") &&
        *getenv("OMPI_COMM_WORLD_RANK") == '1')
        nanosleep(&(struct timespec){4, 0}, NULL);
    if (td_job_open(&job) < 0 || td_group_open(job, &options, &group) < 0) {
        fprintf(stderr, "%s\n", td_error_last()->text);
        return 1;
    }
    me = td_group_rank(group), n = td_group_size(group);
    if (strcmp(what, "all") == 0) {
        OK(td_group_barrier(group, NULL));
        run_all();
        run_forms();
        run_pairs();
        run_parts();
    } else if (strcmp(what, "groups") == 0) {
        run_groups();
    } else if (strcmp(what, "threads") == 0) {
        run_threads();
    } else if (strcmp(what, "big") == 0) {
        run_big();
    } else if (strcmp(what, "message") == 0) {
        run_message();
    } else {
        run_fault(what);
    }
    if (group) td_group_close(&group);
    td_job_close(&job);
    printf("ok\n");
    return 0;
}
