"""The codec's operations as plain MLX, lazy. `ops.py` says what each does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn


class MlxOps:
    """Operations for GPUs, and the reference elsewhere. `fused` compiles the activation; a CPU lacks the compiler."""

    name = "mlx"
    frames_at_once = 96  # Metal stops work that occupies it for seconds

    def __init__(self, *, fused: bool) -> None:
        self._snake = mx.compile(_snake, shapeless=True) if fused else _snake

    def from_numpy(self, value: npt.NDArray[Any]) -> mx.array:
        return mx.array(value, dtype=mx.float32)

    def to_numpy(self, value: mx.array) -> npt.NDArray[Any]:
        return np.array(value)

    def zeros(self, *shape: int) -> mx.array:
        return mx.zeros(shape)

    def concat(self, parts: Sequence[mx.array], *, axis: int = 1) -> mx.array:
        return mx.concatenate(list(parts), axis=axis)

    def tail(self, value: mx.array, positions: int, *, axis: int = 1) -> mx.array:
        kept = mx.arange(value.shape[axis] - positions, value.shape[axis])
        return mx.take(value, kept, axis=axis)  # a slice would share, and so keep, the whole buffer

    def eval(self, values: Sequence[mx.array]) -> None:
        mx.eval(*values)

    def embed_codes(self, table: mx.array, codes: npt.NDArray[np.int32]) -> mx.array:
        codebooks, codebook_size, channels = table.shape
        rows = mx.array(codes) + mx.arange(codebooks) * codebook_size  # all codebooks as one table: one gather
        return table.reshape(codebooks * codebook_size, channels)[rows].sum(axis=-2)

    def linear(self, value: mx.array, weight: mx.array, bias: mx.array | None = None) -> mx.array:
        return value @ weight.T if bias is None else mx.addmm(bias, value, weight.T)

    def conv1d(
        self, value: mx.array, weight: mx.array, bias: mx.array | None = None, *, stride: int = 1, dilation: int = 1
    ) -> mx.array:
        convolved = mx.conv1d(value, weight, stride=stride, dilation=dilation)
        return convolved if bias is None else convolved + bias

    def depthwise_conv1d(self, value: mx.array, weight: mx.array, bias: mx.array | None = None) -> mx.array:
        convolved = mx.conv1d(value, weight, groups=weight.shape[0])
        return convolved if bias is None else convolved + bias

    def rms_norm(self, value: mx.array, weight: mx.array, *, epsilon: float) -> mx.array:
        return mx.fast.rms_norm(value, weight, epsilon)

    def layer_norm(self, value: mx.array, weight: mx.array, bias: mx.array, *, epsilon: float) -> mx.array:
        return mx.fast.layer_norm(value, weight, bias, epsilon)

    def multiply(self, value: mx.array, factor: mx.array) -> mx.array:
        return value * factor

    def snake(self, value: mx.array, frequency: mx.array, strength: mx.array) -> mx.array:
        return self._snake(value, frequency, strength)

    def elu(self, value: mx.array) -> mx.array:
        return mx.where(value > 0, value, mx.expm1(value))

    def gelu(self, value: mx.array) -> mx.array:
        return nn.gelu(value)

    def silu(self, value: mx.array) -> mx.array:
        return value * mx.sigmoid(value)

    def relu(self, value: mx.array) -> mx.array:
        return mx.maximum(value, 0)

    def sigmoid(self, value: mx.array) -> mx.array:
        return mx.sigmoid(value)

    def tanh(self, value: mx.array) -> mx.array:
        return mx.tanh(value)

    def sqrt(self, value: mx.array, *, at_least: float) -> mx.array:
        return mx.sqrt(mx.maximum(value, at_least))

    def softmax_over_positions(self, value: mx.array) -> mx.array:
        return mx.softmax(value, axis=1)

    def clip(self, value: mx.array) -> mx.array:
        return mx.clip(value, -1.0, 1.0)

    def apply_rotary(self, value: mx.array, *, base: float, offset: int) -> mx.array:
        return mx.fast.rope(value, value.shape[-1], traditional=False, base=base, scale=1.0, offset=offset)

    def attend(self, queries: mx.array, keys: mx.array, values: mx.array, mask: npt.NDArray[np.bool_]) -> mx.array:
        scale = queries.shape[-1] ** -0.5
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mx.array(mask))


def _snake(value: mx.array, frequency: mx.array, strength: mx.array) -> mx.array:
    return value + mx.square(mx.sin(value * frequency)) * strength
