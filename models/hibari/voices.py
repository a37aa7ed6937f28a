"""The package `hibari-tts` and a folder → the voices whose weights are here, without loading the package.

This module reads the disk.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from registry.durable_files import sha256_of

LANGUAGE = "english"
PACKAGE_MODULE = "hibari"


def spoken_languages() -> tuple[str, ...]:
    """The one language of its voices."""
    return (LANGUAGE,)


def voice_names(folder: Path | None) -> tuple[str, ...]:
    """Names of the voices that the engine would speak with; none where the package is not installed."""
    spec = importlib.util.find_spec(PACKAGE_MODULE)
    if spec is None or not spec.submodule_search_locations:
        return ()
    assets = Path(next(iter(spec.submodule_search_locations))) / "assets"
    voices = json.loads((assets / "voices.json").read_bytes())
    return tuple(name for name, _ in voice_files(voices, assets=assets, folder=folder))


def voice_files(
    voices: Mapping[str, Mapping[str, Any]], *, assets: Path, folder: Path | None
) -> Iterator[tuple[str, Path]]:
    """The voices whose weights are here, and whole: those of the wheel, and those of the shared directory's folder."""
    for name, facts in voices.items():
        if facts.get("bundled"):
            yield name, assets / facts["file"]
        elif folder is not None:
            for path in (folder / "voices" / facts["file"], folder / facts["file"]):
                if path.is_file() and _digest(path, path.stat().st_mtime_ns, path.stat().st_size) == facts["sha256"]:
                    yield name, path
                    break


@functools.cache
def _digest(path: Path, mtime_ns: int, size_bytes: int) -> str:
    """SHA-256 of a file, computed again once it has changed."""
    del mtime_ns, size_bytes
    return sha256_of(path)
