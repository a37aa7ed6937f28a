"""Names of models → their states, checked as deeply as asked; a model whose every hash was right is marked so.

This module reads the disk, and writes the verified mark.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.errors import InvalidManifest, ModelNotInstalled
from models.store.availability import Available, availability
from models.store.manifest import mark_verified, read_manifest
from models.store.shared_directory import InstalledModel, describe, list_models, resolve_model


def verify_models(names: Sequence[str], *, directory: Path, hashes: bool = False) -> list[InstalledModel]:
    """The state of the named models, or of all; with `hashes` every byte that a manifest vouches for is read.

    Raises UnknownModel or ModelNotInstalled for a name that is not there.
    """
    found = [_named(name, directory) for name in names] if names else list_models(directory)
    return [_with_hashes(model) for model in found] if hashes else found


def _named(name: str, directory: Path) -> InstalledModel:
    choice = resolve_model(name, directory=directory)
    if choice.folder is None or not choice.folder.is_dir():
        raise ModelNotInstalled(f"{choice.id} is not in {directory}.", hint=f"`voicejobs models pull {choice.id}`")
    return describe(choice.folder, model_id=choice.id)


def _with_hashes(model: InstalledModel) -> InstalledModel:
    state = availability(model.folder, verify_hashes=True)
    if isinstance(state, Available):
        with contextlib.suppress(OSError, InvalidManifest):  # a directory that we may only read keeps no mark
            manifest = read_manifest(model.folder)
            if manifest is not None:
                mark_verified(model.folder, manifest)
    return replace(model, state=state)
