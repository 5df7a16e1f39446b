"""Shared by the makers of golden values: checksums, number text and the file format.

Every file in tests/golden/ is one JSON object: "torch" (version), "made_by" (script), where useful
"notes", and lists with one record per line, so that a change shows as a readable diff.
Numbers: f32 with nine significant digits, f64 with as many as it takes, both read back exactly;
values that JSON has no number for are the strings "nan", "inf", "-inf". Unsigned 64-bit seeds are
decimal strings. A "crc32" is zlib's, unsigned, over the little-endian bytes.
"""
import json
import math
import pathlib
import zlib

import torch

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent.parent / "tests" / "golden"

DTYPES = {"f32": torch.float32, "f64": torch.float64, "i64": torch.int64, "i32": torch.int32,
          "u8": torch.uint8, "bool": torch.bool}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def number(value, dtype=torch.float32):
    """A Python number (or string) whose JSON text reads back as exactly this value."""
    if isinstance(value, (bool, int)):
        return int(value)
    if not math.isfinite(value):
        return str(value)
    if dtype == torch.float32:
        value = float(f"{value:.9g}")
    return int(value) if value == int(value) and abs(value) < 1e6 and not is_negative_zero(value) else value


def is_negative_zero(value):
    return value == 0 and math.copysign(1, value) < 0


def numbers(tensor):
    """All elements in row-major order."""
    return [number(v, tensor.dtype) for v in tensor.detach().reshape(-1).tolist()]


def tensor_record(tensor):
    return {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data": numbers(tensor)}


def crc(data):
    """CRC-32 of bytes, or of a tensor's elements in row-major order."""
    if torch.is_tensor(data):
        data = data.detach().contiguous().numpy().tobytes()
    return zlib.crc32(data)


def state_crc(generator=torch.default_generator):
    return crc(generator.get_state())


def write(script, name, notes=None, **lists):
    """Write tests/golden/NAME with each list's records on lines of their own."""
    def dump(value):
        return json.dumps(value, separators=(",", ":"), allow_nan=False)

    head = {"torch": torch.__version__, "made_by": f"scripts/golden/{pathlib.Path(script).name}"}
    parts = [f"{dump(key)}:{dump(value)}" for key, value in head.items()]
    if notes:
        parts.append('"notes":[\n' + ",\n".join(dump(note) for note in notes) + "\n]")
    for key, records in lists.items():
        parts.append(f"{dump(key)}:[\n" + ",\n".join(dump(record) for record in records) + "\n]")
    text = "{" + ",\n".join(parts) + "}\n"
    json.loads(text)
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / name
    path.write_text(text)
    print(f"{path.name}: {len(text)} bytes")
