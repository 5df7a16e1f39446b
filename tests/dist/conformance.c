/* Cases are made by a fixed walk that all ranks repeat, so nothing is exchanged but what is tested. */
#include "dist/conformance.h"

#include "dist/arena.h"
#include "dist/model.h"
#include "dist/shm/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64, GUARD_BYTE = 0xa5, LARGEST = 5 * TD_SHM_CHUNK + 1024, RANKS_MOST = 64 };

typedef enum place { PRIVATE, ARENA, MIXED, IN_PLACE, IN_PLACE_ARENA, PLACES } place;
static const char *const place_names[] = {"private", "in the arena", "mixed", "in place",
                                          "in place in the arena"};

typedef struct bench {
    td_group *group;
    const conformance_options *options;
    int rank, size;
    size_t room;            /* bytes of each buffer */
    uint8_t *buffers[2][2]; /* private or arena; input or output */
    size_t counts[RANKS_MOST], recv_counts[RANKS_MOST];
    char *failure;
    long cases;
} bench;

static _Thread_local size_t uneven_count; /* read by counts_between */
static size_t counts_between_of(size_t count, int from, int to) {
    return (from + 2 * to) % 3 == 0 ? 0 : count * (size_t)((from + to) % 3 + 1) / 2;
}
static size_t counts_between(int from, int to) { return counts_between_of(uneven_count, from, to); }

static bool wrong(bench *b, const td_call *call, place where, const char *what, size_t i) {
    snprintf(b->failure, 512, "%s(%s) of %zu %s%s, root %d, %s, %d ranks: rank %d: %.300s %zu",
             td_call_name(call->kind), td_reduce_name(call->op), call->count, td_dtype_name(call->dtype),
             call->counts ? " uneven" : "", call->root, place_names[where], b->size, b->rank, what, i);
    return false;
}

/* Choose the buffers of this case; in place the smaller one lies within the larger. */
static void lay_out(bench *b, td_call *call, place where, size_t inputs, size_t outputs) {
    bool arena = where == ARENA || where == IN_PLACE_ARENA || (where == MIXED && b->rank % 2);
    size_t size = td_dtype_size(call->dtype), own = 0;
    uint8_t *in = b->buffers[arena][0], *out = b->buffers[arena][1];
    for (int r = 0; r < b->rank; r++) own += (call->counts ? call->counts[r] : call->count) * size;
    const td_call_traits *traits = td_call_traits_of(call->kind);
    bool in_place = (where == IN_PLACE || where == IN_PLACE_ARENA) && call->kind != TD_CALL_ALL_TO_ALL;
    if (in_place && !traits->parts) in = out;
    if (in_place && traits->parts && inputs && outputs) {
        if (outputs > inputs)
            in = out + own;
        else
            out = in + own;
    }
    call->input = inputs ? in : NULL;
    call->output = outputs ? out : NULL;
}

static bool check_output(bench *b, const td_call *call, place where, size_t outputs) {
    size_t size = td_dtype_size(call->dtype);
    const uint8_t *out = call->output;
    uint8_t expected[8];
    for (size_t i = 0; i < outputs; i++) {
        model_expect(call, b->options->exact, b->size, b->rank, i, counts_between, expected);
        if (memcmp(out + i * size, expected, size)) return wrong(b, call, where, "wrong output element", i);
    }
    return true;
}

static bool check_input(bench *b, const td_call *call, place where, size_t inputs) {
    size_t size = td_dtype_size(call->dtype);
    const uint8_t *in = call->input;
    uint8_t given[8];
    for (size_t i = 0; i < inputs; i++) {
        model_give(call, b->options->exact, b->rank, i, given);
        if (memcmp(in + i * size, given, size)) return wrong(b, call, where, "changed input element", i);
    }
    return true;
}

/* Is there room on every rank? Of an uneven all_to_all a rank's call tells its own counts only. */
static bool fits(const bench *b, const td_call *call) {
    size_t most = 0;
    for (int r = 0; r < b->size; r++) {
        size_t inputs = td_call_input_count(call, r, b->size),
               outputs = td_call_output_count(call, r, b->size);
        if (call->kind == TD_CALL_ALL_TO_ALL && call->counts) {
            inputs = outputs = 0;
            for (int s = 0; s < b->size; s++) {
                inputs += counts_between_of(call->count, r, s);
                outputs += counts_between_of(call->count, s, r);
            }
        }
        if (inputs > most) most = inputs;
        if (outputs > most) most = outputs;
    }
    return most * td_dtype_size(call->dtype) + GUARD <= b->room;
}

static bool run_case(bench *b, td_call call, place where) {
    size_t size = td_dtype_size(call.dtype);
    size_t inputs = td_call_input_count(&call, b->rank, b->size);
    size_t outputs = td_call_output_count(&call, b->rank, b->size);
    if (!fits(b, &call)) return true;
    lay_out(b, &call, where, inputs, outputs);
    bool apart = !inputs || !outputs ||
                 (const uint8_t *)call.input >= (uint8_t *)call.output + outputs * size ||
                 (uint8_t *)call.output >= (const uint8_t *)call.input + inputs * size;
    uint8_t *end = (uint8_t *)call.output + outputs * size;
    if (outputs) memset(call.output, 0xee, outputs * size);
    if (outputs && apart) memset(end, GUARD_BYTE, GUARD);
    for (size_t i = 0; i < inputs; i++)
        model_give(&call, b->options->exact, b->rank, i, (uint8_t *)(uintptr_t)call.input + i * size);
    td_work *work = NULL;
    bool posted = b->cases++ % 2;
    td_status status = td_group_post(b->group, &call, posted ? &work : NULL);
    if (posted && status >= 0) {
        status = td_work_test(work);
        if (status >= 0) status = td_work_wait(work);
        td_work_release(&work);
    }
    if (status < 0) {
        wrong(b, &call, where, td_error_last()->text, 0);
        return false;
    }
    if (!check_output(b, &call, where, outputs)) return false;
    if (apart && !check_input(b, &call, where, inputs)) return false;
    for (size_t i = 0; outputs && apart && i < GUARD; i++)
        if (end[i] != GUARD_BYTE) return wrong(b, &call, where, "changed byte behind the output", i);
    return true;
}

/* Elements of a part (or of all, where there are no parts) around every border of shm. */
static int list_sizes(const bench *b, td_dtype dtype, size_t *sizes) {
    size_t size = td_dtype_size(dtype), n = (size_t)b->size, share = TD_SHM_CHUNK / n / 64 * 64;
    const size_t borders[] = {TD_SHM_SMALL / n,     TD_SHM_SMALL, share,
                              TD_SHM_SLOTS * share, TD_SHM_CHUNK, TD_SHM_SLOTS * TD_SHM_CHUNK};
    int count = 0;
    const size_t few[] = {0, 1, 7, 3 * TD_SHM_SLICE + 1};
    for (int i = 0; i < 4; i++) sizes[count++] = few[i];
    for (int i = 0; i < 6; i++)
        for (size_t off = 0; off < 3; off++) sizes[count++] = borders[i] / size + off - (borders[i] >= size);
    sizes[count++] = 5 * TD_SHM_CHUNK / size + 13;
    return count;
}
enum { SIZES_MOST = 23, CHEAP_SIZES = 10 };

/* One kind of call, dtype and reduction, at all sizes. */
static bool run_row(bench *b, td_call_kind kind, td_dtype dtype, td_reduce op, long row) {
    size_t sizes[SIZES_MOST];
    int count = list_sizes(b, dtype, sizes);
    const td_call_traits *traits = td_call_traits_of(kind);
    bool common = dtype == TD_DTYPE_F32 || (dtype == TD_DTYPE_BF16 && op == TD_REDUCE_AVG) ||
                  (dtype == TD_DTYPE_U8 && !traits->reduces);
    for (int s = 0; s < count; s++) {
        if (!b->options->full && s >= CHEAP_SIZES &&
            !(common && (op == TD_REDUCE_SUM || op == TD_REDUCE_AVG)) && (s + row) % 29)
            continue;
        for (place where = 0; where < PLACES; where++) {
            if (!b->options->full && where != (place)((row + s) % PLACES)) continue;
            for (int uneven = 0; uneven <= traits->parts; uneven++) {
                td_call call = {.kind = kind,
                                .dtype = dtype,
                                .op = op,
                                .root = traits->rooted ? (int)((row + s) % b->size) : 0,
                                .count = sizes[s],
                                .factor = op == TD_REDUCE_PREMUL_SUM ? 0.5 : 0};
                for (int r = 0; uneven && r < b->size; r++) {
                    bool pairs = kind == TD_CALL_ALL_TO_ALL;
                    b->counts[r] = pairs ? counts_between_of(sizes[s], b->rank, r)
                                         : sizes[s] * (size_t)((r + 1) % 3) / 2;
                    b->recv_counts[r] = counts_between_of(sizes[s], r, b->rank);
                }
                if (uneven) call.counts = b->counts;
                if (uneven && kind == TD_CALL_ALL_TO_ALL) {
                    call.recv_counts = b->recv_counts;
                    uneven_count = sizes[s];
                }
                if (!run_case(b, call, where)) return false;
            }
        }
    }
    return true;
}

static bool run_kinds(bench *b) {
    long row = 0;
    for (td_call_kind kind = TD_CALL_ALL_REDUCE; kind < TD_CALL_SEND; kind++) {
        if (b->options->kind >= 0 && (int)kind != b->options->kind) continue;
        bool reduces = td_call_traits_of(kind)->reduces;
        for (td_dtype dtype = 0; dtype < TD_DTYPE_COUNT; dtype++)
            for (td_reduce op = 0; op < (reduces ? TD_REDUCE_COUNT : 1); op++, row++)
                if ((!b->options->brief || (dtype == TD_DTYPE_F32 && op == TD_REDUCE_SUM)) &&
                    (!reduces || td_reduce_takes(op, dtype)) && !run_row(b, kind, dtype, op, row))
                    return false;
    }
    return true;
}

/* Every rank sends to every other, with tags received in another order than they were sent in. */
static bool exchange(bench *b, size_t bytes, bool arena) {
    enum { TAGS = 3 };
    td_work *works[2 * TAGS] = {0};
    td_device cpu = {TD_DEVICE_CPU, 0};
    for (int step = 1; step < b->size; step++) {
        int to = (b->rank + step) % b->size, from = (b->rank + b->size - step) % b->size;
        uint8_t *in = b->buffers[arena][0], *out = b->buffers[!arena][1];
        for (int tag = 0; tag < TAGS; tag++)
            for (size_t i = 0; i < bytes; i++)
                in[(size_t)tag * bytes + i] = (uint8_t)(i * 7 + i / 256 + (size_t)tag * 11 + (size_t)b->rank);
        memset(out, 0xee, TAGS * bytes);
        td_status status = TD_OK;
        for (int tag = 0; tag < TAGS && status >= 0; tag++)
            status = td_group_send(b->group, in + (size_t)tag * bytes, bytes, TD_DTYPE_U8, to, tag, cpu, NULL,
                                   &works[tag]);
        for (int k = 0; k < TAGS && status >= 0; k++) {
            int tag = (k + 2) % TAGS;
            status = td_group_recv(b->group, out + (size_t)tag * bytes, bytes, TD_DTYPE_U8, from, tag, cpu,
                                   NULL, &works[TAGS + k]);
        }
        for (int k = 2 * TAGS; k-- > 0 && status >= 0;) status = td_work_wait(works[k]);
        for (int k = 0; k < 2 * TAGS; k++) td_work_release(&works[k]);
        if (status < 0) {
            snprintf(b->failure, 512, "messages of %zu bytes: %.400s", bytes, td_error_last()->text);
            return false;
        }
        for (int tag = 0; tag < TAGS; tag++)
            for (size_t i = 0; i < bytes; i++)
                if (out[(size_t)tag * bytes + i] !=
                    (uint8_t)(i * 7 + i / 256 + (size_t)tag * 11 + (size_t)from)) {
                    snprintf(b->failure, 512, "message of %zu bytes with tag %d: byte %zu is wrong", bytes,
                             tag, i);
                    return false;
                }
        b->cases++;
    }
    return true;
}

static bool run_messages(bench *b) {
    const size_t sizes[] = {0, 1, 440, 441, 4096, 65536, 65537, 200001};
    if (b->options->kind >= 0 && b->options->kind < TD_CALL_SEND) return true;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int arena = 0; arena < 2; arena++)
            if (!exchange(b, sizes[s], arena)) return false;
    return true;
}

static bool run_ten_million(bench *b) {
    const size_t count = 10000000;
    td_call call = {.kind = TD_CALL_ALL_REDUCE, .dtype = TD_DTYPE_F32, .count = count};
    float *data = malloc(count * sizeof *data);
    for (size_t i = 0; i < count; i++) model_give(&call, b->options->exact, b->rank, i, &data[i]);
    call.input = call.output = data;
    bool right = td_group_post(b->group, &call, NULL) >= 0 && check_output(b, &call, PRIVATE, count);
    free(data);
    b->cases++;
    return right;
}

bool conforms(td_group *group, const conformance_options *options, char failure[512], long *cases) {
    bench b = {.group = group,
               .options = options,
               .rank = td_group_rank(group),
               .size = td_group_size(group),
               .failure = failure};
    void *blocks[2] = {0};
    bool right = b.size <= RANKS_MOST;
    b.room = (size_t)LARGEST * (size_t)(!options->full ? 1 : b.size < 4 ? b.size : 4);
    snprintf(failure, 512, "no memory");
    for (int i = 0; i < 2 && right; i++) {
        b.buffers[0][i] = malloc(b.room);
        right = b.buffers[0][i] && td_arena_alloc(td_group_arena(group), b.room, &blocks[i]) >= 0;
        b.buffers[1][i] = blocks[i];
    }
    if (right) right = run_kinds(&b) && run_messages(&b);
    if (right && options->ten_million) right = run_ten_million(&b);
    if (!right) td_group_abort(group, failure);
    for (int i = 0; i < 2; i++) {
        free(b.buffers[0][i]);
        td_arena_free(td_group_arena(group), &blocks[i]);
    }
    *cases = b.cases;
    return right;
}
