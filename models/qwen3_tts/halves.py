"""Machine code for products of bfloat16 weights with float32 numbers on CPUs, made by Numba when this is imported.

A bfloat16 number is the upper half of a float32, so widening it is exact. All kernels release the interpreter's lock.
Shapes: weights `(O, I)` as uint16; every kernel fills the outputs `first` to `last`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

OUTPUTS_AT_ONCE = 8  # sums that a panel keeps in registers; outputs come in blocks of so many
SUMS = {"reassoc", "contract", "nsz"}  # sums may be taken in another order; NaN and infinity keep their meaning

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.uint16]


def _one_row(weight: Halves, x: Floats, result: Floats, first: int, last: int) -> None:
    """`weight` times `x (I,)` into `result (O,)`."""
    for output in range(first, last):
        total = np.float32(0)
        for index in range(weight.shape[1]):
            wide = np.uint32(np.uint32(weight[output, index]) << np.uint32(16)).view(np.float32)
            total += wide * x[index]
        result[output] = total


def _panel(lanes: int) -> Any:
    """The product of `OUTPUTS_AT_ONCE` outputs with a panel of so many rows, as an intrinsic.

    Compilers do not find this by themselves: the rows are the lanes of vectors, the sums stay in registers, and one
    word of memory, spread over the lanes, is two weights: a shift gives the first, a mask the second.
    """
    wide, words = ir.VectorType(ir.FloatType(), lanes), ir.VectorType(ir.IntType(32), lanes)
    word, size = ir.IntType(32), ir.IntType(64)
    row_bytes = 4 * lanes

    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        weight, weight_bytes, x, result, pairs = arguments

        def load(base: Any, offset: Any, kind: Any, align: int) -> Any:
            return builder.load(builder.inttoptr(builder.add(base, offset), kind.as_pointer()), align=align)

        def spread(number: Any) -> Any:
            nothing = ir.Constant(words, ir.Undefined)
            single = builder.insert_element(nothing, number, word(0))
            return builder.shuffle_vector(single, nothing, ir.Constant(words, [0] * lanes))

        def add_product(total: Any, bits: Any, numbers: Any) -> Any:
            product = builder.fmul(builder.bitcast(bits, wide), numbers, flags=("contract",))
            return builder.fadd(total, product, flags=("contract",))

        totals = [cgutils.alloca_once_value(builder, ir.Constant(wide, [0.0] * lanes)) for _ in range(OUTPUTS_AT_ONCE)]
        with cgutils.for_range(builder, pairs) as loop:
            at = builder.mul(loop.index, size(2 * row_bytes))
            even, odd = load(x, at, wide, 4), load(x, builder.add(at, size(row_bytes)), wide, 4)
            column = builder.mul(loop.index, size(4))
            for output, total in enumerate(totals):
                offset = builder.add(builder.mul(weight_bytes, size(output)), column)
                both = spread(load(weight, offset, word, 2))
                lower = builder.shl(both, ir.Constant(words, [16] * lanes))
                upper = builder.and_(both, ir.Constant(words, [0xFFFF0000] * lanes))
                sums = add_product(builder.load(total), lower, even)
                builder.store(add_product(sums, upper, odd), total)
        for output, total in enumerate(totals):
            place = builder.inttoptr(builder.add(result, size(output * row_bytes)), wide.as_pointer())
            builder.store(builder.load(total), place, align=4)
        return context.get_dummy_value()

    def typed(context: Any, weight: Any, weight_bytes: Any, x: Any, result: Any, pairs: Any) -> Any:  # noqa: ARG001
        return numba.types.void(*[numba.types.intp] * 5), code

    return intrinsic(typed)


_panel_of_8, _panel_of_16 = _panel(8), _panel(16)


def _rows_by_8(weight: Halves, x: Floats, result: Floats, first: int, last: int) -> None:
    """`weight` times panels of 8 rows `x (P, I, 8)` into `result (P, O, 8)`; I even, at least 8 outputs."""
    outputs, inputs = weight.shape
    for block in range(first, last, OUTPUTS_AT_ONCE):
        output = min(block, last - OUTPUTS_AT_ONCE)  # the last block may repeat some of the one before
        for panel in range(x.shape[0]):
            _panel_of_8(
                weight.ctypes.data + 2 * output * inputs,
                2 * inputs,
                x.ctypes.data + 32 * panel * inputs,
                result.ctypes.data + 32 * (panel * outputs + output),
                inputs // 2,
            )


def _rows_by_16(weight: Halves, x: Floats, result: Floats, first: int, last: int) -> None:
    """The same with panels of 16 rows."""
    outputs, inputs = weight.shape
    for block in range(first, last, OUTPUTS_AT_ONCE):
        output = min(block, last - OUTPUTS_AT_ONCE)
        for panel in range(x.shape[0]):
            _panel_of_16(
                weight.ctypes.data + 2 * output * inputs,
                2 * inputs,
                x.ctypes.data + 64 * panel * inputs,
                result.ctypes.data + 64 * (panel * outputs + output),
                inputs // 2,
            )


def _widen(weight: Halves, wide: npt.NDArray[np.uint32]) -> None:
    """bfloat16 -> the bits of float32."""
    for output in range(weight.shape[0]):
        for index in range(weight.shape[1]):
            wide[output, index] = np.uint32(np.uint32(weight[output, index]) << np.uint32(16))


def _compiled(function: Any, *arguments: Any) -> Any:
    """The function as machine code; kept where Numba keeps such code, so that it is made once."""

    def made(*, cache: bool) -> Any:
        return numba.njit(numba.void(*arguments), nogil=True, cache=cache, fastmath=SUMS)(function)

    try:
        return made(cache=True)
    except Exception:  # no folder for it may be written, its disk is full, or a power cut tore it: that costs seconds
        return made(cache=False)


_HALVES = numba.types.Array(numba.uint16, 2, "C", readonly=True)  # MLX's own memory
_ROW, _PANELS, _RANGE = numba.float32[::1], numba.float32[:, :, ::1], (numba.int64, numba.int64)
one_row = _compiled(_one_row, _HALVES, _ROW, _ROW, *_RANGE)
rows_by_8 = _compiled(_rows_by_8, _HALVES, _PANELS, _PANELS, *_RANGE)
rows_by_16 = _compiled(_rows_by_16, _HALVES, _PANELS, _PANELS, *_RANGE)
widen = _compiled(_widen, _HALVES, numba.uint32[:, ::1])
