/* Whether a call makes sense on this rank, before anything of it reaches others, and how much it moves: one
 * pass, since it is on the way of the smallest collective; what is only said in an error stands apart. */
#include "base/checked.h"
#include "dist/internal.h"
#include "dist/reduce.h"

static bool is_reduced(const td_group *group, const td_call *call) {
    return (unsigned)call->op < TD_REDUCE_COUNT &&
           (td_reduce_dtypes[call->op] & group->backend->reduces[call->op]) >> call->dtype & 1;
}

static td_status refuse_reduction(const td_group *group, const td_call *call) {
    const char *name = td_call_name(call->kind);
    if ((unsigned)call->op >= TD_REDUCE_COUNT)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: there is no reduction %d", name, (int)call->op);
    if (call->op == TD_REDUCE_AVG && !td_dtype_is_floating(call->dtype))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: an average of %s would have to be rounded; sum it instead",
                       name, td_dtype_name(call->dtype));
    if (!td_reduce_takes(call->op, call->dtype))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: %s is not defined for %s", name, td_reduce_name(call->op),
                       td_dtype_name(call->dtype));
    return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "%s: backend %s has no %s of %s", name,
                   group->backend->name, td_reduce_name(call->op), td_dtype_name(call->dtype));
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
                               const td_work *work) {
    uintptr_t in = (uintptr_t)call->input, out = (uintptr_t)call->output;
    if (in + work->input_bytes <= out || out + work->output_bytes <= in) return TD_OK;
    if (traits->parts && call->kind != TD_CALL_ALL_TO_ALL) {
        size_t own = td_part_begin(call->counts, call->count, group->rank) * td_dtype_size(call->dtype);
        if (work->input_bytes > work->output_bytes ? in + own == out : out + own == in) return TD_OK;
    }
    return td_fail(TD_ERR_ARG, 0, "dist", "%s: input and output overlap", traits->name);
}

/* What cannot be, whatever the kind. */
static td_status refuse(const td_group *group, const td_call *call) {
    if ((unsigned)call->kind >= TD_CALL_COUNT)
        return td_fail(TD_ERR_ARG, 0, "dist", "there is no collective %d", (int)call->kind);
    if (!group->backend->post[call->kind])
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "backend %s has no %s", group->backend->name,
                       td_call_name(call->kind));
    return td_fail(TD_ERR_ARG, 0, "dist", "%s: a timeout of %g s", td_call_name(call->kind), call->timeout);
}

static td_status refuse_data(const td_group *group, const td_call *call) {
    const char *name = td_call_name(call->kind);
    if (!td_dtype_size(call->dtype))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: there is no dtype %d", name, (int)call->dtype);
    return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "%s: backend %s takes data on %s, not on %s", name,
                   group->backend->name, td_device_name(group->backend->device),
                   td_device_name(call->device.kind));
}

/* Elements of an extent where all parts are equal. */
static inline size_t even_extent(td_extent extent, size_t count, size_t all) {
    return extent == TD_EXTENT_NONE ? 0 : extent == TD_EXTENT_ALL ? all : count;
}

/* The usual call, whose parts are equal, in few steps: it is on the way of the smallest collective. */
static td_status measure_even(const td_group *group, const td_call *call, const td_call_traits *traits,
                              td_work *work) {
    size_t size = td_dtype_size(call->dtype), all, bytes;
    bool at_root = traits->rooted && group->rank == call->root;
    if (!td_mul_size(call->count, traits->parts ? (size_t)group->size : 1, &all) ||
        !td_mul_size(all, size, &bytes) || bytes > INT64_MAX)
        return check_size(group, call, NULL);
    work->input_bytes = size * even_extent(at_root ? traits->root_input : traits->input, call->count, all);
    work->output_bytes = size * even_extent(at_root ? traits->root_output : traits->output, call->count, all);
    return TD_OK;
}

static td_status measure_uneven(const td_group *group, const td_call *call, const td_call_traits *traits,
                                td_work *work) {
    TD_TRY(check_counts(group, call, traits));
    work->input_bytes = td_call_input_count(call, group->rank, group->size) * td_dtype_size(call->dtype);
    work->output_bytes = td_call_output_count(call, group->rank, group->size) * td_dtype_size(call->dtype);
    return TD_OK;
}

static td_status examine_data(const td_group *group, const td_call *call, const td_call_traits *traits,
                              td_work *work) {
    if ((unsigned)call->dtype >= TD_DTYPE_COUNT || call->device.kind != group->backend->device)
        return refuse_data(group, call);
    if (traits->rooted) TD_TRY(check_root(group, call, traits->pairs));
    if (traits->reduces && !is_reduced(group, call)) return refuse_reduction(group, call);
    TD_TRY((call->counts || call->recv_counts ? measure_uneven : measure_even)(group, call, traits, work));
    if ((work->input_bytes && !call->input) || (work->output_bytes && !call->output))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s: %zu bytes at NULL", traits->name,
                       work->input_bytes && !call->input ? work->input_bytes : work->output_bytes);
    bool in_place = call->input == call->output && !traits->parts;
    return in_place || !work->input_bytes || !work->output_bytes ? TD_OK
                                                                 : check_overlap(group, call, traits, work);
}

td_status td_call_examine(td_group *group, const td_call *call, td_work *work) {
    if (__builtin_expect(group->broken.status != TD_OK, 0)) return td_group_break(group);
    if ((unsigned)call->kind >= TD_CALL_COUNT || !group->backend->post[call->kind] || !(call->timeout >= 0))
        return refuse(group, call);
    const td_call_traits *traits = &td_call_kinds[call->kind];
    work->input_bytes = work->output_bytes = 0;
    if (traits->has_data) TD_TRY(examine_data(group, call, traits, work));
    work->print = td_call_fingerprint(call, group->size);
    if (__builtin_expect(group->members && traits->rooted, 0)) /* messages name a root as the job does */
        work->print = td_fingerprint_rename(work->print, group->members[call->root]);
    return TD_OK;
}
