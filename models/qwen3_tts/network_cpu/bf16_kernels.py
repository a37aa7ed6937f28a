"""Machine code for products of bfloat16 weights with float32 numbers on CPUs, made by LLVM when it is first needed.

A bfloat16 number is the upper half of a float32, so widening it is exact. All arrays are given as addresses of
contiguous memory. Weights are `(O, I)` uint16; every kernel fills the outputs `first` to `last`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from models.qwen3_tts.network_cpu.kernel_builder import FLOAT, HALF, SIZE, WORD, Array, Kernel, Value
from models.qwen3_tts.network_cpu.machine_code import MachineCode, Registers, this_registers

OUTPUTS_AT_ONCE = 8  # outputs come in blocks of at most so many
FEWEST_OUTPUTS = 4  # below, a panel does little but spread weights
LANES = (8, 16)  # rows of a panel
COLUMNS, SPARE = 2, 3  # vectors of inputs that a block holds beside its sums, and registers for what it computes
ROW_LANES = 16  # of the product of one row
ROW_SUMS = 4  # independent ones, so that none waits for the one before
AHEAD = 1_024  # weights that are fetched ahead: memory answers late, and does not guess this by itself

Bfloat16Bits = npt.NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class Bfloat16Kernels:
    """Addresses and sizes in, results written in place."""

    # weight, x (I,), result (O,), inputs, first, last
    one_row: Callable[[int, int, int, int, int, int], None]
    # by lanes: weight, panels x (P, I, lanes), result (P, O, lanes), inputs, first, last, panels, outputs;
    # I even, and at least 8 outputs from first to last
    rows: dict[int, Callable[[int, int, int, int, int, int, int, int], None]]
    # bfloat16 bits, float32 bits, count
    widen: Callable[[int, int, int], None]


def panel_blocks(registers: Registers) -> dict[int, int]:
    """By lanes, the outputs whose sums stay in registers; wide panels only where some do."""
    found: dict[int, int] = {}
    for lanes in LANES:
        vectors = -(-lanes // registers.floats)
        room = (registers.count - SPARE - COLUMNS * vectors) // vectors
        if room >= FEWEST_OUTPUTS or not found:
            found[lanes] = OUTPUTS_AT_ONCE if room >= OUTPUTS_AT_ONCE else FEWEST_OUTPUTS
    return found


@functools.cache
def bfloat16_kernels(registers: Registers | None = None) -> Bfloat16Kernels:
    """The kernels for this processor, made once a process; `registers` None are its own."""
    module = ir.Module()
    blocks = panel_blocks(registers or this_registers())
    panels = [rows_kernel(module, lanes=lanes, at_once=at_once) for lanes, at_once in blocks.items()]
    code = MachineCode(module, [_one_row(module), _widen(module), *panels])
    return Bfloat16Kernels(
        one_row=code["one_row"],
        rows={lanes: code[f"rows_by_{lanes}"] for lanes in blocks},
        widen=code["widen"],
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
        with kernel.loop(0, OUTPUTS_AT_ONCE) as row:
            output = block * OUTPUTS_AT_ONCE + row
            store(output, _write_output(kernel, bits, ordered, inputs=count, output=output))


def _widen(module: ir.Module) -> Kernel:
    with Kernel(module, "widen", arrays=[HALF, FLOAT], sizes=1) as kernel:
        (bits, wide), (count,) = kernel.arrays, kernel.sizes
        with kernel.loop(0, count) as index:  # of which LLVM makes vectors by itself
            wide.store(index, bits.load(index).widened())
    return kernel


def rows_kernel(module: ir.Module, *, lanes: int, at_once: int) -> Kernel:
    """The kernel `rows_by_<lanes>`, for panels of so many rows and blocks of so many outputs.

    Compilers do not find this by themselves: the rows are the lanes of vectors, the sums of as many outputs as fit
    stay in registers, and one word of memory, spread over the lanes, is two weights: a shift gives the first, a mask
    the second.
    """
    with Kernel(module, f"rows_by_{lanes}", arrays=[HALF, FLOAT, FLOAT], sizes=5) as kernel:
        (weights, x, result), (inputs, first, last, panels, outputs) = kernel.arrays, kernel.sizes
        pairs = weights.of(WORD)
        with kernel.loop(first, last, at_once) as start, kernel.loop(0, panels) as panel:
            output = start.at_most(last - at_once)  # the last block may repeat some of the one before
            sums = [kernel.variable(kernel.zeros(lanes)) for _ in range(at_once)]
            with kernel.loop(0, inputs, 2) as index:
                column = (panel * inputs + index) * lanes
                even, odd = x.load(column, lanes), x.load(column + lanes, lanes)
                for k, own in enumerate(sums):
                    pair = pairs.load(((output + k) * inputs + index) >> 1).in_every_lane(lanes)
                    low, high = (pair << 16).as_float(), (pair & 0xFFFF0000).as_float()
                    own.set(own.get() + low * even + high * odd)
            for k, own in enumerate(sums):
                result.store((panel * outputs + output + k) * lanes, own.get())
    return kernel
