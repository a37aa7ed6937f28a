"""Lazy tensors of a checkpoint → the parts of a network: cast, fused, and checked against the shapes of the config.

Nothing is read while a network is put together, so that every problem of a checkpoint is known before the first
byte is loaded, and then named in one error.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.qwen3_tts.checkpoint.checkpoint import Checkpoint, LoadErrors, Quantization, packed_shape, shape_error
from models.qwen3_tts.checkpoint.tensor_file import BFLOAT16, DeferredReads, HalfTable, StoredTable, StoredTensor

FLOATS = (mx.float32, mx.bfloat16, mx.float16, mx.float64)
PACKED = (mx.uint32,)


@dataclass(frozen=True, kw_only=True)
class Linear:
    """`x` times a weight `(out, in)`; its transposed view is kept too, so that no step pays for making it."""

    weight: mx.array
    transposed: mx.array
    bias: mx.array | None = None

    @classmethod
    def of(cls, weight: mx.array, bias: mx.array | None = None) -> Linear:
        return cls(weight=weight, transposed=weight.T, bias=bias)

    def __call__(self, x: mx.array) -> mx.array:
        if self.bias is None:
            return mx.matmul(x, self.transposed)
        return mx.addmm(self.bias, x, self.transposed)

    def plus(self, residual: mx.array, x: mx.array) -> mx.array:
        """`residual + self(x)` in one launch; only for linears without bias."""
        return mx.addmm(residual, x, self.transposed)

    def arrays(self) -> list[mx.array]:
        stored = [self.weight, self.transposed]
        return stored if self.bias is None else [*stored, self.bias]


@dataclass(frozen=True, kw_only=True)
class QuantizedLinear:
    """`x` times a weight of a few bits, packed as MLX packs it, in groups along the inputs."""

    weight: mx.array
    scales: mx.array
    biases: mx.array
    quantization: Quantization
    bias: mx.array | None = None

    def __call__(self, x: mx.array) -> mx.array:
        product = mx.quantized_matmul(
            x, self.weight, self.scales, self.biases, transpose=True,
            group_size=self.quantization.group_size, bits=self.quantization.bits,
        )  # fmt: skip
        return product if self.bias is None else product + self.bias

    def plus(self, residual: mx.array, x: mx.array) -> mx.array:
        return residual + self(x)

    def arrays(self) -> list[mx.array]:
        stored = [self.weight, self.scales, self.biases]
        return stored if self.bias is None else [*stored, self.bias]


@dataclass(frozen=True, kw_only=True)
class Side:
    """Linears that could not be fused, because a checkpoint stores them differently: one after the other."""

    parts: tuple[Linear | QuantizedLinear, ...]

    def __call__(self, x: mx.array) -> mx.array:
        return mx.concatenate([part(x) for part in self.parts], axis=-1)

    def plus(self, residual: mx.array, x: mx.array) -> mx.array:
        return residual + self(x)

    def arrays(self) -> list[mx.array]:
        return [array for part in self.parts for array in part.arrays()]


@dataclass(frozen=True, kw_only=True)
class StoredLinear:
    """A linear layer of NumPy's network whose weight stays bfloat16, and is there once `reads` are done."""

    weight: npt.NDArray[np.uint16]  # (out, in)
    bias: mx.array | None = None

    def by_mlx(self) -> Linear:
        """A copy for MLX."""
        return Linear.of(mx.array(self.weight).view(mx.bfloat16), self.bias)

    def __call__(self, x: mx.array) -> mx.array:
        return self.by_mlx()(x)

    def plus(self, residual: mx.array, x: mx.array) -> mx.array:
        return residual + self(x)

    def arrays(self) -> list[mx.array]:
        return [] if self.bias is None else [self.bias]


Projection = Linear | QuantizedLinear | StoredLinear | Side


@dataclass
class Reader:
    """Takes the tensors of a checkpoint one after the other, in `dtype`, and remembers what did not fit.

    With `keep_halves`, for NumPy's network alone, weights that are stored in bfloat16 stay so, and are read with
    `reads`.
    """

    checkpoint: Checkpoint
    dtype: mx.Dtype
    dequantize: bool = False
    keep_halves: bool = False
    reads: DeferredReads = field(default_factory=DeferredReads)

    def __post_init__(self) -> None:
        self._missing: list[str] = []
        self._misshapen: list[str] = []

    def tensor(self, name: str, shape: tuple[int, ...], *, dtype: mx.Dtype | None = None) -> mx.array:
        """One tensor, cast; the stored dtype where `dtype` is that. A stand-in when it is missing or misshapen."""
        value = self._take(name, shape)
        return value.astype(dtype or self.dtype)

    def stored_table(self, name: str, shape: tuple[int, int]) -> mx.array:
        """An embedding table in the dtype it is stored in; a quantised one is unpacked."""
        if f"{name.removesuffix('.weight')}.scales" in self.checkpoint.tensors:
            return self._plain_weight(name.removesuffix(".weight"), shape)
        return self._take(name, shape)

    def rows_of_table(self, name: str, shape: tuple[int, int]) -> mx.array | StoredTable:
        """An embedding table of which few rows are needed: `stored_table`, or its rows as they lie in the file."""
        value = self.stored_table(name, shape)
        stored = self._halves([name.removesuffix(".weight")])
        return StoredTable(stored[0]) if stored and stored[0].shape == shape else value

    def tables(self, shapes: Mapping[str, tuple[int, int]]) -> mx.array | HalfTable:
        """Embedding tables one below the other in the compute dtype, and a row of zeros.

        With `keep_halves` they are NumPy's, in bfloat16, and filled once `reads` are done.
        """
        width = next(iter(shapes.values()))[1]
        stored = self._halves([name.removesuffix(".weight") for name in shapes])
        if not stored:
            tables = [self.stored_table(name, shape).astype(self.dtype) for name, shape in shapes.items()]
            return mx.concatenate([*tables, mx.zeros((1, width), dtype=self.dtype)])
        joint = np.zeros((sum(rows for rows, _ in shapes.values()) + 1, width), np.uint16)
        start = 0
        for place, (name, shape) in zip(stored, shapes.items(), strict=True):
            self._take(name, shape)
            self._read_later(place, joint[start : start + shape[0]], first=0)
            start += shape[0]
        return HalfTable(joint)

    def linear(
        self, path: str, shape: tuple[int, int], *, bias: bool = False, rows: Sequence[int] | None = None
    ) -> Linear | QuantizedLinear | StoredLinear:
        """One linear of `(out, in)`, as it is stored; with `rows`, only these of its outputs."""
        if stored := self._halves([path]):
            return self._kept([path], stored, [shape], bias=bias, rows=rows)
        return self.linear_by_mlx(path, shape, bias=bias, rows=rows)

    def linear_by_mlx(
        self, path: str, shape: tuple[int, int], *, bias: bool = False, rows: Sequence[int] | None = None
    ) -> Linear | QuantizedLinear:
        """`linear` for what MLX computes with, whatever computes the network."""
        added = _rows(self.tensor(f"{path}.bias", shape[:1]), rows) if bias else None
        quantization = self.checkpoint.quantization_of(path)
        if quantization is None or self.dequantize:
            weight = _rows(self._plain_weight(path, shape), rows)
            is_kept = self.keep_halves and quantization is None and weight.dtype == mx.bfloat16
            return Linear.of(weight if is_kept else weight.astype(self.dtype), added)
        weight, scales, biases = (_rows(part, rows) for part in self._packed(path, shape, quantization))
        return QuantizedLinear(weight=weight, scales=scales, biases=biases, quantization=quantization, bias=added)

    def fused(self, paths: Sequence[str], outputs: Sequence[int], inputs: int, *, bias: bool = False) -> Projection:
        """Several linears over the same input as one, outputs side by side."""
        shapes = [(out, inputs) for out in outputs]
        if stored := self._halves(paths):
            return self._kept(paths, stored, shapes, bias=bias)
        parts = [self.linear_by_mlx(path, shape, bias=bias) for path, shape in zip(paths, shapes, strict=True)]
        joint_bias = mx.concatenate([part.bias for part in parts if part.bias is not None]) if bias else None
        plain = [part for part in parts if isinstance(part, Linear)]
        if len(plain) == len(parts):
            return Linear.of(mx.concatenate([part.weight for part in plain]), joint_bias)
        packed = [part for part in parts if isinstance(part, QuantizedLinear)]
        if len(packed) < len(parts) or len({part.quantization for part in packed}) > 1:
            return Side(parts=tuple(parts))
        return QuantizedLinear(
            weight=mx.concatenate([part.weight for part in packed]),
            scales=mx.concatenate([part.scales for part in packed]),
            biases=mx.concatenate([part.biases for part in packed]),
            quantization=packed[0].quantization,
            bias=joint_bias,
        )

    def _halves(self, paths: Sequence[str]) -> list[StoredTensor]:
        """Where the weights of these linears lie, if all are to stay bfloat16; else nothing."""
        places = [self.checkpoint.tensors.stored.get(f"{path}.weight") for path in paths]
        found = [place for place in places if place is not None and place.dtype == BFLOAT16]
        return found if self.keep_halves and len(found) == len(paths) else []

    def _kept(
        self,
        paths: Sequence[str],
        stored: Sequence[StoredTensor],
        shapes: Sequence[tuple[int, int]],
        *,
        bias: bool,
        rows: Sequence[int] | None = None,
    ) -> StoredLinear:
        """Linears with weights in bfloat16 as one, outputs side by side, or some outputs of a single one."""
        biases = [self.tensor(f"{path}.bias", shape[:1]) for path, shape in zip(paths, shapes, strict=True) if bias]
        wanted = [[(0, shape[0])] for shape in shapes] if rows is None else [_runs(rows)]
        weight = np.empty((sum(count for runs in wanted for _, count in runs), shapes[0][1]), np.uint16)
        start = 0
        for path, place, shape, runs in zip(paths, stored, shapes, wanted, strict=True):
            self._take(f"{path}.weight", shape)  # what does not fit is noted, and then nothing is read
            for first, count in runs:
                self._read_later(place, weight[start : start + count], first=first)
                start += count
        return StoredLinear(weight=weight, bias=_rows(mx.concatenate(biases), rows) if biases else None)

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
        scales = self.tensor(f"{path}.scales", shapes["scales"])
        biases = self.tensor(f"{path}.biases", shapes["biases"])
        return weight, scales, biases

    def _plain_weight(self, path: str, shape: tuple[int, int]) -> mx.array:
        quantization = self.checkpoint.quantization_of(path)
        if quantization is None:
            return self._take(f"{path}.weight", shape)
        weight, scales, biases = self._packed(path, shape, quantization)
        return mx.dequantize(weight, scales, biases, group_size=quantization.group_size, bits=quantization.bits)


def _rows(value: mx.array, rows: Sequence[int] | None) -> mx.array:
    """Some rows of the first axis, or all."""
    return value if rows is None else value[mx.array(list(rows))]


def _runs(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Rows as (first, count) of those that follow one another."""
    breaks = [0, *(at for at in range(1, len(rows)) if rows[at] != rows[at - 1] + 1), len(rows)]
    return [(rows[start], stop - start) for start, stop in itertools.pairwise(breaks)]


def materialize(arrays: Sequence[mx.array]) -> None:
    """Read the lazy weights of one part from the disk, and give back what reading them needed."""
    mx.eval(arrays)
    mx.clear_cache()
