"""A checkpoint folder → its config and its tensors, read lazily.

Safetensors only, one file or shards with an index. Nothing is read from the disk before it is used: a tensor is a
lazy array until it is evaluated, and whoever takes it holds the only reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from models.checkpoint_format.files import (
    INDEX_FILE,
    MLX_LAYOUT,
    PYTORCH_LAYOUT,
    file_header,
    layout_of,
    read_json,
    weight_files,
)
from models.checkpoint_format.fit import Quantization, some, stated_quantization
from models.errors import UnsupportedCheckpoint
from models.qwen3_tts.checkpoint.tensor_file import StoredFile, StoredTensor, stored_tensors


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
    is_quantized_now: bool = False  # its linears are quantised while they are loaded, and not in its files

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
    for file, names in weight_files(folder).items():
        loaded, places, layouts[file.name] = _open_file(file)
        if absent := sorted(names - loaded.keys()):
            raise UnsupportedCheckpoint(f"{file} lacks {some(absent)}, which {INDEX_FILE} says it holds.")
        arrays |= loaded
        stored |= places
    if len(set(layouts.values())) > 1:
        raise UnsupportedCheckpoint(f"The files of {folder} state different layouts: {layouts}.")
    layout = next(iter(layouts.values()), PYTORCH_LAYOUT)
    return Checkpoint(folder=folder, config=config, tensors=Tensors(arrays, stored), layout=layout)


def _open_file(path: Path) -> tuple[dict[str, mx.array], dict[str, StoredTensor], str]:
    """A file's tensors, lazy; their places in it; and its layout."""
    file = StoredFile(path)
    header = file_header(path)
    layout = layout_of(header, path=path)
    try:
        arrays = mx.load(str(path), format="safetensors")
    except (RuntimeError, ValueError) as error:
        raise UnsupportedCheckpoint(f"{path} cannot be read: {error}.") from None
    assert isinstance(arrays, dict)
    return arrays, stored_tensors(file, header), layout
