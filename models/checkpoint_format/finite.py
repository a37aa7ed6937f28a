"""A file of weights → its tensors that hold NaN or infinity. Such a model speaks noise, and nothing else would tell.

This module reads files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.checkpoint_format.files import file_header
from models.checkpoint_format.fit import some
from registry.durable_files import open_regular

NOT_FINITE_HINT = "Training or a conversion went wrong, or the file is damaged: use another copy of the model."
BLOCK_BYTES = 1 << 20  # stays in the processor's cache
# Of a float that is not finite, every bit of the exponent is set.
_EXPONENTS: dict[str, tuple[str, int]] = {
    "BF16": ("<u2", 0x7F80),
    "F16": ("<u2", 0x7C00),
    "F32": ("<u4", 0x7F80_0000),
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
}


def is_finite(numbers: npt.NDArray[Any], *, dtype: str) -> bool:
    """Whether stored numbers, of the dtype that safetensors names, are all finite; whole numbers always are."""
    if dtype not in _EXPONENTS:
        return True
    kind, exponent = _EXPONENTS[dtype]
    bits = numbers.reshape(-1).view(kind)
    step = BLOCK_BYTES // bits.itemsize
    scratch = np.empty(min(step, bits.size), kind)
    for start in range(0, bits.size, step):
        block = bits[start : start + step]
        masked = scratch[: block.size]
        np.bitwise_and(block, np.asarray(exponent, kind), out=masked)
        if masked.max(initial=0) == exponent:
            return False
    return True


def numbers_problem(path: Path) -> str | None:
    """The fault of a file's numbers, as words after its name; None when all are finite.

    Raises UnsupportedCheckpoint when it is no file of weights, OSError when it cannot be read.
    """
    header, wrong = file_header(path), []
    with open_regular(path) as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        for name, entry in header.items():
            if name != "__metadata__" and not _is_finite_in_file(file, entry, start=start):
                wrong.append(name)
    return not_finite(wrong) if wrong else None


def not_finite(names: list[str]) -> str:
    """The words for tensors that hold NaN or infinity."""
    return f"holds numbers that are not finite (NaN or infinity), in {some(sorted(names))}"


def _is_finite_in_file(file: Any, entry: dict[str, Any], *, start: int) -> bool:
    begin, end = entry["data_offsets"]
    file.seek(start + begin)
    left, buffer = end - begin, np.empty(BLOCK_BYTES, np.uint8)
    while left > 0 and (count := file.readinto(buffer[: min(left, BLOCK_BYTES)].data)):
        left -= count
        if not is_finite(buffer[:count], dtype=entry["dtype"]):
            return False
    return True
