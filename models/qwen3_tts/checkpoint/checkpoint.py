"""A checkpoint folder → its config and its tensors, read lazily; and load errors, which name every tensor at fault.

Safetensors only, one file or shards with an index. Nothing is read from the disk before it is used: a tensor is a
lazy array until it is evaluated, and whoever takes it holds the only reference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from models.errors import UnsupportedCheckpoint
from models.qwen3_tts.checkpoint.tensor_file import StoredFile, StoredTensor, stored_tensors

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PYTORCH_LAYOUT = "pt"  # convolution weights (out, in, kernel), as the official files are
MLX_LAYOUT = "mlx"  # convolution weights (out, kernel, in), as the MLX community's converter writes them
BITS_PER_WORD = 32  # quantised weights are packed into uint32
MAX_HEADER_BYTES, MAX_JSON_BYTES = 100_000_000, 64_000_000
Shape = tuple[int, ...]
_FORMATS = {None: PYTORCH_LAYOUT, "pt": PYTORCH_LAYOUT, "mlx": MLX_LAYOUT}


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """Packing of one stored linear layer: `weight` in words, with `scales` and `biases` for each group of inputs."""

    bits: int
    group_size: int


class Tensors(Mapping[str, mx.array]):
    """The tensors of a checkpoint by name, all lazy. `take` hands one over and forgets it, so that it can be freed.

    `stored` has the place of each in its file, for those who read it themselves; it forgets none.
    """

    def __init__(self, arrays: Mapping[str, mx.array], stored: Mapping[str, StoredTensor]) -> None:
        self._arrays = dict(arrays)
        self.stored = stored

    def __getitem__(self, name: str) -> mx.array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def take(self, name: str) -> mx.array:
        """The tensor, which is then no longer in this mapping. Raises KeyError."""
        return self._arrays.pop(name)

    def take_all(self, prefix: str) -> Tensors:
        """Every tensor below `prefix`, which is cut from their names; they are then no longer in this mapping."""
        names = [name for name in self._arrays if name.startswith(prefix)]
        stored = {name[len(prefix) :]: self.stored[name] for name in names}
        return Tensors({name[len(prefix) :]: self._arrays.pop(name) for name in names}, stored)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One opened folder: `config.json`, the lazy tensors, and the layout that the files say they have."""

    folder: Path
    config: dict[str, Any]
    tensors: Tensors
    layout: str  # PYTORCH_LAYOUT or MLX_LAYOUT

    @property
    def has_mlx_layout(self) -> bool:
        return self.layout == MLX_LAYOUT

    def quantization_of(self, path: str) -> Quantization | None:
        """Packing of the linear at `path`, or None when it is plain: it has `scales` when it is quantised.

        Raises UnsupportedCheckpoint when the config does not state the packing.
        """
        if f"{path}.scales" not in self.tensors:
            return None
        return stated_quantization(self.config, path, where=str(self.folder))


def read_checkpoint(folder: Path) -> Checkpoint:
    """Open `folder` without reading a tensor. Raises UnsupportedCheckpoint when it is not a checkpoint."""
    config = read_json(folder / "config.json")
    arrays: dict[str, mx.array] = {}
    stored: dict[str, StoredTensor] = {}
    layouts: dict[str, str] = {}
    for file, names in _weight_files(folder).items():
        loaded, places, layouts[file.name] = _open_file(file)
        if absent := sorted(names - loaded.keys()):
            raise UnsupportedCheckpoint(f"{file} lacks {_some(absent)}, which {INDEX_FILE} says it holds.")
        arrays |= loaded
        stored |= places
    if len(set(layouts.values())) > 1:
        raise UnsupportedCheckpoint(f"The files of {folder} state different layouts: {layouts}.")
    layout = next(iter(layouts.values()), PYTORCH_LAYOUT)
    return Checkpoint(folder=folder, config=config, tensors=Tensors(arrays, stored), layout=layout)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UnsupportedCheckpoint when it is absent, broken or not an object."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UnsupportedCheckpoint(f"{path} has more than {MAX_JSON_BYTES} bytes: it is not a config.")
        loaded = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnsupportedCheckpoint(f"{path} cannot be read: {reason}.") from None
    if not isinstance(loaded, dict):
        raise UnsupportedCheckpoint(f"{path} holds a {type(loaded).__name__}, not a JSON object.")
    return loaded


def file_header(path: Path) -> dict[str, Any]:
    """A safetensors file's header, checked against the file's length. Raises UnsupportedCheckpoint."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(header_bytes, MAX_HEADER_BYTES)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UnsupportedCheckpoint(f"{path} is not a safetensors file: {error!r}.") from None
    stated_bytes = 8 + header_bytes + max(ends, default=0)
    if stated_bytes != size_bytes:
        hint = "Download it again: `voicejobs models pull NAME`."
        raise UnsupportedCheckpoint(f"{path} has {size_bytes} bytes; its header says {stated_bytes}.", hint=hint)
    return dict(header)


def _weight_files(folder: Path) -> dict[Path, set[str]]:
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


def _open_file(path: Path) -> tuple[dict[str, mx.array], dict[str, StoredTensor], str]:
    """A file's tensors, lazy; their places in it; and its layout."""
    file = StoredFile(path)
    header = file_header(path)
    metadata = header.get("__metadata__")  # MLX writes null for none
    stated = metadata.get("format") if isinstance(metadata, dict) else None
    if stated not in _FORMATS:
        raise UnsupportedCheckpoint(f"{path} states the format {stated!r}; we know 'pt' and 'mlx'.")
    try:
        arrays = mx.load(str(path), format="safetensors")
    except (RuntimeError, ValueError) as error:
        raise UnsupportedCheckpoint(f"{path} cannot be read: {error}.") from None
    assert isinstance(arrays, dict)
    return arrays, stored_tensors(file, header), _FORMATS[stated]


def stated_quantization(config: Mapping[str, Any], path: str, *, where: str) -> Quantization:
    """Packing of one linear as `quantization` in a config states it: by its own entry, or else the general one."""
    table = config.get("quantization") or config.get("quantization_config") or {}
    own = table.get(path)
    entry = {**table, **own} if isinstance(own, dict) else table
    bits, group_size, mode = entry.get("bits"), entry.get("group_size"), entry.get("mode", "affine")
    if own is False or not isinstance(bits, int) or not isinstance(group_size, int) or mode != "affine":
        problem = f"{path} has scales, but config.json states no affine quantization for it"
        raise UnsupportedCheckpoint(f"{where}: {problem} (bits {bits}, group size {group_size}, mode {mode!r}).")
    return Quantization(bits=bits, group_size=group_size)


class LoadErrors:
    """Tensors that do not fit their networks, noted while the parts of a checkpoint are opened; raised as one error."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def add(
        self, what: str, *, missing: Iterable[str] = (), unexpected: Iterable[str] = (), misshapen: Iterable[str] = ()
    ) -> bool:
        """Note the tensors of `what` that do not fit; false when there are none."""
        parts = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
        named = [f"{kind}: {', '.join(names)}" for kind, found in parts.items() if (names := sorted(found))]
        if named:
            self._messages.append(f"The weights of {what} do not fit its config. {'; '.join(named)}.")
        return bool(named)

    def compare(self, what: str, expected: Mapping[str, Shape], present: Mapping[str, Shape]) -> bool:
        """Note every tensor that is missing, unexpected or misshapen; false when there are none."""
        wrong = [name for name in expected.keys() & present.keys() if present[name] != expected[name]]
        return self.add(
            what,
            missing=expected.keys() - present.keys(),
            unexpected=present.keys() - expected.keys(),
            misshapen=[shape_error(name, present[name], expected[name]) for name in wrong],
        )

    def raise_if_any(self) -> None:
        """Raises UnsupportedCheckpoint naming them all."""
        if self._messages:
            raise UnsupportedCheckpoint(" ".join(self._messages))


def shape_error(name: str, found: Iterable[int], expected: Iterable[int]) -> str:
    """Name of a misshapen tensor with both shapes, for `LoadErrors`."""
    return f"{name} {tuple(found)}, expected {tuple(expected)}"


def _some(names: list[str], *, limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def packed_shape(shape: tuple[int, int], quantization: Quantization) -> dict[str, tuple[int, int]]:
    """Shapes of a quantised linear of `(out, in)`, by the last part of its tensors' names."""
    outputs, inputs = shape
    groups = math.ceil(inputs / quantization.group_size)
    words = inputs * quantization.bits // BITS_PER_WORD
    return {"weight": (outputs, words), "scales": (outputs, groups), "biases": (outputs, groups)}
