"""The four operations that backends compute best in different ways: norm, rotation, attention and gated activation.

`FastKernels` launches one kernel each, for Metal and CUDA. On the CPU backend MLX expands each of those into a
dozen small steps, so `PlainKernels` says the same with fewer. Both give the same numbers to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx


@dataclass(frozen=True, kw_only=True)
class HeadNorms:
    """How one layer normalises its heads: `H` of queries, then `G` of keys, then `G` of values, which stay."""

    heads: int
    groups: int
    eps: float
    unit: mx.array  # (E,) ones
    weights: mx.array  # (H + 2 G, 1, E), zero for values
    is_value: mx.array  # (H + 2 G, 1, 1, 1), one for values
    halves: tuple[mx.array, mx.array]  # the weights as (H + 2 G, 1, 2, E/2), and with the halves swapped

    @classmethod
    def of(cls, query: mx.array, key: mx.array, *, heads: int, groups: int, eps: float) -> HeadNorms:
        """From the weights `(E,)` of the heads of queries and of keys."""
        counts = ((query, heads), (key, groups), (mx.zeros_like(key), groups))
        weights = mx.concatenate([mx.repeat(weight[None, None], count, axis=0) for weight, count in counts])
        halves = weights.reshape(*weights.shape[:-1], 2, weights.shape[-1] // 2)
        return cls(
            heads=heads,
            groups=groups,
            eps=eps,
            unit=mx.ones(key.shape, dtype=key.dtype),
            weights=weights,
            is_value=(mx.arange(heads + 2 * groups) >= heads + groups).astype(key.dtype)[:, None, None, None],
            halves=(halves, mx.contiguous(halves[..., ::-1, :])),
        )

    def arrays(self) -> list[mx.array]:
        return [self.unit, self.weights, self.is_value, *self.halves]


Turn = Sequence[mx.array]  # rotary angles of fixed positions, as one kind of kernels wants them, for every layer


class Kernels(Protocol):
    """What a network needs of its backend. `(B, H, L, E)` for heads, `(B, L, D)` for hidden states."""

    fused: bool  # whether what is called often is worth compiling

    def rms_norm(self, x: mx.array, weight: mx.array, eps: float) -> mx.array: ...

    def rotation(self, first: mx.array | int, length: int, *, head_size: int, theta: float) -> Turn:
        """For `length` consecutive positions, from `first` on: one number, or one a row `(B,)`."""
        ...

    def rotate(self, joint: mx.array, norms: HeadNorms, turn: Turn) -> tuple[mx.array, mx.array]:
        """Heads `(B, H + 2 G, L, E)` -> queries `(B, H, L, E)`, keys and values `(B, 2 G, L, E)`, normed and turned."""
        ...

    def attention(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None) -> mx.array:
        """Grouped attention, scaled by the head size; `mask` is additive, `(B or 1, 1, L, K)`, or absent."""
        ...

    def gated(self, gate_up: mx.array) -> mx.array:
        """`silu(gate) * up` of the two halves of the last axis."""
        ...


def gated(gate: mx.array, up: mx.array) -> mx.array:
    return gate * mx.sigmoid(gate) * up


def turned(
    normed: Sequence[mx.array], weights: Sequence[mx.array], turn: Sequence[mx.array], kept: Sequence[mx.array]
) -> mx.array:
    """Heads as halves `(B, H + 2 G, L, 2, E/2)`, and with the halves swapped -> rotated, values kept: one step."""
    return normed[0] * weights[0] * turn[0] + normed[1] * weights[1] * turn[1] + kept[0] * kept[1]


def angles_at(first: mx.array | int, length: int, *, head_size: int, theta: float) -> mx.array:
    """`(B or 1, 1, L, E/2)`"""
    half = head_size // 2
    frequencies = theta ** (-mx.arange(half, dtype=mx.float32) / half)
    starts = mx.array([first]) if isinstance(first, int) else first
    steps = starts.astype(mx.float32)[:, None] + mx.arange(length, dtype=mx.float32)  # (B, L)
    return (steps[..., None] * frequencies)[:, None]


class PlainKernels:
    """Few small steps each, for the CPU backend."""

    fused = False

    def rms_norm(self, x: mx.array, weight: mx.array, eps: float) -> mx.array:
        return x * mx.rsqrt(mx.mean(mx.square(x), axis=-1, keepdims=True) + eps) * weight

    def rotation(self, first: mx.array | int, length: int, *, head_size: int, theta: float) -> Turn:
        angles = angles_at(first, length, head_size=head_size, theta=theta)
        cosines = mx.concatenate([mx.cos(angles)] * 2, axis=-1)
        return [cosines, mx.concatenate([-mx.sin(angles), mx.sin(angles)], axis=-1)]

    def rotate(self, joint: mx.array, norms: HeadNorms, turn: Turn) -> tuple[mx.array, mx.array]:
        both, half = norms.heads + norms.groups, joint.shape[-1] // 2
        x = self.rms_norm(joint[:, :both], norms.unit, norms.eps) * norms.weights[:both]
        swapped = mx.concatenate([x[..., half:], x[..., :half]], axis=-1)
        rotated = (x * turn[0] + swapped * turn[1]).astype(x.dtype)
        return rotated[:, : norms.heads], mx.concatenate([rotated[:, norms.heads :], joint[:, both:]], axis=1)

    def attention(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None) -> mx.array:
        batch, heads, length, head_size = queries.shape
        groups = keys.shape[1]
        # One product a key/value head: its query heads are further rows of the same matrix.
        rows = (queries * head_size**-0.5).reshape(batch, groups, -1, head_size)  # (B, G, H/G * L, E)
        scores = rows @ keys.swapaxes(-1, -2)  # (B, G, H/G * L, K)
        if mask is not None:
            scores = (scores.reshape(batch, heads, length, -1) + mask).reshape(scores.shape)
        mixed = mx.softmax(scores, axis=-1) @ values
        return mixed.reshape(batch, heads, length, head_size)

    def gated(self, gate_up: mx.array) -> mx.array:
        return gated(*mx.split(gate_up, 2, axis=-1))


class FastKernels(PlainKernels):
    """One launch each, by `mx.fast` and, where `fused`, by `mx.compile`, which on Linux CPUs needs a C++ compiler."""

    def __init__(self, *, fused: bool) -> None:
        self.fused = fused
        self._gated: Callable[..., mx.array] = mx.compile(gated) if fused else gated
        self._turned: Callable[..., mx.array] = mx.compile(turned) if fused else turned

    def rms_norm(self, x: mx.array, weight: mx.array, eps: float) -> mx.array:
        return mx.fast.rms_norm(x, weight, eps)

    def rotation(self, first: mx.array | int, length: int, *, head_size: int, theta: float) -> Turn:
        if not self.fused:
            return super().rotation(first, length, head_size=head_size, theta=theta)
        angles = angles_at(first, length, head_size=head_size, theta=theta)[..., None, :]  # (B, 1, L, 1, E/2)
        sines = mx.sin(angles)
        turn = [mx.cos(angles), mx.concatenate([-sines, sines], axis=-2)]
        if isinstance(first, int):
            mx.eval(turn)  # made once for all frames, and not to be computed anew by a compiled function
        return turn

    def rotate(self, joint: mx.array, norms: HeadNorms, turn: Turn) -> tuple[mx.array, mx.array]:
        if not self.fused:
            return super().rotate(joint, norms, turn)
        normed = mx.fast.rms_norm(joint, norms.unit, norms.eps).reshape(*joint.shape[:-1], 2, joint.shape[-1] // 2)
        whole = self._turned(
            [normed, normed[..., ::-1, :]], norms.halves, turn, [joint.reshape(normed.shape), norms.is_value]
        )
        queries, keys_values = mx.split(whole.reshape(joint.shape).astype(joint.dtype), [norms.heads], axis=1)
        return queries, keys_values

    def attention(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None) -> mx.array:
        scale = queries.shape[-1] ** -0.5
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)

    def gated(self, gate_up: mx.array) -> mx.array:
        return self._gated(*mx.split(gate_up, 2, axis=-1))
