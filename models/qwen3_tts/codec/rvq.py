"""Residual codebooks: codes -> the decoder's input, and the encoder's output -> codes."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from models.qwen3_tts.codec.ops import Array, Ops

SMALLEST_USAGE = 1e-5  # a dead codeword has usage 0; the official code divides by this instead


def codewords(embedding_sum: Array, cluster_usage: Array, *, xp: Any) -> Array:
    """The codebook `(K, D)` that training left as sums and usage counts; `xp` is the module of the arrays."""
    return embedding_sum / xp.maximum(cluster_usage, SMALLEST_USAGE)[:, None]


class CodebookSum(nn.Module):
    """Several codebooks whose codewords add up: codes `(B, T, Q)` -> `(B, T, O)`."""

    def __init__(self, *, codebooks: int, codebook_size: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.table = mx.zeros((codebooks, codebook_size, channels))
        self.output_proj = nn.Linear(channels, out_channels, bias=False)

    def __call__(self, codes: npt.NDArray[np.int32], ops: Ops) -> Array:
        return ops.linear(ops.embed_codes(self.table, codes), self.output_proj.weight)


class SplitCodebookSum(nn.Module):
    """Sum of the first codebook and the others, each with its projection: `(B, T, Q)` -> `(B, T, codebook_dim)`."""

    def __init__(self, *, num_quantizers: int, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        sizes = {"codebook_size": codebook_size, "channels": codebook_dim // 2, "out_channels": codebook_dim}
        self.rvq_first = CodebookSum(codebooks=1, **sizes)
        self.rvq_rest = CodebookSum(codebooks=num_quantizers - 1, **sizes)

    def __call__(self, codes: npt.NDArray[np.int32], ops: Ops) -> Array:
        return self.rvq_first(codes[..., :1], ops) + self.rvq_rest(codes[..., 1:], ops)


class ResidualQuantizer:
    """Vectors `(T, D)` -> the codes `(T, Q)` of the nearest codewords, each codebook on the remainder of the last one.

    Computed in float64 by NumPy: nearest codewords can lie within 1e-5 of each other, and a code that depends on
    the backend's rounding would make a cloned voice depend on the machine. The work is tiny.
    """

    def __init__(self, *, codebooks: int) -> None:
        self._input_proj: npt.NDArray[np.float64] | None = None
        self.codebooks = [np.zeros((1, 1), np.float32)] * codebooks  # each (K, C), to be filled before use

    def project_by(self, weight: npt.NDArray[np.float32]) -> None:
        """Multiply vectors first by this weight `(C, D)`; axes of length 1 may follow or come between."""
        self._input_proj = weight.reshape(weight.shape[0], -1).astype(np.float64)

    def __call__(self, vectors: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        left_over = vectors.astype(np.float64)
        if self._input_proj is not None:
            left_over = left_over @ self._input_proj.T
        codes = []
        for stored in self.codebooks:
            book = stored.astype(np.float64)
            # |x - w|^2 without |x|^2, which is the same for every codeword
            distances = np.square(book).sum(axis=1) - 2 * left_over @ book.T
            nearest = distances.argmin(axis=1)
            left_over = left_over - book[nearest]
            codes.append(nearest)
        return np.ascontiguousarray(np.stack(codes, axis=1), np.int32)
