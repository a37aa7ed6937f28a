"""Keys and values of past positions: slots of rows that come and go, and the code predictor's few positions.

A row's keys lie at the columns of its own positions, so rows of any age share one batch: one that ends leaves its
slot, and one that comes writes its prefill there, without a byte of the others being moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

COLUMN_STEP = 128  # columns are added in such steps, so that growing is rare


def whole_steps(columns: int) -> int:
    """At least so many columns, in steps that grow with them: a compiled step is traced anew for each length."""
    step = max(COLUMN_STEP, 1 << max(0, columns.bit_length() - 3))
    return -(-columns // step) * step


class SlotCache:
    """For each layer, G keys, then G values: `(slots, 2 G, columns, E)`. Rows lie in the first slots, without gaps."""

    def __init__(self, *, layers: int, groups: int, head_size: int, dtype: mx.Dtype) -> None:
        self._layers, self._groups, self._head_size, self._dtype = layers, groups, head_size, dtype
        self.clear()

    def clear(self) -> None:
        """Forget all rows and give their memory back."""
        self.slots = self.columns = 0
        empty = mx.zeros((0, 2 * self._groups, 0, self._head_size), dtype=self._dtype)
        self.layers = [empty] * self._layers

    def reserve(self, *, slots: int, columns: int) -> None:
        """Have room for at least so many rows and positions; what is there stays.

        No row may be longer than `columns`: once the rows that were are gone, their columns are given back, since a
        step may look at all that are there.
        """
        columns = whole_steps(columns)
        too_many = self.columns >= 2 * columns
        if slots <= self.slots and columns <= self.columns and not too_many:
            return
        slots, columns = max(slots, self.slots), columns if too_many else max(columns, self.columns)
        kept = min(columns, self.columns)
        for layer, old in enumerate(self.layers):
            new = mx.zeros((slots, 2 * self._groups, columns, self._head_size), dtype=self._dtype)
            new[: self.slots, :, :kept] = old[:, :, :kept]
            self.layers[layer] = new
            mx.eval(new)  # one layer at a time: never twice the whole cache
        self.slots, self.columns = slots, columns

    def move(self, source: int, target: int, *, columns: int) -> None:
        """Copy one row's first `columns` positions to another slot."""
        for array in self.layers:
            array[target, :, :columns] = array[source, :, :columns]

    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.layers)


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One layer of a `SlotCache` while each of the first rows adds one position of its own."""

    cache: SlotCache
    layer: int
    rows: mx.array  # (B,) 0 … B-1
    positions: mx.array  # (B,)
    columns: int  # what the oldest row may see, its new position included
    aligned: bool  # all rows are at the same position, which takes a plain copy instead of a scatter

    def extend(self, keys_values: mx.array) -> tuple[mx.array, mx.array]:
        """`(B, 2 G, 1, E)` new ones -> all that is there; a row's columns past its position are to be masked."""
        count = keys_values.shape[0]
        stored = self.cache.layers[self.layer]
        if self.aligned:
            stored[:count, :, self.columns - 1 : self.columns] = keys_values
        else:
            stored[self.rows, :, self.positions] = keys_values[:, :, 0]
        return halves(stored[:count, :, : self.columns])


@dataclass(kw_only=True)
class FixedView:
    """One layer's array `(slots, 2 G, columns, E)` in a compiled step, which hands over the array that comes of it."""

    stored: mx.array
    places: Sequence[mx.array]  # rows (B, 1), heads (1, 2 G) and positions (B, 1), as indices are wanted: uint32

    def extend(self, keys_values: mx.array) -> tuple[mx.array, mx.array]:
        """`(B, 2 G, 1, E)` new ones -> all columns; those past a row's position are to be masked."""
        rows, heads, positions = self.places
        if self.stored.shape[0] == 1:  # a plain copy instead of a scatter
            self.stored = mx.slice_update(self.stored, keys_values, positions.reshape(1), axes=[2])
        else:
            self.stored[rows, heads, positions] = keys_values[:, :, 0]
        return halves(self.stored[: keys_values.shape[0]])


@dataclass(frozen=True, kw_only=True)
class PrefillView:
    """One layer of a `SlotCache` while new rows write their prompts, after a prefix that they may share."""

    cache: SlotCache
    layer: int
    slots: Sequence[int]
    start: int  # columns of the prefix, which lies in the slots already

    def extend(self, keys_values: mx.array) -> tuple[mx.array, mx.array]:
        """`(B, 2 G, L, E)` -> prefix and new ones. B is the number of slots, or 1 for all of them."""
        stored = self.cache.layers[self.layer]
        stop = self.start + keys_values.shape[2]
        for index, slot in enumerate(self.slots):
            stored[slot, :, self.start : stop] = keys_values[index if keys_values.shape[0] > 1 else 0]
        if self.start:
            prefix = stored[self.slots[0] : self.slots[0] + 1, :, : self.start]
            prefix = mx.broadcast_to(prefix, (keys_values.shape[0], *prefix.shape[1:]))
            keys_values = mx.concatenate([prefix, keys_values], axis=2)
        return halves(keys_values)


class GrowingCache:
    """One layer's keys and values of a frame's few positions, joined as they come."""

    def __init__(self) -> None:
        self._stored: mx.array | None = None

    def extend(self, keys_values: mx.array) -> tuple[mx.array, mx.array]:
        if self._stored is not None:
            keys_values = mx.concatenate([self._stored, keys_values], axis=2)
        self._stored = keys_values
        return halves(keys_values)


def halves(keys_values: mx.array) -> tuple[mx.array, mx.array]:
    """Keys and values apart: views."""
    keys, values = mx.split(keys_values, 2, axis=1)
    return keys, values
