"""New keys and values → all that a query may see: slots for rows that come and go, and a frame's few positions.

A row's keys are stored at its own positions, so rows of any age share one batch: one that ends frees its slot, and
another writes its prefill there, without moving a byte of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

POSITION_STEP = 128  # room grows in such steps, so that growing is rare


def whole_steps(positions: int) -> int:
    """At least so many positions, in steps that grow with them: a compiled step is traced again for each length."""
    step = max(POSITION_STEP, 1 << max(0, positions.bit_length() - 3))
    return -(-positions // step) * step


class SlottedKVCache:
    """For each layer, G keys, then G values: `(slots, 2 G, positions, E)`. Rows fill the first slots, without gaps."""

    def __init__(self, *, layers: int, kv_heads: int, head_dim: int, dtype: mx.Dtype) -> None:
        self._count, self._kv_heads, self._head_dim, self._dtype = layers, kv_heads, head_dim, dtype
        self.clear()

    def clear(self) -> None:
        """Forget all rows and give their memory back."""
        self.slots = self.positions = 0
        self.layers = [self._zeros(0, 0)] * self._count

    def _zeros(self, slots: int, positions: int) -> mx.array:
        return mx.zeros((slots, 2 * self._kv_heads, positions, self._head_dim), dtype=self._dtype)

    def reserve(self, *, slots: int, positions: int) -> None:
        """Have room for at least so many rows and positions; what is stored stays.

        No row may be longer than `positions`. Room that only rows now gone have needed is given back, since a step may
        look at all of it.
        """
        positions = whole_steps(positions)
        too_many = self.positions >= 2 * positions
        if slots <= self.slots and positions <= self.positions and not too_many:
            return
        slots, positions = max(slots, self.slots), positions if too_many else max(positions, self.positions)
        kept = min(positions, self.positions)
        for layer, old in enumerate(self.layers):
            new = self._zeros(slots, positions)
            new[: self.slots, :, :kept] = old[:, :, :kept]
            self.layers[layer] = new
            mx.eval(new)  # one layer at a time: never twice the whole cache
        self.slots, self.positions = slots, positions

    def move(self, source: int, target: int, *, positions: int) -> None:
        """Copy one row's first `positions` to another slot."""
        for array in self.layers:
            array[target, :, :positions] = array[source, :, :positions]

    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.layers)


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One layer of a `SlottedKVCache` while each of the first rows adds one position of its own."""

    cache: SlottedKVCache
    layer: int
    rows: mx.array  # (B,) 0 … B-1
    at: mx.array  # (B,)
    length: int  # of the longest row, its new position included
    aligned: bool  # all rows are at the same position, which takes a plain copy instead of a scatter

    def update_and_fetch(self, kv: mx.array) -> tuple[mx.array, mx.array]:
        """`(B, 2 G, 1, E)` new ones -> all that are stored; those past a row's position are to be masked."""
        count = kv.shape[0]
        stored = self.cache.layers[self.layer]
        if self.aligned:
            stored[:count, :, self.length - 1 : self.length] = kv
        else:
            stored[self.rows, :, self.at] = kv[:, :, 0]
        return split_kv(stored[:count, :, : self.length])


@dataclass(kw_only=True)
class FixedView:
    """One layer's array `(slots, 2 G, positions, E)` in a compiled step, which returns the updated array."""

    stored: mx.array
    places: Sequence[mx.array]  # rows (B, 1), heads (1, 2 G) and positions (B, 1): uint32, as MLX wants indices

    def update_and_fetch(self, kv: mx.array) -> tuple[mx.array, mx.array]:
        """`(B, 2 G, 1, E)` new ones -> all positions; those past a row's own are to be masked."""
        rows, heads, at = self.places
        if self.stored.shape[0] == 1:  # a plain copy instead of a scatter
            self.stored = mx.slice_update(self.stored, kv, at.reshape(1), axes=[2])
        else:
            self.stored[rows, heads, at] = kv[:, :, 0]
        return split_kv(self.stored[: kv.shape[0]])


@dataclass(frozen=True, kw_only=True)
class PrefillView:
    """One layer of a `SlottedKVCache` while new rows write their prompts, after a prefix that they may share."""

    cache: SlottedKVCache
    layer: int
    slots: Sequence[int]
    start: int  # length of the prefix, which is in the slots already

    def update_and_fetch(self, kv: mx.array) -> tuple[mx.array, mx.array]:
        """`(B, 2 G, L, E)` -> prefix and new ones. B is the number of slots, or 1 for all of them."""
        stored = self.cache.layers[self.layer]
        stop = self.start + kv.shape[2]
        for index, slot in enumerate(self.slots):
            stored[slot, :, self.start : stop] = kv[index if kv.shape[0] > 1 else 0]
        if self.start:
            prefix = stored[self.slots[0] : self.slots[0] + 1, :, : self.start]
            prefix = mx.broadcast_to(prefix, (kv.shape[0], *prefix.shape[1:]))
            kv = mx.concatenate([prefix, kv], axis=2)
        return split_kv(kv)


class GrowingKVCache:
    """One layer's keys and values of a frame's few positions, concatenated as they come."""

    def __init__(self) -> None:
        self._stored: mx.array | None = None

    def update_and_fetch(self, kv: mx.array) -> tuple[mx.array, mx.array]:
        if self._stored is not None:
            kv = mx.concatenate([self._stored, kv], axis=2)
        self._stored = kv
        return split_kv(kv)


def split_kv(kv: mx.array) -> tuple[mx.array, mx.array]:
    """Keys and values apart: views."""
    keys, values = mx.split(kv, 2, axis=1)
    return keys, values
