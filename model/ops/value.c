/* Operations by number: values are laid into the argument struct where its descriptors say. */
#include "model/ops/value.h"

#include "base/memory.h"
#include "base/options.h"
#include "model/ops/dispatch.h"

#include <string.h>

td_status td_op_find(const char *name, td_op *op) {
    const char *names[TD_OP_COUNT + 1] = {NULL};
    for (int i = 0; i < TD_OP_COUNT; i++) {
        names[i] = td_op_describe((td_op)i)->name;
        if (strcmp(names[i], name) != 0) continue;
        *op = (td_op)i;
        return TD_OK;
    }
    const char *nearest = td_nearest_name(name, names);
    return td_fail(TD_ERR_ARG, 0, "model", "there is no operation %s%s%s%s", name,
                   nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

/* Bytes of a value of this kind, which its union and the argument struct hold alike. */
static size_t size_of(td_value_kind kind) {
    static const size_t sizes[] = {
        [TD_VALUE_TENSOR] = sizeof(td_tensor *),     [TD_VALUE_TENSORS] = sizeof(td_tensors),
        [TD_VALUE_SCALAR] = sizeof(td_scalar),       [TD_VALUE_INT] = sizeof(int64_t),
        [TD_VALUE_INTS] = sizeof(td_ints),           [TD_VALUE_PAIR] = sizeof(int64_t[2]),
        [TD_VALUE_FLOAT] = sizeof(double),           [TD_VALUE_BOOL] = sizeof(bool),
        [TD_VALUE_DTYPE] = sizeof(td_dtype),         [TD_VALUE_MEMORY_FORMAT] = sizeof(td_memory_format),
        [TD_VALUE_REDUCTION] = sizeof(td_reduction),
    };
    return sizes[kind];
}

/* Lay the values over the defaults. */
static td_status lay_out(const td_op_info *info, const td_value *in, char *args) {
    memcpy(args, info->defaults, info->args_size);
    for (int i = 0; i < info->arg_count; i++) {
        const td_op_arg *arg = &info->args[i];
        if (in[i].kind == arg->kind)
            memcpy(args + arg->offset, &in[i].as, size_of(arg->kind));
        else if (in[i].kind != TD_VALUE_ABSENT)
            return td_fail(TD_ERR_ARG, 0, "model", "%s: the value for %s is of another kind", info->name,
                           arg->name);
        else if (!arg->optional && !arg->has_default)
            return td_fail(TD_ERR_ARG, 0, "model", "%s: its argument %s is missing", info->name, arg->name);
    }
    return TD_OK;
}

td_status td_op_call(td_op op, const td_value *in, td_value *out) {
    bool in_place = (op & TD_OP_INPLACE) != 0;
    op = (td_op)(op & ~TD_OP_INPLACE);
    const td_op_info *info = td_op_describe(op);
    if (!td_scope_ready()) {
        td_status last = td_error_last()->status;
        return last < 0 ? last : TD_ERR_STATE;
    }
    td_status status = TD_OK;
    if (!info || (in_place && !info->in_place))
        status = td_fail(TD_ERR_ARG, 0, "model", "op_call: %d has no %s", (int)op,
                         info ? "in-place form" : "operation");
    /* As large as the largest argument struct, and aligned as any. */
    _Alignas(max_align_t) char args[1024];
    if (status >= 0 && info->args_size > sizeof args)
        status = td_fail(TD_ERR_INTERNAL, 0, "model", "op_call: %s has too many arguments", info->name);
    if (status >= 0) status = lay_out(info, in, args);
    if (status < 0) {
        td_scope_fail(status);
        return status;
    }
    td_tensor *results[TD_OP_MAX_RESULTS] = {NULL};
    TD_TRY(td_op_runs[op](args, in_place ? TD_FORM_IN_PLACE : TD_FORM_NEW, results));
    for (int i = 0; i < info->result_count; i++) {
        out[i].kind = TD_VALUE_TENSOR;
        out[i].as.tensor = results[i];
    }
    return TD_OK;
}
