"""Makes tests/golden/optim.json: checksums of parameters and slots after steps of torch.optim's rules.

Made with the PyPI wheel of PyTorch 2.15.0 (Linux x86-64, AVX2 kernels), on the default CPU path (one parameter at a
time). MKL's square root is not correctly rounded, and on some processors in another way than on others, so it is
replaced here by one that is. Run, with torch and numpy:

    python3 scripts/golden/optim.py
"""
import numpy
import torch

from golden import DTYPE_NAMES, crc, numbers, write

STEPS = 5
SIZES = {"a": 1003, "b": 17}

NOTES = [
    "manual_seed(seed); a = draw(1003), b = draw(17); then at each step the gradient of a = draw(1003) and, at the steps",
    "1, 3 and 4 (from 0), that of b = draw(17); at the others b has none and is skipped; draw(n) = rand(n) - 0.5",
    "a_crc32: after each step; then, after the last, of b and of each parameter's slots; the head is of a's elements",
]

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.02, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "betas": [0.4, 0.9], "eps": 1e-3}),
    ("Adam", {"amsgrad": True}),
    ("Adam", {"maximize": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.5, "amsgrad": True}),
    ("AdamW", {"lr": 0.02, "betas": [0.4, 0.9]}),
]


def draw(size, dtype):
    return torch.rand(size, dtype=dtype) - 0.5


def rounded_sqrt(x):
    return torch.from_numpy(numpy.sqrt(x.detach().numpy()))


def record(seed, rule, options, dtype):
    torch.manual_seed(seed)
    params = {name: draw(size, dtype).requires_grad_() for name, size in SIZES.items()}
    optimizer = getattr(torch.optim, rule)(params.values(), **options)
    a_crc = []
    for step in range(STEPS):
        params["a"].grad = draw(SIZES["a"], dtype)
        params["b"].grad = draw(SIZES["b"], dtype) if step in (1, 3, 4) else None
        optimizer.step()
        a_crc.append(crc(params["a"]))
    slots = [{"name": f"state.{name}.{slot}", "crc32": crc(value)}
             for name, param in params.items() for slot, value in optimizer.state[param].items() if value is not None]
    return {"seed": str(seed), "optimizer": rule, "options": options, "dtype": DTYPE_NAMES[dtype], "steps": STEPS,
            "a_crc32": a_crc, "a_head": numbers(params["a"][:4]), "b_crc32": crc(params["b"]), "slots": slots}


if __name__ == "__main__":
    torch.Tensor.sqrt = rounded_sqrt
    torch.set_num_threads(1)
    write(__file__, "optim.json", NOTES,
          updates=[record(seed, rule, options, dtype)
                   for dtype in (torch.float32, torch.float64)
                   for seed, (rule, options) in enumerate(CASES)])
