"""Makes tests/golden/curve_mlp.json: 50 training steps of `mlp` on MNIST, alone and on two ranks.

Made with the PyPI wheel of PyTorch 2.15.0 (Linux x86-64). Run, with torch and numpy, giving the
folder of MNIST's four files:

    python3 scripts/golden/curve_mlp.py sampler/mnist
"""
import torch.nn as nn
import torch.nn.functional as F

import curves

NOTES = [
    "fc1 784-256, relu, fc2 256-10, log_softmax, nll_loss (mean); pixels (u8/255 - 0.1307)/0.3081 in f32; one thread",
    "losses: per step, the mean over all samples of all ranks, before that step's update",
    "weights: after the last step, values are flattened elements 0, stride, 2*stride, ...",
]

JOBS = [  # name, class in torch.optim, its arguments, steps
    ("sgd", "SGD", {"lr": 0.1}, 50),
    ("sgd_nesterov", "SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}, 50),
    ("adam", "Adam", {"lr": 1e-3}, 50),
    ("adamw", "AdamW", {"lr": 1e-3}, 50),
]

STRIDES = {"fc1.weight": 2003, "fc1.bias": 3, "fc2.weight": 23, "fc2.bias": 1}


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 256)
        self.fc2 = nn.Linear(256, 10)

    def forward(self, x):
        return F.log_softmax(self.fc2(F.relu(self.fc1(x.flatten(1)))), 1)


if __name__ == "__main__":
    curves.main(__file__, "curve_mlp.json", NOTES, Mlp, STRIDES, JOBS)
