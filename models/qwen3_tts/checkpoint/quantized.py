"""A plain checkpoint → the same one as if its linears were stored in few bits: quantised by MLX when they are taken."""

from __future__ import annotations

import dataclasses
import re

import mlx.core as mx

from models.qwen3_tts.checkpoint.checkpoint import Checkpoint, Tensors

GROUP_SIZE = 64
# Every weight of the talker and its code predictor that multiplies: not their tables, which are only looked up.
LINEAR = re.compile(r"talker\..*(_proj|_head|lm_head\.\d+|linear_fc\d|small_to_mtp_projection)\.weight")
FLOATS = (mx.float32, mx.bfloat16, mx.float16)


def is_quantized(name: str, shape: tuple[int, ...], *, group_size: int) -> bool:
    """Whether a tensor is a linear of the talker or the code predictor whose inputs fill whole groups."""
    return len(shape) == 2 and LINEAR.fullmatch(name) is not None and shape[1] % group_size == 0


def quantized_arrays(name: str, value: mx.array, *, bits: int, group_size: int) -> dict[str, mx.array]:
    """The three tensors that stand for one weight, lazy, as the MLX community names them."""
    packed, scales, biases = mx.quantize(value, group_size=group_size, bits=bits)
    path = name.removesuffix(".weight")
    return {name: packed, f"{path}.scales": scales, f"{path}.biases": biases}


def quantization_table(*, bits: int, group_size: int) -> dict[str, int | str]:
    """The entry `quantization` of a config."""
    return {"group_size": group_size, "bits": bits, "mode": "affine"}


def quantized_checkpoint(checkpoint: Checkpoint, *, bits: int) -> Checkpoint:
    """The checkpoint with its linears in so many bits; one that states a quantization stays as it is.

    No file is written. The numbers are those that `voicejobs models quantize` writes.
    """
    if checkpoint.config.get("quantization") or checkpoint.config.get("quantization_config"):
        return checkpoint
    arrays: dict[str, mx.array] = {}
    stored = dict(checkpoint.tensors.stored)
    for name, value in checkpoint.tensors.items():
        if value.dtype in FLOATS and is_quantized(name, value.shape, group_size=GROUP_SIZE):
            made = quantized_arrays(name, value, bits=bits, group_size=GROUP_SIZE)
            scales = name.removesuffix("weight") + "scales"
            # NaN would vanish in whole numbers; so it is found as it is in a plain checkpoint.
            made[scales] = mx.where(mx.all(mx.isfinite(value)), made[scales], mx.array(mx.nan, made[scales].dtype))
            arrays |= made
            del stored[name]
        else:
            arrays[name] = value
    table = quantization_table(bits=bits, group_size=GROUP_SIZE)
    config = {**checkpoint.config, "quantization": table}
    tensors = Tensors(arrays, stored)
    return dataclasses.replace(checkpoint, config=config, tensors=tensors, is_quantized_now=True)
