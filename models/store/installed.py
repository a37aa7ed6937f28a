"""Models of the shared directory: listed with their states, and found by any name that means one.

This module reads the disk and changes nothing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.engine_kinds import OWN, model_without_folder
from models.errors import InvalidManifest, UnknownModel
from models.named_paths import is_folder, named_path, shown_path, status_of
from models.store import catalog
from models.store.availability import (
    Availability,
    Available,
    availability,
    download_in_flight,
    folder_bytes,
    has_model_mark,
    read_config,
    weight_files,
)
from models.store.catalog import CatalogEntry, ModelKind
from models.store.companions import incomplete_by_companions
from models.store.deep_check import deeply_checked
from models.store.families import PREFIX
from models.store.manifest import read_manifest, read_provenance
from models.store.memory import total_bytes
from models.store.safetensors_check import VerdictCache, file_stamp
from models.store.shared_directory import INCOMING_FOLDER, id_of, slug_of
from registry.errors import StorageError


@dataclass(frozen=True, kw_only=True)
class InstalledModel:
    """A model folder and its facts."""

    id: str
    folder: Path
    state: Availability
    size_bytes: int
    kind: ModelKind
    revision: str | None
    entry: CatalogEntry | None


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """The model that a name means, and its folder, which need not exist yet; None for an engine without weights."""

    name: str  # as it was asked for
    id: str
    folder: Path | None
    entry: CatalogEntry | None
    alternatives: tuple[str, ...] = ()  # other repositories with the same weights
    is_local: bool = False  # a folder outside the shared directory, used in place


def installed_folders(directory: Path) -> list[tuple[str, Path]]:
    """Every model folder of `directory` as (id, folder), sorted by id; hidden names and names without `_` are skipped.

    Raises StorageError when the directory exists and cannot be read.
    """
    try:
        entries = list(os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        hint = "Give this user access to it, or choose another with --models-dir."
        raise StorageError(f"The model directory {directory} cannot be read: {error.strerror}.", hint=hint) from error
    found: list[tuple[str, Path]] = []
    for entry in entries:
        if entry.name.startswith(".") or "_" not in entry.name:
            continue
        folder = Path(entry.path)
        try:
            if entry.is_dir() and has_model_mark(folder):
                found.append((installed_id(folder), folder))
        except OSError:
            continue  # a link that leads nowhere, or a folder that is not ours to open: no model for us
    return sorted(found)


def installed_id(folder: Path) -> str:
    """The id of the model in `folder`: as its manifest or our record says, else as its name says."""
    if folder.name.count("_") == 1:
        return id_of(folder.name) or folder.name  # the usual case: there is only one way to read it
    try:
        manifest = read_manifest(folder)
    except (InvalidManifest, OSError):
        manifest = None
    recorded = manifest.model_id if manifest else (read_provenance(folder) or {}).get("repository")
    if isinstance(recorded, str) and recorded.replace("/", "_") == folder.name:
        return recorded
    return id_of(folder.name) or folder.name


def list_models(directory: Path) -> list[InstalledModel]:
    """Every model of the directory with its state and size, sorted by id; those that are being fetched included."""
    cache = VerdictCache(directory)
    with _no_garbage_collection():
        installed = [
            describe(folder, model_id=model_id, cache=cache) for model_id, folder in installed_folders(directory)
        ]
    cache.save()
    folders = {model.folder for model in installed}
    coming = [model for model in _coming(directory) if model.folder not in folders]
    return sorted([*installed, *coming], key=lambda model: model.id) if coming else installed


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Stop walking parsed headers, a hundred thousand objects without a cycle: that doubles a listing's time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _coming(directory: Path) -> Iterator[InstalledModel]:
    """Models that some process is fetching at this moment."""
    for incoming in (directory / INCOMING_FOLDER).glob("*.download"):
        folder = directory / incoming.name.removesuffix(".download")
        flight = download_in_flight(folder)
        if flight is not None:
            model_id = id_of(folder.name) or folder.name
            entry = catalog.entry_named(model_id)
            yield InstalledModel(
                id=model_id, folder=folder, state=flight, size_bytes=flight.done_bytes,
                kind=catalog.kind_of(None, entry), revision=None, entry=entry,
            )  # fmt: skip


def describe(folder: Path, *, model_id: str, cache: VerdictCache) -> InstalledModel:
    """One model folder's facts."""
    entry = catalog.entry_named(model_id)
    state = availability(folder, check_weights=cache.problem)
    if isinstance(state, Available):
        state = incomplete_by_companions(folder, folder.parent, model_id=model_id) or state
    return InstalledModel(
        id=model_id,
        folder=folder,
        state=deeply_checked(folder, state, cache=cache, reads=False),
        size_bytes=folder_bytes(folder),
        kind=catalog.kind_of(read_config(folder), entry, name=model_id),
        revision=revision_of(folder),
        entry=entry,
    )


def revision_of(folder: Path) -> str | None:
    """The commit that the model's files are of, where it is known."""
    revision = (read_provenance(folder) or {}).get("revision")
    return revision if isinstance(revision, str) else None


def resolve_model(
    name: str,
    *,
    directory: Path,
    ability: str = "clone",
    available_bytes: int | None = None,
    offline: bool = False,
) -> ResolvedModel:
    """The model that `name` means: a short name, a repository id, a local folder, "default", or an engine.

    "default" depends on the `ability` that the work needs and on the machine's memory (half of it may go to a
    model). A local folder is a path with a slash at its start, or that exists. Raises UnknownModel, naming the
    nearest known names and what is installed.
    """
    wanted = name.strip()
    if wanted.casefold().startswith(PREFIX):
        wanted = wanted[len(PREFIX) :].strip()
    elif (simple := model_without_folder(wanted)) is not None:
        return ResolvedModel(name=name, id=simple, folder=None, entry=None)
    if wanted.casefold() == catalog.DEFAULT:
        return _default_choice(ability, directory=directory, available_bytes=available_bytes, offline=offline)
    entry = catalog.entry_named(wanted)
    if entry is not None:
        exact = next((id_ for id_ in entry.repositories if id_.casefold() == wanted.casefold()), None)
        return _entry_choice(name, entry, directory=directory, exact=exact)
    local = _local_choice(name, wanted)
    if local is not None:
        return local
    installed = installed_folders(directory)
    for model_id, folder in installed:
        if wanted.casefold() in (model_id.casefold(), folder.name.casefold()):
            return ResolvedModel(name=name, id=model_id, folder=folder, entry=catalog.entry_named(model_id))
    if wanted.count("/") == 1:
        return ResolvedModel(name=name, id=wanted, folder=directory / slug_of(wanted), entry=None)
    raise unknown_model(wanted, installed=[model_id for model_id, _ in installed])


def weights_stamp(folder: Path) -> list[list[int] | None]:
    """Facts of a model's files that change when other weights take their place; nothing is read."""
    return [file_stamp(path) for path in (folder / "config.json", *weight_files(folder))]


def unknown_model(wanted: str, *, installed: Iterable[str]) -> UnknownModel:
    """The error for a name that means no model, with the nearest known and the installed ones."""
    present = sorted(installed)
    engines = [kind.name for kind in OWN if not kind.has_weights]
    near = catalog.nearest_models(wanted, [*catalog.names(), *present, *engines, catalog.DEFAULT])
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    have = f"Installed: {', '.join(present)}." if present else "`voicejobs models list --all` names the known ones."
    return UnknownModel(
        f"No model is called {wanted!r}.", hint=f"{guess}{have} A repository id or a local folder works too."
    )


def _default_choice(ability: str, *, directory: Path, available_bytes: int | None, offline: bool) -> ResolvedModel:
    installed = [model_id for model_id, folder in installed_folders(directory) if _usable(folder)] if offline else []
    budget_bytes = total_bytes() // 2 if available_bytes is None else available_bytes
    entry = catalog.default_model_for(ability, available_bytes=budget_bytes, installed=installed, offline=offline)
    return _entry_choice(catalog.DEFAULT, entry, directory=directory, exact=None)


def _usable(folder: Path) -> bool:
    return isinstance(availability(folder), Available)


def _entry_choice(name: str, entry: CatalogEntry, *, directory: Path, exact: str | None) -> ResolvedModel:
    """A known model: the repository asked for, else the one that is installed, else the first."""
    ids = (exact,) if exact else entry.repositories
    folders = [directory / slug_of(model_id) for model_id in ids]
    present = [index for index, folder in enumerate(folders) if folder.is_dir()]
    usable = [index for index in present if _usable(folders[index])]
    chosen = (usable or present or [0])[0]
    others = tuple(model_id for model_id in ids if model_id != ids[chosen])
    return ResolvedModel(name=name, id=ids[chosen], folder=folders[chosen], entry=entry, alternatives=others)


def _local_choice(name: str, wanted: str) -> ResolvedModel | None:
    looks_local = wanted.startswith(("/", "./", "../", "~"))
    if not looks_local and not (is_folder(Path(wanted)) and has_model_mark(Path(wanted))):
        return None
    folder = named_path(wanted).absolute()
    status = status_of(folder)
    if status is None or not stat.S_ISDIR(status.st_mode):
        found = f"There is no folder {shown_path(folder)}" if status is None else f"{shown_path(folder)} is no folder"
        raise UnknownModel(f"{found}.", hint="A model is a folder with config.json and weights.")
    return ResolvedModel(name=name, id=str(folder), folder=folder, entry=None, is_local=True)
