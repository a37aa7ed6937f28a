"""Residual codebooks: codes -> the decoder's input, and the encoder's output -> codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from models.qwen3_tts.codec_kernels import Array, Kernels

SMALLEST_USAGE = 1e-5  # a dead codeword has usage 0; the official code divides by this instead


def codewords(embedding_sum: mx.array, cluster_usage: mx.array) -> mx.array:
    """The codebook `(K, D)` that training left as sums and usage counts."""
    return embedding_sum / mx.maximum(cluster_usage, SMALLEST_USAGE)[:, None]


class CodebookSum(nn.Module):
    """Several codebooks whose codewords add up: codes `(B, T, Q)` -> `(B, T, O)`."""

    def __init__(self, *, codebooks: int, codebook_size: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.table = mx.zeros((codebooks, codebook_size, channels))
        self.output_proj = nn.Linear(channels, out_channels, bias=False)

    def __call__(self, codes: npt.NDArray[np.int32], kernels: Kernels) -> Array:
        return kernels.linear(kernels.words(self.table, codes), self.output_proj.weight)


class SplitCodebookSum(nn.Module):
    """The first codebook and the others have projections of their own. Codes `(B, T, Q)` -> `(B, T, codebook_dim)`."""

    def __init__(self, *, num_quantizers: int, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        sizes = {"codebook_size": codebook_size, "channels": codebook_dim // 2, "out_channels": codebook_dim}
        self.rvq_first = CodebookSum(codebooks=1, **sizes)
        self.rvq_rest = CodebookSum(codebooks=num_quantizers - 1, **sizes)

    def __call__(self, codes: npt.NDArray[np.int32], kernels: Kernels) -> Array:
        return self.rvq_first(codes[..., :1], kernels) + self.rvq_rest(codes[..., 1:], kernels)


class ResidualQuantizer:
    """Vectors `(T, D)` -> the codes `(T, Q)` of the nearest codewords, each codebook on what the last one left over.

    Computed in float64 on the host: nearest codewords can lie within 1e-5 of each other, and a code that depends on
    the backend's rounding would make a cloned voice depend on the machine. The work is tiny.
    """

    def __init__(self, *, input_proj: mx.array | None, codebooks: Sequence[mx.array]) -> None:
        self._input_proj = None if input_proj is None else _float64(input_proj)  # (C, D)
        self._codebooks = [np.array(book.astype(mx.float32)) for book in codebooks]  # Q times (K, C)

    def __call__(self, vectors: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        left_over = vectors.astype(np.float64)
        if self._input_proj is not None:
            left_over = left_over @ self._input_proj.T
        codes = []
        for stored in self._codebooks:
            book = stored.astype(np.float64)
            # |x - w|^2 without |x|^2, which is the same for every codeword
            distances = np.square(book).sum(axis=1) - 2 * left_over @ book.T
            nearest = distances.argmin(axis=1)
            left_over = left_over - book[nearest]
            codes.append(nearest)
        return np.ascontiguousarray(np.stack(codes, axis=1), np.int32)


def _float64(value: mx.array) -> npt.NDArray[np.float64]:
    return np.asarray(value.astype(mx.float32)).astype(np.float64)
