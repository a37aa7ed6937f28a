"""A checkpoint folder → the same checkpoint with the talker's and the code predictor's linears in 8, 6 or 4 bits.

Written as the MLX community's converter writes it: `format: mlx`, `X.weight`, `X.scales`, `X.biases`, and a
`quantization` table in `config.json`. Embeddings, norms, the speaker encoder and the codec keep their numbers.
This module touches the disk: the result appears whole, by one rename.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from models.checkpoint_format.files import INDEX_FILE, MLX_LAYOUT, WEIGHTS_FILE
from models.errors import UnsupportedCheckpoint
from models.qwen3_tts.checkpoint.checkpoint import Checkpoint, read_checkpoint
from models.qwen3_tts.checkpoint.quantized import GROUP_SIZE, is_quantized, quantization_table, quantized_arrays
from registry.durable_files import fsync_file, fsync_folder, write_durably
from registry.errors import Conflict, InvalidInput

BITS = (8, 6, 4)
Progress = Callable[[int, int], None]  # tensors done, tensors in all


def quantize_checkpoint(
    source: Path, target: Path, *, bits: int, group_size: int = GROUP_SIZE, progress: Progress | None = None
) -> Path:
    """Write the quantised copy of `source` into the new folder `target`, and return that.

    The whole result is held in memory until it is written. Raises InvalidInput for other widths, Conflict when
    `target` exists, UnsupportedCheckpoint when `source` is quantised already or has nothing to quantise.
    """
    if bits not in BITS:
        raise InvalidInput(f"A checkpoint can have {', '.join(map(str, BITS))} bits, not {bits}.")
    if target.exists():
        raise Conflict(f"{target} exists already.", hint="Remove it, or choose another name.")
    checkpoint = read_checkpoint(source)
    if checkpoint.config.get("quantization") or checkpoint.config.get("quantization_config"):
        raise UnsupportedCheckpoint(f"{source} is quantised already.", hint="Start from the plain checkpoint.")
    arrays = quantized_tensors(checkpoint, bits=bits, group_size=group_size, progress=progress)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    try:
        shutil.copytree(source, unfinished, ignore=_weights_of(source))
        write_weights(unfinished, arrays)
        table = quantization_table(bits=bits, group_size=group_size)
        config = {**checkpoint.config, "quantization": table, "quantization_config": table}
        write_durably(unfinished / "config.json", json.dumps(config, indent=2, ensure_ascii=False).encode())
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    fsync_folder(target.parent)
    return target


def quantized_tensors(
    checkpoint: Checkpoint, *, bits: int, group_size: int, progress: Progress | None = None
) -> dict[str, mx.array]:
    """All tensors of the result, computed one after the other, each source freed in turn."""
    names = list(checkpoint.tensors)
    arrays: dict[str, mx.array] = {}
    quantized = 0
    for done, name in enumerate(names, start=1):
        value = checkpoint.tensors.take(name)
        if is_quantized(name, value.shape, group_size=group_size):
            quantized += 1
            made = quantized_arrays(name, value, bits=bits, group_size=group_size)
        else:
            transposed = value.ndim == 3 and checkpoint.layout != MLX_LAYOUT
            made = {name: mx.contiguous(value.swapaxes(1, 2)) if transposed else value}
        mx.eval(*made.values())
        arrays |= made
        if progress is not None:
            progress(done, len(names))
    if not quantized:
        raise UnsupportedCheckpoint(
            f"No linear of {checkpoint.folder} can be quantised in groups of {group_size}: its sizes are no multiples."
        )
    return arrays


def write_weights(folder: Path, arrays: dict[str, mx.array]) -> None:
    """Write `model.safetensors` in MLX's layout, and the index that the community's tools look for."""
    path = folder / WEIGHTS_FILE
    mx.save_safetensors(str(path), arrays, metadata={"format": MLX_LAYOUT})
    with path.open("rb") as file:
        fsync_file(file.fileno())
    size_bytes = sum(array.nbytes for array in arrays.values())
    index = {"metadata": {"total_size": size_bytes}, "weight_map": dict.fromkeys(sorted(arrays), WEIGHTS_FILE)}
    write_durably(folder / INDEX_FILE, json.dumps(index, indent=2).encode())


def _weights_of(source: Path) -> Callable[[Any, list[str]], set[str]]:
    """Filter for `copytree` that leaves out the model's own weights, its config, and descriptions of the old files."""

    def ignored(folder: Any, names: list[str]) -> set[str]:
        if Path(folder) != source:
            return set()
        replaced = {"config.json", INDEX_FILE, "manifest.json"}
        return {name for name in names if name.endswith(".safetensors") or name in replaced or name.startswith(".")}

    return ignored
