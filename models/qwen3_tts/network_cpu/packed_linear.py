"""Linear layers whose weights stay packed in 8, 6 or 4 bits, for a computation in float32 on CPUs.

The results are those of the unpacked weights in float32, up to the order of sums: what MLX's quantised products give.
Needs LLVM (llvmlite).
"""

from __future__ import annotations

import numpy as np

from models.qwen3_tts.network.packed_weight import BLOCK, INPUTS_PER_LANE, LANES, TILE, PackedWeight
from models.qwen3_tts.network_cpu.bf16_linear import MOST_PANEL_ROWS, thread_scratch
from models.qwen3_tts.network_cpu.machine_code import Floats, address
from models.qwen3_tts.network_cpu.packed_kernels import packed_kernels
from models.qwen3_tts.network_cpu.packed_row import PackedRowProduct
from models.qwen3_tts.network_cpu.panel_kernels import ROWS, panels_of
from models.qwen3_tts.network_cpu.tile_kernels import OUTPUTS
from models.qwen3_tts.worker_threads import Workers

FEWEST_TILE_ROWS = 32  # below, panels are ahead
UNPACKED_WEIGHTS = 1 << 19  # at a time: 2 MiB stay in the shared cache


class NumpyPackedLinear:
    """A linear layer with a packed weight, its outputs shared among the cores by tiles."""

    def __init__(self, weight: PackedWeight, bias: Floats | None, workers: Workers) -> None:
        self._weight, self.bias, self._workers = weight, bias, workers
        in_bfloat16 = weight.factors.dtype == np.uint16
        self.row_product = PackedRowProduct.here(weight.quantization, in_bfloat16=in_bfloat16)
        self._kernels = packed_kernels(self.row_product)
        self.outputs, self.inputs = weight.shape
        tiles, self._blocks = weight.words.shape[:2]
        self._padded_outputs = tiles * TILE
        self.addresses = address(weight.words), address(weight.factors)
        self._parts = workers.ranges(tiles, weights=self.outputs * self.inputs)
        at_least = OUTPUTS // TILE
        self._tile_parts = (
            workers.ranges(tiles, weights=self.outputs * self.inputs, at_least=at_least) if tiles >= at_least else []
        )

    def __call__(self, x: Floats) -> Floats:
        """`(N, I)` -> `(N, O)`."""
        padded = self._blocks * BLOCK
        if x.shape[1] < padded:
            x = np.pad(x, [(0, 0), (0, padded - x.shape[1])])
        if len(x) == 1:
            product = self._of_one(np.ascontiguousarray(x))
        elif self._tile_parts and self._kernels.tiles and len(x) >= FEWEST_TILE_ROWS:
            product = self._kernels.tiles.product(
                x, self.addresses, inputs=padded, units=self._blocks, outputs=self._padded_outputs,
                workers=self._workers, parts=self._tile_parts,
            )  # fmt: skip
        elif len(x) <= MOST_PANEL_ROWS:
            product = self._of_some(_arranged(x))
        else:
            product = self._of_many(np.ascontiguousarray(_arranged(x).T))
        product = product[:, : self.outputs]
        if self.bias is not None:
            product += self.bias
        return product

    def _of_one(self, x: Floats) -> Floats:
        ordered = np.empty(self.row_product.input_floats(self.inputs), np.float32)
        self._kernels.order(address(x), address(ordered), self._blocks)
        result = np.empty(self._padded_outputs, np.float32)
        places = (*self.addresses, address(ordered), address(result), self._blocks)
        self._workers.run(lambda part: self._kernels.one_row(*places, *part), self._parts)
        return result[None]

    def _of_some(self, arranged: Floats) -> Floats:
        panels = panels_of(arranged, floats=self._kernels.vector_floats, inputs=arranged.shape[1])
        result = np.empty((len(panels) * ROWS, self._padded_outputs), np.float32)
        places = (*self.addresses, address(panels), address(result), self._blocks)
        count = len(panels)
        self._workers.run(
            lambda part: self._kernels.by_panels(*places, *part, count, self._padded_outputs), self._parts
        )
        return result[: len(arranged)]

    def _of_many(self, columns: Floats) -> Floats:
        """Columns `(I, N)` in the order of the weights."""
        result = np.empty((self._padded_outputs, columns.shape[1]), np.float32)
        step = max(1, UNPACKED_WEIGHTS // (TILE * len(columns)))

        def compute(part: tuple[int, int]) -> None:
            scratch = thread_scratch(step * TILE, len(columns))
            for first in range(part[0], part[1], step):
                last = min(first + step, part[1])
                weights = scratch[: (last - first) * TILE]
                self._kernels.unpack(*self.addresses, address(weights), self._blocks, first, last)
                np.matmul(weights, columns, out=result[first * TILE : last * TILE])

        self._workers.run(compute, self._parts)
        product: Floats = result.T
        return product


def _arranged(x: Floats) -> Floats:
    """Rows `(N, I)` with their inputs in the order of the weights."""
    arranged: Floats = x.reshape(len(x), -1, LANES, INPUTS_PER_LANE).swapaxes(2, 3).reshape(x.shape)
    return arranged
