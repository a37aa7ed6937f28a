"""Positions `(B, S, C)` and a convolution's weights → positions, by a processor's matrix tiles (AMX), in float32.

Positions and weights are split into three digits in bfloat16, whose sum each is exactly; of the nine products of digits
the six are added up that a float32 result can show. A tile takes sixteen positions as they are in memory, so windows
are not copied: a tap is the same memory some positions further. The plain formulation is `NumpyOps`' own product with
gathered windows.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from models.qwen3_tts.network_cpu.kernel_builder import FLOAT, HALF, SIZE, WORD, Array, Kernel, Value
from models.qwen3_tts.network_cpu.machine_code import Floats, MachineCode, address, has_matrix_tiles
from models.qwen3_tts.network_cpu.tile_kernels import (
    DEPTH,
    DEPTH_BITS,
    DIGITS,
    OUTPUTS,
    SIDE,
    TILE_SHAPE,
    WORD_BYTES,
    Tiles,
    aligned_words,
    split,
    transposed,
)
from models.qwen3_tts.worker_threads import Workers

POSITIONS = 2 * SIDE  # computed together
BLOCK_POSITIONS = 2_048  # of one piece of work, for which weights are split once
SPLIT_AT_ONCE = 1 << 16  # numbers of one piece of work
MOST_SPLIT_WEIGHTS = 170_000  # of one piece of work: 1 MB of digits stays in a core's second cache
TILE_WORDS = SIDE * SIDE
# Digits of positions and of weights that are multiplied, each pair sharing one with the pair before.
PAIRS = ((2, 0), (1, 0), (1, 1), (0, 1), (0, 0), (0, 2))


@dataclass(frozen=True, kw_only=True)
class TileConvolution:
    """Convolutions without a stride."""

    # numbers, their digits (DIGITS, count), count, first and last
    split_numbers: Callable[[int, int, int, int, int], None]
    # weights (O, I), their digits, I, first and last output
    split_weights: Callable[[int, int, int, int, int], None]
    # digits of positions (DIGITS, count), of weights, bias (O,), result (S', O), shape of tiles, count, taps, dilation,
    # channels, outputs, first and last output, first and last position
    convolve: Callable[..., None]

    def fits(self, weight: Floats, *, positions: int) -> bool:
        """Whether tiles are filled by weights `(O, K, C)` and so many positions of each row."""
        outputs, _, channels = weight.shape
        return outputs % OUTPUTS == 0 and channels % DEPTH == 0 and positions >= POSITIONS

    def __call__(
        self, value: Floats, weight: Floats, bias: Floats | None, *, dilation: int, workers: Workers
    ) -> Floats:  # fmt: skip
        """`(B, S, C)` and `(O, K, C)` -> `(B, S - (K - 1) * dilation, O)`."""
        outputs, taps, channels = weight.shape
        rows, given, _ = value.shape
        value, positions = np.ascontiguousarray(value), given - (taps - 1) * dilation
        digits = aligned_words(-(-DIGITS * value.size // 2))
        places = address(value), address(digits), value.size
        workers.run(
            lambda first: self.split_numbers(*places, first, min(first + SPLIT_AT_ONCE, value.size)),
            range(0, value.size, SPLIT_AT_ONCE),
        )
        at_once = max(1, MOST_SPLIT_WEIGHTS // (taps * channels * OUTPUTS)) * OUTPUTS
        added = np.zeros(outputs, np.float32) if bias is None else bias
        result = np.empty((rows, positions, outputs), np.float32)

        def work(part: tuple[int, int, int]) -> None:
            output, first_row, first = part
            outputs_here = output, min(output + at_once, outputs)
            room = _own_words(taps * channels * at_once * DIGITS // 2)
            self.split_weights(address(weight), address(room), taps * channels, *outputs_here)
            for row in range(first_row, min(first_row + rows_at_once, rows)):
                self.convolve(
                    address(digits) + 2 * row * given * channels, address(room), address(added), address(result[row]),
                    address(TILE_SHAPE), value.size, taps, dilation, channels, outputs, *outputs_here,
                    min(first, positions - POSITIONS), min(first + BLOCK_POSITIONS, positions),
                )  # fmt: skip

        rows_at_once = max(1, BLOCK_POSITIONS // positions)
        starts = (range(0, outputs, at_once), range(0, rows, rows_at_once), range(0, positions, BLOCK_POSITIONS))
        workers.run(work, list(itertools.product(*starts)))
        return result


@functools.cache
def tile_convolution() -> TileConvolution | None:
    """Convolutions by this processor's tiles, None where it has none."""
    if not has_matrix_tiles():
        return None
    module = ir.Module()
    code = MachineCode(module, write_kernels(module))
    return TileConvolution(
        split_numbers=code["split_numbers"], split_weights=code["split_weights"], convolve=code["convolve"]
    )


def write_kernels(module: ir.Module) -> list[Kernel]:
    """The kernels in LLVM's language."""
    return [_split_numbers(module), _split_weights(module), _convolve(module)]


def _split_numbers(module: ir.Module) -> Kernel:
    with Kernel(module, "split_numbers", arrays=[FLOAT, WORD], sizes=3) as kernel:
        (numbers, digits), (count, first, last) = kernel.arrays, kernel.sizes
        with kernel.loop(first, last, DEPTH) as index:
            vectors = [numbers.load(index + half, SIDE) for half in (0, SIDE)]
            pairs = [vectors[0].mixed(vectors[1], range(odd, DEPTH, 2)) for odd in (0, 1)]
            for digit, words in enumerate(split(pairs)):
                digits.store((count * digit + index) >> 1, words)
    return kernel


def _convolve(module: ir.Module) -> Kernel:
    with Kernel(module, "convolve", arrays=[HALF, WORD, FLOAT, FLOAT, WORD], sizes=9) as kernel:
        digits, split_weights, bias, result, shape = kernel.arrays
        count, taps, dilation, channels, outputs, output_first, output_last, first, last = kernel.sizes
        inputs, steps = taps * channels, channels >> DEPTH_BITS
        tiles = Tiles(kernel, shape)
        row_bytes, none = outputs * WORD_BYTES, kernel.constant(0, SIZE)
        halves = [(number, number // 2 * SIDE, number % 2 * SIDE) for number in range(4)]
        with kernel.loop(first, last, POSITIONS) as start, kernel.loop(output_first, output_last, OUTPUTS) as output:
            position = start.at_most(last - POSITIONS)
            weights_at = (output - output_first) * inputs * DIGITS >> 1
            for number, _, own in halves:  # every row of a tile is the bias
                tiles.load(number, bias, output + own, row_bytes=none)
            with kernel.loop(0, taps) as tap, kernel.loop(0, steps) as step:
                at = (position + tap * dilation) * channels + step * DEPTH
                place = weights_at + (tap * steps + step) * (2 * DIGITS * TILE_WORDS)
                _write_step(kernel, tiles, digits, split_weights, at=at, place=place, channels=channels, count=count)
            for number, further, own in halves:
                tiles.store(number, result, (position + further) * outputs + output + own, row_bytes=row_bytes)
        tiles.release()
    return kernel


def _write_step(
    kernel: Kernel, tiles: Tiles, digits: Array, split_weights: Array, *, at: Value, place: Value, channels: Value,
    count: Value,
) -> None:  # fmt: skip
    """Add the products of 32 channels of one tap."""
    loaded = (-1, -1)
    tile_bytes = kernel.constant(SIDE * WORD_BYTES, SIZE)
    for of_positions, of_weights in PAIRS:
        for half in (0, 1):
            if of_positions != loaded[0]:
                start = at + count * of_positions + channels * (half * SIDE)
                tiles.load(4 + half, digits, start, row_bytes=channels * 2)
            if of_weights != loaded[1]:
                start = place + (of_weights * 2 + half) * TILE_WORDS
                tiles.load(6 + half, split_weights, start, row_bytes=tile_bytes)
        loaded = of_positions, of_weights
        for number in range(4):
            tiles.add_product(number, 4 + number // 2, 6 + number % 2)


def _split_weights(module: ir.Module) -> Kernel:
    """Tile by tile: pairs of inputs, outputs side by side."""
    with Kernel(module, "split_weights", arrays=[FLOAT, WORD], sizes=3) as kernel:
        (weights, target), (inputs, first, last) = kernel.arrays, kernel.sizes
        with kernel.loop(first, last, OUTPUTS) as output, kernel.loop(0, inputs, DEPTH) as index:
            place = ((output - first) * inputs * DIGITS >> 1) + index * (2 * DIGITS * TILE_WORDS // DEPTH)
            for half in (0, 1):
                of_outputs = []
                for own in range(SIDE):
                    at = (output + (half * SIDE + own)) * inputs + index
                    vectors = [weights.load(at + further, SIDE) for further in (0, SIDE)]
                    of_outputs.append(split([vectors[0].mixed(vectors[1], range(odd, DEPTH, 2)) for odd in (0, 1)]))
                for digit in range(DIGITS):
                    start = place + (digit * 2 + half) * TILE_WORDS
                    for pair, words in enumerate(transposed([own[digit] for own in of_outputs])):
                        target.store(start + pair * SIDE, words)
    return kernel


_own = threading.local()


def _own_words(count: int) -> npt.NDArray[np.uint32]:
    """Room that each thread has once: a fresh one would be paged in for every piece of work."""
    if not hasattr(_own, "words") or _own.words.size < count:
        _own.words = aligned_words(count)
    room: npt.NDArray[np.uint32] = _own.words
    return room
