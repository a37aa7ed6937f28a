"""Models that work will need → those that must be downloaded first, and how large they are. Only reads the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.store.availability import Available, availability
from models.store.catalog import CatalogEntry, default_model_for
from models.store.installed import resolve_model
from models.store.memory import total_bytes

ABILITIES: Mapping[str, str] = {"design": "design", "lock": "clone", "presets": "presets"}  # by the work that needs it


@dataclass(frozen=True, kw_only=True)
class ToDownload:
    """A model that is not in the shared directory; 0 bytes where nobody knows its size."""

    name: str
    size_bytes: int


def to_download(names: Iterable[str], *, directory: Path) -> Iterator[ToDownload]:
    """The models among these that are no engine, no local folder, and not here. Raises UnknownModel."""
    for name in dict.fromkeys(names):
        choice = resolve_model(name, directory=directory)
        if choice.folder is None or choice.is_local or isinstance(availability(choice.folder), Available):
            continue
        yield ToDownload(name=name, size_bytes=choice.entry.size_bytes if choice.entry else 0)


def default_models(kinds: Iterable[str] = ABILITIES) -> list[CatalogEntry]:
    """The models that `default` means on this machine for these kinds of work, each once."""
    budget_bytes = total_bytes() // 2
    found = [default_model_for(ABILITIES[kind], available_bytes=budget_bytes) for kind in kinds]
    return list(dict.fromkeys(found))


def free_bytes(directory: Path) -> int:
    """Free space on the disk that the directory is on, or will be."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return shutil.disk_usage(directory).free
