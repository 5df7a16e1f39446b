"""Makes tests/golden/streams.json: PyTorch's CPU random streams as checksums.

Made with the PyPI wheel of PyTorch 2.15.0 (Linux x86-64, AVX2 or better). Run, with torch and numpy:

    python3 scripts/golden/streams.py

The default generator is seeded anew before every record. Each holds the CRC-32 of the values, the
first four of them in hexadecimal (most significant digit first), and the CRC-32 of the generator's
state afterwards, so that the number of words taken is checked too.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from golden import DTYPE_NAMES, crc, state_crc, write

MILLION = 1_000_000
SEEDS = [0, 1, 42, 1234, 2**32 + 1, 0xFEDCBA9876543210]

NOTES = [
    "streams: manual_seed(seed), then the call; crc32 and head are of the result's elements in row-major order",
    "words32: the generator's 32-bit outputs in order; words64: two outputs each, the first one the high half",
    "libm: true where double-precision log, sin and cos of the C library decide the last bits",
    "rows, columns: the tensor is the transpose of a contiguous one of shape [columns, rows]",
    "states: manual_seed(seed), draws 32-bit words, then get_state()",
    "modules: manual_seed(seed), then all five constructed in this order; state_crc32 is after the fifth",
]


def words64(n):
    """Raw 64-bit draws: random_ over the whole int64 range is the draw itself."""
    return torch.empty(n, dtype=torch.int64).random_(-2**63, None)


def words32(n):
    """Raw 32-bit draws: halves of 64-bit ones, high half first."""
    wide = words64(n // 2)
    return torch.stack([(wide >> 32) & 0xFFFFFFFF, wide & 0xFFFFFFFF], 1).reshape(-1).to(torch.uint32)


def small_normals(dtype):
    """Sizes 1 to 15, a hundred times over: the cached second value crosses tensors."""
    return torch.cat([torch.empty(n, dtype=dtype).normal_() for _ in range(100) for n in range(1, 16)])


def every_second(n, dtype, mean=0.0, std=1.0):
    """A tensor with gaps, so normal_ takes its serial path at any size."""
    return torch.empty(n, 2, dtype=dtype)[:, 0].normal_(mean, std)


def streams():
    """(what, extra keys, function) of every stream."""
    f32, f64 = torch.float32, torch.float64
    libm = {"libm": True}
    yield "words32", {}, lambda: words32(MILLION)
    yield "words64", {}, lambda: words64(MILLION)
    yield "rand", {}, lambda: torch.rand(MILLION)
    yield "rand", {}, lambda: torch.rand(MILLION, dtype=f64)
    yield "uniform", {"from": -0.1, "to": 0.1}, lambda: torch.empty(MILLION).uniform_(-0.1, 0.1)
    yield "uniform", {"from": -0.1, "to": 0.1}, lambda: torch.empty(MILLION, dtype=f64).uniform_(-0.1, 0.1)
    yield "uniform", {"from": 1, "to": 2}, lambda: torch.empty(MILLION).uniform_(1, 2)
    for n in (15, 16, 17, 31, 1000, MILLION):
        yield "randn", {}, lambda n=n: torch.randn(n)
    yield "normal", {"mean": 0.5, "std": 0.02}, lambda: torch.empty(MILLION).normal_(0.5, 0.02)
    for n in (15, 16, 17, 31, 1000, MILLION):
        yield "randn", libm, lambda n=n: torch.randn(n, dtype=f64)
    yield "normal_small_tensors", {}, lambda: small_normals(f32)
    yield "normal_small_tensors", libm, lambda: small_normals(f64)
    yield "normal_with_gaps", {}, lambda: every_second(MILLION, f32)
    yield "normal_with_gaps", {"mean": 0.5, "std": 2}, lambda: every_second(MILLION, f32, 0.5, 2)
    yield "normal_with_gaps", libm, lambda: every_second(MILLION, f64)
    yield "normal_transposed", {"rows": 300, "columns": 200}, lambda: torch.empty(200, 300).t().normal_()
    yield "uniform_transposed", {"rows": 300, "columns": 200, "from": 0, "to": 1}, \
        lambda: torch.empty(200, 300).t().uniform_()
    for p in (0.5, 0.1):
        yield "bernoulli", {"p": p}, lambda p=p: torch.empty(MILLION).bernoulli_(p)
    for p in (0.25, 0.5):
        yield "dropout_of_ones", {"p": p}, lambda p=p: F.dropout(torch.ones(MILLION), p)
    yield "randint", {"low": 0, "high": 100}, lambda: torch.randint(0, 100, (MILLION,))
    yield "randint", {"low": 0, "high": 2**28 - 1}, lambda: torch.randint(0, 2**28 - 1, (MILLION,))
    yield "randint", {"low": 0, "high": 2**28}, lambda: torch.randint(0, 2**28, (MILLION,))
    yield "randint", {"low": -5, "high": 2**40}, lambda: torch.randint(-5, 2**40, (MILLION,))
    yield "random", {}, lambda: torch.empty(MILLION, dtype=torch.int64).random_()
    yield "random", {}, lambda: torch.empty(MILLION, dtype=torch.int32).random_()
    yield "randperm", {}, lambda: torch.randperm(MILLION)


def hex_head(tensor):
    flat = tensor.detach().reshape(-1)[:4].contiguous()
    data, size = flat.numpy().tobytes(), flat.element_size()
    return [data[i:i + size][::-1].hex() for i in range(0, len(data), size)]


def dtype_name(dtype):
    return {torch.uint32: "u32"}.get(dtype) or DTYPE_NAMES[dtype]


def stream_record(seed, what, extra, draw):
    torch.manual_seed(seed)
    values = draw()
    return {"seed": str(seed), "what": what, "dtype": dtype_name(values.dtype), "n": values.numel(), **extra,
            "crc32": crc(values), "head": hex_head(values), "state_crc32": state_crc()}


def state_record(seed, draws):
    torch.manual_seed(seed)
    torch.randint(0, 2, (draws,))
    return {"seed": str(seed), "draws": draws, "bytes": torch.get_rng_state().numel(), "state_crc32": state_crc()}


def module_records(seed):
    makers = [("Linear", [784, 256]), ("Linear", [256, 10]), ("Conv2d", [1, 32, 3]), ("Conv2d", [32, 64, 3]),
              ("Linear", [9216, 128])]
    torch.manual_seed(seed)
    modules = [getattr(nn, name)(*args) for name, args in makers]
    for (name, args), module in zip(makers, modules):
        yield {"seed": str(seed), "module": name, "args": args, "weight_crc32": crc(module.weight),
               "weight_head": hex_head(module.weight), "bias_crc32": crc(module.bias),
               "bias_head": hex_head(module.bias), "state_crc32": state_crc()}


def main():
    torch.set_num_threads(1)
    write(__file__, "streams.json", NOTES,
          streams=[stream_record(seed, *stream) for seed in SEEDS for stream in streams()],
          states=[state_record(seed, draws) for seed in SEEDS for draws in (0, 1, 624, 625, MILLION)],
          modules=[record for seed in SEEDS for record in module_records(seed)])


if __name__ == "__main__":
    main()
