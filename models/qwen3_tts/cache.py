"""Keys and values of past positions: slots of rows that come and go, and the code predictor's few positions.

A row's keys lie at the columns of its own positions, so rows of any age share one batch: one that ends leaves its
slot, and one that comes writes its prefill there, without a byte of the others being moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

COLUMN_STEP = 128  # columns are added in such steps, so that growing is rare


class SlotCache:
    """For each layer, keys and values `(slots, H, columns, E)`; rows lie in the first slots, without gaps."""

    def __init__(self, *, layers: int, heads: int, head_size: int, dtype: mx.Dtype) -> None:
        self._layers, self._heads, self._head_size, self._dtype = layers, heads, head_size, dtype
        self.clear()

    def clear(self) -> None:
        """Forget all rows and give their memory back."""
        self.slots = self.columns = 0
        empty = mx.zeros((0, self._heads, 0, self._head_size), dtype=self._dtype)
        self.keys = [empty] * self._layers
        self.values = [empty] * self._layers

    def reserve(self, *, slots: int, columns: int) -> None:
        """Have room for at least so many rows and positions; what is there stays."""
        columns = -(-columns // COLUMN_STEP) * COLUMN_STEP
        if slots <= self.slots and columns <= self.columns:
            return
        slots, columns = max(slots, self.slots), max(columns, self.columns)
        shape = (slots, self._heads, columns, self._head_size)
        for arrays in (self.keys, self.values):
            for layer, old in enumerate(arrays):
                new = mx.zeros(shape, dtype=self._dtype)
                new[: self.slots, :, : self.columns] = old
                arrays[layer] = new
                mx.eval(new)  # one layer at a time: never twice the whole cache
        self.slots, self.columns = slots, columns

    def move(self, source: int, target: int, *, columns: int) -> None:
        """Copy one row's first `columns` positions to another slot."""
        for array in (*self.keys, *self.values):
            array[target, :, :columns] = array[source, :, :columns]

    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self.keys, *self.values))


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One layer of a `SlotCache` while each of the first rows adds one position of its own."""

    cache: SlotCache
    layer: int
    rows: mx.array  # (B,) 0 … B-1
    positions: mx.array  # (B,)
    columns: int  # what the oldest row may see, its new position included
    aligned: bool  # all rows are at the same position, which takes a plain copy instead of a scatter

    def extend(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """`(B, H, 1, E)` new ones -> all `(B, H, columns, E)`; a row's columns past its position are to be masked."""
        count = keys.shape[0]
        all_keys, all_values = self.cache.keys[self.layer], self.cache.values[self.layer]
        if self.aligned:
            all_keys[:count, :, self.columns - 1 : self.columns] = keys
            all_values[:count, :, self.columns - 1 : self.columns] = values
        else:
            all_keys[self.rows, :, self.positions] = keys[:, :, 0]
            all_values[self.rows, :, self.positions] = values[:, :, 0]
        return all_keys[:count, :, : self.columns], all_values[:count, :, : self.columns]


@dataclass(frozen=True, kw_only=True)
class PrefillView:
    """One layer of a `SlotCache` while new rows write their prompts, after a prefix that they may share."""

    cache: SlotCache
    layer: int
    slots: Sequence[int]
    start: int  # columns of the prefix, which lies in the slots already

    def extend(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """`(B, H, L, E)` -> prefix and new ones. B is the number of slots, or 1 for all of them."""
        all_keys, all_values = self.cache.keys[self.layer], self.cache.values[self.layer]
        stop = self.start + keys.shape[2]
        for index, slot in enumerate(self.slots):
            row = index if keys.shape[0] > 1 else 0
            all_keys[slot, :, self.start : stop] = keys[row]
            all_values[slot, :, self.start : stop] = values[row]
        if not self.start:
            return keys, values
        return self._with_prefix(all_keys, keys), self._with_prefix(all_values, values)

    def _with_prefix(self, stored: mx.array, new: mx.array) -> mx.array:
        prefix = stored[self.slots[0] : self.slots[0] + 1, :, : self.start]
        prefix = mx.broadcast_to(prefix, (new.shape[0], *prefix.shape[1:]))
        return mx.concatenate([prefix, new], axis=2)


class GrowingCache:
    """One layer's keys and values of a frame's few positions, joined as they come."""

    def __init__(self) -> None:
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def extend(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        if self._keys is not None and self._values is not None:
            keys = mx.concatenate([self._keys, keys], axis=2)
            values = mx.concatenate([self._values, values], axis=2)
        self._keys, self._values = keys, values
        return keys, values
