/* What PyTorch refuses, in the write itself or in backward; see view_cases.c for what it allows. */
#include "model/view_case.h"

static td_tensor *error_leaf_written(void) {
    so_far_so_good();
    return td_mul_scalar_(x, td_num(2));
}

static td_tensor *error_leaf_written_through_view(void) {
    so_far_so_good();
    return td_mul_scalar_(part(x, 0, 2), td_num(2));
}

static td_tensor *error_leaf_filled(void) {
    so_far_so_good();
    return td_zero_(x);
}

static td_tensor *error_saved_by_mul(void) {
    a = scaled(x, 2);
    b = td_mul(a, y);
    td_add_scalar_(a, td_num(1));
    return td_sum(b);
}

static td_tensor *error_saved_by_mul_written_through_view(void) {
    a = scaled(x, 2);
    b = td_mul(a, y);
    td_add_scalar_(part(a, 0, 1), td_num(1));
    return td_sum(b);
}

static td_tensor *error_saved_view_base_written(void) {
    a = scaled(x, 2);
    b = td_mul(part(a, 0, 2), y);
    td_add_scalar_(part(a, 2, 3), td_num(1));
    return td_sum(b);
}

static td_tensor *error_output_of_exp(void) {
    a = td_exp(x);
    td_add_scalar_(a, td_num(1));
    return td_sum(a);
}

static td_tensor *error_output_of_sigmoid(void) {
    a = td_sigmoid(x);
    td_mul_scalar_(a, td_num(2));
    return td_sum(a);
}

static td_tensor *error_output_of_tanh(void) {
    a = td_tanh(x);
    td_zero_(part(a, 0, 1));
    return td_sum(a);
}

static td_tensor *error_output_of_relu(void) {
    a = td_relu(x);
    td_add_scalar_(a, td_num(1));
    return td_sum(a);
}

static td_tensor *error_relu_inplace_then_written(void) {
    a = scaled(x, 1);
    td_relu_(a);
    td_add_scalar_(a, td_num(1));
    return td_sum(a);
}

static td_tensor *error_saved_by_matmul(void) {
    a = scaled(x, 1);
    b = td_matmul(a, y);
    td_zero_(a);
    return td_sum(b);
}

static td_tensor *error_saved_written_under_no_grad(void) {
    a = scaled(x, 2);
    b = td_mul(a, y);
    td_no_grad_begin();
    td_add_scalar_(a, td_num(1));
    td_no_grad_end();
    return td_sum(b);
}

static td_tensor *error_saved_written_through_detach(void) {
    a = scaled(x, 2);
    b = td_mul(a, y);
    td_add_scalar_(td_detach(a), td_num(1));
    return td_sum(b);
}

static td_tensor *error_saved_leaf_written_under_no_grad(void) {
    b = td_mul(x, y);
    td_no_grad_begin();
    td_add_scalar_(x, td_num(1));
    td_no_grad_end();
    return td_sum(b);
}

static td_tensor *error_mul_by_view_of_same_base(void) {
    a = scaled(x, 2);
    td_mul_(part(a, 0, 2), part(a, 2, 4));
    return td_sum(a);
}

static td_tensor *error_mul_inplace_by_itself(void) {
    a = scaled(x, 2);
    td_mul_(a, a);
    return td_sum(a);
}

static td_tensor *error_expanded_written(void) {
    a = scaled(x, 2);
    e = td_expand(a, TD_INTS(3, 2));
    so_far_so_good();
    return td_mul_scalar_(e, td_num(2));
}

static td_tensor *error_expanded_slice_copied_into(void) {
    a = scaled(x, 2);
    e = td_expand(a, TD_INTS(3, 2));
    so_far_so_good();
    return td_copy_(part(e, 0, 2), y);
}

static td_tensor *error_partial_overlap(void) {
    a = scaled(x, 2);
    so_far_so_good();
    return td_add_(part(a, 0, 3), part(a, 1, 4));
}

static td_tensor *error_view_made_under_no_grad(void) {
    a = scaled(x, 2);
    td_no_grad_begin();
    v = part(a, 0, 2);
    td_no_grad_end();
    so_far_so_good();
    return td_mul_(v, y);
}

static td_tensor *error_no_graph(void) { return td_sum(scaled(td_detach(x), 2)); }

static td_tensor *error_all_under_no_grad(void) {
    td_no_grad_begin();
    td_tensor *loss = td_sum(scaled(x, 2));
    td_no_grad_end();
    return loss;
}

static td_tensor *error_backward_twice(void) {
    td_tensor *loss = dot(x, x);
    td_backward(loss);
    return loss;
}

static td_tensor *error_backward_of_vector(void) { return scaled(x, 2); }

/* clang-format off */
const view_case view_errors[] = {
    {"error_leaf_written", error_leaf_written},
    {"error_leaf_written_through_view", error_leaf_written_through_view},
    {"error_leaf_filled", error_leaf_filled},
    {"error_saved_by_mul", error_saved_by_mul},
    {"error_saved_by_mul_written_through_view", error_saved_by_mul_written_through_view},
    {"error_saved_view_base_written", error_saved_view_base_written},
    {"error_output_of_exp", error_output_of_exp},
    {"error_output_of_sigmoid", error_output_of_sigmoid},
    {"error_output_of_tanh", error_output_of_tanh},
    {"error_output_of_relu", error_output_of_relu},
    {"error_relu_inplace_then_written", error_relu_inplace_then_written},
    {"error_saved_by_matmul", error_saved_by_matmul},
    {"error_saved_written_under_no_grad", error_saved_written_under_no_grad},
    {"error_saved_written_through_detach", error_saved_written_through_detach},
    {"error_saved_leaf_written_under_no_grad", error_saved_leaf_written_under_no_grad},
    {"error_mul_by_view_of_same_base", error_mul_by_view_of_same_base},
    {"error_mul_inplace_by_itself", error_mul_inplace_by_itself},
    {"error_expanded_written", error_expanded_written},
    {"error_expanded_slice_copied_into", error_expanded_slice_copied_into},
    {"error_partial_overlap", error_partial_overlap},
    {"error_view_made_under_no_grad", error_view_made_under_no_grad},
    {"error_no_graph", error_no_graph},
    {"error_all_under_no_grad", error_all_under_no_grad},
    {"error_backward_twice", error_backward_twice},
    {"error_backward_of_vector", error_backward_of_vector},
    {NULL, NULL},
};
