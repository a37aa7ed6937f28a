"""The few operations in which a codec spends its time, in two formulations: MLX (GPU) and NumPy (CPU).

The layers of `convolution.py` are written once over a `Kernels`; arrays between them are of the formulation's own
kind, always `(B, S, C)`: rows, positions, channels. Weights are MLX arrays in either case; NumPy sees their memory.

Why two: on the CPU, MLX computes sin, exp and erf one element at a time (30 to 60 ns each, where NumPy's vector
code needs 1 to 2), and its dilated convolutions run at 1 GFLOP/s, where windows copied in blocks that fit the cache
and NumPy's own OpenBLAS reach that library's full speed. On a GPU the plain MLX operations are the fast ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
from mlx import nn

from registry.errors import InvalidInput

Array = Any  # mx.array or np.ndarray, as the formulation has it

WINDOW_BLOCK_FLOATS = 1 << 21  # windows copied at a time: 8 MiB, which stay in a CPU's cache until they are multiplied
WINDOW_BLOCK_POSITIONS = 1024
ELEMENTWISE_BLOCK_FLOATS = 1 << 16  # 256 KiB: one block and its temporaries stay in a core's own cache


class Kernels(Protocol):
    """One formulation. `native` and `mlx` translate arrays at the borders of the part that it computes."""

    name: str
    frames_at_once: int  # codec frames of all rows together that one pass through the decoder should compute

    def native(self, value: mx.array) -> Array: ...

    def mlx(self, value: Array) -> mx.array: ...

    def zeros(self, shape: tuple[int, ...], *, like: Array) -> Array: ...

    def join(self, parts: Sequence[Array]) -> Array:
        """Concatenate along positions."""
        ...

    def last(self, value: Array, positions: int) -> Array:
        """A copy of the last `positions` positions, which keeps nothing else of `value` in memory."""
        ...

    def convolve(
        self, value: Array, weight: mx.array, bias: mx.array | None, *, stride: int = 1, dilation: int = 1
    ) -> Array:
        """Valid convolution: `(B, S, C)` with a weight `(O, K, C)` -> `(B, S', O)`."""
        ...

    def expand(self, value: Array, weight: mx.array, bias: mx.array | None) -> Array:
        """Transposed convolution: `(B, taps - 1 + S, C)`, weight `(taps, C, stride, O)` -> `(B, S * stride, O)`.

        Input position n adds to the outputs from n * stride on; the first `taps - 1` positions are the past.
        """
        ...

    def convolve_each(self, value: Array, weight: mx.array, bias: mx.array | None) -> Array:
        """Valid convolution of every channel by itself: weight `(C, K, 1)`."""
        ...

    def linear(self, value: Array, weight: mx.array, bias: mx.array | None) -> Array:
        """Weight `(O, C)`."""
        ...

    def layer_norm(self, value: Array, weight: mx.array, bias: mx.array, *, epsilon: float) -> Array: ...

    def snake(self, value: Array, frequency: mx.array, strength: mx.array) -> Array:
        """`value + strength * sin(frequency * value)**2`; frequency and strength `(C,)`."""
        ...

    def elu(self, value: Array) -> Array: ...

    def gelu(self, value: Array) -> Array:
        """The exact one, by erf."""
        ...

    def multiply(self, value: Array, factor: mx.array) -> Array:
        """Channel by channel; factor `(C,)`."""
        ...

    def clip(self, value: Array) -> Array:
        """Limited to -1 … 1."""
        ...


class MlxKernels:
    """Plain MLX operations, lazy, in the weights' dtype; `fused` compiles the activation (the CPU needs a compiler)."""

    name = "mlx"
    frames_at_once = 96  # Metal stops work that occupies it for seconds

    def __init__(self, *, fused: bool) -> None:
        self._snake = mx.compile(_plain_snake, shapeless=True) if fused else _plain_snake

    def native(self, value: mx.array) -> mx.array:
        return value

    def mlx(self, value: mx.array) -> mx.array:
        return value

    def zeros(self, shape: tuple[int, ...], *, like: mx.array) -> mx.array:
        return mx.zeros(shape, dtype=like.dtype)

    def join(self, parts: Sequence[mx.array]) -> mx.array:
        return mx.concatenate(list(parts), axis=1)

    def last(self, value: mx.array, positions: int) -> mx.array:
        kept = mx.arange(value.shape[1] - positions, value.shape[1])
        return mx.take(value, kept, axis=1)  # a slice would share, and so keep, the whole buffer

    def convolve(
        self, value: mx.array, weight: mx.array, bias: mx.array | None, *, stride: int = 1, dilation: int = 1
    ) -> mx.array:
        convolved = mx.conv1d(value, weight, stride=stride, dilation=dilation)
        return convolved if bias is None else convolved + bias

    def expand(self, value: mx.array, weight: mx.array, bias: mx.array | None) -> mx.array:
        taps, channels, stride, out = weight.shape
        rows, positions = value.shape[0], value.shape[1] - (taps - 1)
        # tap m multiplies the input m positions back, so the last tap meets the oldest input
        parts = [
            value[:, taps - 1 - tap : taps - 1 - tap + positions] @ weight[tap].reshape(channels, stride * out)
            for tap in range(taps)
        ]
        expanded = sum(parts[1:], parts[0]).reshape(rows, positions * stride, out)
        return expanded if bias is None else expanded + bias

    def convolve_each(self, value: mx.array, weight: mx.array, bias: mx.array | None) -> mx.array:
        convolved = mx.conv1d(value, weight, groups=weight.shape[0])
        return convolved if bias is None else convolved + bias

    def linear(self, value: mx.array, weight: mx.array, bias: mx.array | None) -> mx.array:
        return value @ weight.T if bias is None else mx.addmm(bias, value, weight.T)

    def layer_norm(self, value: mx.array, weight: mx.array, bias: mx.array, *, epsilon: float) -> mx.array:
        return mx.fast.layer_norm(value, weight, bias, epsilon)

    def snake(self, value: mx.array, frequency: mx.array, strength: mx.array) -> mx.array:
        return self._snake(value, frequency, strength)

    def elu(self, value: mx.array) -> mx.array:
        return mx.where(value > 0, value, mx.expm1(value))

    def gelu(self, value: mx.array) -> mx.array:
        return nn.gelu(value)

    def multiply(self, value: mx.array, factor: mx.array) -> mx.array:
        return value * factor

    def clip(self, value: mx.array) -> mx.array:
        return mx.clip(value, -1.0, 1.0)


def _plain_snake(value: mx.array, frequency: mx.array, strength: mx.array) -> mx.array:
    return value + mx.square(mx.sin(value * frequency)) * strength


class NumpyKernels:
    """The CPU's formulation: float32, computed at once, memory of MLX arrays read in place."""

    name = "numpy"
    frames_at_once = 24  # the widest layer's samples are then 18 MB at published sizes

    def native(self, value: mx.array) -> np.ndarray[Any, Any]:
        return np.asarray(value.astype(mx.float32))

    def mlx(self, value: np.ndarray[Any, Any]) -> mx.array:
        return mx.array(value)

    def zeros(self, shape: tuple[int, ...], *, like: Array) -> np.ndarray[Any, Any]:  # noqa: ARG002 - always float32
        return np.zeros(shape, np.float32)

    def join(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts, axis=1)

    def last(self, value: Array, positions: int) -> Array:
        return value[:, value.shape[1] - positions :].copy()

    def convolve(
        self, value: Array, weight: mx.array, bias: mx.array | None, *, stride: int = 1, dilation: int = 1
    ) -> Array:
        out_channels, kernel, channels = weight.shape
        matrix = np.asarray(weight).reshape(out_channels, kernel * channels).T
        positions = (value.shape[1] - (kernel - 1) * dilation - 1) // stride + 1
        result = np.empty((value.shape[0], positions, out_channels), np.float32)
        block = max(1, min(WINDOW_BLOCK_POSITIONS, positions))
        gathered = None if kernel == 1 else np.empty((block, kernel, channels), np.float32)
        for row in range(value.shape[0]):
            windows = _windows(value[row], kernel=kernel, stride=stride, dilation=dilation)
            for start in range(0, positions, block):
                part = windows[start : start + block]
                if gathered is not None:
                    np.copyto(gathered[: len(part)], part)
                    part = gathered[: len(part)]
                np.matmul(part.reshape(len(part), kernel * channels), matrix, out=result[row, start : start + block])
                if bias is not None:
                    result[row, start : start + block] += np.asarray(bias)
        return result

    def expand(self, value: Array, weight: mx.array, bias: mx.array | None) -> Array:
        taps, channels, stride, out = weight.shape
        rows, positions = value.shape[0], value.shape[1] - (taps - 1)
        matrices = np.asarray(weight).reshape(taps, channels, stride * out)
        result = np.matmul(value[:, taps - 1 :], matrices[0])
        for tap in range(1, taps):
            result += np.matmul(value[:, taps - 1 - tap : taps - 1 - tap + positions], matrices[tap])
        expanded = result.reshape(rows, positions * stride, out)
        if bias is not None:
            expanded += np.asarray(bias)
        return expanded

    def convolve_each(self, value: Array, weight: mx.array, bias: mx.array | None) -> Array:
        factors = np.asarray(weight)[:, :, 0]  # (C, K)
        kernel = factors.shape[1]
        positions = value.shape[1] - kernel + 1
        result = value[:, :positions] * factors[:, 0]
        for place in range(1, kernel):
            result += value[:, place : place + positions] * factors[:, place]
        if bias is not None:
            result += np.asarray(bias)
        return result

    def linear(self, value: Array, weight: mx.array, bias: mx.array | None) -> Array:
        result = np.matmul(value, np.asarray(weight).T)
        if bias is not None:
            result += np.asarray(bias)
        return result

    def layer_norm(self, value: Array, weight: mx.array, bias: mx.array, *, epsilon: float) -> Array:
        centred = value - value.mean(axis=-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(epsilon))
        centred /= spread
        return centred * np.asarray(weight) + np.asarray(bias)

    def snake(self, value: Array, frequency: mx.array, strength: mx.array) -> Array:
        result = np.empty_like(value)
        rate, factor = np.asarray(frequency), np.asarray(strength)
        for source, target in _blocks(value, result):
            np.multiply(source, rate, out=target)
            np.sin(target, out=target)
            np.square(target, out=target)
            np.multiply(target, factor, out=target)
            np.add(target, source, out=target)
        return result

    def elu(self, value: Array) -> Array:
        result = np.empty_like(value)
        for source, target in _blocks(value, result):
            np.minimum(source, 0.0, out=target)  # so that expm1 never overflows on the part that it does not decide
            np.expm1(target, out=target)
            np.copyto(target, source, where=source > 0)
        return result

    def gelu(self, value: Array) -> Array:
        result = np.empty_like(value)
        for source, target in _blocks(value, result):
            target[...] = 0.5 * source * (1.0 + _erf(source * np.float32(1 / math.sqrt(2))))
        return result

    def multiply(self, value: Array, factor: mx.array) -> Array:
        return value * np.asarray(factor)

    def clip(self, value: Array) -> Array:
        return np.clip(value, -1.0, 1.0)


def _erf(value: Array) -> Array:
    """The error function, off by at most 2e-7: Abramowitz and Stegun, formula 7.1.26. NumPy has none of its own."""
    magnitude = np.abs(value)
    inverse = 1.0 / (1.0 + np.float32(0.3275911) * magnitude)
    series = np.float32(1.061405429) * inverse
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series += np.float32(factor)
        series *= inverse
    series *= np.exp(-np.square(magnitude))
    return np.copysign(1.0 - series, value)


def _windows(value: Array, *, kernel: int, stride: int, dilation: int) -> Array:
    """`(S, C)` -> overlapping windows `(S', K, C)`, a view."""
    position_bytes, channel_bytes = value.strides
    positions = (value.shape[0] - (kernel - 1) * dilation - 1) // stride + 1
    return np.lib.stride_tricks.as_strided(
        value,
        (positions, kernel, value.shape[1]),
        (stride * position_bytes, dilation * position_bytes, channel_bytes),
        writeable=False,
    )


def _blocks(source: Array, target: Array) -> Iterator[tuple[Array, Array]]:
    """Both arrays `(B, S, C)` as `(S', C)` pieces that fit a core's cache."""
    flat_source = source.reshape(-1, source.shape[-1])
    flat_target = target.reshape(-1, source.shape[-1])
    step = max(1, ELEMENTWISE_BLOCK_FLOATS // source.shape[-1])
    for start in range(0, len(flat_source), step):
        yield flat_source[start : start + step], flat_target[start : start + step]


def kernels_named(name: str) -> Kernels:
    """The formulation `mlx` or `numpy`. Raises InvalidInput for another name."""
    if name == "numpy":
        return NumpyKernels()
    if name == "mlx":
        return MlxKernels(fused=mx.default_device() == mx.gpu)
    raise InvalidInput(f"There is no waveform formulation {name!r}; known are mlx and numpy.")


def default_kernels() -> Kernels:
    """MLX's own operations on a GPU, NumPy's on a CPU."""
    return kernels_named("mlx" if mx.default_device() == mx.gpu else "numpy")
