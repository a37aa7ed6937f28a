"""The codec's operations for CPUs: computed at once, in blocks that fit the caches.

`ops.py` says what each does. Weights are MLX arrays; NumPy reads their memory in place.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.qwen3_tts import numpy_ops
from models.qwen3_tts.worker_threads import Workers

Floats = Any  # arrays of float32: the stubs of NumPy lose the type in most operations

BLOCK_POSITIONS = 1024  # windows gathered for one matrix product
BLOCK_OUTPUTS = 128  # outputs of one matrix product where there are few positions
SHARED_PRODUCTS = 1 << 24  # multiplications above which a matrix product is shared among cores
BLOCK_FLOATS = 1 << 16  # of an elementwise operation: 256 KiB and its temporaries stay in a core's own cache
BLOCKS_AT_ONCE = 4


class Convolution(Protocol):
    """A faster way for convolutions without a stride, for such as fit."""

    def fits(self, weight: Floats, *, positions: int) -> bool:
        """Whether weights `(O, K, C)` and so many positions of each row do."""
        ...

    def __call__(
        self, value: Floats, weight: Floats, bias: Floats | None, *, dilation: int, workers: Workers
    ) -> Floats: ...


class NumpyOps:
    """Operations for CPUs."""

    name = "numpy"
    frames_at_once = 24  # the widest layer's samples are then 18 MB at published sizes

    def __init__(
        self, *, threads: int | None = None, find_convolution: Callable[[], Convolution | None] = lambda: None
    ) -> None:
        self._workers, self._find_convolution = Workers(threads), find_convolution

    def from_numpy(self, value: npt.NDArray[Any]) -> Floats:
        return np.asarray(value, np.float32)

    def to_numpy(self, value: Floats) -> Floats:
        return value

    def zeros(self, *shape: int) -> Floats:
        return np.zeros(shape, np.float32)

    def concat(self, parts: Sequence[Floats], *, axis: int = 1) -> Floats:
        return np.concatenate(parts, axis=axis)

    def tail(self, value: Floats, positions: int, *, axis: int = 1) -> Floats:
        kept = slice(value.shape[axis] - positions, None)
        return value[(slice(None),) * axis + (kept,)].copy()

    def eval(self, values: Sequence[Floats]) -> None:
        """Nothing is lazy here."""

    def embed_codes(self, table: mx.array, codes: npt.NDArray[np.int32]) -> Floats:
        codebooks, codebook_size, channels = table.shape
        rows = codes + np.arange(codebooks, dtype=np.int64) * codebook_size
        return np.asarray(table).reshape(codebooks * codebook_size, channels)[rows].sum(axis=-2)

    def linear(self, value: Floats, weight: mx.array, bias: mx.array | None = None) -> Floats:
        flat = value.reshape(-1, value.shape[-1])  # rows and positions as one: one product instead of one a row
        if len(flat) * weight.size >= SHARED_PRODUCTS:
            convolved = self._convolve(flat[None], np.asarray(weight)[:, None], bias, dilation=1)
            if convolved is not None:
                return convolved.reshape(*value.shape[:-1], weight.shape[0])
        product = self._product(flat, np.asarray(weight).T, None if bias is None else np.asarray(bias))
        return product.reshape(*value.shape[:-1], weight.shape[0])

    def conv1d(
        self, value: Floats, weight: mx.array, bias: mx.array | None = None, *, stride: int = 1, dilation: int = 1
    ) -> Floats:
        outputs, kernel, channels = weight.shape
        if kernel == stride == 1:
            return self.linear(value, weight.reshape(outputs, channels), bias)
        convolved = self._convolve(value, np.asarray(weight), bias, dilation=dilation) if stride == 1 else None
        if convolved is not None:
            return convolved
        matrix = np.asarray(weight).reshape(outputs, kernel * channels).T
        added = None if bias is None else np.asarray(bias)
        windows = _windows(value, kernel=kernel, stride=stride, dilation=dilation)
        rows, positions = windows.shape[:2]
        blocks = list(_position_blocks(rows, positions))
        if len(blocks) == 1:  # few positions: the cores share the outputs
            gathered = np.ascontiguousarray(windows).reshape(rows * positions, kernel * channels)
            return self._product(gathered, matrix, added).reshape(rows, positions, outputs)
        result = np.empty((rows, positions, outputs), np.float32)

        def work(block: tuple[slice, slice]) -> None:
            gathered = np.ascontiguousarray(windows[block]).reshape(-1, kernel * channels)
            target = result[block]  # of several rows only when these are whole, so it is one piece of memory
            np.matmul(gathered, matrix, out=target.reshape(-1, outputs))
            if added is not None:
                target += added

        self._workers.run(work, blocks)
        return result

    def _convolve(self, value: Floats, weight: Floats, bias: mx.array | None, *, dilation: int) -> Floats | None:
        """`(B, S', O)` by the faster way; None where there is none, or it does not fit."""
        positions, convolution = value.shape[1] - (weight.shape[1] - 1) * dilation, self._find_convolution()
        if convolution is None or not convolution.fits(weight, positions=positions):
            return None
        added = None if bias is None else np.asarray(bias)
        return convolution(value, weight, added, dilation=dilation, workers=self._workers)

    def _product(self, value: Floats, matrix: Floats, added: Floats | None) -> Floats:
        """`(N, C) @ (C, O)`, the cores sharing positions, or outputs where there are few positions."""
        positions, outputs = len(value), matrix.shape[1]
        result = np.empty((positions, outputs), np.float32)
        if positions * outputs * value.shape[1] < SHARED_PRODUCTS:
            parts = [(slice(0, positions), slice(0, outputs))]
        elif positions > BLOCK_POSITIONS:
            parts = [(block, slice(0, outputs)) for block in _slices(positions, BLOCK_POSITIONS)]
        else:
            parts = [(slice(0, positions), block) for block in _slices(outputs, BLOCK_OUTPUTS)]

        def work(part: tuple[slice, slice]) -> None:
            np.matmul(value[part[0]], matrix[:, part[1]], out=result[part])
            if added is not None:
                result[part] += added[part[1]]

        self._workers.run(work, parts)
        return result

    def depthwise_conv1d(self, value: Floats, weight: mx.array, bias: mx.array | None = None) -> Floats:
        factors = np.asarray(weight)[:, :, 0]  # (C, K)
        kernel = factors.shape[1]
        positions = value.shape[1] - kernel + 1
        result = value[:, :positions] * factors[:, 0]
        for place in range(1, kernel):
            result += value[:, place : place + positions] * factors[:, place]
        if bias is not None:
            result += np.asarray(bias)
        return result

    def rms_norm(self, value: Floats, weight: mx.array, *, epsilon: float) -> Floats:
        return numpy_ops.rms_norm(value, eps=epsilon) * np.asarray(weight)

    def layer_norm(self, value: Floats, weight: mx.array, bias: mx.array, *, epsilon: float) -> Floats:
        centred = value - value.mean(axis=-1, keepdims=True)
        centred /= np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(epsilon))
        return centred * np.asarray(weight) + np.asarray(bias)

    def multiply(self, value: Floats, factor: mx.array) -> Floats:
        return value * np.asarray(factor)

    def snake(self, value: Floats, frequency: mx.array, strength: mx.array) -> Floats:
        rate, factor = np.asarray(frequency), np.asarray(strength)

        def activate(source: Floats, target: Floats) -> None:
            np.multiply(source, rate, out=target)
            np.sin(target, out=target)
            np.square(target, out=target)
            np.multiply(target, factor, out=target)
            np.add(target, source, out=target)

        return self._by_blocks(activate, value)

    def elu(self, value: Floats) -> Floats:
        def activate(source: Floats, target: Floats) -> None:
            np.minimum(source, 0.0, out=target)  # expm1 must not overflow on the part that it does not decide
            np.expm1(target, out=target)
            np.copyto(target, source, where=source > 0)

        return self._by_blocks(activate, value)

    def gelu(self, value: Floats) -> Floats:
        def activate(source: Floats, target: Floats) -> None:
            target[...] = 0.5 * source * (1.0 + erf(source * np.float32(1 / math.sqrt(2))))

        return self._by_blocks(activate, value)

    def _by_blocks(self, activate: Callable[[Floats, Floats], None], value: Floats) -> Floats:
        """`activate(source, target)` over blocks `(positions, C)` that fit a core's cache, the cores sharing them."""
        result = np.empty(value.shape, np.float32)
        channels = value.shape[-1]
        source, target = value.reshape(-1, channels), result.reshape(-1, channels)
        step = max(1, BLOCK_FLOATS // channels)

        def work(part: slice) -> None:
            for start in range(part.start, part.stop, step):
                block = slice(start, min(start + step, part.stop))
                activate(source[block], target[block])

        self._workers.run(work, list(_slices(len(source), BLOCKS_AT_ONCE * step)))
        return result

    def silu(self, value: Floats) -> Floats:
        return value * self.sigmoid(value)

    def sigmoid(self, value: Floats) -> Floats:
        # by tanh, which neither overflows nor warns
        return np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * value)

    def tanh(self, value: Floats) -> Floats:
        return np.tanh(value)

    def sqrt(self, value: Floats, *, at_least: float) -> Floats:
        return np.sqrt(np.maximum(value, np.float32(at_least)))

    def softmax_over_positions(self, value: Floats) -> Floats:
        return numpy_ops.softmax(value.copy(), axis=1)

    def relu(self, value: Floats) -> Floats:
        return np.maximum(value, 0)

    def clip(self, value: Floats) -> Floats:
        return np.clip(value, -1.0, 1.0)

    def apply_rotary(self, value: Floats, *, base: float, offset: int) -> Floats:
        positions, width = value.shape[-2:]
        return numpy_ops.apply_rotary(value, _rotary_angles(positions, width, base, offset))

    def attend(self, queries: Floats, keys: Floats, values: Floats, mask: npt.NDArray[np.bool_]) -> Floats:
        scaled = queries * np.float32(queries.shape[-1] ** -0.5)
        return numpy_ops.grouped_attention(scaled, keys, values, mask)


def erf(value: Floats) -> Floats:
    """The error function, off by at most 5e-7: Abramowitz and Stegun, formula 7.1.26. NumPy has none of its own."""
    magnitude = np.abs(value)
    inverse = 1.0 / (1.0 + np.float32(0.3275911) * magnitude)
    series = np.float32(1.061405429) * inverse
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series += np.float32(factor)
        series *= inverse
    series *= np.exp(-np.square(magnitude))
    return np.copysign(np.float32(1.0) - series, value)


@functools.lru_cache(maxsize=64)
def _rotary_angles(positions: int, width: int, base: float, offset: int) -> tuple[Floats, Floats]:
    """Cosines and signed sines of the rotary angles, each `(positions, width)`; exact wherever the audio begins."""
    rates = base ** (-np.arange(0, width, 2, dtype=np.float64) / width)
    angles = np.arange(offset, offset + positions, dtype=np.float64)[:, None] * rates
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    return np.concatenate([cosines, cosines], axis=-1), np.concatenate([-sines, sines], axis=-1)


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _windows(value: Floats, *, kernel: int, stride: int, dilation: int) -> Floats:
    """`(B, S, C)` -> overlapping windows `(B, S', K, C)`, a view."""
    row_bytes, position_bytes, channel_bytes = value.strides
    positions = (value.shape[1] - (kernel - 1) * dilation - 1) // stride + 1
    return np.lib.stride_tricks.as_strided(
        value,
        (value.shape[0], positions, kernel, value.shape[2]),
        (row_bytes, stride * position_bytes, dilation * position_bytes, channel_bytes),
        writeable=False,
    )


def _position_blocks(rows: int, positions: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of about `BLOCK_POSITIONS`: parts of a long row, or several short rows together."""
    rows_at_once = max(1, BLOCK_POSITIONS // max(1, positions))
    for row in range(0, rows, rows_at_once):
        for start in range(0, positions, BLOCK_POSITIONS):
            yield slice(row, row + rows_at_once), slice(start, start + BLOCK_POSITIONS)
