"""Makes tests/golden/views.json: gradients through views and in-place writes, as PyTorch gives them.

Made with the PyPI wheel of PyTorch 2.15.0. Run, with torch and numpy:

    python3 scripts/golden/views.py

A case's formula is the very text that is executed here. Inputs are small f64 tensors; then comes
loss.backward(), and the record holds the loss, every input's gradient (null where PyTorch has none)
and the values that named tensors have at the end.
"""
import torch

from golden import number, tensor_record, write

NOTES = [
    "every tensor is f64; formula is Python as PyTorch runs it, statements separated by '; ', then loss.backward()",
    "a[1:3] = b is narrow/slice + copy_ (or fill_ for a number); x + y is add; "
    "no_grad() and enable_grad() switch the mode until the other is called",
    "grads: one per input with requires_grad, null where it got none; values: tensors at the end, inputs only if changed",
    "error: the formula must fail: in its last statement (fails_in forward) or in loss.backward() (fails_in backward); "
    "kind: leaf (in-place write to a leaf, or a view of one, that requires grad), version (a saved tensor was modified), "
    "overlap (write to memory that several elements share), no_grad_view (in-place write with grad to a view made "
    "under no_grad), "
    "no_graph (backward through something without grad_fn), twice (second backward through a freed graph), "
    "scalar (backward from more than one element)",
]


def tensor(*shape, start=1.0, step=1.0, grad=True):
    """start, start + step, ... in this shape."""
    count = torch.Size(shape).numel()
    values = start + step * torch.arange(count, dtype=torch.float64)
    return values.reshape(shape).clone().requires_grad_(grad)


def X(*shape, start=0.5, step=0.5):
    return tensor(*shape, start=start, step=step)


def W(*shape, start=1.0, step=0.25):
    """Constant weights, so that no two elements have the same gradient."""
    return tensor(*shape, start=start, step=step, grad=False)


def mixed(*shape):
    """Both signs, for relu and abs."""
    return tensor(*shape, start=-1.25, step=0.5)


# name, formula, inputs
CASES = [
    ("slice_assign", "a = x * 2; a[1:3] = y; loss = (a * w).sum()", dict(x=X(5), y=X(2, start=7), w=W(5))),
    ("slice_assign_number", "a = x * 2; a[1:3] = 9; loss = (a * a * w).sum()", dict(x=X(5), w=W(5))),
    ("slice_assign_with_step", "a = x.clone(); a[::2] = y; loss = (a * w).sum()", dict(x=X(5), y=X(3, start=7), w=W(5))),
    ("slice_assign_broadcast", "a = x * 1; a[:, 1:3] = y; loss = (a * w).sum()",
     dict(x=X(3, 4), y=X(3, 1, start=7), w=W(3, 4))),
    ("slice_assign_into_constant", "a = c * 1; a[1:3] = x; b = a * a; loss = (b * w).sum()",
     dict(c=W(4, start=3), x=X(2), w=W(4))),
    ("view_written_base_used", "a = x * 2; v = a.narrow(0, 1, 2); v.mul_(y); loss = (a * w).sum()",
     dict(x=X(4), y=X(2, start=3), w=W(4))),
    ("view_written_view_and_base_used", "a = x * 2; v = a[1:3]; v.mul_(y); loss = (a * w).sum() + (v * u).sum()",
     dict(x=X(4), y=X(2, start=3), w=W(4), u=W(2, start=5))),
    ("view_taken_after_write", "a = x * 2; a[0:2].mul_(y); v = a[1:4]; loss = (v * w).sum()",
     dict(x=X(4), y=X(2, start=3), w=W(3))),
    ("view_of_view_written", "a = x * 2; v = a.view(2, 3)[1]; u = v[1:]; u.mul_(y); loss = (a * w).sum()",
     dict(x=X(6, step=0.25), y=X(2, start=3), w=W(6))),
    ("view_of_view_middle_used", "a = x * 2; v = a[1:5]; u = v[1:3]; u.add_(y); loss = (v * v * w).sum()",
     dict(x=X(6), y=X(2, start=3), w=W(4))),
    ("base_written_view_used", "a = x * 2; v = a[1:3]; a.mul_(y); loss = (v * w).sum()",
     dict(x=X(4), y=X(4, start=3), w=W(2))),
    ("base_written_view_and_base_used", "a = x * 2; v = a.t(); a.mul_(3); loss = (v * w).sum() + a.mean()",
     dict(x=X(2, 3), w=W(3, 2))),
    ("base_then_view_then_base_written", "a = x * 2; v = a[0:2]; a.add_(y); v.mul_(z); a.mul_(y); loss = (a * w).sum()",
     dict(x=X(4), y=X(4, start=3), z=X(2, start=2), w=W(4))),
    ("transpose_mul", "a = x * 2; a.transpose(0, 1).mul_(y); loss = (a * w).sum()",
     dict(x=X(2, 3), y=X(3, 2, start=3), w=W(2, 3))),
    ("t_then_row_written", "a = x * 2; a.t()[1].mul_(y); loss = (a * w).sum()",
     dict(x=X(2, 3), y=X(2, start=3), w=W(2, 3))),
    ("permute_add", "a = x * 2; a.permute(2, 0, 1).add_(y); loss = (a * a * w).sum()",
     dict(x=X(2, 3, 2), y=X(2, 2, 3, start=3), w=W(2, 3, 2))),
    ("select_copy", "a = x * 2; a.select(0, 1).copy_(y); loss = (a * w).sum()",
     dict(x=X(3, 2), y=X(2, start=7), w=W(3, 2))),
    ("select_copy_broadcast", "a = x * 2; a.select(1, 0).copy_(y); loss = (a * a * w).sum()",
     dict(x=X(3, 2), y=X(1, start=7), w=W(3, 2))),
    ("copy_whole", "a = x * 2; a.copy_(y); loss = (a * w).sum()", dict(x=X(3), y=X(3, start=7), w=W(3))),
    ("rows_copied_between", "a = x * 2; a[0].copy_(a[2]); loss = (a * w).sum()", dict(x=X(3, 2), w=W(3, 2))),
    ("expand_read", "a = x * 2; e = a.expand(3, 2); loss = (e * e * w).sum()", dict(x=X(1, 2), w=W(3, 2))),
    ("expand_base_written", "a = x * 2; e = a.expand(3, 2); a.mul_(y); loss = (e * w).sum()",
     dict(x=X(1, 2), y=X(1, 2, start=3), w=W(3, 2))),
    ("expand_clone_written", "a = x.expand(3, 2).clone(); a[1].mul_(y); loss = (a * w).sum()",
     dict(x=X(2), y=X(2, start=3), w=W(3, 2))),
    ("detach_used", "a = x * 2; d = a.detach(); loss = (a * d * w).sum()", dict(x=X(3), w=W(3))),
    ("detach_written", "a = x * 2; d = a.detach(); d.mul_(3); loss = (a * w).sum()", dict(x=X(3), w=W(3))),
    ("detached_copy_written", "a = x * 2; d = a.detach().clone(); d[0] = 100; loss = (a * d * w).sum()",
     dict(x=X(3), w=W(3))),
    ("halves_written", "a = x * 2; p = a[0:2]; q = a[2:4]; p.mul_(y); q.add_(z); loss = (a * w).sum()",
     dict(x=X(4), y=X(2, start=3), z=X(2, start=5), w=W(4))),
    ("overlapping_views_written", "a = x * 2; p = a[0:3]; q = a[1:4]; p.mul_(y); q.mul_(z); loss = (a * w).sum() + (p * u).sum()",
     dict(x=X(4), y=X(3, start=3), z=X(3, start=2), w=W(4), u=W(3, start=5))),
    ("one_half_written_other_used", "a = x * 2; p = a[0:2]; q = a[2:4]; p.mul_(y); loss = (q * w).sum()",
     dict(x=X(4), y=X(2, start=3), w=W(2))),
    ("relu_inplace", "a = x * 2; a.relu_(); loss = (a * w).sum()", dict(x=mixed(6), w=W(6))),
    ("relu_inplace_on_view", "a = x * 2; a[2:5].relu_(); loss = (a * a * w).sum()", dict(x=mixed(6), w=W(6))),
    ("add_broadcast", "a = x * 2; a.add_(y); loss = (a * a * w).sum()", dict(x=X(2, 3), y=X(3, start=3), w=W(2, 3))),
    ("sub_broadcast_column", "a = x * 2; a.sub_(y); loss = (a * a * w).sum()",
     dict(x=X(2, 3), y=X(2, 1, start=3), w=W(2, 3))),
    ("div_inplace", "a = x * 2; a.div_(y); loss = (a * w).sum()", dict(x=X(2, 3), y=X(3, start=3), w=W(2, 3))),
    ("add_inplace_itself", "a = x * 2; a.add_(a); loss = (a * a * w).sum()", dict(x=X(3), w=W(3))),
    ("mul_inplace_by_clone", "a = x * 2; a.mul_(a.clone()); loss = (a * w).sum()", dict(x=X(3), w=W(3))),
    ("add_to_itself_through_view", "a = x * 2; a[0:2].add_(a[2:4]); loss = (a * a * w).sum()", dict(x=X(4), w=W(4))),
    ("chain_of_narrow", "a = x * 2; a.narrow(0, 1, 2).narrow(1, 1, 2).narrow(0, 0, 1).mul_(y); loss = (a * w).sum()",
     dict(x=X(3, 4), y=X(1, 2, start=3), w=W(3, 4))),
    ("fill_on_slice", "a = x * 2; a[:, 1:3].fill_(5); loss = (a * a * w).sum()", dict(x=X(2, 4), w=W(2, 4))),
    ("zero_on_slice", "a = x * 2; a[1].zero_(); loss = ((a + y) * a * w).sum()",
     dict(x=X(2, 3), y=X(2, 3, start=3), w=W(2, 3))),
    ("fill_then_write_again", "a = x * 2; a.fill_(2); a[0:2].mul_(y); loss = (a * w).sum()",
     dict(x=X(3), y=X(2, start=3), w=W(3))),
    ("unsqueeze_mul", "a = x * 2; a.unsqueeze(1).mul_(y); loss = (a * w).sum()",
     dict(x=X(3), y=X(3, 1, start=3), w=W(3))),
    ("squeeze_add", "a = x * 2; a.squeeze(1).add_(y); loss = (a * a * w).sum()",
     dict(x=X(2, 1, 3), y=X(3, start=3), w=W(2, 1, 3))),
    ("view_flatten_written", "a = x * 2; a.flatten().mul_(y); loss = (a * w).sum()",
     dict(x=X(2, 3), y=X(6, start=3), w=W(2, 3))),
    ("reshape_that_copies", "a = x * 2; r = a.t().reshape(6); r.mul_(y); loss = (a * w).sum() + (r * u).sum()",
     dict(x=X(2, 3), y=X(6, start=3), w=W(2, 3), u=W(6, start=5))),
    ("reshape_that_views", "a = x * 2; r = a.reshape(6); r.mul_(y); loss = (a * w).sum()",
     dict(x=X(2, 3), y=X(6, start=3), w=W(2, 3))),
    ("view_of_leaf_read", "v = x[1:3]; loss = (v * v * w).sum() + x.sum()", dict(x=X(4), w=W(2))),
    ("leaf_written_under_no_grad", "no_grad(); x.mul_(2); enable_grad(); loss = (x * x * w).sum()",
     dict(x=X(3), w=W(3))),
    ("leaf_view_written_under_no_grad", "no_grad(); x[1:3].add_(10); enable_grad(); loss = (x * x * w).sum()",
     dict(x=X(4), w=W(4))),
    ("leaf_copied_into_under_no_grad", "a = x * y; no_grad(); z.copy_(a); enable_grad(); loss = (a * z * w).sum()",
     dict(x=X(3), y=X(3, start=3), z=X(3, start=9), w=W(3))),
    ("non_leaf_written_under_no_grad", "a = x * 2; no_grad(); a.add_(10); enable_grad(); loss = (a * a * w).sum()",
     dict(x=X(3), w=W(3))),
    ("leaf_without_grad_written", "c.mul_(x); loss = (c * w).sum()", dict(c=W(3, start=3), x=X(3), w=W(3))),
    ("leaf_without_grad_written_through_view", "c[1:3].mul_(x); loss = (c * c * w).sum()",
     dict(c=W(4, start=3), x=X(2), w=W(4))),
    ("old_view_of_constant_follows", "v = c[1:3]; c.mul_(x); loss = (v * v * w).sum()",
     dict(c=W(4, start=3), x=X(4), w=W(2))),
    ("write_after_unsaved_use", "a = x * 2; b = a + y; a.mul_(3); loss = (b * w).sum() + a.sum()",
     dict(x=X(3), y=X(3, start=3), w=W(3))),
    ("write_on_output_of_sigmoid_view", "a = x.sigmoid(); b = a * 1; b[0:2].mul_(y); loss = (b * w).sum()",
     dict(x=mixed(4), y=X(2, start=3), w=W(4))),
    ("loop_accumulates", "a = c * 1; a[0].add_(x * 1); a[1].add_(a[0] * 2); a[2].add_(a[1].clone() * x); loss = (a * w).sum()",
     dict(c=W(3, 2, start=0, step=0), x=X(2), w=W(3, 2))),
    ("running_sum_through_views", "a = x * 1; a[1:2].add_(a[0:1]); a[2:3].add_(a[1:2]); a[3:4].add_(a[2:3]); loss = (a * a * w).sum()",
     dict(x=X(4), w=W(4))),
    ("matmul_into_slice", "a = c * 1; a[:, 0:2] = x.matmul(y); loss = (a * a * w).sum()",
     dict(c=W(2, 3, start=3), x=X(2, 3), y=X(3, 2, start=1), w=W(2, 3))),
    ("cat_of_views_written", "a = x * 2; b = cat([a[2:4], a[0:2]]); b[1:3].mul_(y); loss = (b * w).sum() + (a * a).sum()",
     dict(x=X(4), y=X(2, start=3), w=W(4))),
    ("select_of_transpose_of_view", "a = x * 2; a.view(2, 2, 3).transpose(1, 2).select(1, 2).mul_(y); loss = (a * w).sum()",
     dict(x=X(12), y=X(2, 2, start=3), w=W(12))),
    ("two_losses_accumulate", "a = x * 2; a[0:2].mul_(y); (a * w).sum().backward(retain_graph=True); loss = (a * a).sum()",
     dict(x=X(3), y=X(2, start=3), w=W(3))),
    ("slice_with_grad_of_unused_part", "a = x * 2; b = a[1:2] * y; loss = b.sum() + (a[3] * 5)",
     dict(x=X(4), y=X(1, start=3))),
    ("view_overwritten_completely", "a = x * 2; v = a[:]; v.copy_(y); loss = (a * a * w).sum()",
     dict(x=X(3), y=X(3, start=3), w=W(3))),
    ("mul_number_through_expand_of_scalar", "s = x.sum(); e = s.expand(2, 2); loss = (e * e * w).sum()",
     dict(x=X(3), w=W(2, 2))),
    ("narrow_written_saved_elsewhere_in_base", "a = x * 2; b = a.clone() * y; a[0:1].mul_(10); loss = (b * w).sum() + (a * w).sum()",
     dict(x=X(3), y=X(3, start=3), w=W(3))),
]

# name, kind, where, formula, inputs
ERRORS = [
    ("error_leaf_written", "leaf", "forward", "x.mul_(2)", dict(x=X(3))),
    ("error_leaf_written_through_view", "leaf", "forward", "x[0:2].mul_(2)", dict(x=X(3))),
    ("error_leaf_filled", "leaf", "forward", "x.zero_()", dict(x=X(3))),
    ("error_saved_by_mul", "version", "backward", "a = x * 2; b = a * y; a.add_(1); loss = b.sum()",
     dict(x=X(3), y=X(3, start=3))),
    ("error_saved_by_mul_written_through_view", "version", "backward",
     "a = x * 2; b = a * y; a[0:1].add_(1); loss = b.sum()", dict(x=X(3), y=X(3, start=3))),
    ("error_saved_view_base_written", "version", "backward",
     "a = x * 2; b = a[0:2] * y; a[2:3].add_(1); loss = b.sum()", dict(x=X(3), y=X(2, start=3))),
    ("error_output_of_exp", "version", "backward", "a = x.exp(); a.add_(1); loss = a.sum()", dict(x=X(3))),
    ("error_output_of_sigmoid", "version", "backward", "a = x.sigmoid(); a.mul_(2); loss = a.sum()", dict(x=X(3))),
    ("error_output_of_tanh", "version", "backward", "a = x.tanh(); a[0:1].zero_(); loss = a.sum()", dict(x=X(3))),
    ("error_output_of_relu", "version", "backward", "a = x.relu(); a.add_(1); loss = a.sum()", dict(x=mixed(4))),
    ("error_relu_inplace_then_written", "version", "backward", "a = x * 1; a.relu_(); a.add_(1); loss = a.sum()",
     dict(x=mixed(4))),
    ("error_saved_by_matmul", "version", "backward", "a = x * 1; b = a.matmul(y); a.zero_(); loss = b.sum()",
     dict(x=X(2, 3), y=X(3, 2, start=1))),
    ("error_saved_written_under_no_grad", "version", "backward",
     "a = x * 2; b = a * y; no_grad(); a.add_(1); enable_grad(); loss = b.sum()", dict(x=X(3), y=X(3, start=3))),
    ("error_saved_written_through_detach", "version", "backward",
     "a = x * 2; b = a * y; a.detach().add_(1); loss = b.sum()", dict(x=X(3), y=X(3, start=3))),
    ("error_saved_leaf_written_under_no_grad", "version", "backward",
     "b = x * y; no_grad(); x.add_(1); enable_grad(); loss = b.sum()", dict(x=X(3), y=X(3, start=3))),
    ("error_mul_by_view_of_same_base", "version", "backward", "a = x * 2; a[0:2].mul_(a[2:4]); loss = a.sum()",
     dict(x=X(4))),
    ("error_mul_inplace_by_itself", "version", "backward", "a = x * 2; a.mul_(a); loss = a.sum()", dict(x=X(3))),
    ("error_expanded_written", "overlap", "forward", "a = x * 2; e = a.expand(3, 2); e.mul_(2)", dict(x=X(1, 2))),
    ("error_expanded_slice_copied_into", "overlap", "forward", "a = x * 2; e = a.expand(3, 2); e[0:2].copy_(y)",
     dict(x=X(1, 2), y=X(2, 2, start=3))),
    ("error_partial_overlap", "overlap", "forward", "a = x * 2; a[0:3].add_(a[1:4])", dict(x=X(4))),
    ("error_view_made_under_no_grad", "no_grad_view", "forward",
     "a = x * 2; no_grad(); v = a[0:2]; enable_grad(); v.mul_(y)", dict(x=X(3), y=X(2, start=3))),
    ("error_no_graph", "no_graph", "backward", "loss = (x.detach() * 2).sum()", dict(x=X(3))),
    ("error_all_under_no_grad", "no_graph", "backward", "no_grad(); loss = (x * 2).sum(); enable_grad()", dict(x=X(3))),
    ("error_backward_twice", "twice", "backward", "loss = (x * x).sum(); loss.backward()", dict(x=X(3))),
    ("error_backward_of_vector", "scalar", "backward", "loss = x * 2", dict(x=X(3))),
]


def plain(tensor):
    record = tensor_record(tensor)
    del record["dtype"]
    return record


def start_of_record(name, formula, inputs):
    return {"name": name, "formula": formula,
            "inputs": {key: {**plain(value), "requires_grad": value.requires_grad} for key, value in inputs.items()}}


def run(formula, inputs):
    """Execute the formula and loss.backward(); gives the names' values, and where and how it failed."""
    scope = dict(inputs, cat=torch.cat, no_grad=lambda: torch.set_grad_enabled(False),
                 enable_grad=lambda: torch.set_grad_enabled(True))
    statements = formula.split("; ")
    where = "forward"
    try:
        for done, statement in enumerate(statements, 1):
            exec(statement, scope)
        if "loss" in scope:
            where = "backward"
            scope["loss"].backward()
        return scope, None, None
    except RuntimeError as error:
        assert where == "backward" or done == len(statements), (formula, error)
        return scope, where, error
    finally:
        torch.set_grad_enabled(True)


def good_record(name, formula, inputs):
    record = start_of_record(name, formula, inputs)
    before = {key: value.detach().clone() for key, value in inputs.items()}
    scope, _, error = run(formula, inputs)
    assert not error, (name, error)
    results = {key: value for key, value in scope.items() if torch.is_tensor(value) and key != "loss"}
    return {**record, "loss": number(scope["loss"].item(), torch.float64),
            "grads": {key: None if value.grad is None else plain(value.grad)
                      for key, value in inputs.items() if record["inputs"][key]["requires_grad"]},
            "values": {key: plain(value) for key, value in results.items()
                       if key not in inputs or not torch.equal(before[key], value)}}


def error_record(name, kind, expected_where, formula, inputs):
    record = start_of_record(name, formula, inputs)
    _, where, error = run(formula, inputs)
    assert where == expected_where, (name, where, error)
    message = str(error).split("\n")[0].split(". ")[0]
    return {**record, "error": True, "kind": kind, "fails_in": where, "message": message}


def main():
    torch.set_num_threads(1)
    names = [case[0] for case in CASES + ERRORS]
    assert len(names) == len(set(names))
    write(__file__, "views.json", NOTES, cases=[good_record(*case) for case in CASES],
          errors=[error_record(*case) for case in ERRORS])


if __name__ == "__main__":
    main()
