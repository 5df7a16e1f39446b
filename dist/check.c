/* Whether a call makes sense on this rank, before anything of it reaches others. */
#include "base/checked.h"
#include "dist/internal.h"

static td_status check_reduction(const td_group *group, const td_call *call) {
    const char *name = td_call_name(call->kind);
    if ((unsigned)call->op >= TD_REDUCE_COUNT)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: there is no reduction %d", name, (int)call->op);
    if (call->op == TD_REDUCE_AVG && !td_dtype_is_floating(call->dtype))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: an average of %s would have to be rounded; sum it instead",
                       name, td_dtype_name(call->dtype));
    if (!td_reduce_takes(call->op, call->dtype))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: %s is not defined for %s", name, td_reduce_name(call->op),
                       td_dtype_name(call->dtype));
    if (!(group->backend->reduces[call->op] >> call->dtype & 1))
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "%s: backend %s has no %s of %s", name,
                       group->backend->name, td_reduce_name(call->op), td_dtype_name(call->dtype));
    return TD_OK;
}

static td_status check_root(const td_group *group, const td_call *call, bool pairs) {
    const char *name = td_call_name(call->kind);
    if (call->root < 0 || call->root >= group->size)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: %s %d, but the group has %d ranks", name,
                       pairs ? "rank" : "root", call->root, group->size);
    if (pairs && call->root == group->rank)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: rank %d has itself as its partner", name, call->root);
    if (pairs && call->tag < 0)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: the tag %d is negative", name, call->tag);
    return TD_OK;
}

/* All parts together fit memory. */
static td_status check_size(const td_group *group, const td_call *call, const size_t *counts) {
    size_t total = 0, bytes;
    bool fits = true;
    if (counts)
        for (int r = 0; r < group->size; r++) fits = fits && td_add_size(total, counts[r], &total);
    else
        fits =
            td_mul_size(call->count, td_call_traits_of(call->kind)->parts ? (size_t)group->size : 1, &total);
    if (fits && td_mul_size(total, td_dtype_size(call->dtype), &bytes) && bytes <= INT64_MAX) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "dist", "%s: %zu elements of %s do not fit memory",
                   td_call_name(call->kind), counts ? total : call->count, td_dtype_name(call->dtype));
}

static td_status check_counts(const td_group *group, const td_call *call, const td_call_traits *traits) {
    bool all_to_all = call->kind == TD_CALL_ALL_TO_ALL;
    if (call->counts && !traits->parts)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s has no parts, so no counts of parts", traits->name);
    if (all_to_all ? !call->counts != !call->recv_counts : call->recv_counts != NULL)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: %s", traits->name,
                       all_to_all ? "counts to send and counts to receive belong together"
                                  : "only all_to_all has counts to receive");
    if (call->recv_counts) TD_TRY(check_size(group, call, call->recv_counts));
    return check_size(group, call, call->counts);
}

/* Input and output are one place in the way the table of dist/call.h allows, or apart. */
static td_status check_overlap(const td_group *group, const td_call *call, const td_call_traits *traits,
                               size_t inputs, size_t outputs) {
    size_t size = td_dtype_size(call->dtype);
    uintptr_t in = (uintptr_t)call->input, out = (uintptr_t)call->output;
    if (in == out && !traits->parts) return TD_OK;
    if (in + inputs * size <= out || out + outputs * size <= in) return TD_OK;
    if (traits->parts && call->kind != TD_CALL_ALL_TO_ALL) {
        size_t own = td_part_begin(call->counts, call->count, group->rank) * size;
        if (inputs > outputs ? in + own == out : out + own == in) return TD_OK;
    }
    return td_fail(TD_ERR_ARG, 0, "dist", "%s: input and output overlap", traits->name);
}

td_status td_call_check(td_group *group, const td_call *call) {
    if (__builtin_expect(group->broken.status != TD_OK, 0)) return td_group_break(group);
    if ((unsigned)call->kind >= TD_CALL_COUNT)
        return td_fail(TD_ERR_ARG, 0, "dist", "there is no collective %d", (int)call->kind);
    if (!group->backend->post[call->kind])
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "backend %s has no %s", group->backend->name,
                       td_call_name(call->kind));
    if (!(call->timeout >= 0))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: a timeout of %g s", td_call_name(call->kind),
                       call->timeout);
    if (call->kind == TD_CALL_BARRIER) return TD_OK;
    const td_call_traits *traits = td_call_traits_of(call->kind);
    if (!td_dtype_size(call->dtype))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: there is no dtype %d", traits->name, (int)call->dtype);
    if (traits->rooted) TD_TRY(check_root(group, call, traits->pairs));
    if (traits->reduces) TD_TRY(check_reduction(group, call));
    TD_TRY(check_counts(group, call, traits));
    if (call->device.kind != group->backend->device)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "%s: backend %s takes data on %s, not on %s",
                       traits->name, group->backend->name, td_device_name(group->backend->device),
                       td_device_name(call->device.kind));
    size_t inputs = td_call_input_count(call, group->rank, group->size);
    size_t outputs = td_call_output_count(call, group->rank, group->size);
    if ((inputs && !call->input) || (outputs && !call->output))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: %zu elements at NULL", traits->name,
                       inputs && !call->input ? inputs : outputs);
    return inputs && outputs ? check_overlap(group, call, traits, inputs, outputs) : TD_OK;
}
