"""Makes tests/golden/curve_bn.json: 50 training steps of `mnist-bn`, which has batch normalisation, alone and on
two ranks, where DDP sends rank 0's buffers before each forward.

Made with the PyPI wheel of PyTorch 2.15.0 (Linux x86-64, with ONEDNN_MAX_CPU_ISA=AVX2). Run, with torch and
numpy, giving the folder of MNIST's four files:

    python3 scripts/golden/curve_bn.py sampler/mnist
"""
import torch.nn as nn
import torch.nn.functional as F

import curves

NOTES = [
    "conv1 1-16 3x3, bn1, relu, max_pool2d 2, conv2 16-32 3x3, bn2, relu, max_pool2d 2, flatten, fc 800-10, log_softmax, "
    "nll_loss (mean); contiguous NCHW; one thread",
    "losses: per step, the mean over all samples of all ranks, before that step's update",
    "weights: parameters and floating buffers (rank 0's) after the last step, values are flattened elements 0, stride, 2*stride, ...",
]

JOBS = [  # name, class in torch.optim, its arguments, steps
    ("sgd", "SGD", {"lr": 0.02}, 50),
    # With momentum 0.9 PyTorch itself moves by 2e-4 when it has two threads: an element of a pooling takes another turn.
]

STRIDES = {"conv1.weight": 3, "conv1.bias": 1, "bn1.weight": 1, "bn1.bias": 1, "bn1.running_mean": 1, "bn1.running_var": 1,
           "conv2.weight": 97, "conv2.bias": 1, "bn2.weight": 1, "bn2.bias": 1, "bn2.running_mean": 1, "bn2.running_var": 1,
           "fc.weight": 131, "fc.bias": 1}


class MnistBn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.bn2 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(800, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return F.log_softmax(self.fc(x.flatten(1)), 1)


if __name__ == "__main__":
    curves.main(__file__, "curve_bn.json", NOTES, MnistBn, STRIDES, JOBS)
