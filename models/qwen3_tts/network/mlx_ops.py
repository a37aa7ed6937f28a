"""The four operations that devices compute best in different ways: RMS norm, rotary embedding, attention and SwiGLU.

`FastOps` launches one kernel each, for Metal and CUDA. On the CPU MLX expands each of those into a dozen small steps,
so `PlainOps` does the same in fewer. Both give the same numbers to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import mlx.core as mx
from mlx import nn


class HeadNorms(nn.Module):
    """RMS norm of every query and key head, laid out for heads in the order of `qkv`: `H`, then `G`, then `G` values.

    Values are not normalised: their weights are zero.
    """

    def __init__(self, head_dim: int, *, heads: int, kv_heads: int, eps: float) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim, self.eps = heads, kv_heads, head_dim, eps

    def lay_out(self, q_norm: mx.array, k_norm: mx.array) -> None:
        """Take the checkpoint's two weights `(E,)`."""
        counts = ((q_norm, self.heads), (k_norm, self.kv_heads), (mx.zeros_like(k_norm), self.kv_heads))
        weights = mx.concatenate([mx.repeat(weight[None, None], count, axis=0) for weight, count in counts])
        is_value = mx.arange(len(weights)) >= self.heads + self.kv_heads
        self.unit = mx.ones(k_norm.shape, dtype=k_norm.dtype)  # (E,)
        self.weight = weights  # (H + 2 G, 1, E)
        self.is_value = is_value.astype(k_norm.dtype)[:, None, None, None]  # (H + 2 G, 1, 1, 1)
        self.rotary_halves = weights.reshape(*weights.shape[:-1], 2, self.head_dim // 2)  # (H + 2 G, 1, 2, E/2)
        self.swapped_halves = mx.contiguous(self.rotary_halves[..., ::-1, :])


RotaryAngles = Sequence[mx.array]  # cosines and sines of given positions, in the layout of one kind of ops


class Ops(Protocol):
    """Operations of a transformer. `(B, H, L, E)` for heads, `(B, L, D)` for hidden states."""

    fused: bool  # whether functions that are called often are worth compiling

    def rms_norm(self, x: mx.array, weight: mx.array, eps: float) -> mx.array: ...

    def rope(self, first: mx.array | int, length: int, *, head_dim: int, theta: float) -> RotaryAngles:
        """Angles of `length` consecutive positions, from `first` on: one number, or one a row `(B,)`."""
        ...

    def apply_rotary(self, qkv: mx.array, norms: HeadNorms, rope: RotaryAngles) -> tuple[mx.array, mx.array]:
        """Heads `(B, H + 2 G, L, E)` -> queries `(B, H, L, E)` and kv `(B, 2 G, L, E)`, normalised and rotated."""
        ...

    def attention(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None) -> mx.array:
        """Grouped attention, scaled by the head size; `mask` is additive, `(B or 1, 1, L, P)`, or absent."""
        ...

    def swiglu(self, gate_up: mx.array) -> mx.array:
        """`silu(gate) * up` of the two halves of the last axis."""
        ...


def swiglu(gate: mx.array, up: mx.array) -> mx.array:
    return gate * mx.sigmoid(gate) * up


def apply_rotary(
    normed: Sequence[mx.array], weights: Sequence[mx.array], rope: RotaryAngles, kept: Sequence[mx.array]
) -> mx.array:
    """Heads as halves `(B, H + 2 G, L, 2, E/2)`, and with halves swapped -> rotated, values kept: one fused step."""
    return normed[0] * weights[0] * rope[0] + normed[1] * weights[1] * rope[1] + kept[0] * kept[1]


def angles_at(first: mx.array | int, length: int, *, head_dim: int, theta: float) -> mx.array:
    """`(B or 1, 1, L, E/2)`"""
    half = head_dim // 2
    frequencies = theta ** (-mx.arange(half, dtype=mx.float32) / half)
    starts = mx.array([first]) if isinstance(first, int) else first
    positions = starts.astype(mx.float32)[:, None] + mx.arange(length, dtype=mx.float32)  # (B, L)
    return (positions[..., None] * frequencies)[:, None]


class PlainOps:
    """Few small steps each, for the CPU."""

    fused = False

    def rms_norm(self, x: mx.array, weight: mx.array, eps: float) -> mx.array:
        return x * mx.rsqrt(mx.mean(mx.square(x), axis=-1, keepdims=True) + eps) * weight

    def rope(self, first: mx.array | int, length: int, *, head_dim: int, theta: float) -> RotaryAngles:
        angles = angles_at(first, length, head_dim=head_dim, theta=theta)
        cosines = mx.concatenate([mx.cos(angles)] * 2, axis=-1)
        return [cosines, mx.concatenate([-mx.sin(angles), mx.sin(angles)], axis=-1)]

    def apply_rotary(self, qkv: mx.array, norms: HeadNorms, rope: RotaryAngles) -> tuple[mx.array, mx.array]:
        rotated_heads, half = norms.heads + norms.kv_heads, norms.head_dim // 2
        x = self.rms_norm(qkv[:, :rotated_heads], norms.unit, norms.eps) * norms.weight[:rotated_heads]
        swapped = mx.concatenate([x[..., half:], x[..., :half]], axis=-1)
        rotated = (x * rope[0] + swapped * rope[1]).astype(x.dtype)
        kv = mx.concatenate([rotated[:, norms.heads :], qkv[:, rotated_heads:]], axis=1)
        return rotated[:, : norms.heads], kv

    def attention(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None) -> mx.array:
        batch, heads, length, head_dim = queries.shape
        # One product a key/value head: its query heads are further rows of the same matrix.
        grouped_q = (queries * head_dim**-0.5).reshape(batch, keys.shape[1], -1, head_dim)  # (B, G, H/G * L, E)
        scores = grouped_q @ keys.swapaxes(-1, -2)  # (B, G, H/G * L, P)
        if mask is not None:
            scores = (scores.reshape(batch, heads, length, -1) + mask).reshape(scores.shape)
        context = mx.softmax(scores, axis=-1) @ values
        return context.reshape(queries.shape)

    def swiglu(self, gate_up: mx.array) -> mx.array:
        return swiglu(*mx.split(gate_up, 2, axis=-1))


class FastOps(PlainOps):
    """One launch each, by `mx.fast` and, where `fused`, by `mx.compile`, which on Linux CPUs needs a C++ compiler."""

    def __init__(self, *, fused: bool) -> None:
        self.fused = fused
        self._swiglu: Callable[..., mx.array] = mx.compile(swiglu) if fused else swiglu
        self._apply_rotary: Callable[..., mx.array] = mx.compile(apply_rotary) if fused else apply_rotary

    def rms_norm(self, x: mx.array, weight: mx.array, eps: float) -> mx.array:
        return mx.fast.rms_norm(x, weight, eps)

    def rope(self, first: mx.array | int, length: int, *, head_dim: int, theta: float) -> RotaryAngles:
        if not self.fused:
            return super().rope(first, length, head_dim=head_dim, theta=theta)
        angles = angles_at(first, length, head_dim=head_dim, theta=theta)[..., None, :]  # (B, 1, L, 1, E/2)
        sines = mx.sin(angles)
        rope = [mx.cos(angles), mx.concatenate([-sines, sines], axis=-2)]
        if isinstance(first, int):
            mx.eval(rope)  # constants: a compiled function would compute them again in every frame
        return rope

    def apply_rotary(self, qkv: mx.array, norms: HeadNorms, rope: RotaryAngles) -> tuple[mx.array, mx.array]:
        if not self.fused:
            return super().apply_rotary(qkv, norms, rope)
        normed = mx.fast.rms_norm(qkv, norms.unit, norms.eps).reshape(*qkv.shape[:-1], 2, qkv.shape[-1] // 2)
        rotated = self._apply_rotary(
            [normed, normed[..., ::-1, :]],
            [norms.rotary_halves, norms.swapped_halves],
            rope,
            [qkv.reshape(normed.shape), norms.is_value],
        )
        queries, kv = mx.split(rotated.reshape(qkv.shape).astype(qkv.dtype), [norms.heads], axis=1)
        return queries, kv

    def attention(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None) -> mx.array:
        scale = queries.shape[-1] ** -0.5
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)

    def swiglu(self, gate_up: mx.array) -> mx.array:
        return self._swiglu(*mx.split(gate_up, 2, axis=-1))


def length_mask(at: mx.array, length: int, *, dtype: mx.Dtype) -> mx.array:
    """Additive `(B, 1, 1, length)`: a row at position `at` `(B,)` sees the positions before it, and its own."""
    return mx.where(mx.arange(length, dtype=mx.uint32) <= at[:, None], 0.0, -mx.inf).astype(dtype)[:, None, None]


def causal_mask(length: int, *, start: int, dtype: mx.Dtype) -> mx.array:
    """Additive `(1, 1, L, start + L)`: a position sees those before it, and itself."""
    visible = mx.arange(start + length) <= mx.arange(start, start + length)[:, None]
    return mx.where(visible, 0.0, -mx.inf).astype(dtype)[None, None]
