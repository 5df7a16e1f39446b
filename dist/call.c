/* Kinds of collectives in one table, and the packing of a call into a fingerprint. */
#include "dist/call.h"

#include <stdio.h>

static const struct {
    const char *name;
    bool has_data, has_op, has_root;
} kinds[] = {
    [TD_CALL_BARRIER] = {"barrier", false, false, false},
    [TD_CALL_ALL_REDUCE] = {"all_reduce", true, true, false},
    [TD_CALL_BROADCAST] = {"broadcast", true, false, true},
    [TD_CALL_REDUCE] = {"reduce", true, true, true},
    [TD_CALL_REDUCE_SCATTER] = {"reduce_scatter", true, true, false},
    [TD_CALL_ALL_GATHER] = {"all_gather", true, false, false},
    [TD_CALL_GATHER] = {"gather", true, false, true},
    [TD_CALL_SCATTER] = {"scatter", true, false, true},
    [TD_CALL_ALL_TO_ALL] = {"all_to_all", true, false, false},
    [TD_CALL_SEND] = {"send", true, false, true},
    [TD_CALL_RECV] = {"recv", true, false, true},
};
_Static_assert(sizeof kinds / sizeof *kinds == TD_CALL_COUNT, "a collective has no row");

const char *td_call_name(td_call_kind kind) {
    return (unsigned)kind < TD_CALL_COUNT ? kinds[kind].name : "?";
}

td_call_text td_fingerprint_describe(td_fingerprint print) {
    unsigned kind = print.shape & 0xff;
    td_dtype dtype = (td_dtype)(print.shape >> 8 & 0xff);
    td_reduce op = (td_reduce)(print.shape >> 16 & 0xff);
    td_call_text out;
    int used = snprintf(out.text, sizeof out.text, "%s", td_call_name(kind));
    if (kind >= TD_CALL_COUNT) return out;
    if (kinds[kind].has_op)
        used += snprintf(out.text + used, sizeof out.text - used, "(%s)", td_reduce_name(op));
    if (kinds[kind].has_data)
        used += snprintf(out.text + used, sizeof out.text - used, " of %llu %s",
                         (unsigned long long)print.count, td_dtype_name(dtype));
    if (kinds[kind].has_root)
        snprintf(out.text + used, sizeof out.text - used, " from rank %d", (int)(print.shape >> 32));
    return out;
}

td_call_text td_call_describe(const td_call *call) {
    return td_fingerprint_describe(td_call_fingerprint(call));
}

const char *td_reduce_name(td_reduce op) {
    static const char *const names[] = {[TD_REDUCE_SUM] = "sum", [TD_REDUCE_AVG] = "avg"};
    return (unsigned)op < TD_REDUCE_COUNT ? names[op] : "?";
}
