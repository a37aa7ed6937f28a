"""Tensors of a safetensors file → NumPy arrays, read straight into place, whole or a few rows at a time.

Why not by MLX: on a CPU, NumPy computes with the weights, so that nothing has to be copied from array to array; threads
share the reading; large arrays are in large pages; and of the text embeddings, a third of a checkpoint, only the rows
of spoken words are ever read.

Files are read, never mapped: when a mapped file is overwritten, numbers are wrong or the process ends. Reading a file
that has changed is refused. This module reads files.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.checkpoint_format.finite import NOT_FINITE_HINT, is_finite, not_finite
from models.errors import EngineFailure, ModelChanged, UnsupportedCheckpoint
from registry.durable_files import regular_opener

BFLOAT16 = "BF16"
PACKED_WORDS = "U32"  # of quantised weights
Runs = list[tuple[int, int]]  # rows of a tensor, as (first, count) of those that follow one another
ONE_CALL_BYTES = 1 << 30  # the most that Linux and macOS read in one call is a little less than twice this

# bfloat16, which NumPy does not know, is read as the upper half of float32.
_FLOATS = {BFLOAT16: "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"}
_NUMPY = {**_FLOATS, PACKED_WORDS: "<u4"}


class DeferredReads:
    """Reads that wait until everything is known to fit: then in any order, by any thread, the largest first."""

    def __init__(self) -> None:
        self._tasks: list[tuple[int, Callable[[], None]]] = []
        self.nbytes = 0

    def add(self, task: Callable[[], None], *, nbytes: int) -> None:
        self._tasks.append((nbytes, task))
        self.nbytes += nbytes

    def finish(self, run: Callable[[list[Callable[[], None]]], object] | None = None) -> None:
        """Do the reads, by `run` or one after the other. Should one fail, all remain for the next call."""
        tasks = [task for _, task in sorted(self._tasks, key=lambda task: -task[0])]
        if run is not None:
            run(tasks)
        else:
            for task in tasks:
                task()
        self._tasks.clear()


class StoredFile:
    """A file that stays open, and must stay as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = regular_opener(path, os.O_RDONLY)
        except OSError as error:
            raise UnsupportedCheckpoint(f"{path} cannot be read: {error.strerror}.") from None
        weakref.finalize(self, os.close, self._descriptor)
        self._seen = self._state()

    def _state(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns

    def read_into(self, target: npt.NDArray[Any], offset_bytes: int) -> None:
        """Fill `target` from `offset_bytes` on. Raises EngineFailure when the disk fails, ModelChanged."""
        rest = memoryview(target.reshape(-1).view(np.uint8).data)
        try:
            while rest:
                count = os.preadv(self._descriptor, [rest[:ONE_CALL_BYTES]], offset_bytes)
                if not count:
                    break
                rest, offset_bytes = rest[count:], offset_bytes + count
        except OSError as error:
            raise EngineFailure(f"{self.path} cannot be read: {error.strerror}.") from None
        if rest or self._state() != self._seen:
            hint = "It is being loaded again. Do not change the files of a model in place: replace them by renaming."
            raise ModelChanged(f"{self.path} has changed since the model was loaded.", hint=hint)


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Place and type of one tensor in its file."""

    file: StoredFile
    name: str
    dtype: str  # as safetensors names it
    shape: tuple[int, ...]
    offset_bytes: int

    def readable(self) -> StoredTensor:
        """The tensor itself. Raises UnsupportedCheckpoint when it holds other numbers than the usual floats."""
        if self.dtype not in _FLOATS:
            where = f"{self.file.path}: {self.name}"
            raise UnsupportedCheckpoint(f"{where} is stored as {self.dtype}; we read {', '.join(_FLOATS)}.")
        return self

    @property
    def numbers(self) -> np.dtype[Any]:
        """NumPy's dtype for reading it. Raises UnsupportedCheckpoint."""
        return np.dtype(_NUMPY[self.dtype if self.dtype == PACKED_WORDS else self.readable().dtype])

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.numbers.itemsize

    def read_rows(self, target: npt.NDArray[Any], *, first: int) -> None:
        """Fill `target`, which is contiguous, with the rows of the first axis from `first` on."""
        row_bytes = self.nbytes // self.shape[0]
        self.file.read_into(target, self.offset_bytes + first * row_bytes)
        self._refuse_not_finite(target)

    def floats(self) -> npt.NDArray[np.float32]:
        """The whole tensor as float32."""
        whole = np.empty(self.shape, self.numbers)
        self.file.read_into(whole, self.offset_bytes)
        self._refuse_not_finite(whole)
        return as_floats(whole, dtype=self.dtype)

    def _refuse_not_finite(self, numbers: npt.NDArray[Any]) -> None:
        """Raise UnsupportedCheckpoint when numbers just read hold NaN or infinity."""
        if not is_finite(numbers, dtype=self.dtype):
            raise UnsupportedCheckpoint(f"{self.file.path} {not_finite([self.name])}.", hint=NOT_FINITE_HINT)


def as_floats(stored: npt.NDArray[Any], *, dtype: str) -> npt.NDArray[np.float32]:
    """Numbers as they are stored, bfloat16 as whole numbers -> float32."""
    if dtype != BFLOAT16:
        return stored.astype(np.float32, copy=False)
    wide: npt.NDArray[np.float32] = np.left_shift(stored, np.uint32(16), dtype=np.uint32).view(np.float32)
    return wide


def read_runs(places: Sequence[StoredTensor], wanted: Sequence[Runs], *, as_stored: bool) -> npt.NDArray[Any]:
    """The wanted rows of several tensors `(O, N)`, one below the other, as they are stored or as float32."""
    parts = []
    for place, runs in zip(places, wanted, strict=True):
        rows = np.empty((sum(count for _, count in runs), place.shape[1]), place.numbers)
        start = 0
        for first, count in runs:
            place.read_rows(rows[start : start + count], first=first)
            start += count
        parts.append(rows if as_stored else as_floats(rows, dtype=place.dtype))
    return np.concatenate(parts)


@dataclass(frozen=True)
class StoredTable:
    """An embedding table `(V, D)` that stays in its file: rows are read when they are asked for."""

    tensor: StoredTensor

    def __getitem__(self, ids: mx.array) -> mx.array:
        """Rows `(N, D)` in float32 for ids `(N,)`. Raises ModelChanged."""
        tensor = self.tensor
        wanted: list[int] = ids.tolist()  # type: ignore[assignment]
        assert all(0 <= row < tensor.shape[0] for row in wanted), "the tokenizer's ids end where the table ends"
        rows = np.empty((len(wanted), tensor.shape[1]), tensor.numbers)
        for place, row in enumerate(wanted):
            tensor.read_rows(rows[place], first=row)
        return mx.array(as_floats(rows, dtype=tensor.dtype))


@dataclass(frozen=True)
class Bfloat16Table:
    """An embedding table `(V, D)` that stays bfloat16 in memory: rows are widened when they are asked for."""

    bits: npt.NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Rows of any shape `(...)` -> `(..., D)`."""
        return as_floats(self.bits[rows], dtype=BFLOAT16)

    def part(self, start: int, stop: int) -> Bfloat16Table:
        return Bfloat16Table(self.bits[start:stop])

    def floats(self) -> npt.NDArray[np.float32]:
        """The whole table."""
        return as_floats(self.bits, dtype=BFLOAT16)


def stored_tensors(file: StoredFile, header: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """The tensors that a file's header describes, by name."""
    start = np.empty(1, "<u8")
    file.read_into(start, 0)
    return {
        name: StoredTensor(
            file=file,
            name=name,
            dtype=entry["dtype"],
            shape=tuple(entry["shape"]),
            offset_bytes=start.nbytes + int(start[0]) + entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }
