"""Causal convolutions that can stop anywhere and go on: layers over `Ops`, and the streaming state between two calls.

Every layer takes the positions before its input that it needs from a `StreamState`, and leaves there what the next
call needs.
"""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
from mlx import nn

from models.qwen3_tts.codec.ops import Array, Ops

ConvState = tuple[Array, ...]  # the last input positions of every layer, in the order in which the layers run


class StreamState:
    """One pass through a stack of layers: reads the state that the last pass left, collects the new one.

    `conv_state` is None at the very start of the audio, which every layer then precedes with zeros.
    """

    def __init__(self, ops: Ops, conv_state: ConvState | None = None) -> None:
        self._ops = ops
        self._old: Iterator[Array] | None = None if conv_state is None else iter(conv_state)
        self._new: list[Array] = []

    def extend(self, value: Array, positions: int) -> Array:
        """`(B, S, C)` -> `(B, positions + S, C)`: the last `positions` positions of the pass before, then the value."""
        if positions == 0:
            return value
        if self._old is None:
            before = self._ops.zeros(value.shape[0], positions, value.shape[2])
        else:
            before = next(self._old)
        joined = self._ops.concat([before, value])
        self._new.append(self._ops.tail(joined, positions))
        return joined

    @property
    def conv_state(self) -> ConvState:
        """State that the next pass starts from. The old one is never changed."""
        return tuple(self._new)


class Conv1d(nn.Module):
    """Weights of a convolution in MLX's layout, `(O, K, C)`."""

    def __init__(self, channels: int, out_channels: int, kernel: int, *, bias: bool = True, groups: int = 1) -> None:
        super().__init__()
        self.weight = mx.zeros((out_channels, kernel, channels // groups))
        if bias:
            self.bias = mx.zeros((out_channels,))

    @property
    def bias_or_none(self) -> mx.array | None:
        return self.get("bias")


class CausalConv1d(nn.Module):
    """Each output position sees its own and earlier input positions only. `(B, S, C)` -> `(B, S / stride, O)`.

    With a stride, an input that is no multiple of it is filled with zeros on the right: only the last piece of a
    signal may be such an input.
    """

    def __init__(
        self, channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = Conv1d(channels, out_channels, kernel, bias=bias)
        self.stride = stride
        self.dilation = dilation
        self.past = (kernel - 1) * dilation + 1 - stride

    def __call__(self, value: Array, stream: StreamState, ops: Ops) -> Array:
        missing = -value.shape[1] % self.stride
        if missing:
            value = ops.concat([value, ops.zeros(value.shape[0], missing, value.shape[2])])
        joined = stream.extend(value, self.past)
        return ops.conv1d(joined, self.conv.weight, self.conv.bias_or_none, stride=self.stride, dilation=self.dilation)


class CausalTransposedConv1d(nn.Module):
    """Transposed convolution without its overhang: `(B, S, C)` -> `(B, S * stride, O)`.

    Computed as an ordinary convolution over `taps` input positions, which makes the `stride` outputs of one input
    position side by side. The weight is `(stride, O, taps, C)`, the oldest input first.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int, *, stride: int) -> None:
        super().__init__()
        self.taps = -(-kernel // stride)
        self.transposed = TransposedConv1dWeights(channels, out_channels, taps=self.taps, stride=stride)

    def __call__(self, value: Array, stream: StreamState, ops: Ops) -> Array:
        stride, out_channels, taps, channels = self.transposed.weight.shape
        joined = stream.extend(value, taps - 1)
        weight = self.transposed.weight.reshape(stride * out_channels, taps, channels)
        flat = ops.conv1d(joined, weight, self.transposed.bias.reshape(stride * out_channels))
        return flat.reshape(value.shape[0], value.shape[1] * stride, out_channels)


class TransposedConv1dWeights(nn.Module):
    def __init__(self, channels: int, out_channels: int, *, taps: int, stride: int) -> None:
        super().__init__()
        self.weight = mx.zeros((stride, out_channels, taps, channels))
        self.bias = mx.zeros((stride, out_channels))


class SnakeBeta(nn.Module):
    """`x + sin(x e^alpha)^2 / (e^beta + 1e-9)`, channel by channel. The exponentials are taken once, when loaded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequency = mx.ones((channels,))
        self.strength = mx.ones((channels,))

    def __call__(self, value: Array, ops: Ops) -> Array:
        return ops.snake(value, self.frequency, self.strength)


def transposed_conv_layout(weight: Array, *, stride: int) -> Array:
    """A transposed convolution's `(C, O, K)`, as PyTorch stores it -> `(stride, O, taps, C)`, taps = K / stride."""
    channels, out_channels, kernel = weight.shape
    by_age = weight.reshape(channels, out_channels, kernel // stride, stride)[:, :, ::-1]  # the oldest input first
    return by_age.transpose(3, 1, 2, 0)
