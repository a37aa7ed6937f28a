"""The four operations that backends compute best in different ways: norm, rotation, attention and gated activation.

`FastKernels` launches one kernel each, for Metal and CUDA. On the CPU backend MLX expands each of those into a
dozen small steps, so `PlainKernels` says the same with fewer. Both give the same numbers to rounding.
"""

from __future__ import annotations

from typing import Protocol

import mlx.core as mx


class Rotation(Protocol):
    """Rotary position embedding at fixed positions, made once a frame and used by every layer."""

    def __call__(self, x: mx.array) -> mx.array: ...


class Kernels(Protocol):
    """What a network needs of its backend. `(B, H, L, E)` for heads, `(B, L, D)` for hidden states."""

    def rms_norm(self, x: mx.array, weight: mx.array, eps: float) -> mx.array: ...

    def rotation(self, first: mx.array | int, length: int, *, head_size: int, theta: float) -> Rotation:
        """For `length` consecutive positions, from `first` on: one number, or one a row `(B,)`."""
        ...

    def attention(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None) -> mx.array:
        """Grouped attention, scaled by the head size; `mask` is additive, `(B or 1, 1, L, K)`, or absent."""
        ...

    def gated(self, gate_up: mx.array) -> mx.array:
        """`silu(gate) * up` of the two halves of the last axis."""
        ...


class FastKernels:
    """One launch each, by `mx.fast`."""

    def rms_norm(self, x: mx.array, weight: mx.array, eps: float) -> mx.array:
        return mx.fast.rms_norm(x, weight, eps)

    def rotation(self, first: mx.array | int, length: int, *, head_size: int, theta: float) -> Rotation:  # noqa: ARG002
        def rotate(x: mx.array) -> mx.array:
            return mx.fast.rope(x, head_size, traditional=False, base=theta, scale=1.0, offset=first)

        return rotate

    def attention(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None) -> mx.array:
        scale = queries.shape[-1] ** -0.5
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)

    def gated(self, gate_up: mx.array) -> mx.array:
        gate, up = mx.split(gate_up, 2, axis=-1)
        return gate * mx.sigmoid(gate) * up


class PlainKernels:
    """Few small steps each, for the CPU backend."""

    def rms_norm(self, x: mx.array, weight: mx.array, eps: float) -> mx.array:
        return x * mx.rsqrt(mx.mean(mx.square(x), axis=-1, keepdims=True) + eps) * weight

    def rotation(self, first: mx.array | int, length: int, *, head_size: int, theta: float) -> Rotation:
        half = head_size // 2
        frequencies = theta ** (-mx.arange(half, dtype=mx.float32) / half)
        starts = mx.array([first]) if isinstance(first, int) else first
        steps = starts[:, None] + mx.arange(length)  # (B, L)
        angles = (steps[..., None] * frequencies)[:, None]  # (B, 1, L, E/2)
        cosines = mx.concatenate([mx.cos(angles)] * 2, axis=-1)
        sines = mx.concatenate([-mx.sin(angles), mx.sin(angles)], axis=-1)

        def rotate(x: mx.array) -> mx.array:
            swapped = mx.concatenate([x[..., half:], x[..., :half]], axis=-1)
            return (x * cosines + swapped * sines).astype(x.dtype)

        return rotate

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
        gate, up = mx.split(gate_up, 2, axis=-1)
        return gate * mx.sigmoid(gate) * up
