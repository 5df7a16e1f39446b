"""Trains as a PyTorch user would, for curve_mlp.py and curve_cnn.py: one process, or two gloo ranks with DDP.

Every process calls torch.manual_seed(0), builds the model, wraps it in DDP if there are two ranks, and
iterates a DataLoader over a DistributedSampler with set_epoch. Its base seed is drawn from the default
generator when the iterator is made, which shifts the dropout masks; both ranks have the same masks.
"""
import argparse
import gzip
import os
import pathlib
import sys
import tempfile

import numpy
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from golden import number, numbers, write

SEED = 0
GLOBAL_BATCH = 64


def read_idx(path):
    with gzip.open(path) as file:
        data = file.read()
    dims = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], "big") for i in range(data[3])]
    return torch.from_numpy(numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * len(dims)).copy()).reshape(dims)


def mnist(folder):
    """Pixels as torchvision's ToTensor and Normalize make them, in f32."""
    folder = pathlib.Path(folder)
    images = read_idx(folder / "train-images-idx3-ubyte.gz").to(torch.float32).div(255)
    mean, std = torch.tensor([0.1307]), torch.tensor([0.3081])
    labels = read_idx(folder / "train-labels-idx1-ubyte.gz").to(torch.int64)
    return TensorDataset(images.sub_(mean).div_(std).unsqueeze(1), labels)


def train(make_model, optimizer_name, options, steps, data, rank, world):
    """Losses of this rank's batches, and the trained model."""
    torch.manual_seed(SEED)
    module = make_model()
    model = DistributedDataParallel(module) if world > 1 else module
    optimizer = getattr(torch.optim, optimizer_name)(model.parameters(), **options)
    sampler = DistributedSampler(data, world, rank, shuffle=True, seed=SEED)
    loader = DataLoader(data, GLOBAL_BATCH // world, sampler=sampler)
    losses, epoch = [], 0
    model.train()
    while True:
        sampler.set_epoch(epoch)
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.nll_loss(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                return losses, module
        epoch += 1


def sample_weights(module, strides):
    """Of the parameters, then of the floating buffers."""
    records = []
    buffers = [(name, buffer) for name, buffer in module.named_buffers() if buffer.is_floating_point()]
    for name, parameter in list(module.named_parameters()) + buffers:
        flat = parameter.detach().reshape(-1)
        records.append({"name": name, "shape": list(parameter.shape), "stride": strides[name],
                        "values": numbers(flat[::strides[name]])})
    return records


def rank_main(rank, world, rendezvous, results, threads, jobs, make_model, strides, folder):
    torch.set_num_threads(threads)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    data = mnist(folder)
    curves = []
    for name, optimizer_name, options, steps in jobs:
        losses, module = train(make_model, optimizer_name, options, steps, data, rank, world)
        means = torch.tensor(losses, dtype=torch.float64)
        if world > 1:
            dist.all_reduce(means)
            means /= world
        curves.append({"name": name, "world": world, "batch_size": GLOBAL_BATCH // world, "seed": SEED,
                       "optimizer": optimizer_name, "options": options, "steps": steps,
                       "losses": [number(mean) for mean in means.tolist()],
                       "weights": sample_weights(module, strides)})
    if rank == 0:
        torch.save(curves, results)
    if world > 1:
        dist.destroy_process_group()


def curves(world, threads, *job):
    """Train in fresh processes; gives rank 0's records."""
    with tempfile.TemporaryDirectory() as folder:
        results = os.path.join(folder, "curves")
        multiprocessing.spawn(rank_main, (world, os.path.join(folder, "rendezvous"), results, threads, *job), world)
        return torch.load(results)


def main(script, output, notes, make_model, strides, jobs):
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", help="folder with MNIST's train-*-ubyte.gz files")
    parser.add_argument("--threads", type=int, default=1, help="compute threads of a process (the file is made with 1)")
    parser.add_argument("--output", default=output, help="file, if relative then in tests/golden/ (for comparing settings)")
    args = parser.parse_args()
    records = [record for world in (1, 2)
               for record in curves(world, args.threads, jobs, make_model, strides, args.mnist)]
    write(script, args.output, notes, curves=records)
