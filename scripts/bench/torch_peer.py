"""PyTorch doing what `tandem bench` does, each printing one JSON object a line. compare.py runs it.

    torch_peer.py KIND RANKS MAX_BYTES            gloo ranks; sizes in bytes and median microseconds; KIND is allreduce,
                                                  reduce_scatter, all_gather, broadcast, all_to_all or barrier
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

SIZES = [(8, 100), (64, 100), (1 << 10, 100), (8 << 10, 100), (64 << 10, 100), (256 << 10, 60), (1 << 20, 60), (4 << 20, 20),
         (25 << 20, 7), (100 << 20, 3)]
SMALL_BYTES, ROW = 64 << 10, 16
KINDS = ("allreduce", "reduce_scatter", "all_gather", "broadcast", "all_to_all", "barrier")


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


def course(kind, rank, ranks, count, row):
    """The call, its fresh input and output, and what the output must be; `count` elements of all ranks together."""
    part = count // ranks
    if kind == "allreduce":
        data = values(count, rank)
        total = sum(values(count, r) for r in range(ranks)) * float(ranks) ** (row - 1)
        return lambda: dist.all_reduce(data), data, total
    if kind == "broadcast":
        data = values(count, rank)
        return lambda: dist.broadcast(data, 0), data, values(count, 0)
    if kind == "reduce_scatter":
        output, total = torch.empty(part), sum(values(count, r) for r in range(ranks))
        given = values(count, rank)
        return lambda: dist.reduce_scatter_tensor(output, given), output, total[rank * part:(rank + 1) * part]
    output = torch.empty(count)
    if kind == "all_gather":
        given = values(part, rank)
        return lambda: dist.all_gather_into_tensor(output, given), output, torch.cat([values(part, r) for r in range(ranks)])
    given = values(count, rank)
    parts = [values(count, r)[rank * part:(rank + 1) * part] for r in range(ranks)]
    return lambda: dist.all_to_all_single(output, given), output, torch.cat(parts)


def collective_rank(rank, ranks, rendezvous, kind, most):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=ranks)
    parts = ranks if kind in ("reduce_scatter", "all_gather", "all_to_all") else 1
    for size, repeat in [(0, 100)] if kind == "barrier" else [(s, n) for s, n in SIZES if s <= most and s // 4 >= parts]:
        row, count = ROW if size <= SMALL_BYTES else 1, size // 4 // parts * parts
        times = []
        for _ in range(repeat + 1):
            call, output, expected = (dist.barrier, None, None) if kind == "barrier" else course(kind, rank, ranks, count, row)
            dist.barrier()
            start = now_us()
            for _ in range(row):
                call()
            times.append((now_us() - start) / row)
            assert output is None or torch.equal(output, expected)
        slowest = torch.tensor(times[1:], dtype=torch.float64)
        dist.all_reduce(slowest, dist.ReduceOp.MAX)
        if rank == 0:
            print(json.dumps({"bytes": count * 4, "median_us": slowest.median().item()}), flush=True)
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
    if what in KINDS:
        spawn(collective_rank, int(arguments[0]), what, int(arguments[1]))
    elif what == "step":
        model, ranks, threads, layout, batch = arguments
        spawn(step_rank, int(ranks), model, int(threads), layout, int(batch))
    elif what == "loader":
        loader(int(arguments[0]))
    else:
        noop()
