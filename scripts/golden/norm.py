"""Makes tests/golden/norm.json: batch normalisation modules over three batches in training, then in evaluation.

Made with the PyPI wheel of PyTorch 2.15.0. Run, with torch and numpy:

    python3 scripts/golden/norm.py
"""
import torch

from golden import tensor_record, write

NOTES = [
    "each module (weights set to 1 + 0.1 * index, biases to 0.1 * index, where it has them) sees the inputs one after the other "
    "in training mode: outputs; then the first one in evaluation: eval_output; state: the state dict after that",
    "momentum null is PyTorch's None",
]

CASES = [
    ("BatchNorm1d", (5, 3), {}),
    ("BatchNorm1d", (2, 3, 4), {"momentum": None}),
    ("BatchNorm2d", (2, 3, 3, 4), {}),
    ("BatchNorm2d", (2, 3, 3, 4), {"momentum": 0.5, "eps": 0.01}),
    ("BatchNorm2d", (2, 3, 3, 4), {"momentum": None}),
    ("BatchNorm2d", (2, 3, 3, 4), {"affine": False}),
    ("BatchNorm2d", (2, 3, 3, 4), {"track_running_stats": False}),
    ("BatchNorm2d", (2, 3, 3, 4), {"affine": False, "track_running_stats": False}),
    ("BatchNorm3d", (2, 3, 2, 2, 3), {}),
]


def record(kind, shape, options):
    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(shape[1], **options)
    if module.affine:
        with torch.no_grad():
            module.weight.copy_(1 + 0.1 * torch.arange(shape[1]))
            module.bias.copy_(0.1 * torch.arange(shape[1]))
    inputs = [(8 * torch.rand(shape)).round() / 4 + i for i in range(3)]
    outputs = [module(x) for x in inputs]
    module.eval()
    return {"module": kind, "features": shape[1], "options": options, "inputs": [tensor_record(x) for x in inputs],
            "outputs": [tensor_record(y) for y in outputs], "eval_output": tensor_record(module(inputs[0])),
            "state": {name: tensor_record(x) for name, x in module.state_dict().items()}}


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(__file__, "norm.json", NOTES, modules=[record(*c) for c in CASES])
