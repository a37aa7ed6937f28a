"""Lazy tensors of a checkpoint → parameters in the dtype that is computed in, checked against the shapes of a config.

No weight is read while layers are filled, so every problem of a checkpoint is known before the first byte is loaded,
and all are named in one error.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.checkpoint_format.fit import LoadErrors, Quantization, packed_shape, shape_error
from models.qwen3_tts.checkpoint.checkpoint import Checkpoint
from models.qwen3_tts.checkpoint.tensor_file import (
    BFLOAT16,
    Bfloat16Table,
    DeferredReads,
    Runs,
    StoredTable,
    StoredTensor,
    read_runs,
)
from models.qwen3_tts.network.linear import (
    AnyLinear,
    Bfloat16Linear,
    Linear,
    PackedLinear,
    QuantizedLinear,
    UnfusedLinear,
)
from models.qwen3_tts.network.packed_weight import PackedWeight, can_pack

FLOATS = (mx.float32, mx.bfloat16, mx.float16, mx.float64)
PACKED = (mx.uint32,)


@dataclass
class Reader:
    """Takes the tensors of a checkpoint one after the other, in `dtype`, and remembers what did not fit.

    With `keep_stored`, for NumPy's network alone, weights that are stored in bfloat16 stay so, quantised ones stay
    packed, and both are read with `reads`; `mlx_work` is what MLX has to compute for them, on the main thread, each
    returning whether the numbers are finite.
    """

    checkpoint: Checkpoint
    dtype: mx.Dtype
    dequantize: bool = False
    keep_stored: bool = False
    reads: DeferredReads = field(default_factory=DeferredReads)

    def __post_init__(self) -> None:
        self.keeps_bfloat16 = False  # whether any linear does
        self.mlx_work: list[Callable[[], bool]] = []
        self.mlx_work_bytes = 0  # of its results
        self.packings: set[tuple[Quantization, bool]] = set()  # of packed linears, and whether factors are bfloat16
        self._missing: list[str] = []
        self._misshapen: list[str] = []

    def tensor(self, name: str, shape: tuple[int, ...]) -> mx.array:
        """One tensor, cast. A stand-in when it is missing or misshapen."""
        return self._take(name, shape).astype(self.dtype)

    def stored_table(self, name: str, shape: tuple[int, int]) -> mx.array:
        """An embedding table in the dtype it is stored in; a quantised one is unpacked."""
        path = name.removesuffix(".weight")
        if f"{path}.scales" in self.checkpoint.tensors:
            return self._plain_weight(path, shape)
        return self._take(name, shape)

    def rows_of_table(self, name: str, shape: tuple[int, int]) -> mx.array | StoredTable:
        """An embedding table of which few rows are needed: `stored_table`, or its rows as they are in the file."""
        value = self.stored_table(name, shape)
        stored = self._in_bfloat16([name])
        return StoredTable(stored[0]) if stored and stored[0].shape == shape else value

    def tables(self, shapes: Mapping[str, tuple[int, int]]) -> mx.array | Bfloat16Table:
        """Embedding tables one below the other in the compute dtype, and a row of zeros.

        With `keep_stored` they are NumPy's, in bfloat16, and filled once `reads` are done.
        """
        width = next(iter(shapes.values()))[1]
        stored = self._in_bfloat16(list(shapes))
        if not stored:
            tables = [self.stored_table(name, shape).astype(self.dtype) for name, shape in shapes.items()]
            return mx.concatenate([*tables, mx.zeros((1, width), dtype=self.dtype)])
        joined = np.zeros((sum(rows for rows, _ in shapes.values()) + 1, width), np.uint16)
        start = 0
        for place, (name, shape) in zip(stored, shapes.items(), strict=True):
            self._take(name, shape)
            self._read_later(place, joined[start : start + shape[0]], first=0)
            start += shape[0]
        return Bfloat16Table(joined)

    def linear(
        self,
        paths: Sequence[str],
        shapes: Sequence[tuple[int, int]],
        *,
        bias: bool = False,
        rows: Sequence[int] | None = None,
    ) -> AnyLinear:
        """Linears of `(out, in)` over the same input as one, outputs side by side; with `rows`, only these outputs."""
        if stored := self._in_bfloat16([f"{path}.weight" for path in paths]):
            return self._kept(paths, stored, shapes, bias=bias, rows=rows)
        quantizations = [self._kept_quantization(path) for path in paths]
        if len(set(quantizations)) > 1:
            each = zip(paths, shapes, strict=True)
            return UnfusedLinear([self.linear([path], [shape], bias=bias) for path, shape in each])
        quantization = quantizations[0]
        if quantization is not None and self.keep_stored:
            return self._packed_linear(paths, shapes, quantization, bias=bias, rows=rows)
        parts = [
            self._parameters(path, shape, quantization, bias=bias) for path, shape in zip(paths, shapes, strict=True)
        ]
        joined = {name: mx.concatenate([part[name] for part in parts]) for name in parts[0]}
        return _linear({name: _rows(value, rows) for name, value in joined.items()}, quantization)

    def _kept_quantization(self, path: str) -> Quantization | None:
        """Packing of the linear at `path`, where it is computed with; None when it is plain or to be unpacked."""
        stored = None if self.dequantize else self.checkpoint.quantization_of(path)
        return stored if stored and (can_pack(stored) or not self.keep_stored) else None

    def _parameters(
        self, path: str, shape: tuple[int, int], quantization: Quantization | None, *, bias: bool
    ) -> dict[str, mx.array]:
        """One linear's parameters by name, each with the outputs as its first axis."""
        added = {"bias": self.tensor(f"{path}.bias", shape[:1])} if bias else {}
        if quantization is None:
            return {"weight": self._plain_weight(path, shape).astype(self.dtype), **added}
        weight, *factors = self._packed(path, shape, quantization)
        scales, biases = (own.astype(self.dtype) for own in factors)
        return {"weight": weight, "scales": scales, "biases": biases, **added}

    def _in_bfloat16(self, names: Sequence[str]) -> list[StoredTensor]:
        """Where these weights are in the file, if all are to stay bfloat16; else nothing."""
        places = [self.checkpoint.tensors.stored.get(name) for name in names]
        stored = [place for place in places if place is not None and place.dtype == BFLOAT16]
        return stored if self.keep_stored and len(stored) == len(names) else []

    def _kept(
        self,
        paths: Sequence[str],
        stored: Sequence[StoredTensor],
        shapes: Sequence[tuple[int, int]],
        *,
        bias: bool,
        rows: Sequence[int] | None,
    ) -> Bfloat16Linear:
        """Linears with weights in bfloat16 as one, outputs side by side, or some outputs of a single one."""
        self.keeps_bfloat16 = True
        wanted = _wanted_rows(shapes, rows)
        weight = np.empty((_count(wanted), shapes[0][1]), np.uint16)
        start = 0
        for path, place, shape, runs in zip(paths, stored, shapes, wanted, strict=True):
            self._take(f"{path}.weight", shape)  # what does not fit is noted, and then nothing is read
            for first, count in runs:
                self._read_later(place, weight[start : start + count], first=first)
                start += count
        return Bfloat16Linear(weight, self._biases(paths, shapes, rows) if bias else None)

    def _packed_linear(
        self,
        paths: Sequence[str],
        shapes: Sequence[tuple[int, int]],
        quantization: Quantization,
        *,
        bias: bool,
        rows: Sequence[int] | None,
    ) -> PackedLinear:
        """Linears of one packing as one, outputs side by side, or some outputs of a single one."""
        # What does not fit is noted, and then nothing is read.
        parts = [self._packed(path, shape, quantization) for path, shape in zip(paths, shapes, strict=True)]
        places, wanted = self._places(paths), _wanted_rows(shapes, rows)
        in_bfloat16 = all(scales.dtype == biases.dtype == mx.bfloat16 for _, scales, biases in parts)
        weight = PackedWeight.empty((_count(wanted), shapes[0][1]), quantization, in_bfloat16=in_bfloat16)

        def read() -> None:
            words, scales, biases = (
                read_runs(own, wanted, as_stored=in_bfloat16 or own is places[0]) for own in places
            )
            weight.fill(words, scales, biases)

        def take() -> bool:
            words, scales, biases = (_rows(mx.concatenate(list(own)), rows) for own in zip(*parts, strict=True))
            mx.eval(words, scales, biases)
            parts.clear()
            weight.fill(np.array(words), *(_host_factors(own, in_bfloat16=in_bfloat16) for own in (scales, biases)))
            return bool(mx.all(mx.isfinite(scales)).item() and mx.all(mx.isfinite(biases)).item())

        self.packings.add((quantization, in_bfloat16))
        if places:
            parts.clear()
            self.reads.add(read, nbytes=weight.nbytes)
        else:
            self.mlx_work.append(take)
            self.mlx_work_bytes += weight.nbytes
        return PackedLinear(weight, self._biases(paths, shapes, rows) if bias else None)

    def _places(self, paths: Sequence[str]) -> list[list[StoredTensor]]:
        """Where the words, scales and biases of these linears are in the file; nothing where MLX computes any."""
        known = self.checkpoint.tensors.stored
        names = [[f"{path}.{part}" for path in paths] for part in ("weight", "scales", "biases")]
        if not all(name in known for own in names for name in own):
            return []
        return [[known[name] for name in own] for own in names]

    def _biases(self, paths: Sequence[str], shapes: Sequence[tuple[int, int]], rows: Sequence[int] | None) -> mx.array:
        biases = [self.tensor(f"{path}.bias", shape[:1]) for path, shape in zip(paths, shapes, strict=True)]
        return _rows(mx.concatenate(biases), rows)

    def _read_later(self, place: StoredTensor, target: npt.NDArray[np.uint16], *, first: int) -> None:
        self.reads.add(lambda: place.read_rows(target, first=first), nbytes=target.nbytes)

    def finish(self, what: str, errors: LoadErrors) -> None:
        """Note in `errors` every tensor that was missing, misshapen or never asked for."""
        errors.add(what, missing=self._missing, unexpected=self.checkpoint.tensors, misshapen=self._misshapen)

    def _take(self, name: str, shape: tuple[int, ...], kinds: Sequence[mx.Dtype] = FLOATS) -> mx.array:
        if name not in self.checkpoint.tensors:
            self._missing.append(name)
            return mx.zeros(shape)
        value = self.checkpoint.tensors.take(name)
        if value.shape == shape and value.dtype in kinds:
            return value
        if value.shape == shape:
            self._misshapen.append(f"{name} holds {str(value.dtype).removeprefix('mlx.core.')} numbers")
        else:
            self._misshapen.append(shape_error(name, value.shape, shape))
        return mx.zeros(shape)

    def _packed(self, path: str, shape: tuple[int, int], stored: Quantization) -> tuple[mx.array, mx.array, mx.array]:
        shapes = packed_shape(shape, stored)
        weight = self._take(f"{path}.weight", shapes["weight"], PACKED)
        scales = self._take(f"{path}.scales", shapes["scales"])
        biases = self._take(f"{path}.biases", shapes["biases"])
        return weight, scales, biases

    def _plain_weight(self, path: str, shape: tuple[int, int]) -> mx.array:
        quantization = self.checkpoint.quantization_of(path)
        if quantization is None:
            return self._take(f"{path}.weight", shape)
        weight, *factors = self._packed(path, shape, quantization)
        scales, biases = (own.astype(self.dtype) for own in factors)
        return mx.dequantize(weight, scales, biases, group_size=quantization.group_size, bits=quantization.bits)


def _linear(parameters: dict[str, Any], quantization: Quantization | None) -> Linear | QuantizedLinear:
    return Linear.of(**parameters) if quantization is None else QuantizedLinear(quantization, **parameters)


def _rows(value: mx.array, rows: Sequence[int] | None) -> mx.array:
    """Some rows of the first axis, or all."""
    return value if rows is None else value[mx.array(list(rows))]


def _host_factors(own: mx.array, *, in_bfloat16: bool) -> npt.NDArray[Any]:
    """Scales or biases for NumPy: the bits of bfloat16, or float32."""
    return np.array(own.view(mx.uint16) if in_bfloat16 else own.astype(mx.float32))


def _wanted_rows(shapes: Sequence[tuple[int, int]], rows: Sequence[int] | None) -> list[Runs]:
    """Of each of several weights, the rows to be read: all, or some of a single one."""
    return [[(0, shape[0])] for shape in shapes] if rows is None else [_runs(rows)]


def _count(wanted: Sequence[Runs]) -> int:
    return sum(count for runs in wanted for _, count in runs)


def _runs(rows: Sequence[int]) -> Runs:
    """Rows as (first, count) of those that follow one another."""
    breaks = [0, *(at for at in range(1, len(rows)) if rows[at] != rows[at - 1] + 1), len(rows)]
    return [(rows[start], stop - start) for start, stop in itertools.pairwise(breaks)]
