"""A checkpoint's folder → what its files say of themselves: JSON objects, headers of weights, and which weights count.

This module reads files; a tensor's numbers are never read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import UnsupportedCheckpoint
from registry.durable_files import open_regular, read_regular

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PYTORCH_LAYOUT = "pt"  # convolution weights (out, in, kernel), as the official files are
MLX_LAYOUT = "mlx"  # convolution weights (out, kernel, in), as the MLX community's converter writes them
MAX_HEADER_BYTES, MAX_JSON_BYTES = 8_000_000, 8_000_000
MAX_TOKENIZER_BYTES = 64_000_000
_FORMATS = {None: PYTORCH_LAYOUT, "pt": PYTORCH_LAYOUT, "mlx": MLX_LAYOUT}


def read_json(path: Path, *, at_most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file. Raises UnsupportedCheckpoint when it is absent, broken or not an object."""
    try:
        loaded = json.loads(read_regular(path, at_most=at_most))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnsupportedCheckpoint(f"{path} cannot be read: {reason}.") from None
    if not isinstance(loaded, dict):
        raise UnsupportedCheckpoint(f"{path} holds a {type(loaded).__name__}, not a JSON object.")
    return loaded


def file_header(path: Path) -> dict[str, Any]:
    """A safetensors file's header, checked against the file's length. Raises UnsupportedCheckpoint."""
    try:
        with open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            header_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(header_bytes, MAX_HEADER_BYTES)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UnsupportedCheckpoint(f"{path} is not a safetensors file: {error!r}.") from None
    stated_bytes = 8 + header_bytes + max(ends, default=0)
    if stated_bytes != size_bytes:
        hint = "Fetch the file again, from where the model came from."
        raise UnsupportedCheckpoint(f"{path} has {size_bytes} bytes; its header says {stated_bytes}.", hint=hint)
    return dict(header)


def weight_files(folder: Path) -> dict[Path, set[str]]:
    """Files to read, each with the tensors that an index promises in it."""
    if not (folder / INDEX_FILE).is_file():
        if not (folder / WEIGHTS_FILE).is_file():
            raise UnsupportedCheckpoint(f"{folder} has neither {WEIGHTS_FILE} nor {INDEX_FILE}.")
        return {folder / WEIGHTS_FILE: set()}
    weight_map = read_json(folder / INDEX_FILE).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UnsupportedCheckpoint(f"{folder / INDEX_FILE} has no weight_map.")
    files: dict[Path, set[str]] = {}
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise UnsupportedCheckpoint(f"{folder / INDEX_FILE}: {file!r} is not a file name.")
        files.setdefault(folder / file, set()).add(name)
    return files


def layout_of(header: Mapping[str, Any], *, path: Path) -> str:
    """The layout that a header states. Raises UnsupportedCheckpoint for one that we do not know."""
    metadata = header.get("__metadata__")  # MLX writes null for none
    stated = metadata.get("format") if isinstance(metadata, dict) else None
    if stated not in _FORMATS:
        raise UnsupportedCheckpoint(f"{path} states the format {stated!r}; we know 'pt' and 'mlx'.")
    return _FORMATS[stated]
