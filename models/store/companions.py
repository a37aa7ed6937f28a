"""A model of another family and the shared directory → the repositories that it needs besides its own.

A companion that is missing is like a missing shard: the model is not whole.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from models.store.availability import Available, Partial, availability, read_config
from models.store.families import NATIVE, ONLY_VOICE, Companion, Family, companions_of, family_of
from models.store.shared_directory import slug_of

VOICE_FILES = (".safetensors", ".npz", ".json", ".wav")


def family_in(folder: Path, *, model_id: str = "") -> Family | None:
    """The family of the model in a folder; None for Qwen3-TTS, and where the table knows none."""
    return family_of(read_config(folder), model_id or folder.name)


def presets_in(folder: Path, family: Family, *, found: Callable[[str], Path | None]) -> tuple[str, ...]:
    """Voices that a model of this family brings along; `found` is the folder of another repository that is here."""
    if family.presets or "presets" not in family.abilities:
        return family.presets
    named = _voices_in(folder / "voices") | _voices_in(folder / "prompts") | _names_in(folder / "voices.npz")
    if family.voice_file:
        named |= {path.stem for path in folder.glob(family.voice_file)}
    if family.voices_of and (others := found(family.voices_of)) is not None:
        named |= _voices_in(others / "prompts")
    if not named and not family.names_voices:
        return (ONLY_VOICE,)
    return tuple(sorted(named))


def _voices_in(folder: Path) -> set[str]:
    """Voices that have a file in a folder; none where it is absent."""
    return {path.stem for path in folder.iterdir() if path.suffix in VOICE_FILES} if folder.is_dir() else set()


def _names_in(archive: Path) -> set[str]:
    """Arrays of an archive of NumPy; none where it is absent, or broken, which loading tells."""
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(archive) as names:
        return {name.removesuffix(".npy") for name in names.namelist()}
    return set()


def speaks_by_mlx_audio(folder: Path, *, model_id: str = "") -> bool:
    """Whether the model in a folder is one that mlx-audio speaks with, by the table or by its own registry."""
    config = read_config(folder)
    if not isinstance(config, dict) or config.get("model_type") == NATIVE:
        return False
    if family_of(config, model_id or folder.name) is not None:
        return True
    if importlib.util.find_spec("mlx_audio") is None:
        return False
    registry = importlib.import_module("mlx_audio.registry")  # it imports neither MLX nor any network
    told = registry.model_type_from_config(config) or ""
    return bool(registry.classify_model(told, model_id or folder.name) == "tts")


def missing_companions(folder: Path, directory: Path, *, model_id: str = "") -> Iterator[Companion]:
    """The companions of a model that are not whole in the shared directory."""
    family = family_in(folder, model_id=model_id)
    if family is None:
        return
    for companion in companions_of(family, read_config(folder)):
        if companion.repository != model_id and not isinstance(
            availability(directory / slug_of(companion.repository)), Available
        ):
            yield companion


def incomplete_by_companions(folder: Path, directory: Path, *, model_id: str = "") -> Partial | None:
    """The state of a whole model whose companions are not all here; None when they are."""
    missing = [one.repository for one in missing_companions(folder, directory, model_id=model_id)]
    problems = tuple(f"its companion {repository} is not here" for repository in missing)
    return Partial(tuple(missing), problems) if missing else None
