"""Removing an installed model: its name goes by one rename, its files after.

This module touches the disk. Only what lies in the shared model directory is removed, and a link only as a link.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelInUse, ModelNotInstalled
from models.store.availability import INCOMING_FOLDER, download_folder_of, download_state_of, folder_bytes
from models.store.shared_directory import ResolvedModel, installed_folders, lock_of
from registry.durable_files import crash_point, rename_durably
from registry.errors import Busy, StorageError


@dataclass(frozen=True, kw_only=True)
class Removed:
    id: str
    folder: Path
    freed_bytes: int


def remove_model(choice: ResolvedModel, *, directory: Path) -> Removed:
    """Remove the model and what an interrupted download of it left.

    Raises ModelNotInstalled, ModelInUse while a process loads, fetches or moves it, or StorageError.
    """
    folder = choice.folder
    if folder is None or choice.is_local or folder.parent != directory:
        hint = "Only models in the shared directory are removed; others are yours to delete."
        raise ModelNotInstalled(f"{choice.name!r} is no model in {directory}.", hint=hint)
    gathering = download_folder_of(folder)
    if not os.path.lexists(folder) and not gathering.exists():
        installed = ", ".join(model_id for model_id, _ in installed_folders(directory)) or "none"
        raise ModelNotInstalled(f"{choice.id} is not in {directory}.", hint=f"Installed: {installed}.")
    lock = lock_of(folder)
    try:
        lock.acquire()
    except Busy as error:
        raise ModelInUse(f"{choice.id} is in use: {error.message}", hint="Try again when that is done.") from None
    try:
        return _remove_locked(choice.id, folder, gathering)
    except OSError as error:
        raise StorageError(f"{folder} cannot be removed: {error.strerror}.") from error
    finally:
        lock.release()


def _remove_locked(model_id: str, folder: Path, gathering: Path) -> Removed:
    freed_bytes = folder_bytes(gathering)
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        freed_bytes += folder_bytes(folder)
        aside = folder.parent / INCOMING_FOLDER / f"{folder.name}.{os.getpid()}.removed"
        aside.parent.mkdir(exist_ok=True)
        rename_durably(folder, aside)
        crash_point("models.rm.renamed")
        shutil.rmtree(aside)
    shutil.rmtree(gathering, ignore_errors=True)
    download_state_of(folder).unlink(missing_ok=True)
    return Removed(id=model_id, folder=folder, freed_bytes=freed_bytes)
