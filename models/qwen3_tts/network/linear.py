"""Weights as a checkpoint stores them → linear layers of the networks: plain, quantised, kept as stored, or unfused.

A network is made with plain ones that have no weights yet; loading replaces each by the kind that the checkpoint has.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from models.checkpoint_format.fit import Quantization
from models.qwen3_tts.network.packed_weight import PackedWeight


class Linear(nn.Module):
    """`x` times a weight `(out, in)`: one of the checkpoint's linears, or several over the same input as one.

    `rows` are the only outputs of the checkpoint's weight that are kept.
    """

    weight: mx.array
    transposed: mx.array
    bias: mx.array | None

    def __init__(self, inputs: int, *outputs: int, bias: bool = False, rows: Sequence[int] | None = None) -> None:
        super().__init__()
        self.shapes = tuple((count, inputs) for count in outputs)  # of the checkpoint's linears
        self.has_bias, self.rows = bias, rows

    @classmethod
    def of(cls, weight: mx.array, bias: mx.array | None = None) -> Linear:
        outputs, inputs = weight.shape
        linear = cls(inputs, outputs, bias=bias is not None)
        linear.weight, linear.bias = weight, bias
        linear.transposed = weight.T  # kept, too, so that no step pays for making the view
        return linear

    def __call__(self, x: mx.array) -> mx.array:
        if self.bias is None:
            return mx.matmul(x, self.transposed)
        return mx.addmm(self.bias, x, self.transposed)

    def add_to(self, residual: mx.array, x: mx.array) -> mx.array:
        """`residual + self(x)`, without a bias in one launch."""
        return mx.addmm(residual, x, self.transposed) if self.bias is None else residual + self(x)


class QuantizedLinear(nn.Module):
    """`x` times a weight of a few bits, packed as MLX packs it, in groups along the inputs."""

    def __init__(self, quantization: Quantization, *, bias: mx.array | None = None, **packed: mx.array) -> None:
        super().__init__()
        self.quantization, self.bias = quantization, bias
        self.weight, self.scales, self.biases = packed["weight"], packed["scales"], packed["biases"]

    def __call__(self, x: mx.array) -> mx.array:
        product = mx.quantized_matmul(
            x, self.weight, self.scales, self.biases, transpose=True,
            group_size=self.quantization.group_size, bits=self.quantization.bits,
        )  # fmt: skip
        return product if self.bias is None else product + self.bias

    def add_to(self, residual: mx.array, x: mx.array) -> mx.array:
        return residual + self(x)


class UnfusedLinear(nn.Module):
    """Linears that are computed one after the other, since a checkpoint stores them in different ways."""

    def __init__(self, parts: Sequence[AnyLinear]) -> None:
        super().__init__()
        self.parts = list(parts)

    def __call__(self, x: mx.array) -> mx.array:
        return mx.concatenate([part(x) for part in self.parts], axis=-1)

    def add_to(self, residual: mx.array, x: mx.array) -> mx.array:
        return residual + self(x)


class Bfloat16Linear(nn.Module):
    """A linear layer for NumPy's network alone, whose weight stays bfloat16 and is filled by a deferred read."""

    def __init__(self, weight: npt.NDArray[np.uint16], bias: mx.array | None = None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias  # (out, in)


class PackedLinear(nn.Module):
    """A linear layer for NumPy's network alone, whose weight stays packed and is filled by a deferred read."""

    def __init__(self, weight: PackedWeight, bias: mx.array | None = None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias


AnyLinear = Linear | QuantizedLinear | UnfusedLinear | Bfloat16Linear | PackedLinear
