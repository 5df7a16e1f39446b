"""The public pattern of distributed data parallel training, as PyTorch's tutorials teach it."""
import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def main():
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    print(f"rank {rank} of {world_size}, local rank {os.environ['LOCAL_RANK']}")
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(50, 8), torch.randn(50, 1))
    sampler = DistributedSampler(data)
    loader = DataLoader(data, batch_size=4, sampler=sampler)
    model = DistributedDataParallel(torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        print(f"epoch {epoch} indices {list(sampler)}")
        for step, (x, y) in enumerate(loader):
            loss = torch.nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(f"epoch {epoch} step {step} loss {loss.item().hex()}")
    total = sum(p.double().sum() for p in model.parameters()).item()
    print(f"rank {rank} parameters {total.hex()}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
