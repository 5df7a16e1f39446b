"""Makes tests/golden/numa_binding.json: the CPUs that torchrun's --numa-binding gives each rank, on invented machines.

Made with the PyPI wheel of PyTorch 2.15.0 (torch/numa/binding.py), whose questions to the kernel are answered from a
table. CPUs of a core, cores of a cache, caches of a node and nodes of a package are numbered one after another, as
hwloc's synthetic machines do. Run, with torch:

    python3 scripts/golden/numa_binding.py
"""
import itertools
import json
import pathlib
import random

import torch
from torch.numa import binding

TARGET = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "numa_binding.json"
MODES = ["node", "socket", "exclusive", "core-complex"]


class Machine:
    """CPU i is in package, node, cache and core cpus[i]."""

    def __init__(self, packages, nodes, caches, cores, threads):
        self.text = f"package:{packages} numa:{nodes} l3:{caches} core:{cores} pu:{threads}"
        self.nodes = packages * nodes
        self.cpus = []
        for p, n, c, k, _ in itertools.product(*map(range, (packages, nodes, caches, cores, threads))):
            node = p * nodes + n
            cache = node * caches + c
            self.cpus.append((p, node, cache, cache * cores + k))

    def alike(self, what, value):
        return {i for i, cpu in enumerate(self.cpus) if cpu[what] == value}

    def install(self, gpu_nodes):
        """Let torch ask us instead of the kernel."""
        for name, answer in {
            "_get_device_count": lambda: len(gpu_nodes),
            "_get_numa_node_index_for_device_index": lambda device_index: gpu_nodes[device_index],
            "_get_cpu_indices_for_numa_node_MAYBE_NOT_ALLOWED": lambda numa_node_index: self.alike(1, numa_node_index),
            "_get_allowed_cpu_indices_for_current_thread": lambda: set(range(len(self.cpus))),
            "_get_logical_cpu_indices_sharing_same_physical_core_as":
                lambda logical_cpu_index: self.alike(3, self.cpus[logical_cpu_index][3]),
            "_get_logical_cpus_sharing_same_max_level_cache_as":
                lambda logical_cpu_index: self.alike(2, self.cpus[logical_cpu_index][2]),
            "_get_systemwide_numa_node_indices": lambda: set(range(self.nodes)),
            "_get_socket_index_for_cpu": lambda cpu_index: self.cpus[cpu_index][0],
        }.items():
            assert hasattr(binding, name), name
            setattr(binding, name, answer)


def bind(mode, rank):
    options = binding.NumaOptions(affinity_mode=binding.AffinityMode(mode))
    return binding._get_ranges_str_from_ints(
        binding._get_logical_cpus_to_bind_to(device_index=rank, numa_options=options))


def cases():
    draw = random.Random(7)
    for _ in range(60):
        machine = Machine(draw.choice([1, 2, 3]), draw.choice([1, 2, 4]), draw.choice([1, 2]), draw.choice([1, 2, 4, 5]),
                          draw.choice([1, 2]))
        gpu_nodes = [draw.randrange(machine.nodes) for _ in range(draw.randint(1, 6))]
        ranks = draw.randint(1, len(gpu_nodes))
        machine.install(gpu_nodes)
        for mode in MODES:
            try:
                cpus = [bind(mode, rank) for rank in range(ranks)]
            except RuntimeError:  # more GPUs than cores on a node
                cpus = None
            yield {"machine": machine.text, "gpu_numa": gpu_nodes, "ranks": ranks, "mode": mode, "cpus": cpus}


rows = ",\n".join(json.dumps(case) for case in cases())
TARGET.write_text(f'{{"torch": "{torch.__version__}", "cases": [\n{rows}\n]}}\n')
