"""A plan of tensors and a seed → random weights in the official layout, for self-tests, benchmarks and tests.

Numbers come from a counter-based generator keyed by the seed and the tensor's name, so that equal seeds give equal
files on every machine.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.checkpoint_format.tensor_plan import Drawn, Plan

DEAD_CODEWORDS = 16  # every 16th codeword was never used in training, as in real codebooks
DEAD_USAGE = 1e-5


def draw(name: str, drawn: Drawn, *, seed: int) -> npt.NDArray[np.float32]:
    """The tensor `name`; equal seeds and names give equal numbers on every machine."""
    size = math.prod(drawn.shape)
    bits = np.random.Philox(key=[seed, zlib.crc32(name.encode())]).random_raw((size + 1) // 2)
    uniform = (bits.view(np.uint32)[:size] >> np.uint32(8)).astype(np.float32)  # 24 bits: every float is exact
    uniform *= np.float32(2 * math.sqrt(3) * drawn.spread / (1 << 24))
    uniform += np.float32(drawn.mean - math.sqrt(3) * drawn.spread)
    shaped: npt.NDArray[np.float32] = uniform.reshape(drawn.shape)
    return shaped


def drawn_tensors(plan: Plan, *, seed: int) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Every tensor of a plan, one at a time. A codebook's sums are its codewords times their usage."""
    for name, drawn in plan.items():
        value = draw(name, drawn, seed=seed)
        if name.endswith(".cluster_usage"):
            value[::DEAD_CODEWORDS] = 0
        elif name.endswith((".embedding_sum", ".embed_sum")):
            usage_name = name.rpartition(".")[0] + ".cluster_usage"
            usage = draw(usage_name, plan[usage_name], seed=seed)
            usage[::DEAD_CODEWORDS] = DEAD_USAGE
            value *= usage[:, None]
        yield name, value


def write_tensors(path: Path, plan: Plan, *, seed: int, dtype: mx.Dtype, names: Sequence[str] | None = None) -> None:
    """Draw a plan (or the named part of it) into one safetensors file of the official layout."""
    part = plan if names is None else {name: plan[name] for name in names}
    usages = {name: plan[name] for name in plan if name.endswith(".cluster_usage")}
    arrays = {}
    for name, value in drawn_tensors(part | usages, seed=seed):
        if name in part:
            arrays[name] = mx.array(value).astype(dtype)
            mx.eval(arrays[name])  # otherwise its float32 is kept until the file is written
    mx.save_safetensors(str(path), arrays, metadata={"format": "pt"})
