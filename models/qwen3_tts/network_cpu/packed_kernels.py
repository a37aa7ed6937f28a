"""Machine code for products of packed weights with float32 numbers: for one row, for panels of rows, and unpacking.

Weights are in the order of `network/packed_weight.py`; all arrays are given as addresses of contiguous memory. The
plain formulation is `PackedWeight.floats`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from models.qwen3_tts.network.packed_weight import BLOCK, INPUTS_PER_LANE, LANES, TILE
from models.qwen3_tts.network_cpu.kernel_builder import FLOAT, WORD, Array, Kernel, Value
from models.qwen3_tts.network_cpu.machine_code import MachineCode, Registers, has_matrix_tiles, this_registers
from models.qwen3_tts.network_cpu.packed_row import PackedRowProduct, Packing
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


@dataclass(frozen=True, kw_only=True)
class PackedKernels:
    """Functions for one kind of packing; weights are words and factors."""

    # x (I,), the same in the order of the weights, blocks
    order: Callable[[int, int, int], None]
    # words, factors, x in the order of the weights, result (O,), blocks, first tile, last tile
    one_row: Callable[[int, int, int, int, int, int, int], None]
    # words, factors, panels x in the order of the weights, result (N, O), blocks, first tile, last tile, panels,
    # outputs
    by_panels: Callable[[int, int, int, int, int, int, int, int, int], None]
    vector_floats: int  # of panels
    # words, factors, weights (O, I) with inputs in the order of the weights, blocks, first tile, last tile
    unpack: Callable[[int, int, int, int, int, int], None]
    tiles: TileKernels | None


@functools.cache
def packed_kernels(product: PackedRowProduct, registers: Registers | None = None) -> PackedKernels:
    """The kernels for one row's way of multiplying, made once a process; `registers` None are this processor's own."""
    with_tiles = registers is None and has_matrix_tiles()
    module, registers = ir.Module(), registers or this_registers()
    kernels = write_kernels(module, product, registers=registers)
    if with_tiles:
        kernels += [_by_tiles(module, product.packing), digits_kernel(module, _place_of_pair)]
    code = MachineCode(module, kernels)
    return PackedKernels(
        order=code["order"],
        one_row=code["one_row"],
        by_panels=code["by_panels"],
        vector_floats=registers.floats,
        unpack=code["unpack"],
        tiles=TileKernels(by_tiles=code["by_tiles"], digits=code["digits"]) if with_tiles else None,
    )


def write_kernels(module: ir.Module, product: PackedRowProduct, *, registers: Registers) -> list[Kernel]:
    """All kernels that every processor can have, in LLVM's language."""
    packing = product.packing
    one_row = [_order(module, product), _one_row(module, product)]
    return [_rows(module, packing, registers), *one_row, _unpack(module, packing)]


def _order(module: ir.Module, product: PackedRowProduct) -> Kernel:
    with Kernel(module, "order", arrays=[FLOAT, FLOAT], sizes=1) as kernel:
        (x, ordered), (blocks,) = kernel.arrays, kernel.sizes
        product.order_blocks(kernel, x, ordered, blocks=blocks)
    return kernel


def _one_row(module: ir.Module, product: PackedRowProduct) -> Kernel:
    with Kernel(module, "one_row", arrays=[*product.packing.arrays, FLOAT, FLOAT], sizes=3) as kernel:
        (words, factors, ordered, result), (blocks, first, last) = kernel.arrays, kernel.sizes
        totals = kernel.scratch(TILE * LANES)
        with kernel.loop(first, last) as tile:
            product.write_tile(
                kernel, words, factors, ordered, totals=totals, tile=tile, blocks=blocks, store=result.store
            )
    return kernel


def _unpack_row(packing: Packing, words: Array, factors: Array, at: Value, *, target: Array, start: Value) -> None:
    """Write the weights of row `at` of all blocks to `target`."""
    own, (scales, biases) = packing.read(words, at), packing.factors(factors, at)
    for place in range(INPUTS_PER_LANE):
        target.store(start + place * LANES, packing.number(own, place) * scales + biases)


def _rows(module: ir.Module, packing: Packing, registers: Registers) -> Kernel:
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


def _by_tiles(module: ir.Module, packing: Packing) -> Kernel:
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


def _unpack(module: ir.Module, packing: Packing) -> Kernel:
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
