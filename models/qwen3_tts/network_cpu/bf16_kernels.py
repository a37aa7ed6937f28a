"""Machine code for products of bfloat16 weights with float32 numbers on CPUs, made by LLVM when it is first needed.

A bfloat16 number is the upper half of a float32, so widening it is exact. All arrays are given as addresses of
contiguous memory. Weights are `(O, I)` uint16; every kernel fills the outputs `first` to `last`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from models.qwen3_tts.network_cpu.kernel_builder import FLOAT, HALF, SIZE, WORD, Array, Kernel, Value
from models.qwen3_tts.network_cpu.machine_code import MachineCode, Registers, has_matrix_tiles, this_registers
from models.qwen3_tts.network_cpu.panel_kernels import TILE, Panels, PanelWriter, Unpack
from models.qwen3_tts.network_cpu.tile_kernels import (
    DEPTH,
    OUTPUTS,
    ROW_WORDS,
    SIDE,
    Columns,
    TileKernels,
    Tiles,
    TileWriter,
    digits_kernel,
)

ROW_LANES = 16  # of the product of one row
ROW_SUMS = 4  # independent ones, so that none waits for the one before
AHEAD = 1_024  # weights that are fetched ahead: memory answers late, and does not guess this by itself

Bfloat16Bits = npt.NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class Bfloat16Kernels:
    """Addresses and sizes in, results written in place."""

    # weight, x (I,), result (O,), inputs, first, last
    one_row: Callable[[int, int, int, int, int, int], None]
    # weight, panels x, result (N, O), inputs, inputs of a panel, first, last, panels, outputs; at least TILE outputs
    # from first to last
    by_panels: Callable[[int, int, int, int, int, int, int, int, int], None]
    vector_floats: int  # of panels
    # bfloat16 bits, float32 bits, count
    widen: Callable[[int, int, int], None]
    tiles: TileKernels | None


@functools.cache
def bfloat16_kernels(registers: Registers | None = None) -> Bfloat16Kernels:
    """The kernels for this processor, made once a process; `registers` None are its own."""
    with_tiles = registers is None and has_matrix_tiles()
    module, registers = ir.Module(), registers or this_registers()
    kernels = [_one_row(module), rows_kernel(module, registers), _widen(module)]
    code = MachineCode(module, [*kernels, *(write_tile_kernels(module) if with_tiles else ())])
    return Bfloat16Kernels(
        one_row=code["one_row"],
        by_panels=code["by_panels"],
        widen=code["widen"],
        vector_floats=registers.floats,
        tiles=TileKernels(by_tiles=code["by_tiles"], digits=code["digits"]) if with_tiles else None,
    )


def _one_row(module: ir.Module) -> Kernel:
    with Kernel(module, "one_row", arrays=[HALF, FLOAT, FLOAT], sizes=3) as kernel:
        (weights, x, result), (inputs, first, last) = kernel.arrays, kernel.sizes
        with kernel.loop(first, last) as output:
            result.store(output, _write_output(kernel, weights, x, inputs=inputs, output=output))
    return kernel


def _write_output(kernel: Kernel, weights: Array, x: Array, *, inputs: Value, output: Value) -> Value:
    """One row's product with the weights of one output."""
    step, start = ROW_LANES * ROW_SUMS, output * inputs
    whole = inputs - (inputs & (step - 1))
    sums = [kernel.variable(kernel.zeros(ROW_LANES)) for _ in range(ROW_SUMS)]
    rest = kernel.variable(kernel.constant(0.0, FLOAT))
    with kernel.loop(0, whole, step) as index:
        for place, own in enumerate(sums):
            at = index + place * ROW_LANES
            weights.prefetch(start + at + AHEAD)
            own.set(own.get() + weights.load(start + at, ROW_LANES).widened() * x.load(at, ROW_LANES))
    with kernel.loop(whole, inputs) as index:
        rest.set(rest.get() + weights.load(start + index).widened() * x.load(index))
    total = (sums[0].get() + sums[1].get()) + (sums[2].get() + sums[3].get())
    return total.sum() + rest.get()


@dataclass(frozen=True)
class Bfloat16RowProduct:
    """`layer_kernels.RowProduct` of weights in bfloat16, whose order is the input's own."""

    def input_floats(self, inputs: int) -> int:
        return inputs

    def order_input(self, kernel: Kernel, natural: Array, ordered: Array, *, inputs: int) -> None:
        with kernel.loop(0, inputs, ROW_LANES) as index:
            ordered.store(index, natural.load(index, ROW_LANES))

    def write_block(
        self, kernel: Kernel, weights: tuple[Value, Value], ordered: Array, *, inputs: int, block: Value,
        store: Callable[[Value, Value], None],
    ) -> None:  # fmt: skip
        bits, count = kernel.array(weights[0], HALF), kernel.constant(inputs, SIZE)
        with kernel.loop(0, TILE) as row:
            output = block * TILE + row
            store(output, _write_output(kernel, bits, ordered, inputs=count, output=output))


def _widen(module: ir.Module) -> Kernel:
    with Kernel(module, "widen", arrays=[HALF, FLOAT], sizes=1) as kernel:
        (bits, wide), (count,) = kernel.arrays, kernel.sizes
        with kernel.loop(0, count) as index:  # of which LLVM makes vectors by itself
            wide.store(index, bits.load(index).widened())
    return kernel


def rows_kernel(module: ir.Module, registers: Registers) -> Kernel:
    """The kernel `by_panels`; the last tile may repeat some outputs of the one before."""
    with Kernel(module, "by_panels", arrays=[HALF, FLOAT, FLOAT], sizes=6) as kernel:
        (weights, x, result), (inputs, padded, first, last, count, outputs) = kernel.arrays, kernel.sizes
        panels = Panels(x=x, count=count, inputs=padded, result=result, outputs=outputs)
        writer = PanelWriter(kernel, registers, panels)
        with kernel.loop(first, last, TILE) as start:
            tile = start.at_most(last - TILE)
            writer.write(tile, _widened(kernel, registers, weights, tile, inputs=inputs))
    return kernel


def write_tile_kernels(module: ir.Module) -> list[Kernel]:
    """The kernels `by_tiles` and `digits`, for a processor that has matrix tiles."""
    with Kernel(module, "by_tiles", arrays=[HALF, WORD, FLOAT, WORD], sizes=6) as kernel:
        (weights, words, result, shape), (inputs, first, last, count, rows, outputs) = kernel.arrays, kernel.sizes
        tiles = Tiles(kernel, shape)
        columns = Columns(words=words, tiles=count, inputs=inputs, rows=rows, result=result, outputs=outputs)
        writer = TileWriter(kernel, tiles, columns, weight_digits=1)
        pairs = weights.of(WORD)
        with kernel.loop(first, last, OUTPUTS) as start:
            output = start.at_most(last - OUTPUTS)

            def unpack(digits: Sequence[Array], start: Value, count: Value, output: Value = output) -> None:
                with kernel.loop(0, OUTPUTS) as row, kernel.loop(0, count, DEPTH) as index:
                    at = (output + row) * inputs + start + index
                    digits[0].store(row * ROW_WORDS + (index >> 1), pairs.load(at >> 1, SIDE))

            def fetch(index: Value, output: Value = output) -> None:
                for row in range(OUTPUTS, 2 * OUTPUTS):
                    weights.prefetch((output + row) * inputs + index)

            writer.write(output, unpack, fetch)
        tiles.release()
    return [kernel, digits_kernel(module, lambda pair: pair * SIDE)]


def _widened(kernel: Kernel, registers: Registers, weights: Array, tile: Value, *, inputs: Value) -> Unpack:
    floats = registers.floats

    def unpack(target: Array, place: Value, output: Value, start: Value, count: Value) -> None:
        at = (tile + output) * inputs + start
        own = (inputs - start).at_most(count)
        whole = own & -floats
        with kernel.loop(0, whole, floats) as index:
            weights.prefetch(at + index + inputs * TILE)  # of the next tile
            target.store(place + index, weights.load(at + index, floats).widened())
        with kernel.loop(whole, own) as index:
            target.store(place + index, weights.load(at + index).widened())
        with kernel.loop(own, count) as index:
            target.store(place + index, kernel.constant(0.0, FLOAT))

    return unpack
