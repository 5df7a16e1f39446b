"""Makes tests/golden/sampler.json: the order in which PyTorch's samplers and DataLoader visit data.

Made with the PyPI wheel of PyTorch 2.15.0. Run, with torch and numpy:

    python3 scripts/golden/sampler.py

Index lists are checked by the CRC-32 of their int64 little-endian bytes.
"""
import numpy
import torch
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler

from golden import crc, state_crc, write

SIZES = (0, 1, 2, 3, 5, 10, 16, 100, 1000, 60000)
WORLDS = (1, 2, 3, 4, 5, 8, 16)
ORDERS = [(0, 0), (0, 1), (42, 3), (2**32 - 1, 0), (2**32 - 1, 1)]  # seed, epoch

NOTES = [
    "distributed: per_rank is the length of every rank's list (as len() and as counted); crc32[r] is rank r's list; "
    "indices[r], where given, is that list; without shuffle seed and epoch do not matter",
    "loaders: manual_seed(seed), loader made, then epochs one after another; crc32 is of the epoch's indices in order, "
    "state_crc32 of the default generator after the epoch (generator_crc32 of the loader's own, where it has one, "
    "which was seeded with seed too)",
    "loaders: sampler_seed is what a RandomSampler without a generator draws, after base_seed",
    "loaders: stop_after, where given, is the number of batches taken before the iterator is dropped",
    "random_samplers: manual_seed(seed), then one pass over RandomSampler(range(n)) with these arguments",
]


def indices_crc(indices):
    return crc(numpy.array(indices, dtype="<i8").tobytes())


def distributed_record(n, world, shuffle, drop_last, seed, epoch):
    lists = []
    for rank in range(world):
        sampler = DistributedSampler(range(n), world, rank, shuffle=shuffle, seed=seed, drop_last=drop_last)
        sampler.set_epoch(epoch)
        lists.append(list(sampler))
        assert len(sampler) == len(lists[0]) == len(lists[-1])
    record = {"n": n, "world": world, "shuffle": shuffle, "drop_last": drop_last, "seed": seed, "epoch": epoch,
              "per_rank": len(lists[0]), "crc32": [indices_crc(indices) for indices in lists]}
    if n <= 16 and world in (2, 4, 8) and (seed, epoch) in ((0, 0), (0, 1)):
        record["indices"] = lists
    return record


def distributed_records():
    for seed, epoch in ORDERS:
        for shuffle in (True, False):
            if not shuffle and (seed, epoch) != (0, 0):
                continue
            for n in SIZES:
                for world in WORLDS:
                    for drop_last in (False, True):
                        yield distributed_record(n, world, shuffle, drop_last, seed, epoch)


def next_seeds():
    """The two int64 that the default generator would give next: base seed, then sampler seed."""
    peek = torch.Generator()
    peek.set_state(torch.get_rng_state())
    return [torch.empty((), dtype=torch.int64).random_(generator=peek).item() for _ in range(2)]


def loader_records(seed, n, epochs=2, stop_after=None, with_generator=False, distributed=False, **options):
    torch.manual_seed(seed)
    if with_generator:
        options["generator"] = torch.Generator().manual_seed(seed)
    sampler = DistributedSampler(range(n), 2, 1, seed=seed) if distributed else None
    loader = DataLoader(range(n), sampler=sampler, **options)
    own = options.pop("generator", None)
    for epoch in range(epochs):
        record = {"seed": seed, "n": n, **options, "epoch": epoch}
        if distributed:
            record.update(world=2, rank=1)
            sampler.set_epoch(epoch)
        if own is not None:
            record["with_generator"] = True
        base_seed, sampler_seed = next_seeds()
        iterator = iter(loader)
        assert own is not None or iterator._base_seed == base_seed
        record["base_seed"] = iterator._base_seed
        if options.get("shuffle") and own is None:
            record["sampler_seed"] = sampler_seed
        if stop_after is None:
            batches = [batch.tolist() for batch in iterator]
        else:
            record["stop_after"] = stop_after
            batches = [next(iterator).tolist() for _ in range(stop_after)]
        order = [index for batch in batches for index in batch]
        del iterator
        record.update(batches_count=len(batches), crc32=indices_crc(order), state_crc32=state_crc())
        if own is not None:
            record["generator_crc32"] = state_crc(own)
        if n <= 16:
            record["batches"] = batches
        yield record


def all_loader_records():
    for seed in (0, 42):
        yield from loader_records(seed, 10, epochs=3, batch_size=4, shuffle=True)
        yield from loader_records(seed, 10, batch_size=4, shuffle=True, drop_last=True)
        yield from loader_records(seed, 10, batch_size=4, shuffle=False)
        yield from loader_records(seed, 10, batch_size=4, shuffle=True, stop_after=1)
        yield from loader_records(seed, 10, batch_size=4, shuffle=True, with_generator=True)
        yield from loader_records(seed, 10, batch_size=4, shuffle=True, with_generator=True, stop_after=1)
        yield from loader_records(seed, 16, epochs=3, batch_size=2, distributed=True)
        yield from loader_records(seed, 1000, batch_size=64, shuffle=True)
        yield from loader_records(seed, 60000, batch_size=1000, shuffle=True)
        yield from loader_records(seed, 60000, batch_size=1000, distributed=True)


def random_sampler_record(seed, n, **options):
    torch.manual_seed(seed)
    order = list(RandomSampler(range(n), **options))
    record = {"seed": seed, "n": n, **options, "count": len(order), "crc32": indices_crc(order)}
    if len(order) <= 40:
        record["indices"] = order
    return {**record, "state_crc32": state_crc()}


def random_sampler_records():
    for seed in (0, 42):
        for n in (1, 10, 1000, 60000):
            yield random_sampler_record(seed, n)
        yield random_sampler_record(seed, 10, num_samples=4)
        yield random_sampler_record(seed, 10, num_samples=25)
        yield random_sampler_record(seed, 10, replacement=True)
        yield random_sampler_record(seed, 10, replacement=True, num_samples=40)
        yield random_sampler_record(seed, 1000, replacement=True, num_samples=1000)


def main():
    torch.set_num_threads(1)
    write(__file__, "sampler.json", NOTES, distributed=list(distributed_records()),
          loaders=list(all_loader_records()), random_samplers=list(random_sampler_records()))


if __name__ == "__main__":
    main()
