"""Machine code for products of several rows with tiles of eight outputs: weights are unpacked once for many rows.

A panel is four rows side by side: `(panels, inputs / F, ROWS, F)`, F being the floats of a processor's vector, zeros
where inputs end. Vectors run along the inputs, for weights and rows alike, so that one load of a weight serves four
rows and one of a row several outputs; the sums of these stay in registers, and are added up over their lanes at the
end. The plain formulation is a product with the unpacked weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.qwen3_tts.network_cpu.kernel_builder import Array, Kernel, Value
from models.qwen3_tts.network_cpu.machine_code import Floats, Registers

ROWS = 4  # of a panel
TILE = 8  # outputs
CHUNK = 512  # inputs whose weights are unpacked at a time: with those of a panel they fit a core's first cache
MOST_PANELS = 16  # for which weights are unpacked once
SPARE = 8  # registers for the rows and weights that are multiplied, beside the sums


def outputs_at_once(registers: Registers) -> int:
    """Outputs whose sums for a panel stay in registers."""
    return 4 if registers.count >= 4 * ROWS + SPARE else 2


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Rows in memory, as the module says, and their place for results."""

    x: Array
    count: Value
    inputs: Value  # whole vectors
    result: Array  # (N, outputs)
    outputs: Value


# Writes the code that unpacks a weight: to an array from a place on, the tile's output, first input, count of inputs.
Unpack = Callable[[Array, Value, Value, Value, Value], None]


class PanelWriter:
    """Writes the products of all panels with a tile."""

    def __init__(self, kernel: Kernel, registers: Registers, panels: Panels) -> None:
        self.kernel, self.panels = kernel, panels
        self.floats, self.at_once = registers.floats, outputs_at_once(registers)
        self.weights = kernel.scratch(TILE * CHUNK)
        self.totals = kernel.scratch(MOST_PANELS * ROWS * TILE * self.floats)

    def write(self, tile: Value, unpack: Unpack) -> None:
        """`tile` is its first output."""
        kernel, inputs = self.kernel, self.panels.inputs
        with kernel.loop(0, self.panels.count, MOST_PANELS) as first:
            count = (self.panels.count - first).at_most(MOST_PANELS)
            with kernel.loop(0, count * (ROWS * TILE)) as place:
                self.totals.store(place * self.floats, kernel.zeros(self.floats))
            with kernel.loop(0, inputs, CHUNK) as start:
                width = (inputs - start).at_most(CHUNK)
                with kernel.loop(0, TILE) as output:
                    unpack(self.weights, output * CHUNK, output, start, width)
                with kernel.loop(0, count) as panel, kernel.loop(0, TILE, self.at_once) as output:
                    column = ((first + panel) * inputs + start) * ROWS
                    self._multiply(output, self._place(panel, output), column, width=width)
            with kernel.loop(0, count) as panel, kernel.loop(0, TILE, self.at_once) as output:
                self._store((first + panel) * ROWS, tile + output, self._place(panel, output))

    def _place(self, panel: Value, output: Value) -> Value:
        """Of the totals of a panel and some outputs, those of its first row first."""
        return (panel * TILE + output) * (ROWS * self.floats)

    def _multiply(self, output: Value, place: Value, column: Value, *, width: Value) -> None:
        kernel, floats = self.kernel, self.floats
        places = [place + number * floats for number in range(ROWS * self.at_once)]
        sums = [kernel.variable(self.totals.load(own, floats)) for own in places]
        with kernel.loop(0, width, floats) as index:
            rows = [self.panels.x.load(column + index * ROWS + row * floats, floats) for row in range(ROWS)]
            for k in range(self.at_once):
                weight = self.weights.load((output + k) * CHUNK + index, floats)
                for row, numbers in enumerate(rows):
                    own = sums[row * self.at_once + k]
                    own.set(own.get() + weight * numbers)
        for total, own in zip(places, sums, strict=True):
            self.totals.store(total, own.get())

    def _store(self, row: Value, output: Value, place: Value) -> None:
        floats, at_once = self.floats, self.at_once
        vectors = [self.totals.load(place + number * floats, floats) for number in range(ROWS * at_once)]
        for first in range(0, len(vectors), floats):
            sums = sum_of_each(vectors[first : first + floats])
            for lane in range(0, floats, at_once):
                at = (row + (first + lane) // at_once) * self.panels.outputs + output
                self.panels.result.store(at, sums.lanes(range(lane, lane + at_once)))


def sum_of_each(vectors: Sequence[Value]) -> Value:
    """Vectors, as many as each has lanes -> one vector of their sums."""
    lanes = width = len(vectors)  # lanes of a vector that belong to one sum
    while len(vectors) > 1:
        half, starts = width // 2, range(0, 2 * lanes, width)
        low = [start + lane for start in starts for lane in range(half)]
        high = [lane + half for lane in low]
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [first.mixed(second, low) + first.mixed(second, high) for first, second in pairs]
        width = half
    return vectors[0]


def panels_of(x: Floats, *, floats: int, inputs: int) -> Floats:
    """Rows `(N, I)` as panels of so many inputs; missing rows and inputs are zeros."""
    count, given = x.shape
    panels = -(-count // ROWS)
    if (count, given) != (panels * ROWS, inputs):
        padded = np.zeros((panels * ROWS, inputs), np.float32)
        padded[:count, :given] = x
        x = padded
    return np.ascontiguousarray(x.reshape(panels, ROWS, inputs // floats, floats).swapaxes(1, 2))
