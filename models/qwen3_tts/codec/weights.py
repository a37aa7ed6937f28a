"""Tensors of a codec or speaker encoder file -> a loaded network: strictly, one tensor at a time.

A `Recipe` for each of our parameters says which stored tensors it is made from, of which shapes, and how. The layout
follows from the parameter and the file's metadata, and is never guessed from a shape.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn
from mlx.utils import tree_flatten

from models.checkpoint_format.codec_config import CodecConfig
from models.checkpoint_format.finite import NOT_FINITE_HINT, not_finite
from models.checkpoint_format.fit import LoadErrors, Shape
from models.checkpoint_format.tensor_plan import ACOUSTIC, SEMANTIC, codebooks_plan
from models.errors import UnsupportedCheckpoint
from models.qwen3_tts.checkpoint.checkpoint import Checkpoint
from models.qwen3_tts.checkpoint.tensor_file import DeferredReads, StoredTensor
from models.qwen3_tts.codec.causal_conv import transposed_conv_layout
from models.qwen3_tts.codec.rvq import ResidualQuantizer, codewords

FLOAT_BYTES = 4
BLOCK_OUTPUTS, BLOCK_CHANNELS = 8, 128  # of a convolution that is put in order
CODEBOOK_TABLE = re.compile(r"quantizer\.(rvq_\w+)\.table")
NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Stored tensors of one parameter, and the function that makes it from them."""

    stored: tuple[tuple[str, Shape], ...]  # names without the part's prefix, and the shapes they must have
    make: Callable[..., Any]  # of arrays of MLX or NumPy, whose module comes first


def recipe(name: str, shape: Shape, *, mlx_layout: bool) -> Recipe:
    """The recipe of the parameter `name`. `mlx_layout`: the file has convolutions as (out, kernel, in)."""
    if table := CODEBOOK_TABLE.fullmatch(name):
        return codebook_recipe(f"quantizer.{table.group(1)}.vq.layers", shape)
    if name.endswith(".frequency"):
        return Recipe(stored=((name.removesuffix("frequency") + "alpha", shape),), make=lambda xp, alpha: xp.exp(alpha))
    if name.endswith(".strength"):
        return Recipe(
            stored=((name.removesuffix("strength") + "beta", shape),), make=lambda xp, beta: 1.0 / (xp.exp(beta) + 1e-9)
        )
    if ".transposed." in name:
        return transposed_conv_recipe(name.replace(".transposed.", ".conv."), shape, mlx_layout=mlx_layout)
    if len(shape) == 3:
        out_channels, kernel, channels = shape
        if mlx_layout:
            return Recipe(stored=((name, shape),), make=lambda _, value: value)
        return Recipe(stored=((name, (out_channels, channels, kernel)),), make=lambda _, value: value.swapaxes(1, 2))
    if "quantizer" in name:  # a linear layer stored as a convolution of width 1
        out_channels, channels = shape
        stored_shape = (out_channels, 1, channels) if mlx_layout else (out_channels, channels, 1)
        return Recipe(stored=((name, stored_shape),), make=lambda _, value: value.reshape(shape))
    return Recipe(stored=((name, shape),), make=lambda _, value: value)


def codebook_recipe(prefix: str, shape: Shape) -> Recipe:
    """`(Q, K, D)`, from the sums and the usage counts of Q codebooks."""
    codebooks, codebook_size, channels = shape
    names = [f"{prefix}.{index}._codebook" for index in range(codebooks)]
    sums = tuple((f"{name}.embedding_sum", (codebook_size, channels)) for name in names)
    counts = tuple((f"{name}.cluster_usage", (codebook_size,)) for name in names)

    def stack(xp: Any, *parts: Any) -> Any:
        pairs = zip(parts[:codebooks], parts[codebooks:], strict=True)
        return xp.stack([codewords(*pair, xp=xp) for pair in pairs])

    return Recipe(stored=sums + counts, make=stack)


def transposed_conv_recipe(name: str, shape: Shape, *, mlx_layout: bool) -> Recipe:
    """Weight `(stride, O, taps, C)` or bias `(stride, O)`, from a transposed convolution."""
    stride, out_channels, *others = shape
    if not others:
        return Recipe(stored=((name, (out_channels,)),), make=lambda xp, value: xp.broadcast_to(value, shape))
    taps, channels = others
    kernel = taps * stride
    if mlx_layout:  # (out, kernel, in), where PyTorch has (in, out, kernel)
        return Recipe(
            stored=((name, (out_channels, kernel, channels)),),
            make=lambda _, value: transposed_conv_layout(value.transpose(2, 0, 1), stride=stride),
        )
    return Recipe(
        stored=((name, (channels, out_channels, kernel)),),
        make=lambda _, value: transposed_conv_layout(value, stride=stride),
    )


def load_network(
    network: nn.Module,
    checkpoint: Checkpoint,
    *,
    prefix: str,
    what: str,
    by_numpy: bool,
    reads: DeferredReads,
    errors: LoadErrors,
    unread: re.Pattern[str] = NOTHING,
) -> None:
    """Fill `network` from the tensors whose names begin with `prefix`, each read, made and freed before the next.

    MLX reads them at once, NumPy with `reads`. Tensors that do not fit are noted in `errors`, and then none is read.
    """
    stored = checkpoint.tensors
    parameters: Any = tree_flatten(network.parameters())
    shapes = {name: tuple(value.shape) for name, value in parameters}
    recipes = {name: recipe(name, shape, mlx_layout=checkpoint.has_mlx_layout) for name, shape in shapes.items()}
    expected = {prefix + part: shape for one in recipes.values() for part, shape in one.stored}
    present = {name for name in stored if name.startswith(prefix) and not unread.fullmatch(name)}
    if errors.compare(what, expected, {name: tuple(stored[name].shape) for name in present}):
        return
    places_of = {
        name: [stored.stored[prefix + part].readable() for part, _ in one.stored] for name, one in recipes.items()
    }
    if by_numpy:
        for name, one in recipes.items():
            fill = functools.partial(_fill_by_numpy, network, name, one.make, places_of[name])
            reads.add(fill, nbytes=FLOAT_BYTES * math.prod(shapes[name]))
        return
    made = []
    for name, one in recipes.items():
        parts = [stored[prefix + part].astype(mx.float32) for part, _ in one.stored]
        value = mx.contiguous(one.make(mx, *parts))
        mx.eval(value)
        if not all(mx.all(mx.isfinite(part)).item() for part in parts):
            raise UnsupportedCheckpoint(
                f"{checkpoint.folder} {not_finite([prefix + part for part, _ in one.stored])}.", hint=NOT_FINITE_HINT
            )
        made.append((name, value))
    network.load_weights(made, strict=True)
    network.freeze()


def _fill_by_numpy(network: Any, name: str, make: Callable[..., Any], places: Sequence[StoredTensor]) -> None:
    """Read and make one parameter, and put it into the network."""
    *path, own = name.split(".")
    holder = network
    for part in path:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    holder[own] = laid_out(make(np, *(place.floats() for place in places)))


def laid_out(value: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The array in one piece of memory, copied by blocks: without them NumPy takes up to six times as long."""
    if value.flags.c_contiguous:
        return value
    if value.ndim < 3:
        return np.ascontiguousarray(value)
    result = np.empty(value.shape, np.float32)
    for first in range(0, value.shape[-3], BLOCK_OUTPUTS):
        for channel in range(0, value.shape[-1], BLOCK_CHANNELS):
            block = np.s_[..., first : first + BLOCK_OUTPUTS, :, channel : channel + BLOCK_CHANNELS]
            result[block] = value[block]
    return result


def load_quantizers(
    config: CodecConfig,
    checkpoint: Checkpoint,
    *,
    what: str,
    reads: DeferredReads,
    errors: LoadErrors,
) -> tuple[ResidualQuantizer, ...]:
    """The encoder's semantic and acoustic quantizers, which together give the codes of a frame.

    They are filled with `reads`. Tensors that do not fit are noted in `errors`, and then there are no quantizers.
    """
    stored = checkpoint.tensors
    codebooks = config.encoder_valid_num_quantizers
    semantic = min(config.encoder_config.num_semantic_quantizers, codebooks)
    counts = {SEMANTIC: semantic, ACOUSTIC: codebooks - semantic}
    prefixes = {group: f"encoder.quantizer.{group}" for group in counts}
    plan = codebooks_plan(config)
    expected = {name: one.mlx_shape if checkpoint.has_mlx_layout else one.shape for name, one in plan.items()}
    present = {name: tuple(stored[name].shape) for name in expected.keys() & stored.keys()}
    if errors.compare(what, expected, present):
        return ()
    used = [(prefixes[group], count) for group, count in counts.items() if count]
    return tuple(_quantizer(prefix, stored.stored, count=count, reads=reads) for prefix, count in used)


def _quantizer(
    prefix: str, stored: Mapping[str, StoredTensor], *, count: int, reads: DeferredReads
) -> ResidualQuantizer:
    projection = stored.get(f"{prefix}.input_proj.weight")
    quantizer = ResidualQuantizer(codebooks=count)
    if projection is not None:
        reads.add(lambda: quantizer.project_by(projection.floats()), nbytes=projection.nbytes)
    for index in range(count):
        name = f"{prefix}.layers.{index}.codebook"
        sums, usage = (stored[f"{name}.{part}"].readable() for part in ("embed_sum", "cluster_usage"))
        reads.add(functools.partial(_fill_codebook, quantizer, index, sums, usage), nbytes=sums.nbytes)
    return quantizer


def _fill_codebook(quantizer: ResidualQuantizer, index: int, sums: StoredTensor, usage: StoredTensor) -> None:
    quantizer.codebooks[index] = codewords(sums.floats(), usage.floats(), xp=np)
