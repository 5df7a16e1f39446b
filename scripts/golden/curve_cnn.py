"""Makes tests/golden/curve_cnn.json: 20 training steps of `mnist-cnn` with dropout, alone and on two ranks.

Made with the PyPI wheel of PyTorch 2.15.0 (Linux x86-64). Run, with torch and numpy, giving the
folder of MNIST's four files:

    python3 scripts/golden/curve_cnn.py sampler/mnist
"""
import torch.nn as nn
import torch.nn.functional as F

import curves

NOTES = [
    "conv1 1-32 3x3, relu, conv2 32-64 3x3, relu, max_pool2d 2, dropout 0.25, flatten, fc1 9216-128, relu, "
    "dropout 0.5, fc2 128-10, log_softmax, nll_loss (mean); contiguous NCHW; one thread",
    "dropout masks: every process has called manual_seed(0) before building the model, so all ranks have the same; "
    "the DataLoader's iterator draws one int64 from the same generator after the model is built",
    "losses: per step, the mean over all samples of all ranks, before that step's update",
    "weights: after the last step, values are flattened elements 0, stride, 2*stride, ...",
]

JOBS = [  # name, class in torch.optim, its arguments, steps
    ("adam", "Adam", {"lr": 1e-3}, 20),
    ("sgd_momentum", "SGD", {"lr": 0.05, "momentum": 0.9}, 20),
    # From step 15 on PyTorch itself moves by 6e-4 when oneDNN is kept to SSE4.1: max-pooling takes another turn.
    ("adamw", "AdamW", {"lr": 1e-3}, 14),
]

STRIDES = {"conv1.weight": 7, "conv1.bias": 3, "conv2.weight": 331, "conv2.bias": 3, "fc1.weight": 14009,
           "fc1.bias": 5, "fc2.weight": 29, "fc2.bias": 1}


class MnistCnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout1(F.max_pool2d(x, 2)).flatten(1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), 1)


if __name__ == "__main__":
    curves.main(__file__, "curve_cnn.json", NOTES, MnistCnn, STRIDES, JOBS)
