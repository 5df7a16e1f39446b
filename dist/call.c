/* Kinds of collectives in one table, and the packing of a call into a fingerprint. */
#include "dist/call.h"

#include "dist/fingerprint.h"
#include "dist/reduce.h"

#include <stdio.h>
#include <string.h>

const td_call_traits td_call_kinds[TD_CALL_COUNT] = {
    [TD_CALL_BARRIER] = {.name = "barrier"},
    [TD_CALL_ALL_REDUCE] = {.name = "all_reduce",
                            .has_data = true,
                            .reduces = true,
                            .input = TD_EXTENT_COUNT,
                            .root_input = TD_EXTENT_COUNT,
                            .output = TD_EXTENT_COUNT,
                            .root_output = TD_EXTENT_COUNT},
    [TD_CALL_BROADCAST] = {.name = "broadcast",
                           .has_data = true,
                           .rooted = true,
                           .root_input = TD_EXTENT_COUNT,
                           .output = TD_EXTENT_COUNT},
    [TD_CALL_REDUCE] = {.name = "reduce",
                        .has_data = true,
                        .reduces = true,
                        .rooted = true,
                        .input = TD_EXTENT_COUNT,
                        .root_input = TD_EXTENT_COUNT,
                        .root_output = TD_EXTENT_COUNT},
    [TD_CALL_REDUCE_SCATTER] = {.name = "reduce_scatter",
                                .has_data = true,
                                .reduces = true,
                                .parts = true,
                                .input = TD_EXTENT_ALL,
                                .root_input = TD_EXTENT_ALL,
                                .output = TD_EXTENT_PART,
                                .root_output = TD_EXTENT_PART},
    [TD_CALL_ALL_GATHER] = {.name = "all_gather",
                            .has_data = true,
                            .parts = true,
                            .input = TD_EXTENT_PART,
                            .root_input = TD_EXTENT_PART,
                            .output = TD_EXTENT_ALL,
                            .root_output = TD_EXTENT_ALL},
    [TD_CALL_GATHER] = {.name = "gather",
                        .has_data = true,
                        .rooted = true,
                        .parts = true,
                        .input = TD_EXTENT_PART,
                        .root_input = TD_EXTENT_PART,
                        .root_output = TD_EXTENT_ALL},
    [TD_CALL_SCATTER] = {.name = "scatter",
                         .has_data = true,
                         .rooted = true,
                         .parts = true,
                         .root_input = TD_EXTENT_ALL,
                         .output = TD_EXTENT_PART,
                         .root_output = TD_EXTENT_PART},
    [TD_CALL_ALL_TO_ALL] = {.name = "all_to_all",
                            .has_data = true,
                            .parts = true,
                            .input = TD_EXTENT_ALL,
                            .root_input = TD_EXTENT_ALL,
                            .output = TD_EXTENT_ALL,
                            .root_output = TD_EXTENT_ALL},
    [TD_CALL_SEND] = {.name = "send",
                      .has_data = true,
                      .rooted = true,
                      .pairs = true,
                      .input = TD_EXTENT_COUNT,
                      .root_input = TD_EXTENT_COUNT},
    [TD_CALL_RECV] = {.name = "recv",
                      .has_data = true,
                      .rooted = true,
                      .pairs = true,
                      .output = TD_EXTENT_COUNT,
                      .root_output = TD_EXTENT_COUNT},
};

static const char *const reductions[] = {
    [TD_REDUCE_SUM] = "sum", [TD_REDUCE_AVG] = "avg",   [TD_REDUCE_MIN] = "min",
    [TD_REDUCE_MAX] = "max", [TD_REDUCE_PROD] = "prod", [TD_REDUCE_BAND] = "band",
    [TD_REDUCE_BOR] = "bor", [TD_REDUCE_BXOR] = "bxor", [TD_REDUCE_PREMUL_SUM] = "premul_sum",
};
_Static_assert(sizeof reductions / sizeof *reductions == TD_REDUCE_COUNT, "a reduction has no name");

const td_call_traits *td_call_traits_of(td_call_kind kind) { return &td_call_kinds[kind]; }

const char *td_call_name(td_call_kind kind) {
    return (unsigned)kind < TD_CALL_COUNT ? td_call_kinds[kind].name : "?";
}

const char *td_reduce_name(td_reduce op) { return (unsigned)op < TD_REDUCE_COUNT ? reductions[op] : "?"; }

bool td_reduce_takes(td_reduce op, td_dtype dtype) {
    return (unsigned)op < TD_REDUCE_COUNT && (unsigned)dtype < TD_DTYPE_COUNT &&
           td_reduce_dtypes[op] >> dtype & 1;
}

static size_t extent_count(td_extent extent, const td_call *call, const size_t *counts, int rank, int size) {
    size_t all = 0;
    switch (extent) {
    case TD_EXTENT_COUNT: return call->count;
    case TD_EXTENT_PART: return counts ? counts[rank] : call->count;
    case TD_EXTENT_ALL:
        if (!counts) return call->count * (size_t)size;
        for (int r = 0; r < size; r++) all += counts[r];
        return all;
    case TD_EXTENT_NONE: break;
    }
    return 0;
}

size_t td_call_input_count(const td_call *call, int rank, int size) {
    const td_call_traits *traits = &td_call_kinds[call->kind];
    td_extent extent = traits->rooted && rank == call->root ? traits->root_input : traits->input;
    return extent_count(extent, call, call->counts, rank, size);
}

size_t td_call_output_count(const td_call *call, int rank, int size) {
    const td_call_traits *traits = &td_call_kinds[call->kind];
    td_extent extent = traits->rooted && rank == call->root ? traits->root_output : traits->output;
    const size_t *counts = call->kind == TD_CALL_ALL_TO_ALL ? call->recv_counts : call->counts;
    return extent_count(extent, call, counts, rank, size);
}

uint64_t td_call_more(const td_call *call, int size) {
    uint64_t hash = UINT64_C(0x9e3779b97f4a7c15), bits;
    if (td_call_kinds[call->kind].reduces && call->op == TD_REDUCE_PREMUL_SUM) {
        memcpy(&bits, &call->factor, sizeof bits);
        hash = (hash ^ bits) * UINT64_C(0xff51afd7ed558ccd);
    }
    for (int r = 0; call->counts && call->kind != TD_CALL_ALL_TO_ALL && r < size; r++)
        hash = (hash ^ hash >> 29 ^ call->counts[r]) * UINT64_C(0xff51afd7ed558ccd);
    return hash >> 48;
}

td_call_text td_fingerprint_describe(td_fingerprint print) {
    unsigned kind = print.shape & 0xff;
    td_dtype dtype = (td_dtype)(print.shape >> 8 & 0xff);
    td_reduce op = (td_reduce)(print.shape >> 16 & 0xff);
    td_call_text out;
    int used = snprintf(out.text, sizeof out.text, "%s", td_call_name((td_call_kind)kind));
    if (kind >= TD_CALL_COUNT) return out;
    const td_call_traits *traits = &td_call_kinds[kind];
    bool uneven = print.shape >> 24 & 1;
    if (traits->reduces)
        used += snprintf(out.text + used, sizeof out.text - (size_t)used, "(%s)", td_reduce_name(op));
    if (traits->has_data && !(uneven && kind == TD_CALL_ALL_TO_ALL))
        used += snprintf(out.text + used, sizeof out.text - (size_t)used, " of %llu %s",
                         (unsigned long long)print.count, td_dtype_name(dtype));
    if (uneven || op == TD_REDUCE_PREMUL_SUM) /* what else differs shows in a number */
        used += snprintf(out.text + used, sizeof out.text - (size_t)used, " (%s %04x)",
                         uneven ? "uneven" : "factor", (unsigned)(print.shape >> 48));
    if (traits->rooted)
        snprintf(out.text + used, sizeof out.text - (size_t)used, " %s rank %d",
                 kind == TD_CALL_BROADCAST || kind == TD_CALL_SCATTER || kind == TD_CALL_RECV ? "from" : "to",
                 (int)(print.shape >> 32 & 0xffff));
    return out;
}
