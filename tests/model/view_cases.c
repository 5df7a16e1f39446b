/* Views and in-place writes that succeed, as the formulas in tests/golden/views.json. */
#include "model/view_case.h"

/* --- Assigning to a part of a tensor: a[1:3] = y --- */

static td_tensor *slice_assign(void) {
    a = scaled(x, 2);
    td_copy_(part(a, 1, 3), y);
    return dot(a, w);
}

static td_tensor *slice_assign_number(void) {
    a = scaled(x, 2);
    td_fill_(part(a, 1, 3), td_num(9));
    return dot2(a, w);
}

static td_tensor *slice_assign_with_step(void) {
    a = td_clone(x);
    td_copy_(td_slice(a, .step = 2), y);
    return dot(a, w);
}

static td_tensor *slice_assign_broadcast(void) {
    a = scaled(x, 1);
    td_copy_(columns(a, 1, 3), y);
    return dot(a, w);
}

static td_tensor *slice_assign_into_constant(void) {
    a = scaled(c, 1);
    td_copy_(part(a, 1, 3), x);
    b = td_mul(a, a);
    return dot(b, w);
}

/* --- A view is written, its base is used; and the other way round --- */

static td_tensor *view_written_base_used(void) {
    a = scaled(x, 2);
    v = td_narrow(a, 0, 1, 2);
    td_mul_(v, y);
    return dot(a, w);
}

static td_tensor *view_written_view_and_base_used(void) {
    a = scaled(x, 2);
    v = part(a, 1, 3);
    td_mul_(v, y);
    return td_add(dot(a, w), dot(v, u));
}

static td_tensor *view_taken_after_write(void) {
    a = scaled(x, 2);
    td_mul_(part(a, 0, 2), y);
    v = part(a, 1, 4);
    return dot(v, w);
}

static td_tensor *view_of_view_written(void) {
    a = scaled(x, 2);
    v = row(td_view(a, TD_INTS(2, 3)), 1);
    u = td_slice(v, 0, 1);
    td_mul_(u, y);
    return dot(a, w);
}

static td_tensor *view_of_view_middle_used(void) {
    a = scaled(x, 2);
    v = part(a, 1, 5);
    u = part(v, 1, 3);
    td_add_(u, y);
    return dot2(v, w);
}

static td_tensor *base_written_view_used(void) {
    a = scaled(x, 2);
    v = part(a, 1, 3);
    td_mul_(a, y);
    return dot(v, w);
}

static td_tensor *base_written_view_and_base_used(void) {
    a = scaled(x, 2);
    v = td_t(a);
    td_mul_scalar_(a, td_num(3));
    return td_add(dot(v, w), td_mean(a));
}

static td_tensor *base_then_view_then_base_written(void) {
    a = scaled(x, 2);
    v = part(a, 0, 2);
    td_add_(a, y);
    td_mul_(v, z);
    td_mul_(a, y);
    return dot(a, w);
}

/* --- Writes through other views --- */

static td_tensor *transpose_mul(void) {
    a = scaled(x, 2);
    td_mul_(td_transpose(a, 0, 1), y);
    return dot(a, w);
}

static td_tensor *t_then_row_written(void) {
    a = scaled(x, 2);
    td_mul_(row(td_t(a), 1), y);
    return dot(a, w);
}

static td_tensor *permute_add(void) {
    a = scaled(x, 2);
    td_add_(td_permute(a, TD_INTS(2, 0, 1)), y);
    return dot2(a, w);
}

static td_tensor *select_copy(void) {
    a = scaled(x, 2);
    td_copy_(td_select(a, 0, 1), y);
    return dot(a, w);
}

static td_tensor *select_copy_broadcast(void) {
    a = scaled(x, 2);
    td_copy_(td_select(a, 1, 0), y);
    return dot2(a, w);
}

static td_tensor *copy_whole(void) {
    a = scaled(x, 2);
    td_copy_(a, y);
    return dot(a, w);
}

static td_tensor *rows_copied_between(void) {
    a = scaled(x, 2);
    td_copy_(row(a, 0), row(a, 2));
    return dot(a, w);
}

/* --- Expanded tensors and detached ones --- */

static td_tensor *expand_read(void) {
    a = scaled(x, 2);
    e = td_expand(a, TD_INTS(3, 2));
    return dot2(e, w);
}

static td_tensor *expand_base_written(void) {
    a = scaled(x, 2);
    e = td_expand(a, TD_INTS(3, 2));
    td_mul_(a, y);
    return dot(e, w);
}

static td_tensor *expand_clone_written(void) {
    a = td_clone(td_expand(x, TD_INTS(3, 2)));
    td_mul_(row(a, 1), y);
    return dot(a, w);
}

static td_tensor *detach_used(void) {
    a = scaled(x, 2);
    d = td_detach(a);
    return td_sum(td_mul(td_mul(a, d), w));
}

static td_tensor *detach_written(void) {
    a = scaled(x, 2);
    d = td_detach(a);
    td_mul_scalar_(d, td_num(3));
    return dot(a, w);
}

static td_tensor *detached_copy_written(void) {
    a = scaled(x, 2);
    d = td_clone(td_detach(a));
    td_fill_(row(d, 0), td_num(100));
    return td_sum(td_mul(td_mul(a, d), w));
}

/* --- Several views of one tensor --- */

static td_tensor *halves_written(void) {
    a = scaled(x, 2);
    p = part(a, 0, 2);
    q = part(a, 2, 4);
    td_mul_(p, y);
    td_add_(q, z);
    return dot(a, w);
}

static td_tensor *overlapping_views_written(void) {
    a = scaled(x, 2);
    p = part(a, 0, 3);
    q = part(a, 1, 4);
    td_mul_(p, y);
    td_mul_(q, z);
    return td_add(dot(a, w), dot(p, u));
}

static td_tensor *one_half_written_other_used(void) {
    a = scaled(x, 2);
    p = part(a, 0, 2);
    q = part(a, 2, 4);
    td_mul_(p, y);
    return dot(q, w);
}

/* --- In-place forms --- */

static td_tensor *relu_inplace(void) {
    a = scaled(x, 2);
    td_relu_(a);
    return dot(a, w);
}

static td_tensor *relu_inplace_on_view(void) {
    a = scaled(x, 2);
    td_relu_(part(a, 2, 5));
    return dot2(a, w);
}

static td_tensor *add_broadcast(void) {
    a = scaled(x, 2);
    td_add_(a, y);
    return dot2(a, w);
}

static td_tensor *sub_broadcast_column(void) {
    a = scaled(x, 2);
    td_sub_(a, y);
    return dot2(a, w);
}

static td_tensor *div_inplace(void) {
    a = scaled(x, 2);
    td_div_(a, y);
    return dot(a, w);
}

static td_tensor *add_inplace_itself(void) {
    a = scaled(x, 2);
    td_add_(a, a);
    return dot2(a, w);
}

static td_tensor *mul_inplace_by_clone(void) {
    a = scaled(x, 2);
    td_mul_(a, td_clone(a));
    return dot(a, w);
}

static td_tensor *add_to_itself_through_view(void) {
    a = scaled(x, 2);
    td_add_(part(a, 0, 2), part(a, 2, 4));
    return dot2(a, w);
}

/* --- Longer chains, whole overwrites, views that may be copies --- */

static td_tensor *chain_of_narrow(void) {
    a = scaled(x, 2);
    td_mul_(td_narrow(td_narrow(td_narrow(a, 0, 1, 2), 1, 1, 2), 0, 0, 1), y);
    return dot(a, w);
}

static td_tensor *fill_on_slice(void) {
    a = scaled(x, 2);
    td_fill_(columns(a, 1, 3), td_num(5));
    return dot2(a, w);
}

static td_tensor *zero_on_slice(void) {
    a = scaled(x, 2);
    td_zero_(row(a, 1));
    return td_sum(td_mul(td_mul(td_add(a, y), a), w));
}

static td_tensor *fill_then_write_again(void) {
    a = scaled(x, 2);
    td_fill_(a, td_num(2));
    td_mul_(part(a, 0, 2), y);
    return dot(a, w);
}

static td_tensor *unsqueeze_mul(void) {
    a = scaled(x, 2);
    td_mul_(td_unsqueeze(a, 1), y);
    return dot(a, w);
}

static td_tensor *squeeze_add(void) {
    a = scaled(x, 2);
    td_add_(td_squeeze(a, TD_INTS(1)), y);
    return dot2(a, w);
}

static td_tensor *view_flatten_written(void) {
    a = scaled(x, 2);
    td_mul_(td_flatten(a), y);
    return dot(a, w);
}

static td_tensor *reshape_that_copies(void) {
    a = scaled(x, 2);
    r = td_reshape(td_t(a), TD_INTS(6));
    td_mul_(r, y);
    return td_add(dot(a, w), dot(r, u));
}

static td_tensor *reshape_that_views(void) {
    a = scaled(x, 2);
    r = td_reshape(a, TD_INTS(6));
    td_mul_(r, y);
    return dot(a, w);
}

/* --- Leaves, with and without grad, under no_grad --- */

static td_tensor *view_of_leaf_read(void) {
    v = part(x, 1, 3);
    return td_add(dot2(v, w), td_sum(x));
}

static td_tensor *leaf_written_under_no_grad(void) {
    td_no_grad_begin();
    td_mul_scalar_(x, td_num(2));
    td_no_grad_end();
    return dot2(x, w);
}

static td_tensor *leaf_view_written_under_no_grad(void) {
    td_no_grad_begin();
    td_add_scalar_(part(x, 1, 3), td_num(10));
    td_no_grad_end();
    return dot2(x, w);
}

static td_tensor *leaf_copied_into_under_no_grad(void) {
    a = td_mul(x, y);
    td_no_grad_begin();
    td_copy_(z, a);
    td_no_grad_end();
    return td_sum(td_mul(td_mul(a, z), w));
}

static td_tensor *non_leaf_written_under_no_grad(void) {
    a = scaled(x, 2);
    td_no_grad_begin();
    td_add_scalar_(a, td_num(10));
    td_no_grad_end();
    return dot2(a, w);
}

static td_tensor *leaf_without_grad_written(void) {
    td_mul_(c, x);
    return dot(c, w);
}

static td_tensor *leaf_without_grad_written_through_view(void) {
    td_mul_(part(c, 1, 3), x);
    return dot2(c, w);
}

static td_tensor *old_view_of_constant_follows(void) {
    v = part(c, 1, 3);
    td_mul_(c, x);
    return dot2(v, w);
}

/* --- What backward saved and what it did not --- */

static td_tensor *write_after_unsaved_use(void) {
    a = scaled(x, 2);
    b = td_add(a, y);
    td_mul_scalar_(a, td_num(3));
    return td_add(dot(b, w), td_sum(a));
}

static td_tensor *write_on_output_of_sigmoid_view(void) {
    a = td_sigmoid(x);
    b = scaled(a, 1);
    td_mul_(part(b, 0, 2), y);
    return dot(b, w);
}

/* --- Small programs --- */

static td_tensor *loop_accumulates(void) {
    a = scaled(c, 1);
    td_add_(row(a, 0), scaled(x, 1));
    td_add_(row(a, 1), scaled(row(a, 0), 2));
    td_add_(row(a, 2), td_mul(td_clone(row(a, 1)), x));
    return dot(a, w);
}

static td_tensor *running_sum_through_views(void) {
    a = scaled(x, 1);
    td_add_(part(a, 1, 2), part(a, 0, 1));
    td_add_(part(a, 2, 3), part(a, 1, 2));
    td_add_(part(a, 3, 4), part(a, 2, 3));
    return dot2(a, w);
}

static td_tensor *matmul_into_slice(void) {
    a = scaled(c, 1);
    td_copy_(columns(a, 0, 2), td_matmul(x, y));
    return dot2(a, w);
}

static td_tensor *cat_of_views_written(void) {
    a = scaled(x, 2);
    b = td_cat(TD_TENSORS(part(a, 2, 4), part(a, 0, 2)));
    td_mul_(part(b, 1, 3), y);
    return td_add(dot(b, w), dot(a, a));
}

static td_tensor *select_of_transpose_of_view(void) {
    a = scaled(x, 2);
    td_mul_(td_select(td_transpose(td_view(a, TD_INTS(2, 2, 3)), 1, 2), 1, 2), y);
    return dot(a, w);
}

static td_tensor *two_losses_accumulate(void) {
    a = scaled(x, 2);
    td_mul_(part(a, 0, 2), y);
    td_backward(dot(a, w), .retain_graph = true);
    return dot(a, a);
}

static td_tensor *slice_with_grad_of_unused_part(void) {
    a = scaled(x, 2);
    b = td_mul(part(a, 1, 2), y);
    return td_add(td_sum(b), scaled(row(a, 3), 5));
}

static td_tensor *view_overwritten_completely(void) {
    a = scaled(x, 2);
    v = td_slice(a);
    td_copy_(v, y);
    return dot2(a, w);
}

static td_tensor *mul_number_through_expand_of_scalar(void) {
    s = td_sum(x);
    e = td_expand(s, TD_INTS(2, 2));
    return dot2(e, w);
}

static td_tensor *narrow_written_saved_elsewhere_in_base(void) {
    a = scaled(x, 2);
    b = td_mul(td_clone(a), y);
    td_mul_scalar_(part(a, 0, 1), td_num(10));
    return td_add(dot(b, w), dot(a, w));
}

/* clang-format off */
const view_case view_cases[] = {
    {"slice_assign", slice_assign},
    {"slice_assign_number", slice_assign_number},
    {"slice_assign_with_step", slice_assign_with_step},
    {"slice_assign_broadcast", slice_assign_broadcast},
    {"slice_assign_into_constant", slice_assign_into_constant},
    {"view_written_base_used", view_written_base_used},
    {"view_written_view_and_base_used", view_written_view_and_base_used},
    {"view_taken_after_write", view_taken_after_write},
    {"view_of_view_written", view_of_view_written},
    {"view_of_view_middle_used", view_of_view_middle_used},
    {"base_written_view_used", base_written_view_used},
    {"base_written_view_and_base_used", base_written_view_and_base_used},
    {"base_then_view_then_base_written", base_then_view_then_base_written},
    {"transpose_mul", transpose_mul},
    {"t_then_row_written", t_then_row_written},
    {"permute_add", permute_add},
    {"select_copy", select_copy},
    {"select_copy_broadcast", select_copy_broadcast},
    {"copy_whole", copy_whole},
    {"rows_copied_between", rows_copied_between},
    {"expand_read", expand_read},
    {"expand_base_written", expand_base_written},
    {"expand_clone_written", expand_clone_written},
    {"detach_used", detach_used},
    {"detach_written", detach_written},
    {"detached_copy_written", detached_copy_written},
    {"halves_written", halves_written},
    {"overlapping_views_written", overlapping_views_written},
    {"one_half_written_other_used", one_half_written_other_used},
    {"relu_inplace", relu_inplace},
    {"relu_inplace_on_view", relu_inplace_on_view},
    {"add_broadcast", add_broadcast},
    {"sub_broadcast_column", sub_broadcast_column},
    {"div_inplace", div_inplace},
    {"add_inplace_itself", add_inplace_itself},
    {"mul_inplace_by_clone", mul_inplace_by_clone},
    {"add_to_itself_through_view", add_to_itself_through_view},
    {"chain_of_narrow", chain_of_narrow},
    {"fill_on_slice", fill_on_slice},
    {"zero_on_slice", zero_on_slice},
    {"fill_then_write_again", fill_then_write_again},
    {"unsqueeze_mul", unsqueeze_mul},
    {"squeeze_add", squeeze_add},
    {"view_flatten_written", view_flatten_written},
    {"reshape_that_copies", reshape_that_copies},
    {"reshape_that_views", reshape_that_views},
    {"view_of_leaf_read", view_of_leaf_read},
    {"leaf_written_under_no_grad", leaf_written_under_no_grad},
    {"leaf_view_written_under_no_grad", leaf_view_written_under_no_grad},
    {"leaf_copied_into_under_no_grad", leaf_copied_into_under_no_grad},
    {"non_leaf_written_under_no_grad", non_leaf_written_under_no_grad},
    {"leaf_without_grad_written", leaf_without_grad_written},
    {"leaf_without_grad_written_through_view", leaf_without_grad_written_through_view},
    {"old_view_of_constant_follows", old_view_of_constant_follows},
    {"write_after_unsaved_use", write_after_unsaved_use},
    {"write_on_output_of_sigmoid_view", write_on_output_of_sigmoid_view},
    {"loop_accumulates", loop_accumulates},
    {"running_sum_through_views", running_sum_through_views},
    {"matmul_into_slice", matmul_into_slice},
    {"cat_of_views_written", cat_of_views_written},
    {"select_of_transpose_of_view", select_of_transpose_of_view},
    {"two_losses_accumulate", two_losses_accumulate},
    {"slice_with_grad_of_unused_part", slice_with_grad_of_unused_part},
    {"view_overwritten_completely", view_overwritten_completely},
    {"mul_number_through_expand_of_scalar", mul_number_through_expand_of_scalar},
    {"narrow_written_saved_elsewhere_in_base", narrow_written_saved_elsewhere_in_base},
    {NULL, NULL},
};
