"""Machine code for products of packed weights with float32 numbers: for one row, for panels of rows, and unpacking.

Weights are in the order of `network/packed_weight.py`; all arrays are given as addresses of contiguous memory. A group
adds `scale * sum(number * x) + bias * sum(x)`, which is what unpacked weights would give, up to the order of sums.
The plain formulation is `PackedWeight.floats`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from models.checkpoint_format.fit import BITS_PER_WORD, Quantization
from models.qwen3_tts.network.packed_weight import BLOCK, INPUTS_PER_LANE, LANES, TILE
from models.qwen3_tts.network_cpu.kernel_builder import FLOAT, HALF, SIZE, WORD, Array, Kernel, Value
from models.qwen3_tts.network_cpu.machine_code import MachineCode, Registers, has_matrix_tiles, this_registers
from models.qwen3_tts.network_cpu.panel_kernels import Panels, PanelWriter
from models.qwen3_tts.network_cpu.tile_kernels import (
    DIGITS,
    OUTPUTS,
    ROW_WORDS,
    SIDE,
    Columns,
    TileKernels,
    Tiles,
    TileWriter,
    digits_kernel,
    split,
)

BLOCK_BITS = BLOCK.bit_length() - 1
AHEAD = 16  # rows of a block that are fetched ahead: memory answers late, and does not guess this by itself


@dataclass(frozen=True, kw_only=True)
class PackedKernels:
    """Functions for one kind of packing; weights are words and factors."""

    # x (I,), arranged (blocks, INPUTS_PER_LANE, LANES), sums (blocks, LANES), blocks: x in the order of the weights
    arrange: Callable[[int, int, int, int], None]
    # words, factors, arranged, sums, result (O,), blocks, first tile, last tile
    one_row: Callable[[int, int, int, int, int, int, int, int], None]
    # words, factors, panels x in the order of the weights, result (N, O), blocks, first tile, last tile, panels,
    # outputs
    by_panels: Callable[[int, int, int, int, int, int, int, int, int], None]
    vector_floats: int  # of panels
    # words, factors, weights (O, I) with inputs in the order of the weights, blocks, first tile, last tile
    unpack: Callable[[int, int, int, int, int, int], None]
    tiles: TileKernels | None


@dataclass(frozen=True)
class _Packing:
    """The places of one row of a block in memory, and what is in them."""

    quantization: Quantization
    in_bfloat16: bool  # scales and biases

    @property
    def words(self) -> int:
        """Words of a lane."""
        return INPUTS_PER_LANE * self.quantization.bits // BITS_PER_WORD

    @property
    def arrays(self) -> list[ir.Type]:
        return [WORD, HALF if self.in_bfloat16 else FLOAT]

    def read(self, words: Array, at: Value) -> list[Value]:
        """Row `at` of all blocks: its words, each a vector over the lanes."""
        start = at * (self.words * LANES)
        for place in range(self.words):
            words.prefetch(start + (AHEAD * self.words + place) * LANES)
        return [words.load(start + place * LANES, LANES) for place in range(self.words)]

    def number(self, words: Sequence[Value], place: int) -> Value:
        """The number of each lane at one place, from the lane's words."""
        bits = self.quantization.bits
        first, offset = divmod(place * bits, BITS_PER_WORD)
        found = words[first] >> offset if offset else words[first]
        if offset + bits > BITS_PER_WORD:
            found = found | (words[first + 1] << (BITS_PER_WORD - offset))
        return (found & ((1 << bits) - 1)).to_float()

    def factors(self, factors: Array, at: Value) -> tuple[Value, Value]:
        """Scale and bias of each lane in row `at` of all blocks."""
        groups = BLOCK // self.quantization.group_size
        stored = factors.load(at * (2 * groups), 2 * groups)
        both = stored.widened() if self.in_bfloat16 else stored
        own = [lane * INPUTS_PER_LANE // self.quantization.group_size for lane in range(LANES)]
        return both.lanes(own), both.lanes([groups + group for group in own])


@functools.cache
def packed_kernels(
    quantization: Quantization, *, in_bfloat16: bool, registers: Registers | None = None
) -> PackedKernels:
    """The kernels for this processor, made once a process; `registers` None are its own."""
    with_tiles = registers is None and has_matrix_tiles()
    module, registers = ir.Module(), registers or this_registers()
    kernels = write_kernels(module, quantization, in_bfloat16=in_bfloat16, registers=registers)
    if with_tiles:
        kernels += [_by_tiles(module, _Packing(quantization, in_bfloat16)), digits_kernel(module, _place_of_pair)]
    code = MachineCode(module, kernels)
    return PackedKernels(
        arrange=code["arrange"],
        one_row=code["one_row"],
        by_panels=code["by_panels"],
        vector_floats=registers.floats,
        unpack=code["unpack"],
        tiles=TileKernels(by_tiles=code["by_tiles"], digits=code["digits"]) if with_tiles else None,
    )


def write_kernels(
    module: ir.Module, quantization: Quantization, *, in_bfloat16: bool, registers: Registers
) -> list[Kernel]:
    """All kernels of one packing, in LLVM's language."""
    packing = _Packing(quantization, in_bfloat16)
    return [_rows(module, packing, registers), _arrange(module), _one_row(module, packing), _unpack(module, packing)]


def _arrange(module: ir.Module) -> Kernel:
    with Kernel(module, "arrange", arrays=[FLOAT, FLOAT, FLOAT], sizes=1) as kernel:
        (x, arranged, sums), (blocks,) = kernel.arrays, kernel.sizes
        _write_arrangement(kernel, x, arranged, lambda lane, total: sums.store(lane, total), blocks=blocks)
    return kernel


def _write_arrangement(
    kernel: Kernel, x: Array, arranged: Array, store_sum: Callable[[Value, Value], None], *, blocks: Value
) -> None:
    with kernel.loop(0, blocks * LANES) as lane:
        sum_of_lane = kernel.variable(kernel.constant(0.0, FLOAT))
        start = (lane - (lane & (LANES - 1))) * INPUTS_PER_LANE + (lane & (LANES - 1))
        with kernel.loop(0, INPUTS_PER_LANE) as place:
            number = x.load(lane * INPUTS_PER_LANE + place)
            arranged.store(start + place * LANES, number)
            sum_of_lane.set(sum_of_lane.get() + number)
        store_sum(lane, sum_of_lane.get())


def _one_row(module: ir.Module, packing: _Packing) -> Kernel:
    with Kernel(module, "one_row", arrays=[*packing.arrays, FLOAT, FLOAT, FLOAT], sizes=3) as kernel:
        (words, factors, arranged, sums_of_x, result), (blocks, first, last) = kernel.arrays, kernel.sizes
        totals = kernel.scratch(TILE * LANES)
        with kernel.loop(first, last) as tile:
            _write_tile(
                kernel, packing, words, factors, arranged, lambda block: sums_of_x.load(block * LANES, LANES),
                totals=totals, tile=tile, blocks=blocks, store=result.store,
            )  # fmt: skip
    return kernel


def _write_tile(
    kernel: Kernel, packing: _Packing, words: Array, factors: Array, arranged: Array,
    sums_of_x: Callable[[Value], Value], *, totals: Array, tile: Value, blocks: Value,
    store: Callable[[Value, Value], None],
) -> None:  # fmt: skip
    """One row's products with a tile; the sums of its outputs, each spread over the lanes, are kept in `totals`."""
    with kernel.loop(0, TILE) as row:
        totals.store(row * LANES, kernel.zeros(LANES))
    with kernel.loop(0, blocks) as block, kernel.loop(0, TILE) as row:
        at = (tile * blocks + block) * TILE + row
        own = packing.read(words, at)
        sums = [kernel.zeros(LANES)] * 2  # two, so that none waits for the one before
        for place in range(INPUTS_PER_LANE):
            x = arranged.load(block * BLOCK + place * LANES, LANES)
            sums[place % 2] = sums[place % 2] + packing.number(own, place) * x
        scales, biases = packing.factors(factors, at)
        total = totals.load(row * LANES, LANES) + (sums[0] + sums[1]) * scales
        totals.store(row * LANES, total + sums_of_x(block) * biases)
    with kernel.loop(0, TILE) as row:
        store(tile * TILE + row, totals.load(row * LANES, LANES).sum())


@dataclass(frozen=True)
class PackedRowProduct:
    """`layer_kernels.RowProduct` of packed weights: a block of outputs is a tile."""

    quantization: Quantization
    in_bfloat16: bool  # scales and biases

    def input_floats(self, inputs: int) -> int:
        """The input in the order of the weights, and then the sums of its lanes."""
        blocks = -(-inputs // BLOCK)
        return blocks * (BLOCK + LANES)

    def order_input(self, kernel: Kernel, natural: Array, ordered: Array, *, inputs: int) -> None:
        blocks = -(-inputs // BLOCK)
        with kernel.loop(inputs, blocks * BLOCK) as index:
            natural.store(index, kernel.constant(0.0, FLOAT))
        count = kernel.constant(blocks, SIZE)
        _write_arrangement(
            kernel, natural, ordered, lambda lane, total: ordered.store(lane + blocks * BLOCK, total), blocks=count
        )

    def write_block(
        self, kernel: Kernel, weights: tuple[Value, Value], ordered: Array, *, inputs: int, block: Value,
        store: Callable[[Value, Value], None],
    ) -> None:  # fmt: skip
        packing = _Packing(self.quantization, self.in_bfloat16)
        words, factors = (kernel.array(base, element) for base, element in zip(weights, packing.arrays, strict=True))
        blocks = -(-inputs // BLOCK)
        _write_tile(
            kernel, packing, words, factors, ordered,
            lambda own: ordered.load(own * LANES + blocks * BLOCK, LANES), totals=kernel.scratch(TILE * LANES),
            tile=block, blocks=kernel.constant(blocks, SIZE), store=store,
        )  # fmt: skip


def _unpack_row(packing: _Packing, words: Array, factors: Array, at: Value, *, target: Array, start: Value) -> None:
    """Write the weights of row `at` of all blocks to `target`."""
    own, (scales, biases) = packing.read(words, at), packing.factors(factors, at)
    for place in range(INPUTS_PER_LANE):
        target.store(start + place * LANES, packing.number(own, place) * scales + biases)


def _rows(module: ir.Module, packing: _Packing, registers: Registers) -> Kernel:
    with Kernel(module, "by_panels", arrays=[*packing.arrays, FLOAT, FLOAT], sizes=5) as kernel:
        (words, factors, x, result), (blocks, first, last, count, outputs) = kernel.arrays, kernel.sizes
        panels = Panels(x=x, count=count, inputs=blocks * BLOCK, result=result, outputs=outputs)
        writer = PanelWriter(kernel, registers, panels)
        with kernel.loop(first, last) as tile:
            rows = tile * blocks * TILE

            def unpack(
                target: Array, place: Value, output: Value, start: Value, count: Value, rows: Value = rows
            ) -> None:
                with kernel.loop(0, count, BLOCK) as index:
                    at = rows + ((start + index) >> BLOCK_BITS) * TILE + output
                    _unpack_row(packing, words, factors, at, target=target, start=place + index)

            writer.write(tile * TILE, unpack)
    return kernel


def _by_tiles(module: ir.Module, packing: _Packing) -> Kernel:
    with Kernel(module, "by_tiles", arrays=[*packing.arrays, WORD, FLOAT, WORD], sizes=6) as kernel:
        (words, factors, columns, result, shape), (blocks, first, last, count, rows, outputs) = (
            kernel.arrays,
            kernel.sizes,
        )
        tiles = Tiles(kernel, shape)
        given = Columns(words=columns, tiles=count, inputs=blocks * BLOCK, rows=rows, result=result, outputs=outputs)
        writer = TileWriter(kernel, tiles, given, weight_digits=DIGITS)
        with kernel.loop(first, last, OUTPUTS // TILE) as start:
            tile = start.at_most(last - OUTPUTS // TILE)

            def unpack(digits: Sequence[Array], start: Value, count: Value, tile: Value = tile) -> None:
                with (
                    kernel.loop(0, count, BLOCK) as index,
                    kernel.loop(0, OUTPUTS // TILE) as own,
                    kernel.loop(0, TILE) as row,
                ):
                    at = ((tile + own) * blocks + ((start + index) >> BLOCK_BITS)) * TILE + row
                    place = (own * TILE + row) * ROW_WORDS + (index >> 1)
                    packed, (scales, biases) = packing.read(words, at), packing.factors(factors, at)
                    weights = [packing.number(packed, each) * scales + biases for each in range(INPUTS_PER_LANE)]
                    for pair in range(INPUTS_PER_LANE // 2):
                        for target, digit in zip(digits, split(weights[2 * pair : 2 * pair + 2]), strict=True):
                            target.store(place + pair * LANES, digit)

            writer.write(tile * TILE, unpack)
        tiles.release()
    return kernel


def _place_of_pair(pair: Value) -> Value:
    """Words of inputs in a tile of columns are in the order in which lanes are unpacked."""
    pairs = INPUTS_PER_LANE // 2
    block, lane, own = pair - (pair & (BLOCK // 2 - 1)), (pair & (BLOCK // 2 - 1)) >> 3, pair & (pairs - 1)
    return (block + own * LANES + lane) * SIDE


def _unpack(module: ir.Module, packing: _Packing) -> Kernel:
    with Kernel(module, "unpack", arrays=[*packing.arrays, FLOAT], sizes=3) as kernel:
        (words, factors, weights), (blocks, first, last) = kernel.arrays, kernel.sizes
        with (
            kernel.loop(first, last) as tile,
            kernel.loop(0, TILE) as row,
            kernel.loop(0, blocks) as block,
        ):
            at = (tile * blocks + block) * TILE + row
            start = (((tile - first) * TILE + row) * blocks + block) * BLOCK
            _unpack_row(packing, words, factors, at, target=weights, start=start)
    return kernel
