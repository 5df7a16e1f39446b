"""PyTorch doing what `tandem bench` does, each printing one JSON object a line. compare.py runs it.

    torch_peer.py allreduce                       two gloo ranks; sizes in bytes and median microseconds
    torch_peer.py step MODEL RANKS THREADS LAYOUT BATCH     a training step; LAYOUT is nchw or nhwc
    torch_peer.py loader BATCH                    whole batches gathered from u8 and normalised, one thread
    torch_peer.py noop                            one rank under torchrun: all-reduces one number and leaves
"""
import json
import os
import statistics
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
import torch.nn as nn
import torch.nn.functional as F

SIZES = [(8, 200), (1 << 10, 200), (64 << 10, 200), (1 << 20, 100), (4 << 20, 30), (25 << 20, 7), (100 << 20, 3)]
SMALL_BYTES, ROW = 64 << 10, 16


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


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 256)
        self.fc2 = nn.Linear(256, 10)

    def forward(self, x):
        return F.log_softmax(self.fc2(F.relu(self.fc1(x.flatten(1)))), 1)


class MlpLarge(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 1024)
        self.fc2 = nn.Linear(1024, 1024)
        self.fc3 = nn.Linear(1024, 10)

    def forward(self, x):
        return F.log_softmax(self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))), 1)


MODELS = {"mnist-cnn": MnistCnn, "mlp": Mlp, "mlp-large": MlpLarge}


def now_us():
    return time.perf_counter() * 1e6


def values(count, rank):
    return torch.arange(count, dtype=torch.int64).remainder_(13).add_(1 + rank % 5).to(torch.float32)


def allreduce_rank(rank, ranks, rendezvous):
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=ranks)
    for size, repeat in SIZES:
        count, row = size // 4, ROW if size <= SMALL_BYTES else 1
        mine, total = values(count, rank), sum(values(count, r) for r in range(ranks)) * float(ranks) ** (row - 1)
        times = []
        for _ in range(repeat + 1):
            data = mine.clone()
            dist.barrier()
            start = now_us()
            for _ in range(row):
                dist.all_reduce(data)
            times.append((now_us() - start) / row)
            assert torch.equal(data, total)
        if rank == 0:
            print(json.dumps({"bytes": size, "median_us": statistics.median(times[1:])}), flush=True)
    dist.destroy_process_group()


def step_rank(rank, ranks, rendezvous, model_name, threads, layout, batch):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if ranks > 1:
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=ranks)
    model = MODELS[model_name]()
    images, labels = torch.randn(batch // ranks, 1, 28, 28), torch.randint(10, (batch // ranks,))
    if layout == "nhwc":
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    if ranks > 1:
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    times = []
    for _ in range(110):
        start = now_us()
        optimizer.zero_grad()
        F.nll_loss(model(images), labels).backward()
        optimizer.step()
        times.append(now_us() - start)
    if rank == 0:
        print(json.dumps({"median_us": statistics.median(times[10:])}), flush=True)
    if ranks > 1:
        dist.destroy_process_group()


def loader(batch):
    torch.set_num_threads(1)
    images = torch.randint(256, (60000, 28, 28), dtype=torch.uint8)
    labels = torch.randint(10, (60000,))
    times = []
    for _ in range(6):
        start = now_us()
        order = torch.randperm(60000)
        for i in range(0, 60000, batch):
            chosen = order[i:i + batch]
            x = images[chosen].to(torch.float32).div_(255).sub_(0.1307).div_(0.3081)
            y = labels[chosen]
        times.append(now_us() - start)
    assert x.shape[0] == y.shape[0]
    median = statistics.median(times[1:])
    print(json.dumps({"median_us": median, "samples_per_second": 60000 / (median * 1e-6)}), flush=True)


def noop():
    dist.init_process_group("gloo")
    total = torch.tensor([dist.get_rank() + 1.0])
    dist.all_reduce(total)
    assert total.item() == dist.get_world_size() * (dist.get_world_size() + 1) / 2
    dist.destroy_process_group()


def spawn(main, ranks, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(main, (ranks, os.path.join(folder, "rendezvous"), *arguments), ranks)


if __name__ == "__main__":
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == "allreduce":
        spawn(allreduce_rank, 2)
    elif what == "step":
        model, ranks, threads, layout, batch = arguments
        spawn(step_rank, int(ranks), model, int(threads), layout, int(batch))
    elif what == "loader":
        loader(int(arguments[0]))
    else:
        noop()
