"""A weight of 8, 6 or 4 bits as MLX packs it → the same bits in the order in which CPU kernels read them.

MLX packs a row's numbers one after the other, as a stream of bits, with a scale and a bias for each group of inputs:
the weight is `scale * number + bias`. Here outputs come in tiles of eight and inputs in blocks of 256, so that a kernel
reads one stream of memory. A block is 16 lanes of 16 neighbouring inputs each: the first words of all lanes, then the
second words, and so on. Missing outputs and inputs are zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.checkpoint_format.fit import BITS_PER_WORD, Quantization
from models.qwen3_tts.checkpoint.tensor_file import BFLOAT16, as_floats

LANES = 16  # of a vector
INPUTS_PER_LANE = 16  # 2, 3 or 4 words
BLOCK = LANES * INPUTS_PER_LANE  # inputs
TILE = 8  # outputs
PACKED_BITS = (4, 6, 8)
PACKED_GROUPS = (32, 64, 128)

Words = npt.NDArray[np.uint32]
Factors = npt.NDArray[Any]  # bfloat16 as whole numbers, or float32


def can_pack(quantization: Quantization) -> bool:
    """Whether the kernels know this packing."""
    return quantization.bits in PACKED_BITS and quantization.group_size in PACKED_GROUPS


@dataclass(frozen=True, kw_only=True)
class PackedWeight:
    """One weight `(O, I)`, or several over the same input as one."""

    shape: tuple[int, int]
    quantization: Quantization
    words: Words  # (tiles, blocks, TILE, words of a lane, LANES)
    factors: Factors  # (tiles, blocks, TILE, 2, groups of a block): scales, then biases

    @classmethod
    def empty(cls, shape: tuple[int, int], quantization: Quantization, *, in_bfloat16: bool) -> PackedWeight:
        """Room for a weight, which `fill` fills."""
        tiles, blocks = -(-shape[0] // TILE), -(-shape[1] // BLOCK)
        words = INPUTS_PER_LANE * quantization.bits // BITS_PER_WORD
        groups = BLOCK // quantization.group_size
        return cls(
            shape=shape,
            quantization=quantization,
            words=np.empty((tiles, blocks, TILE, words, LANES), np.uint32),
            factors=np.empty((tiles, blocks, TILE, 2, groups), np.uint16 if in_bfloat16 else np.float32),
        )

    @property
    def nbytes(self) -> int:
        return self.words.nbytes + self.factors.nbytes

    def fill(self, words: Words, scales: Factors, biases: Factors) -> None:
        """Take MLX's arrays: words `(O, I * bits / 32)`, scales and biases `(O, I / group)`."""
        tiles, blocks = self.words.shape[:2]
        of_lanes = _padded(words, tiles, blocks * LANES * self.words.shape[3])
        self.words[:] = of_lanes.reshape(tiles, TILE, blocks, LANES, -1).transpose(0, 2, 1, 4, 3)
        for place, own in enumerate((scales, biases)):
            of_blocks = _padded(own, tiles, blocks * self.factors.shape[4])
            self.factors[:, :, :, place] = of_blocks.reshape(tiles, TILE, blocks, -1).swapaxes(1, 2)

    def floats(self) -> npt.NDArray[np.float32]:
        """The whole weight `(O, I)`, unpacked: the plain formulation of what the kernels compute with."""
        bits = self.quantization.bits
        lanes = np.ascontiguousarray(self.words.swapaxes(3, 4))  # (tiles, blocks, TILE, LANES, words)
        stream = np.unpackbits(lanes.view(np.uint8), axis=-1, bitorder="little")
        digits = stream.reshape(*lanes.shape[:3], BLOCK, bits)
        numbers = digits @ np.exp2(np.arange(bits, dtype=np.float32))
        factors = as_floats(self.factors, dtype=BFLOAT16) if self.factors.dtype == np.uint16 else self.factors
        each = np.repeat(factors, self.quantization.group_size, axis=-1)  # (tiles, blocks, TILE, 2, BLOCK)
        tiled = numbers * each[:, :, :, 0] + each[:, :, :, 1]
        rows = tiled.swapaxes(1, 2).reshape(self.words.shape[0] * TILE, -1)
        return np.ascontiguousarray(rows[: self.shape[0], : self.shape[1]])


def _padded(rows: npt.NDArray[Any], tiles: int, columns: int) -> npt.NDArray[Any]:
    """`(O, N)` with zeros up to whole tiles and so many columns."""
    shape = (tiles * TILE, columns)
    if rows.shape == shape:
        return rows
    padded = np.zeros(shape, rows.dtype)
    padded[: rows.shape[0], : rows.shape[1]] = rows
    return padded
