"""diga's store of voices (`~/.diga`) → the voices in it. This module reads the disk and changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import VoxRefused

INDEX = "index.json"
PROMPT_SUFFIX = ".cloneprompt"
LEGACY_SIZE = "1.7b"  # a prompt whose name says no size is of diga's first model
MAX_INDEX_BYTES = 16 << 20
BUILT_IN = ("builtin", "preset")
_SIZED = re.compile(r"(?P<name>.+)-(?P<size>1\.7b|0\.6b)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class DigaVoice:
    """One voice of the store."""

    name: str
    kind: str  # "designed" | "cloned" | "builtin" | "preset"; "" when only its prompts are there
    description: str | None = None
    prompts: Mapping[str, Path] = field(default_factory=dict)  # by model size


def diga_folder(path: Path) -> Path | None:
    """The folder of voices in `~/.diga`, or in a copy of it; None when there is no diga store at `path`."""
    for folder in (path / "voices", path):
        if (folder / INDEX).is_file():
            return folder
    return path / "voices" if path.name == ".diga" and (path / "voices").is_dir() else None


def diga_voices(folder: Path) -> list[DigaVoice]:
    """Every voice of the index, then those of which there are only prompts. Raises VoxRefused for a broken index."""
    prompts = _prompts_in(folder)
    listed = list(_indexed(folder, prompts))
    known = {voice.name.casefold() for voice in listed}
    unlisted = {name: found for name, found in prompts.items() if name.casefold() not in known}
    return [*listed, *(DigaVoice(name=name, kind="", prompts=found) for name, found in unlisted.items())]


def _indexed(folder: Path, prompts: Mapping[str, Mapping[str, Path]]) -> Iterator[DigaVoice]:
    folded = {name.casefold(): found for name, found in prompts.items()}
    for entry in _entries(folder / INDEX):
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip():
            raise VoxRefused(f"{folder / INDEX} holds a voice without a name.")
        found = dict(folded.get(name.casefold(), {}))
        stated = entry.get("clonePromptPath")
        # Whatever folder it names, only files of this store are read: a copied store names another machine's paths.
        own = folder / Path(stated).name if isinstance(stated, str) and stated else None
        if own is not None and own.is_file() and own not in found.values():
            found.setdefault(_name_and_size(own.stem)[1], own)
        description, kind = entry.get("designDescription"), entry.get("type")
        yield DigaVoice(
            name=name,
            kind=kind if isinstance(kind, str) else "",
            description=description if isinstance(description, str) and description.strip() else None,
            prompts=found,
        )


def _entries(index: Path) -> list[dict[str, Any]]:
    if not index.is_file():
        return []
    with index.open("rb") as file:
        content = file.read(MAX_INDEX_BYTES + 1)
    try:
        entries = json.loads(content.decode("utf-8-sig")) if len(content) <= MAX_INDEX_BYTES else None
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise VoxRefused(f"{index} is no list of voices.", hint="Import its .cloneprompt files one by one.")
    return entries


def _prompts_in(folder: Path) -> dict[str, dict[str, Path]]:
    """Prompt files by voice and model size; one that names its size goes before one that does not."""
    found: dict[str, dict[str, Path]] = {}
    paths = [path for path in sorted(folder.glob(f"*{PROMPT_SUFFIX}")) if path.is_file() and not path.is_symlink()]
    for path in sorted(paths, key=lambda path: _SIZED.fullmatch(path.stem) is None):
        name, size = _name_and_size(path.stem)
        found.setdefault(name, {}).setdefault(size, path)
    return found


def _name_and_size(stem: str) -> tuple[str, str]:
    match = _SIZED.fullmatch(stem)
    return (match["name"], match["size"].lower()) if match else (stem, LEGACY_SIZE)
