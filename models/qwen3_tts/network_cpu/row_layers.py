"""One position of one row through all layers of a transformer, by machine code, without Python between its steps.

Why: a line alone runs 103 layers a frame, most of them small. By NumPy each takes a dozen calls and four hand-overs
between threads, which together cost half as much as the products of packed weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.qwen3_tts.network_cpu import layer_kernels
from models.qwen3_tts.network_cpu.bf16_linear import NumpyBfloat16Linear
from models.qwen3_tts.network_cpu.layer_kernels import LayerShape, layers_kernel
from models.qwen3_tts.network_cpu.machine_code import Floats, address
from models.qwen3_tts.network_cpu.packed_linear import NumpyPackedLinear
from models.qwen3_tts.worker_threads import Workers

KernelLinear = NumpyBfloat16Linear | NumpyPackedLinear


class RowLayers:
    """The layers of one decoder."""

    def __init__(self, layers: Sequence[Any], workers: Workers) -> None:
        """`layers` are those of a `NumpyDecoder` for which `fits` is true."""
        self._shape, self._workers = _shape_of(layers[0]), workers
        self._run = layers_kernel(self._shape, layers[0].qkv_proj.row_product)["run_layers"]
        self._table = np.zeros(layer_kernels.address_table_shape(len(layers)), np.int64)
        for row, layer in zip(self._table, layers, strict=True):
            for place, linear in zip((0, 2, 4, 6), _linears(layer), strict=True):
                row[place : place + 2] = linear.addresses
            norms = (layer.input_layernorm, layer.post_attention_layernorm, layer.qk_norm)
            row[layer_kernels.INPUT_NORM : layer_kernels.QK_NORM + 1] = [address(norm) for norm in norms]
        self._keep = layers  # their arrays

    def __call__(
        self, x: Floats, *, rope: tuple[Floats, Floats], position: int, kv: Sequence[Floats], slot: int
    ) -> Floats:
        """`(1, D)` at a position -> the same after all layers; its keys and values are added to `kv`.

        `rope` are its cosines and sines `(E,)`; `kv` is for each layer `(2, slots, G, P, E)`.
        """
        shape, x = self._shape, x[0].copy()
        slots, kv_heads, positions, head_dim = kv[0].shape[1:]
        row_bytes = kv[0].itemsize * kv_heads * positions * head_dim
        table, first = self._table.copy(), np.array([address(own) for own in kv])
        table[:, layer_kernels.KEYS] = first + slot * row_bytes
        table[:, layer_kernels.VALUES] = first + (slots + slot) * row_bytes
        attention = shape.heads * head_dim
        room = [
            np.empty(size, np.float32) for size in (attention + 2 * kv_heads * head_dim, attention, 2 * shape.inner)
        ]
        counters = np.zeros(layer_kernels.counters_size(len(table)), np.int64)
        arrays: list[npt.NDArray[Any]] = [table, counters, x, *room, *rope]
        places = [address(array) for array in arrays]

        def work(_kept: object = arrays) -> None:  # a thread may come late, when all has been done
            self._run(*places, len(table), position, positions * head_dim)

        self._workers.together(work)
        return x[None]


def fits(layers: Sequence[Any]) -> bool:
    """Whether machine code can run these layers: all weights stored in one way that it knows, no biases, even sizes."""
    linears: list[Any] = [linear for layer in layers for linear in _linears(layer)]
    if not all(isinstance(linear, KernelLinear) and linear.bias is None for linear in linears):
        return False
    return len({linear.row_product for linear in linears}) == 1 and _shape_of(layers[0]).fits


def _linears(layer: Any) -> tuple[Any, ...]:
    return layer.qkv_proj, layer.o_proj, layer.gate_up_proj, layer.down_proj


def _shape_of(layer: Any) -> LayerShape:
    return LayerShape(
        width=layer.o_proj.outputs,
        inner=layer.down_proj.inputs,
        heads=layer.heads,
        kv_heads=layer.kv_heads,
        head_dim=layer.head_dim,
        eps=layer.eps,
    )
