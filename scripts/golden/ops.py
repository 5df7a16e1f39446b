"""Makes tests/golden/ops.json: small cases of every operation, with outputs and gradients, from PyTorch.

Made with the PyPI wheel of PyTorch 2.15.0. Run, with torch and numpy:

    python3 scripts/golden/ops.py

Each case calls torch.ops.aten.<aten or op> with exactly the recorded arguments, so their names are ATen's.
"""
import zlib

import torch

from golden import DTYPES, tensor_record, write

NOTES = [
    "op: our row's name; aten: ATen's, where it differs; args: by ATen's argument names. A tensor is "
    "{dtype, shape, data}; a list of tensors a list of those; dtypes are names; numbers, lists, booleans, null as they are; "
    "an absent argument has ATen's default",
    "args are given as f32, f64, i64, i32, u8, bool; inputs are contiguous; bool and integer data are numbers",
    "out: list of results; grads: by argument (or argument[index] in a list) of every floating input "
    "(but the losses' class weights, running statistics, and what is written to) of loss = sum(out[0] * (0.1 * (1 + arange))) with the weights made in f64, then cast to out[0]'s dtype and shape; "
    "absent where out[0] is not floating; null where PyTorch gives none",
    "reduction is ATen's number: 0 none, 1 mean, 2 sum",
]

F64, F32 = "f64", "f32"
CASES = []


def case(op, aten=None, **args):
    CASES.append((op, aten, args))


def T(data, dtype=F64):
    return torch.tensor(data, dtype=DTYPES[dtype])


def V(*shape, dtype=F64, scale=8, offset=0.0, key=0):
    """Distinct values of both signs, exact in f32, in an order that looks random; integers for integer dtypes."""
    count = torch.Size(shape).numel()
    generator = torch.Generator().manual_seed(zlib.crc32(repr((shape, key)).encode()))
    order = torch.randperm(count, generator=generator).to(torch.float64)
    if dtype in (F64, F32):
        return ((order - (count - 1) / 2 + 0.25) / scale + offset).reshape(shape).to(DTYPES[dtype])
    if dtype == "bool":
        return (order % 2 == 0).reshape(shape)
    if dtype != "u8":
        order -= count // 2
    return order.reshape(shape).to(DTYPES[dtype])


def P(*shape, dtype=F64, key=0):
    """Positive distinct values."""
    return V(*shape, dtype=dtype, key=key).sub(V(*shape, dtype=dtype, key=key).min()).add(0.25)


NAN, INF = float("nan"), float("inf")


def arithmetic():
    for op in ("add", "sub", "mul", "div"):
        second = P if op == "div" else V
        case(op, self=V(2, 3), other=second(2, 3, key=1))
        case(op, self=V(2, 1, 3), other=second(4, 1, key=1))
        case(op, self=V(3), other=2.5)
        case(op, self=V(2, 3, dtype=F32), other=second(3, dtype=F32, key=1))
    case("add", self=V(2, 3), other=V(3, key=1), alpha=2)
    case("sub", self=V(2, 3), other=V(2, 1, key=1), alpha=0.5)
    case("add", self=V(), other=V(2, key=1))
    case("add", self=V(0, 3), other=V(3, key=1))
    case("div", self=T([1, -1, 0]), other=T([0, 0, 0]))
    case("div", self=T([7, -7, 1], "i64"), other=T([2, 2, 3], "i64"))
    case("div", self=T([7, -7, 1], "i32"), other=2)
    for op in ("neg", "abs", "exp", "relu", "sigmoid", "tanh"):
        case(op, self=V(2, 4))
        case(op, self=V(7, dtype=F32))
    for op in ("log", "sqrt"):
        case(op, self=P(2, 4))
        case(op, self=P(7, dtype=F32))
        case(op, self=T([0, 1, -1, INF, NAN]))
    for op in ("neg", "abs", "relu"):
        case(op, self=T([-2, 0, 3], "i64"))
    for op in ("abs", "relu", "sigmoid", "tanh", "exp"):
        case(op, self=T([0.0, -0.0, 800, -800, INF, -INF, NAN]))
    for op in ("exp", "log", "sqrt", "sigmoid", "tanh"):
        case(op, self=T([1, 2, 9], "i64"))
    case("pow", self=V(5), exponent=2)
    case("pow", self=V(5), exponent=3)
    case("pow", self=P(5), exponent=0.5)
    case("pow", self=P(5), exponent=-1.5)
    case("pow", self=V(5), exponent=0)
    case("pow", self=T([0.0, -2, 2]), exponent=-1)
    case("pow", self=V(5, dtype=F32), exponent=2)
    case("pow", self=T([-2, 0, 3], "i64"), exponent=3)
    case("pow", self=T([4, 0, 9], "i64"), exponent=0.5)


def promotion():
    ints, floats, flags = T([1, -2, 3], "i64"), T([0.5, 1.5, -2.5], F32), T([1, 0, 1], "bool")
    case("add", self=ints, other=floats)
    case("add", self=ints, other=1.5)
    case("add", self=ints, other=2)
    case("add", self=T([1, -2, 3], "i32"), other=ints)
    case("add", self=T([200, 100, 7], "u8"), other=T([100, 100, 7], "u8"))
    case("add", self=T([200, 100, 7], "u8"), other=T([-1, -2, 3], "i32"))
    case("sub", self=T([0, 100, 7], "u8"), other=1)
    case("add", self=flags, other=T([1, 1, 0], "bool"))
    case("add", self=flags, other=1)
    case("mul", self=flags, other=floats)
    case("mul", self=flags, other=T([1, 1, 0], "bool"))
    case("mul", self=floats, other=T([0.1, 0.2, 0.3], F64))
    case("mul", self=floats, other=T(0.1, F64))  # a tensor without dimensions does not widen
    case("add", self=floats, other=T(7, "i64"))
    case("add", self=ints, other=T(0.5, F32))
    case("add", self=T([1, 2], "u8"), other=T(300, "i64"))
    case("div", self=flags, other=T([1, 1, 1], "bool"))
    case("maximum", self=ints, other=floats)
    case("where", condition=flags, self=ints, other=floats)
    case("eq", self=ints, other=floats)
    case("lt", self=T([200, 1, 0], "u8"), other=T([-1, 1, 5], "i32"))
    case("sum", self=flags)
    case("sum", self=T([200, 100], "u8"))
    case("sum", self=T([1, 2], "i32"), dtype=F32)
    case("mean", self=T([1, 2, 4], "i64"), dtype=F64)
    case("cat", tensors=[ints, floats], dim=0)
    case("cat", tensors=[flags, T([3], "u8")], dim=0)


def comparison():
    for op in ("eq", "ne", "lt", "le", "gt", "ge"):
        case(op, self=T([[1, 2, 3], [3, 2, NAN]]), other=T([1, 3, 3]))
        case(op, self=T([1, 2, 3], "i64"), other=2)
        case(op, self=T([1, 2, 3], "i64"), other=2.5)
        case(op, self=T([0, 1, 1], "bool"), other=T([1, 1, 0], "bool"))
    for op in ("maximum", "minimum"):
        case(op, self=V(2, 3), other=V(3, key=1, offset=0.01))
        case(op, self=T([1, 2, 3, NAN, 1]), other=T([1, 3, 2, 1, NAN]))
        case(op, self=T([1, -2], "i64"), other=T([0, 5], "i64"))
    case("where", condition=T([[1, 0, 1], [0, 0, 1]], "bool"), self=V(2, 3), other=V(2, 3, key=1))
    case("where", condition=T([[1], [0]], "bool"), self=V(3), other=V(1, 1, key=1))
    case("where", condition=T([1, 0], "bool"), self=V(2), other=V(key=1))
    case("clamp", self=V(2, 4), min=-0.25, max=0.3)
    case("clamp", self=V(8, dtype=F32), min=0)
    case("clamp", self=T([1, 2, 3, NAN, -INF]), max=2)
    case("clamp", self=T([1, 2, 3, 4]), min=2, max=3)  # no gradient at the bounds (in older PyTorch 1)
    case("clamp", self=T([1, 2, 3]), min=5, max=2)
    case("clamp", self=T([-3, 0, 9], "i64"), min=-1, max=4)


def reductions():
    for op in ("sum", "mean"):
        case(op, self=V(2, 3))
        case(op, self=V(2, 3, 4), dim=[1])
        case(op, self=V(2, 3, 4), dim=[0, -1], keepdim=True)
        case(op, self=V(2, 3, dtype=F32), dim=[1], keepdim=False)
        case(op, self=V(0, 3), dim=[0])
        case(op, self=V())
        case(op, self=V(2, 3, dtype=F32), dtype=F64)
    case("sum", self=V(2, 3, dtype="i32"), dim=[0])
    case("sum", self=V(2, 3), dim=[])
    case("amax", self=V(2, 3, 4), dim=[1])
    case("amax", self=V(2, 3, 4), dim=[0, 2], keepdim=True)
    case("amax", self=V(2, 3), dim=[])
    case("amax", self=T([[1, 3, 3], [2, 2, 2]]), dim=[1])  # gradient of ties is shared
    case("amax", self=T([[1, NAN, 3], [2, 1, 0]]), dim=[1])
    case("amax", self=V(2, 3, dtype="i64"), dim=[0])
    case("argmax", self=V(2, 3, 4))
    case("argmax", self=V(2, 3, 4), dim=1)
    case("argmax", self=V(2, 3, 4), dim=-1, keepdim=True)
    case("argmax", self=T([[1, 3, 3], [2, 2, 2], [1, NAN, NAN]]), dim=1)
    case("argmax", self=V(2, 3, dtype="i32"), dim=0)
    case("max", self=V(2, 3))
    case("max", self=V(2, 3, 4), dim=1)
    case("max", self=V(2, 3, 4, dtype=F32), dim=-1, keepdim=True)
    case("max", self=T([[1, 3, 3], [2, 2, 2], [1, NAN, 7]]), dim=1)  # the first of ties gets the gradient
    case("max", self=T([1, 3, 3]))  # here ties share it
    case("max", self=V(2, 3, dtype="i64"), dim=0)


def matrices():
    case("matmul", self=V(4), other=V(4, key=1))
    case("matmul", self=V(3, 4), other=V(4, key=1))
    case("matmul", self=V(4), other=V(4, 3, key=1))
    case("matmul", self=V(2, 4), other=V(4, 3, key=1))
    case("matmul", self=V(2, 4, dtype=F32), other=V(4, 3, dtype=F32, key=1))
    case("matmul", self=V(2, 2, 3), other=V(2, 3, 2, key=1))
    case("matmul", self=V(2, 1, 2, 3), other=V(3, 3, 2, key=1))
    case("matmul", self=V(2, 3, 4), other=V(4, 2, key=1))
    case("matmul", self=V(2, 4), other=V(3, 4, 2, key=1))
    case("matmul", self=V(2, 3, 4), other=V(4, key=1))
    case("matmul", self=V(4), other=V(2, 4, 3, key=1))
    case("matmul", self=V(2, 0), other=V(0, 3, key=1))
    case("matmul", self=V(2, 3, dtype="i64"), other=V(3, 2, dtype="i64", key=1))
    case("linear", input=V(2, 4), weight=V(3, 4, key=1), bias=V(3, key=2))
    case("linear", input=V(2, 4), weight=V(3, 4, key=1))
    case("linear", input=V(2, 2, 4), weight=V(3, 4, key=1), bias=V(3, key=2))
    case("linear", input=V(4), weight=V(3, 4, key=1), bias=V(3, key=2))
    case("linear", input=V(2, 4, dtype=F32), weight=V(3, 4, dtype=F32, key=1), bias=V(3, dtype=F32, key=2))


def shapes():
    case("view", self=V(2, 6), size=[3, 4])
    case("view", self=V(2, 6), size=[-1, 2])
    case("view", self=V(6, dtype="u8"), size=[2, 3])
    case("reshape", self=V(2, 6), shape=[2, 2, 3])
    case("reshape", self=V(2, 6), shape=[-1])
    case("permute", self=V(2, 3, 4), dims=[2, 0, 1])
    case("permute", self=V(2, 3, dtype="i64"), dims=[-1, 0])
    case("transpose", self=V(2, 3, 2), dim0=0, dim1=2)
    case("transpose", self=V(2, 3), dim0=-1, dim1=-2)
    case("t", self=V(2, 3))
    case("flatten", self=V(2, 3, 2))
    case("flatten", self=V(2, 3, 2), start_dim=1)
    case("flatten", self=V(2, 2, 2, 2), start_dim=1, end_dim=2)
    case("flatten", self=V())
    case("squeeze", self=V(1, 3, 1))
    case("squeeze", self=V(1, 3, 1), dim=0)
    case("squeeze", self=V(1, 3, 1), dim=1)
    case("squeeze", self=V(1, 3, 1), dim=[0, 2])
    case("unsqueeze", self=V(2, 3), dim=0)
    case("unsqueeze", self=V(2, 3), dim=-1)
    case("expand", self=V(1, 3), size=[2, 3])
    case("expand", self=V(3, 1), size=[2, -1, 4])
    case("expand", self=V(), size=[2])
    case("cat", tensors=[V(2, 3), V(1, 3, key=1)])
    case("cat", tensors=[V(2, 1), V(2, 2, key=1), V(2, 1, key=2)], dim=-1)
    case("cat", tensors=[V(0), V(2, 2, key=1)])  # an empty 1-d tensor is let pass
    case("slice", self=V(5), dim=0, start=1, end=4)
    case("slice", self=V(2, 5), dim=1, start=0, end=9223372036854775807, step=2)
    case("slice", self=V(2, 5), dim=-1, start=-3, end=-1)
    case("slice", self=V(5), dim=0, start=4, end=2)
    case("slice", self=V(5))
    case("select", self=V(2, 3), dim=0, index=1)
    case("select", self=V(2, 3), dim=-1, index=-1)
    case("clone", self=V(2, 3))
    case("clone", self=V(3, dtype="i32"))


def losses():
    for op in ("softmax", "log_softmax"):
        case(op, self=V(2, 4), dim=1)
        case(op, self=V(2, 3, 2), dim=0)
        case(op, self=V(2, 4, dtype=F32), dim=-1)
        case(op, self=T([[1000, 0, -1000], [-INF, 0, 1]]), dim=1)
        case(op, self=V(2, 4, dtype=F32), dim=1, dtype=F64)
        case(op, self=V(), dim=0)
    log_p = V(3, 4).log_softmax(1).mul(1024).round().div(1024)
    target = T([2, 0, 3], "i64")
    weight = T([0.5, 1, 2, 0.25])
    for op, aten, values, key in (("nll_loss", None, log_p, "self"), ("cross_entropy", "cross_entropy_loss", V(3, 4), "self")):
        for reduction in (0, 1, 2):
            case(op, aten, **{key: values}, target=target, reduction=reduction)
            case(op, aten, **{key: values}, target=target, weight=weight, reduction=reduction)
            case(op, aten, **{key: values}, target=T([2, -100, 3], "i64"), weight=weight, reduction=reduction)
        case(op, aten, **{key: values}, target=target, ignore_index=0)
        case(op, aten, **{key: values[0]}, target=T(1, "i64"))
        case(op, aten, **{key: values.to(torch.float32)}, target=target)
        case(op, aten, **{key: values}, target=T([-100, -100, -100], "i64"))  # mean over nothing
    for reduction in (0, 1, 2):
        case("cross_entropy", "cross_entropy_loss", self=V(3, 4), target=target, reduction=reduction, label_smoothing=0.1)
        case("cross_entropy", "cross_entropy_loss", self=V(3, 4), target=T([2, -100, 3], "i64"), weight=weight,
             reduction=reduction, label_smoothing=0.2)
    case("cross_entropy", "cross_entropy_loss", self=V(2, 3, 2), target=T([[0, 2], [1, 1]], "i64"))
    case("cross_entropy", "cross_entropy_loss", self=V(2, 3), target=T([[0.2, 0.5, 0.3], [0, 1, 0]]))
    case("nll_loss", "nll_loss_nd", self=V(2, 3, 2), target=T([[0, 2], [1, 1]], "i64"))
    for reduction in (0, 1, 2):
        case("mse_loss", self=V(2, 3), target=V(2, 3, key=1, offset=0.5), reduction=reduction)
    case("mse_loss", self=V(3, dtype=F32), target=V(3, dtype=F32, key=1))


def images():
    x = V(2, 2, 5, 4)
    case("conv2d", input=V(1, 1, 4, 4), weight=V(1, 1, 3, 3, key=1))
    case("conv2d", input=x, weight=V(3, 2, 3, 2, key=1), bias=V(3, key=2))
    case("conv2d", input=x, weight=V(2, 2, 2, 2, key=1), bias=V(2, key=2), stride=[2, 1], padding=[1, 0])
    case("conv2d", input=x, weight=V(2, 2, 2, 2, key=1), stride=[2, 2], padding=[1, 2])
    case("conv2d", input=x, weight=V(2, 2, 2, 2, key=1), bias=V(2, key=2), dilation=[2, 3])
    case("conv2d", input=x, weight=V(2, 2, 2, 2, key=1), stride=[2, 1], padding=[2, 1], dilation=[1, 2])
    case("conv2d", input=x, weight=V(4, 1, 3, 3, key=1), bias=V(4, key=2), padding=[1, 1], groups=2)
    case("conv2d", input=V(1, 4, 3, 3), weight=V(2, 2, 1, 1, key=1), groups=2)
    case("conv2d", input=V(2, 3, 3), weight=V(2, 2, 2, 2, key=1), bias=V(2, key=2))  # without a batch
    case("conv2d", input=V(1, 2, 4, 4, dtype=F32), weight=V(2, 2, 3, 3, dtype=F32, key=1), bias=V(2, dtype=F32, key=2),
         padding=[1, 1])
    case("conv2d", input=x, weight=V(2, 2, 5, 4, key=1))
    case("max_pool2d", self=V(1, 2, 4, 4), kernel_size=[2, 2])
    case("max_pool2d", self=V(2, 1, 5, 5), kernel_size=[3, 2], stride=[2, 1])
    case("max_pool2d", self=V(1, 1, 5, 5), kernel_size=[3, 3], stride=[2, 2], padding=[1, 1])
    case("max_pool2d", self=V(1, 1, 5, 5), kernel_size=[2, 2], stride=[2, 2], ceil_mode=True)
    case("max_pool2d", self=V(1, 1, 6, 6), kernel_size=[2, 2], stride=[1, 2], dilation=[2, 3])
    case("max_pool2d", self=V(2, 4, 4), kernel_size=[2, 2])
    case("max_pool2d", self=V(1, 1, 4, 4, dtype=F32), kernel_size=[2, 2])
    case("max_pool2d", self=torch.ones(1, 1, 3, 3, dtype=torch.float64), kernel_size=[2, 2], stride=[1, 1])  # ties
    case("max_pool2d", self=T([[[[1, NAN, 3], [2, 1, 0], [0, 5, NAN]]]]), kernel_size=[2, 2], stride=[1, 1])


def norms():
    x = V(3, 2, 2, 3)
    running = {"running_mean": V(2, key=3), "running_var": P(2, key=4)}
    affine = {"weight": V(2, key=1), "bias": V(2, key=2)}

    def batch_norm(dtype=F64, **args):
        args = {"weight": None, "bias": None, "running_mean": None, "running_var": None, "training": False,
                "momentum": 0.1, "eps": 1e-5, "cudnn_enabled": False, **args}
        case("batch_norm", **{k: v.to(DTYPES[dtype]) if torch.is_tensor(v) else v for k, v in args.items()})

    for shape in ((4, 2), (3, 2, 5), (2, 2, 3, 4), (2, 2, 2, 1, 3)):
        batch_norm(input=V(*shape), **affine, **running, training=True)
        batch_norm(input=V(*shape), **affine, **running)
    for dtype in (F64, F32):
        batch_norm(dtype, input=x, training=True)
        batch_norm(dtype, input=x, **running, training=True, momentum=0.7, eps=0.1)
        batch_norm(dtype, input=x, **running, eps=0.1)
        batch_norm(dtype, input=x, **affine, training=True)
        batch_norm(dtype, input=V(8, 2, 3, 3, offset=100), **affine, **running, training=True)
    batch_norm(input=torch.ones(2, 2, 2, 2, dtype=torch.float64), **affine, **running, training=True)


def rest():
    """One or two of every operation that no family above has."""
    case("sign", self=V(2, 4))
    case("sign", self=T([-2, 0, 3], "i64"))
    case("rsqrt", self=P(2, 4))
    case("rsqrt", self=T([0, 1, -1, INF, NAN]))
    case("rsub", self=V(2, 3), other=2.5)
    case("rsub", self=T([1, -2, 3], "i64"), other=2)
    case("clamp", self=T([0, 100, 255], "u8"), min=-1, max=300)  # bounds that u8 cannot hold
    case("logical_not", self=T([0, -0.0, 0.5, NAN]))
    case("logical_and", self=T([0, 1, 2, 0], "i64"), other=T([0, 0, 0.5, NAN]))
    case("isfinite", self=T([0, INF, -INF, NAN]))
    case("isfinite", self=T([0, 1], "i64"))
    case("masked_fill", self=V(2, 3), mask=T([1, 0, 1], "bool"), value=0.5)
    case("masked_fill", self=V(3), mask=T([[1, 0, 1], [0, 0, 1]], "bool"), value=-1e9)
    case("masked_fill", self=T([1, 2, 3], "i32"), mask=T([1, 0, 1], "bool"), value=2.5)
    case("masked_fill", self=T([1, 0], "bool"), mask=T([1, 0], "bool"), value=0.5)
    case("gather", self=V(2, 3), dim=1, index=T([[0, 2, 2, 1], [1, 1, 0, 0]], "i64"))
    case("gather", self=V(3, 2, dtype="i32"), dim=-2, index=T([[2]], "i64"))
    case("scatter_add", self=V(2, 3), dim=1, index=T([[0, 2], [1, 1]], "i64"), src=V(2, 2, key=1))
    case("scatter_add", self=V(3, dtype="i64"), dim=0, index=T([1, 1, 1], "i64"), src=V(3, dtype="i64", key=1))
    case("mm", self=V(2, 4), mat2=V(4, 3, key=1))
    case("bmm", self=V(2, 2, 3), mat2=V(2, 3, 2, key=1))
    case("sum_to_size", self=V(2, 3, 2), size=[3, 1])
    case("as_strided", self=V(2, 4), size=[3, 2], stride=[2, 1], storage_offset=1)
    case("as_strided", self=V(6), size=[3, 3], stride=[1, 1])
    case("alias", self=V(2, 3))
    case("detach", self=V(2, 3))
    case("narrow", self=V(2, 5), dim=1, start=1, length=3)
    case("narrow", self=V(5, 2), dim=0, start=-2, length=2)
    case("contiguous", self=V(2, 3))
    case("stack", tensors=[V(2), V(2, key=1)], dim=-1)
    case("full", size=[2, 3], fill_value=7)
    case("full", size=[2], fill_value=0.5)
    case("full", size=[], fill_value=True)
    case("zeros", size=[2, 0])
    case("ones", size=[3], dtype="i64")
    case("zeros_like", self=V(2, 3, dtype="i32"))
    case("ones_like", self=V(2, 3), dtype="bool")
    case("arange", end=4)
    case("arange", end=2.5)
    case("arange", start=1, end=2, step=0.25)
    case("arange", start=7, end=-3, step=-3)
    case("arange", start=0, end=1, step=0.3, dtype=F64)
    case("copy_", self=V(2, 3), src=T([1, 2, 3], "i64"))
    case("copy_", self=T([1, 2, 3], "i64"), src=T([0.5, -1.5, 2.5]))
    case("fill_", self=V(2, 3), value=0.5)
    case("zero_", self=V(2, dtype="i32"))


def casts():
    numbers = {F32: [-1.5, 0, 2.75, 100.5], F64: [-1.9, 0, 0.1, 100.5], "i64": [-3, 0, 7, 2**40 + 1],
               "i32": [-3, 0, 7, 70000], "u8": [0, 1, 200, 255], "bool": [0, 1, 1, 0]}
    for source, values in numbers.items():
        for target in numbers:
            if source in (F32, F64) and target == "u8":
                values = [abs(v) for v in values]  # the cast of a negative number is undefined
            case("to", self=T(values, source), dtype=target)
    case("to", self=T([NAN, INF, -0.0, 1e-50, 1e300]), dtype="bool")
    case("to", self=T([NAN, INF, -0.0, 1e-50, 1e300]), dtype=F32)


def argument(key, value):
    """What is passed to ATen for this argument."""
    return DTYPES[value] if key == "dtype" else value


def record_value(value):
    if torch.is_tensor(value):
        return tensor_record(value)
    if isinstance(value, list) and value and torch.is_tensor(value[0]):
        return [tensor_record(v) for v in value]
    return value


def leaves(op, args):
    """Floating tensors by name; class weights have no gradient, and what is written to must not be a leaf."""
    for key, value in args.items():
        if key == "self" and op.endswith("_"):
            continue
        if key == "weight" and op in ("nll_loss", "cross_entropy") or key.startswith("running_"):
            continue
        for i, v in enumerate(value if isinstance(value, list) else [value]):
            if torch.is_tensor(v) and v.is_floating_point():
                yield f"{key}[{i}]" if isinstance(value, list) else key, v


def case_record(op, aten, args):
    args = {k: [v.clone() if torch.is_tensor(v) else v for v in value] if isinstance(value, list)
            else value.clone() if torch.is_tensor(value) else value for k, value in args.items()}
    record = {"op": op, **({"aten": aten} if aten else {}), "args": {k: record_value(v) for k, v in args.items()}}
    for _, leaf in leaves(op, args):
        leaf.requires_grad_(True)
    out = getattr(torch.ops.aten, aten or op)(**{k: argument(k, v) for k, v in args.items()})
    out = list(out) if isinstance(out, (tuple, list)) else [out]
    record["out"] = [tensor_record(o) for o in out]
    if out[0].is_floating_point() and out[0].requires_grad:
        weights = (0.1 * (1 + torch.arange(out[0].numel(), dtype=torch.float64))).reshape(out[0].shape)
        (out[0] * weights.to(out[0].dtype)).sum().backward()
        record["grads"] = {name: None if leaf.grad is None else tensor_record(leaf.grad) for name, leaf in leaves(op, args)}
    return record


def main():
    torch.set_num_threads(1)
    for family in (arithmetic, promotion, comparison, reductions, matrices, shapes, losses, images, norms, casts, rest):
        family()
    write(__file__, "ops.json", NOTES, cases=[case_record(*c) for c in CASES])


if __name__ == "__main__":
    main()
