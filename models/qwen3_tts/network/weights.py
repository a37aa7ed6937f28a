"""Lazy tensors of a checkpoint → the layers of a network: cast, fused, and checked against the shapes of the config.

No weight is read while layers are filled, so every problem of a checkpoint is known before the first byte is loaded,
and all are named in one error.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn
from mlx.utils import tree_flatten, tree_map_with_path

from models.checkpoint_format.config import TalkerConfig
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
from models.qwen3_tts.network.code_predictor import CodePredictor
from models.qwen3_tts.network.linear import (
    AnyLinear,
    Bfloat16Linear,
    Linear,
    PackedLinear,
    QuantizedLinear,
    UnfusedLinear,
)
from models.qwen3_tts.network.mlx_ops import HeadNorms, Ops
from models.qwen3_tts.network.packed_weight import PackedWeight, can_pack
from models.qwen3_tts.network.talker import Talker

FLOATS = (mx.float32, mx.bfloat16, mx.float16, mx.float64)
PACKED = (mx.uint32,)
# Our layers that are several of the checkpoint's.
FUSED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "qk_norm": ("q_norm", "k_norm"),
}


def load_networks(config: TalkerConfig, reader: Reader, ops: Ops) -> tuple[Talker, CodePredictor]:
    """The talker and the code predictor, their weights still lazy; the tables of codes are the talker's."""
    talker, predictor = Talker(config, ops, dtype=reader.dtype), CodePredictor(config, ops, dtype=reader.dtype)
    shape = (config.text_vocab_size, config.text_hidden_size)
    talker.text_embedding = reader.rows_of_table("talker.model.text_embedding.weight", shape)
    width, size = config.hidden_size, config.code_predictor_config.vocab_size
    tables = {"talker.model.codec_embedding.weight": (config.vocab_size, width)}
    for group in range(config.num_code_groups - 1):
        tables[f"talker.code_predictor.model.codec_embedding.{group}.weight"] = (size, width)
    talker.codec_table = reader.tables(tables)
    load_weights(talker, reader, path="talker")
    load_weights(predictor, reader, path="talker.code_predictor")
    return talker, predictor


def load_weights(network: nn.Module, reader: Reader, *, path: str) -> None:
    """Give each layer of `network` its weights, still lazy, which the checkpoint names as we do, below `path`."""

    def loaded(name: str, leaf: nn.Module) -> nn.Module:
        parent, _, own = f"{path}.{name}".rpartition(".")
        return _loaded(leaf, reader, [f"{parent}.{part}" for part in FUSED.get(own, (own,))])

    network.update_modules(tree_map_with_path(loaded, network.leaf_modules(), is_leaf=nn.Module.is_module))


def _loaded(leaf: nn.Module, reader: Reader, paths: Sequence[str]) -> nn.Module:
    """A layer with its weights: itself, or the kind of linear that the checkpoint has in its place."""
    if isinstance(leaf, Linear):
        return reader.linear(paths, leaf.shapes, bias=leaf.has_bias, rows=leaf.rows)
    if isinstance(leaf, HeadNorms):
        leaf.lay_out(*(reader.tensor(f"{path}.weight", (leaf.head_dim,)) for path in paths))
    else:
        leaf.weight = reader.tensor(f"{paths[0]}.weight", leaf.weight.shape)
    return leaf


def materialize(network: Talker | CodePredictor) -> bool:
    """Read the lazy weights from the disk, a layer at a time, and give back what reading them needed.

    Returns whether all numbers are finite.
    """
    are_finite = True
    for part in (*network.model.layers, network):
        mx.eval(part.parameters())
        parameters: Any = tree_flatten(part.parameters())
        floats = [value for name, value in parameters if name != "mask" and mx.issubdtype(value.dtype, mx.floating)]
        are_finite &= all(mx.all(mx.isfinite(value)).item() for value in floats)
        mx.clear_cache()
    return are_finite


@dataclass
class Reader:
    """Takes the tensors of a checkpoint one after the other, in `dtype`, and remembers what did not fit.

    With `keep_stored`, for NumPy's network alone, weights that are stored in bfloat16 stay so, quantised ones stay
    packed, and both are read with `reads`.
    """

    checkpoint: Checkpoint
    dtype: mx.Dtype
    dequantize: bool = False
    keep_stored: bool = False
    reads: DeferredReads = field(default_factory=DeferredReads)

    def __post_init__(self) -> None:
        self.keeps_bfloat16 = False  # whether any linear does
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
        weight, scales, biases = self._packed(path, shape, quantization)
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
        for path, shape in zip(paths, shapes, strict=True):
            self._packed(path, shape, quantization)  # what does not fit is noted, and then nothing is read
        known, wanted = self.checkpoint.tensors.stored, _wanted_rows(shapes, rows)
        words, scales, biases = (
            [known[name] for path in paths if (name := f"{path}.{part}") in known]
            for part in ("weight", "scales", "biases")
        )
        in_bfloat16 = all(place.dtype == BFLOAT16 for place in (*scales, *biases))
        weight = PackedWeight.empty((_count(wanted), shapes[0][1]), quantization, in_bfloat16=in_bfloat16)

        def read() -> None:
            numbers = [read_runs(places, wanted, as_stored=in_bfloat16) for places in (scales, biases)]
            weight.fill(read_runs(words, wanted, as_stored=True), *numbers)

        self.packings.add((quantization, in_bfloat16))
        self.reads.add(read, nbytes=weight.nbytes)
        return PackedLinear(weight, self._biases(paths, shapes, rows) if bias else None)

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
        scales = self.tensor(f"{path}.scales", shapes["scales"])
        biases = self.tensor(f"{path}.biases", shapes["biases"])
        return weight, scales, biases

    def _plain_weight(self, path: str, shape: tuple[int, int]) -> mx.array:
        quantization = self.checkpoint.quantization_of(path)
        if quantization is None:
            return self._take(f"{path}.weight", shape)
        weight, scales, biases = self._packed(path, shape, quantization)
        return mx.dequantize(weight, scales, biases, group_size=quantization.group_size, bits=quantization.bits)


def _linear(parameters: dict[str, Any], quantization: Quantization | None) -> Linear | QuantizedLinear:
    return Linear.of(**parameters) if quantization is None else QuantizedLinear(quantization, **parameters)


def _rows(value: mx.array, rows: Sequence[int] | None) -> mx.array:
    """Some rows of the first axis, or all."""
    return value if rows is None else value[mx.array(list(rows))]


def _wanted_rows(shapes: Sequence[tuple[int, int]], rows: Sequence[int] | None) -> list[Runs]:
    """Of each of several weights, the rows to be read: all, or some of a single one."""
    return [[(0, shape[0])] for shape in shapes] if rows is None else [_runs(rows)]


def _count(wanted: Sequence[Runs]) -> int:
    return sum(count for runs in wanted for _, count in runs)


def _runs(rows: Sequence[int]) -> Runs:
    """Rows as (first, count) of those that follow one another."""
    breaks = [0, *(at for at in range(1, len(rows)) if rows[at] != rows[at - 1] + 1), len(rows)]
    return [(rows[start], stop - start) for start, stop in itertools.pairwise(breaks)]
