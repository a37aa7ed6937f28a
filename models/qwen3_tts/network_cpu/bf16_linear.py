"""Linear layers whose weights stay as they are stored, in bfloat16, for a computation in float32 on CPUs.

Why: a frame of one row reads every weight of the code predictor 15 times, and the memory's speed is the limit; with
more rows, BLAS libraries rearrange the whole weight for every product. Here a weight is read once a product, in half
the bytes, and widened on the way. The results are those of float32, up to the order of sums. Needs LLVM (llvmlite).
"""

from __future__ import annotations

import threading

import numpy as np

from models.qwen3_tts.network_cpu.bf16_kernels import Bfloat16Bits, Bfloat16RowProduct, bfloat16_kernels
from models.qwen3_tts.network_cpu.machine_code import Floats, address
from models.qwen3_tts.network_cpu.panel_kernels import ROWS, TILE, panels_of
from models.qwen3_tts.network_cpu.tile_kernels import DEPTH, OUTPUTS
from models.qwen3_tts.worker_threads import Workers

MOST_PANEL_ROWS = 64  # beyond, a BLAS over widened weights is ahead
BLOCK_WEIGHTS = 1 << 19  # widened at a time: 2 MiB stay in the shared cache


def fits(weight: Bfloat16Bits) -> bool:
    """Whether the kernels fit this weight `(O, I)`: two inputs are read at a time, and some outputs together."""
    outputs, inputs = weight.shape
    return bool(inputs % 2 == 0 and outputs >= TILE)


class NumpyBfloat16Linear:
    """A linear layer whose weight is bfloat16, its outputs shared among the cores. `weight` `(O, I)` is contiguous."""

    def __init__(self, weight: Bfloat16Bits, bias: Floats | None, workers: Workers) -> None:
        self._weight, self._address, self.bias = weight, address(weight), bias
        self._kernels = bfloat16_kernels()
        self.addresses, self.row_product = (self._address, 0), Bfloat16RowProduct()
        self.outputs, self.inputs = self._weight.shape
        self._parts = workers.ranges(self.outputs, weights=self._weight.size, at_least=TILE)
        fits_tiles = self.outputs >= OUTPUTS and self.inputs % DEPTH == 0
        self._tile_parts = (
            workers.ranges(self.outputs, weights=self._weight.size, at_least=OUTPUTS) if fits_tiles else []
        )
        self._workers = workers

    def __call__(self, x: Floats) -> Floats:
        """`(N, I)` -> `(N, O)`."""
        if len(x) == 1:
            product = self._of_one(np.ascontiguousarray(x[0]))
        elif self._tile_parts and self._kernels.tiles:
            product = self._kernels.tiles.product(
                x, [self._address], inputs=self.inputs, units=self.inputs, outputs=self.outputs,
                workers=self._workers, parts=self._tile_parts,
            )  # fmt: skip
        elif len(x) <= MOST_PANEL_ROWS:
            product = self._of_some(x)
        else:
            product = self._of_many(np.ascontiguousarray(x.T))
        if self.bias is not None:
            product += self.bias
        return product

    def _of_one(self, x: Floats) -> Floats:
        result = np.empty(self.outputs, np.float32)
        places = (self._address, address(x), address(result), self.inputs)
        self._workers.run(lambda part: self._kernels.one_row(*places, *part), self._parts)
        return result[None]

    def _of_some(self, x: Floats) -> Floats:
        floats = self._kernels.vector_floats
        padded = -(-self.inputs // floats) * floats
        panels = panels_of(x, floats=floats, inputs=padded)
        result = np.empty((len(panels) * ROWS, self.outputs), np.float32)
        places = (self._address, address(panels), address(result), self.inputs, padded)
        self._workers.run(lambda part: self._kernels.by_panels(*places, *part, len(panels), self.outputs), self._parts)
        return result[: len(x)]

    def _of_many(self, columns: Floats) -> Floats:
        result = np.empty((self.outputs, columns.shape[1]), np.float32)
        step = max(16, BLOCK_WEIGHTS // self.inputs)

        def compute(part: tuple[int, int]) -> None:
            block = thread_scratch(step, self.inputs)
            for first in range(part[0], part[1], step):
                last = min(first + step, part[1])
                wide = block[: last - first]
                self._kernels.widen(address(self._weight[first:last]), address(wide), wide.size)
                np.matmul(wide, columns, out=result[first:last])

        self._workers.run(compute, self._parts)
        product: Floats = result.T
        return product


_own = threading.local()


def thread_scratch(outputs: int, inputs: int) -> Floats:
    """Room for widened weights, which each thread has once: a fresh one would be paged in for every product."""
    if not hasattr(_own, "numbers") or _own.numbers.size < outputs * inputs:
        _own.numbers = np.empty(outputs * inputs, np.float32)
    block: Floats = _own.numbers[: outputs * inputs].reshape(outputs, inputs)
    return block
