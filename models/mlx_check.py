"""Small computations on MLX beside the same on NumPy → whether this machine computes right.

`python -m models.mlx_check` prints the answer as one JSON object; it runs in a process of its own, since a faulty
driver may end it.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

TOLERANCE = 2e-3  # relative to the largest value; float32 products of these sizes differ by about 1e-6


def check_mlx() -> dict[str, Any]:
    """`{"ok", "worst", "parts": {name: relative error}, …}` with the facts of the backend. Imports mlx."""
    from models import backend

    backend.prepare()
    import mlx.core as mx

    random = np.random.default_rng(7)
    a = random.standard_normal((96, 257), dtype=np.float32)
    b = random.standard_normal((257, 130), dtype=np.float32)
    signal = random.standard_normal((1, 64, 8), dtype=np.float32)
    kernel = random.standard_normal((4, 3, 8), dtype=np.float32)
    indexes = random.integers(0, 96, 40)
    softmax = np.exp(a - a.max(-1, keepdims=True))
    pairs = {
        "product": (mx.array(a) @ mx.array(b), a @ b),
        "softmax": (mx.softmax(mx.array(a), axis=-1), softmax / softmax.sum(-1, keepdims=True)),
        "convolution": (mx.conv1d(mx.array(signal), mx.array(kernel)), _convolved(signal, kernel)),
        "gather": (mx.array(a)[mx.array(indexes)], a[indexes]),
        "sine": (mx.sin(mx.array(a) * 20), np.sin(a * 20)),
    }
    parts = {name: _relative_error(np.array(ours), theirs) for name, (ours, theirs) in pairs.items()}
    worst = max(parts.values())
    return {"ok": worst <= TOLERANCE, "worst": worst, "parts": parts, "facts": backend.facts()}


def _convolved(signal: np.ndarray[Any, Any], kernel: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    windows = np.lib.stride_tricks.sliding_window_view(signal, kernel.shape[1], axis=1)  # (B, T, channels, width)
    return np.asarray(np.einsum("btcw,owc->bto", windows, kernel))


def _relative_error(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> float:
    gap = float(np.abs(ours - theirs).max())
    return gap / float(np.abs(theirs).max()) if np.isfinite(gap) else float("inf")


if __name__ == "__main__":
    print(json.dumps(check_mlx()))
