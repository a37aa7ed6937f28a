"""Machine code for products of several rows by a processor's matrix tiles (AMX of x86), in float32.

A tile instruction multiplies sixteen outputs of 32 weights in bfloat16 with sixteen columns, at twenty times the speed
of float32 vectors. A float32 number is exactly the sum of three in bfloat16, its digits, so a row is three columns, and
their products are added up at the end. Weights that are stored in bfloat16 are taken as they are; packed ones are
unpacked, and split into two digits. The plain formulation is a product with the unpacked weight.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from models.qwen3_tts.network_cpu.kernel_builder import FLOAT, SIZE, WORD, Array, Kernel, Value
from models.qwen3_tts.network_cpu.machine_code import Floats, address
from models.qwen3_tts.worker_threads import Workers

SIDE = 16  # rows and words of a tile
DEPTH = 2 * SIDE  # inputs of a tile
OUTPUTS = 2 * SIDE  # computed together
DIGITS = 3  # of a float32 number
LANES = 8  # rows come in eights
CHUNK = 256  # inputs that are unpacked at a time
ROW_WORDS = CHUNK // 2 + SIDE  # of an output: no power of two, whose rows would share few lines of a cache
MOST_ROWS = 96  # of one call
MOST_COLUMNS = DIGITS * MOST_ROWS
UPPER = 0xFFFF0000  # the half of a word that is a bfloat16
SIDE_BITS, DEPTH_BITS, WORD_BYTES = 4, 5, 4


class Tiles:
    """The eight tiles of a processor, in a kernel: four for sums, and four for what is multiplied."""

    def __init__(self, kernel: Kernel, shape: Array) -> None:
        """`shape` has what `TILE_SHAPE` has."""
        self._kernel = kernel
        self._call("ldtilecfg", shape.base)

    def zero(self, number: int) -> None:
        self._call("tilezero", _tile(number))

    def load(self, number: int, array: Array, index: Value, *, row_bytes: Value) -> None:
        self._call("tileloadd64", _tile(number), array.at(index), row_bytes.raw)

    def store(self, number: int, array: Array, index: Value, *, row_bytes: Value) -> None:
        self._call("tilestored64", _tile(number), array.at(index), row_bytes.raw)

    def add_product(self, total: int, left: int, right: int) -> None:
        self._call("tdpbf16ps", _tile(total), _tile(left), _tile(right))

    def release(self) -> None:
        self._call("tilerelease")

    def _call(self, name: str, *arguments: Any) -> None:
        function = self._kernel.outside(f"llvm.x86.{name}", ir.VoidType(), [each.type for each in arguments])
        self._kernel.builder.call(function, arguments)


def _tile(number: int) -> Any:
    return ir.Constant(ir.IntType(8), number)


def tile_shape() -> npt.NDArray[np.uint8]:
    """The description of the tiles that the processor is given: all of sixteen rows of 64 bytes."""
    shape = np.zeros(64, np.uint8)
    shape[0] = 1  # the only kind of description
    shape[16:32:2], shape[48:56] = SIDE * WORD_BYTES, SIDE
    return shape


TILE_SHAPE = tile_shape()


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Rows in memory as `digits_kernel` writes them, and their place for results."""

    words: Array  # (tiles, inputs / DEPTH, SIDE, SIDE), each two inputs of one digit of a row
    tiles: Value  # an even number
    inputs: Value
    rows: Value  # a multiple of LANES
    result: Array  # (rows, outputs)
    outputs: Value


# Writes the code that unpacks weights of 32 outputs: each digit's array, first input and count of inputs. A digit's
# words are `(OUTPUTS, ROW_WORDS)`.
Unpack = Callable[[Sequence[Array], Value, Value], None]


class TileWriter:
    """Writes the products of all columns with 32 outputs, whose sums are kept in memory in between."""

    def __init__(self, kernel: Kernel, tiles: Tiles, columns: Columns, *, weight_digits: int) -> None:
        self.kernel, self.tiles, self.columns = kernel, tiles, columns
        self.digits = [kernel.scratch(OUTPUTS * ROW_WORDS).of(WORD) for _ in range(weight_digits)]
        self.totals = kernel.scratch(OUTPUTS * MOST_COLUMNS)
        self._total_bytes, self._weight_bytes, self._column_bytes = (
            kernel.constant(words * WORD_BYTES, SIZE) for words in (MOST_COLUMNS, ROW_WORDS, SIDE)
        )

    def write(self, output: Value, unpack: Unpack, fetch: Callable[[Value], None] | None = None) -> None:
        """`fetch` writes the code that has further weights fetched, while those of 32 inputs are multiplied."""
        kernel, inputs = self.kernel, self.columns.inputs
        self.tiles.zero(0)
        with kernel.loop(0, self.columns.tiles) as column:
            for half in (0, SIDE * MOST_COLUMNS):
                self.tiles.store(0, self.totals, column * SIDE + half, row_bytes=self._total_bytes)
        with kernel.loop(0, inputs, CHUNK) as start:
            count = (inputs - start).at_most(CHUNK)
            unpack(self.digits, start, count)
            with kernel.loop(0, self.columns.tiles, 2) as column:
                self._multiply(column, start >> DEPTH_BITS, steps=count >> DEPTH_BITS, fetch=fetch)
        self._store(output)

    def _multiply(
        self, column: Value, first: Value, *, steps: Value, fetch: Callable[[Value], None] | None
    ) -> None:  # fmt: skip
        tiles, depth = self.tiles, self.columns.inputs >> DEPTH_BITS
        places = [column * SIDE + (half * SIDE * MOST_COLUMNS + other * SIDE) for half in (0, 1) for other in (0, 1)]
        for number, place in enumerate(places):
            tiles.load(number, self.totals, place, row_bytes=self._total_bytes)
        with self.kernel.loop(0, steps) as step:
            if fetch is not None:
                with self.kernel.when(column < self.kernel.constant(1, SIZE)):
                    fetch((first + step) << DEPTH_BITS)
            for other in (0, 1):
                at = ((column + other) * depth + first + step) * (SIDE * SIDE)
                tiles.load(6 + other, self.columns.words, at, row_bytes=self._column_bytes)
            for digit in self.digits:
                for half in (0, 1):
                    at = step * SIDE + half * (SIDE * ROW_WORDS)
                    tiles.load(4 + half, digit, at, row_bytes=self._weight_bytes)
                for number in range(4):
                    tiles.add_product(number, 4 + number // 2, 6 + number % 2)
        for number, place in enumerate(places):
            tiles.store(number, self.totals, place, row_bytes=self._total_bytes)

    def _store(self, output: Value) -> None:
        """Add up the digits, and store the results of 32 outputs."""
        rows, result = self.columns.rows, self.columns.result
        with self.kernel.loop(0, OUTPUTS, LANES) as first, self.kernel.loop(0, rows, LANES) as row:
            sums = []
            for own in range(LANES):
                at = (first + own) * MOST_COLUMNS + row
                high, middle, low = (self.totals.load(at + rows * digit, LANES) for digit in range(DIGITS))
                sums.append(high + (middle + low))
            for number, of_row in enumerate(transposed(sums)):
                result.store((row + number) * self.columns.outputs + output + first, of_row)


def transposed(vectors: Sequence[Value]) -> Sequence[Value]:
    """Vectors, as many as each has lanes -> vectors of their first lanes, second lanes and so on."""
    lanes = len(vectors)
    step = lanes // 2
    while step:
        firsts = [number for number in range(lanes) if not number & step]
        low = [lane + (lanes - step if lane & step else 0) for lane in range(lanes)]
        high = [lane + step for lane in low]
        exchanged = list(vectors)
        for number in firsts:
            pair = vectors[number], vectors[number + step]
            exchanged[number], exchanged[number + step] = (pair[0].mixed(pair[1], chosen) for chosen in (low, high))
        vectors, step = exchanged, step // 2
    return vectors


def digits_kernel(module: ir.Module, place: Callable[[Value], Value]) -> Kernel:
    """The kernel `digits`: x `(inputs, rows)`, words as `Columns` has them, pairs of inputs, rows, and words of a tile.

    `place` is where the words of a pair of inputs are in a tile of columns.
    """
    with Kernel(module, "digits", arrays=[FLOAT, WORD], sizes=3) as kernel:
        (x, words), (pairs, rows, tile_words) = kernel.arrays, kernel.sizes
        with kernel.loop(0, pairs) as pair, kernel.loop(0, rows, LANES) as row:
            for digit, own in enumerate(split([x.load((pair * 2 + other) * rows + row, LANES) for other in (0, 1)])):
                column = rows * digit + row
                at = (column >> SIDE_BITS) * tile_words + place(pair) + (column & (SIDE - 1))
                words.store(at, own)
    return kernel


def split(pair: Sequence[Value]) -> list[Value]:
    """Two vectors of floats -> the words of each of their digits."""
    words, rest = [], list(pair)
    for _ in range(DIGITS):
        upper = [number.bits() & UPPER for number in rest]
        rest = [number - own.as_float() for number, own in zip(rest, upper, strict=True)]
        words.append(upper[1] | (upper[0] >> 16))
    return words


@dataclass(frozen=True, kw_only=True)
class TileKernels:
    """Functions for a processor that has tiles."""

    # x (inputs, rows), words of its columns, pairs of inputs, rows, words of a tile of columns
    digits: Callable[[int, int, int, int, int], None]
    # addresses of the weights, words of columns, result (N, O), shape of tiles; units of the inputs, first and last
    # unit of the outputs, tiles of columns, rows, outputs
    by_tiles: Callable[..., None]

    def product(
        self, x: Floats, weights: Sequence[int], *, inputs: int, units: int, outputs: int, workers: Workers,
        parts: Sequence[tuple[int, int]],
    ) -> Floats:  # fmt: skip
        """Rows `(N, I)` -> `(N, O)`; the cores share `parts` of the outputs, in units."""
        results = []
        for first in range(0, len(x), MOST_ROWS):
            given = x[first : first + MOST_ROWS]
            rows = -(-len(given) // LANES) * LANES
            columns = np.zeros((inputs, rows), np.float32)
            columns[: x.shape[1], : len(given)] = given.T
            tiles, tile_words = 2 * -(-rows * DIGITS // (2 * SIDE)), inputs * SIDE // 2
            words, result = aligned_words(tiles * tile_words), np.empty((rows, outputs), np.float32)
            self.digits(address(columns), address(words), inputs // 2, rows, tile_words)
            places = (*weights, address(words), address(result), address(TILE_SHAPE), units)
            run = functools.partial(self._part, places, (tiles, rows, outputs))
            workers.run(run, parts)
            results.append(result[: len(given)])
        return results[0] if len(results) == 1 else np.concatenate(results)

    def _part(self, places: Sequence[int], sizes: Sequence[int], part: tuple[int, int]) -> None:
        self.by_tiles(*places, *part, *sizes)


def aligned_words(count: int) -> npt.NDArray[np.uint32]:
    """Room for words that begins a line of the caches: rows of tiles are such lines."""
    line = SIDE * WORD_BYTES
    room = np.empty(count + SIDE, np.uint32)
    start = -room.ctypes.data % line // WORD_BYTES
    return room[start : start + count]
