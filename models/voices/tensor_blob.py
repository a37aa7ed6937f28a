"""A small safetensors blob, from bytes that nobody vouches for, and back, by offset arithmetic alone.

Blobs inside other formats are unaligned, lack MLX's padding, and hold types that numpy has no name for (BF16), so
the safetensors library does not fit. Nothing is allocated before the header has been found to be consistent.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_HEADER_BYTES = 64 << 10
MAX_AXES = 8
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
NUMPY_TYPES = {
    "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8", "I64": "<i8",
    "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
INTEGER_TYPES = frozenset(name for name, kind in NUMPY_TYPES.items() if kind[1] in "ui")
FLOAT_TYPES = frozenset({"F16", "BF16", "F32", "F64"})


class BrokenBlob(ValueError):
    """The bytes are no consistent safetensors blob; the message says why."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a blob: its type by the format's name, its shape, its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def integers(self) -> npt.NDArray[np.int64]:
        """Values of integer types; one beyond int64 comes out negative."""
        return np.frombuffer(self.data, NUMPY_TYPES[self.dtype]).astype(np.int64).reshape(self.shape)

    def floats(self) -> npt.NDArray[np.float32]:
        """Values of floating-point types as float32; one that is too large becomes infinite."""
        if self.dtype == "BF16":  # the upper half of a float32
            widened = np.frombuffer(self.data, "<u2").astype(np.uint32) << 16
            return widened.view(np.float32).reshape(self.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.frombuffer(self.data, NUMPY_TYPES[self.dtype]).astype(np.float32).reshape(self.shape)


def read_blob(content: memoryview | bytes) -> dict[str, Tensor]:
    """The tensors of one blob, by name. Raises BrokenBlob."""
    header, data = _split(memoryview(content))
    return {name: _tensor(name, entry, data) for name, entry in header.items() if name != "__metadata__"}


def write_blob(tensors: Mapping[str, Tensor]) -> bytes:
    """One blob as MLX writes it: keys in order, a null `__metadata__`, no spaces and no padding in the header."""
    header: dict[str, Any] = {"__metadata__": None}
    data = b""
    for name, tensor in tensors.items():
        offsets = [len(data), len(data) + len(tensor.data)]
        header[name] = {"data_offsets": offsets, "dtype": tensor.dtype, "shape": list(tensor.shape)}
        data += tensor.data
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return struct.pack("<Q", len(text)) + text + data


def _split(content: memoryview) -> tuple[dict[str, Any], memoryview]:
    if len(content) < 8:
        raise BrokenBlob(f"it has {len(content)} bytes, which is too short for a header")
    (length,) = struct.unpack_from("<Q", content)
    if length > MAX_HEADER_BYTES or 8 + length > len(content):
        raise BrokenBlob(f"its header claims {length} bytes, of which {len(content) - 8} are there")
    try:
        header = json.loads(bytes(content[8 : 8 + length]))
    except (ValueError, RecursionError) as error:
        raise BrokenBlob(f"its header is no JSON ({type(error).__name__})") from None
    if not isinstance(header, dict):
        raise BrokenBlob("its header is no JSON object")
    return header, content[8 + length :]


def _tensor(name: str, entry: object, data: memoryview) -> Tensor:
    if not isinstance(entry, dict):
        raise BrokenBlob(f"the entry of {name!r} is no object")
    dtype = entry.get("dtype")
    shape: Any = entry.get("shape")
    offsets: Any = entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise BrokenBlob(f"{name!r} has the unknown type {str(dtype)[:20]!r}")
    if not _are_sizes(shape) or len(shape) > MAX_AXES or not _are_sizes(offsets) or len(offsets) != 2:
        raise BrokenBlob(f"{name!r} has no usable shape or offsets")
    start, end = offsets
    if not start <= end <= len(data):
        raise BrokenBlob(f"{name!r} is said to be at bytes {start} to {end} of {len(data)}")
    if math.prod(shape) * ITEM_BYTES[dtype] != end - start:
        raise BrokenBlob(f"{name!r} has the shape {tuple(shape)} of {dtype}, but {end - start} bytes")
    return Tensor(dtype, tuple(shape), bytes(data[start:end]))


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 1 << 48 for size in value)
