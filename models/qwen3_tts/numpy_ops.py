"""Arrays of float32 → arrays of float32: a transformer's operations by NumPy, for network and codec on CPUs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def rms_norm(x: Floats, *, eps: float) -> Floats:
    """Over the last axis, without a weight."""
    mean = np.einsum("...i,...i->...", x, x)[..., None] * np.float32(1 / x.shape[-1])
    normed: Floats = x * (np.float32(1) / np.sqrt(mean + np.float32(eps)))
    return normed


def swiglu(gate_up: Floats) -> Floats:
    """`silu(gate) * up` of the two halves of the last axis: `(N, 2 I)` -> `(N, I)`."""
    gate, up = np.split(gate_up, 2, axis=-1)
    result: Floats = gate * up
    result /= 1 + np.exp(-gate)
    return result


def softmax(scores: Floats, *, axis: int = -1) -> Floats:
    """In place."""
    scores -= scores.max(axis=axis, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=axis, keepdims=True)
    return scores


def grouped_attention(
    queries: Floats, keys: Floats, values: Floats, visible: npt.NDArray[np.bool_] | None = None
) -> Floats:
    """Attention of scaled queries `(B, H, L, E)` to keys and values `(B, G, P, E)`, G dividing H.

    `visible` `(L, P)`, or with axes of 1 or B and H before, is false where a position is hidden from a query.
    """
    batch, kv_heads = keys.shape[:2]
    # One product a key/value head: its query heads are further rows of the same matrix.
    grouped_q = queries.reshape(batch, kv_heads, -1, queries.shape[-1])  # (B, G, H/G * L, E)
    scores = grouped_q @ keys.swapaxes(-1, -2)  # (B, G, H/G * L, P)
    if visible is not None:
        scores_of_heads = scores.reshape(*queries.shape[:-1], -1)  # (B, H, L, P), a view
        np.copyto(scores_of_heads, np.float32(-np.inf), where=~visible)
    context: Floats = (softmax(scores) @ values).reshape(queries.shape)
    return context


class RotaryEmbedding:
    """Cosines and signed sines of every position, made once."""

    def __init__(self, *, head_dim: int, theta: float) -> None:
        self._frequencies = np.float32(theta) ** (-np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim))
        self._make(512)

    def _make(self, count: int) -> None:
        angles = np.arange(count, dtype=np.float32)[:, None] * self._frequencies  # (P, E/2)
        self._cosines = np.concatenate([np.cos(angles)] * 2, axis=-1)  # (P, E)
        self._sines = np.concatenate([-np.sin(angles), np.sin(angles)], axis=-1)

    def at(self, positions: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Cosines and signed sines `(..., E)` of these positions `(...)`."""
        if positions.max() >= len(self._cosines):
            self._make(2 * int(positions.max() + 1))
        return self._cosines[positions], self._sines[positions]


def apply_rotary(x: Floats, rope: tuple[Floats, Floats]) -> Floats:
    """Heads `(..., E)`, each dimension of the first half paired with one of the second, rotated by the angles."""
    cosines, sines = rope
    half = x.shape[-1] // 2
    swapped = np.concatenate([x[..., half:], x[..., :half]], axis=-1)
    swapped *= sines
    x = x * cosines
    x += swapped
    return x
