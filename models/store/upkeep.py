"""Names of installed models → their states after a check, or the space that removing them freed.

This module touches the disk. A model whose every hash was right is marked so. Only models in the shared directory
are removed, and a link only as a link: the name goes by one rename, the files after.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.errors import InvalidManifest, ModelInUse, ModelNotInstalled
from models.store.availability import Available, availability, folder_bytes
from models.store.deep_check import deeply_checked
from models.store.installed import (
    InstalledModel,
    ResolvedModel,
    describe,
    installed_folders,
    list_models,
    resolve_model,
)
from models.store.manifest import MANIFEST_FILE, PROVENANCE_FILE, VERIFIED_FILE, mark_verified, read_manifest
from models.store.safetensors_check import CACHE_FILE, VerdictCache
from models.store.shared_directory import INCOMING_FOLDER, download_folder_of, download_state_of, lock_of
from registry.durable_files import crash_point, rename_durably, sweep_abandoned
from registry.errors import Busy, StorageError

RECORDS = (MANIFEST_FILE, VERIFIED_FILE, PROVENANCE_FILE)  # written into folders of models
DELETED = ".deleted"
_HALF_DELETED = re.compile(r".+_.+\.\d+\.deleted", re.DOTALL)


def verify_models(names: Sequence[str], *, directory: Path, hashes: bool = False) -> list[InstalledModel]:
    """The state of the named models, or of all, after their tokenizers and numbers have been read.

    With `hashes` every byte that a manifest vouches for is compared. Raises UnknownModel or ModelNotInstalled for a
    name that is not there.
    """
    cache = VerdictCache(directory)
    found = [_named(name, directory, cache) for name in names] if names else list_models(directory)
    if hashes:
        found = [_with_hashes(model) for model in found]
    checked = [
        replace(model, state=deeply_checked(model.folder, model.state, cache=cache, reads=True)) for model in found
    ]
    cache.save()
    return checked


def _named(name: str, directory: Path, cache: VerdictCache) -> InstalledModel:
    choice = resolve_model(name, directory=directory)
    if choice.folder is None or not choice.folder.is_dir():
        raise ModelNotInstalled(f"{choice.id} is not in {directory}.", hint=f"`voicejobs models pull {choice.id}`")
    return describe(choice.folder, model_id=choice.id, cache=cache)


def repair_hint(model: InstalledModel) -> str:
    """Advice on a model that is not usable."""
    if hint := getattr(model.state, "hint", ""):
        return str(hint)
    if model.id.startswith("/"):
        return f"Copy {model.id} again, from where the model came from."
    return f"`voicejobs models pull {shlex.quote(model.id)}` repairs it."


def _with_hashes(model: InstalledModel) -> InstalledModel:
    state = availability(model.folder, verify_hashes=True)
    if isinstance(state, Available):
        with contextlib.suppress(OSError, InvalidManifest):  # a directory that we may only read keeps no mark
            manifest = read_manifest(model.folder)
            if manifest is not None:
                mark_verified(model.folder, manifest)
    return replace(model, state=state)


def sweep_leftovers(directory: Path, *, older_than_s: float) -> None:
    """Remove half-written records, and models half deleted, that killed processes of ours left before then."""
    sweep_abandoned(directory, older_than_s=older_than_s, of=(CACHE_FILE,))
    sweep_abandoned(directory / INCOMING_FOLDER, older_than_s=older_than_s)
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if "_" in entry.name and not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                sweep_abandoned(Path(entry.path), older_than_s=older_than_s, of=RECORDS)
    for path in (directory / INCOMING_FOLDER).glob(f"*{DELETED}"):
        with contextlib.suppress(OSError):
            facts = path.lstat()
            if _HALF_DELETED.fullmatch(path.name) and max(facts.st_mtime, facts.st_ctime) < older_than_s:
                shutil.rmtree(path)


@dataclass(frozen=True, kw_only=True)
class Removed:
    id: str
    folder: Path
    freed_bytes: int


def remove_model(choice: ResolvedModel, *, directory: Path) -> Removed:
    """Remove the model and the remains of an interrupted download of it.

    Raises ModelNotInstalled, ModelInUse while a process loads, fetches or moves it, or StorageError.
    """
    folder = choice.folder
    if folder is None or choice.is_local or folder.parent != directory:
        hint = "Only models in the shared directory are removed; others are yours to delete."
        raise ModelNotInstalled(f"{choice.name!r} is no model in {directory}.", hint=hint)
    incoming = download_folder_of(folder)
    if not os.path.lexists(folder) and not incoming.exists():
        installed = ", ".join(model_id for model_id, _ in installed_folders(directory)) or "none"
        raise ModelNotInstalled(f"{choice.id} is not in {directory}.", hint=f"Installed: {installed}.")
    try:
        with lock_of(folder):
            return _remove_locked(choice.id, folder, incoming)
    except Busy as error:
        raise ModelInUse(f"{choice.id} is in use: {error.message}", hint="Try again when that is done.") from None
    except OSError as error:
        raise StorageError(f"{folder} cannot be removed: {error.strerror}.") from error


def _remove_locked(model_id: str, folder: Path, incoming: Path) -> Removed:
    freed_bytes = folder_bytes(incoming)
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        freed_bytes += folder_bytes(folder)
        aside = folder.parent / INCOMING_FOLDER / f"{folder.name}.{os.getpid()}{DELETED}"
        aside.parent.mkdir(exist_ok=True)
        rename_durably(folder, aside)
        crash_point("models.rm.renamed")
        shutil.rmtree(aside)
    shutil.rmtree(incoming, ignore_errors=True)
    download_state_of(folder).unlink(missing_ok=True)
    return Removed(id=model_id, folder=folder, freed_bytes=freed_bytes)
