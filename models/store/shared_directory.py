"""The shared model directory: its path, and the paths in it of a model, its lock and its download.

This module creates the directory and lock files, and nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from models.errors import InvalidModelId
from models.named_paths import home_of, named_path
from registry.durable_files import FileLock
from registry.errors import StorageError

SHARED_MODELS = "SharedModels"
LOCKS_FOLDER = ".locks"
INCOMING_FOLDER = ".incoming"


def resolve_models_dir(
    flag: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    configured: str | os.PathLike[str] | None = None,
    *,
    platform: str = sys.platform,
) -> Path:
    """Path of the directory, from the first of these that is set; nothing is created.

    `--models-dir` > VOICEJOBS_MODELS_DIR > ACERVO_MODELS_DIR > voicejobs.toml (`configured`) > the platform's own.
    """
    environ = os.environ if environ is None else environ
    for value in (flag, environ.get("VOICEJOBS_MODELS_DIR"), environ.get("ACERVO_MODELS_DIR"), configured):
        if value is not None and os.fspath(value) != "":
            return named_path(value, environ=environ).absolute()
    return platform_default(environ, platform=platform)


def platform_default(environ: Mapping[str, str], *, platform: str = sys.platform) -> Path:
    """The directory that other programs of this platform share models in."""
    home = home_of(environ)
    if platform == "darwin":
        group = environ.get("ACERVO_APP_GROUP_ID")
        return home / "Library" / ("Group Containers/" + group if group else "") / SHARED_MODELS
    return data_home(environ) / SHARED_MODELS


def data_home(environ: Mapping[str, str]) -> Path:
    return _xdg(environ, "XDG_DATA_HOME", ".local/share")


def cache_home(environ: Mapping[str, str]) -> Path:
    return _xdg(environ, "XDG_CACHE_HOME", ".cache")


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    value = Path(environ.get(variable, ""))
    return value if value.is_absolute() else home_of(environ) / fallback  # the standard ignores relative values


def slug_of(model_id: str) -> str:
    """The folder name of a model: `org/repo` → `org_repo`. Raises InvalidModelId unless there is exactly one slash."""
    organisation, slash, repository = model_id.partition("/")
    valid = slash and organisation and repository and "/" not in repository
    if not valid or model_id.startswith(".") or repository in (".", "..") or "\0" in model_id or "\\" in model_id:
        raise InvalidModelId(f"{model_id!r} is no model id.", hint='An id is "organisation/repository".')
    return f"{organisation}_{repository}"


def id_of(slug: str) -> str | None:
    """A folder name's model id: its first underscore is the slash; None when it has none."""
    organisation, underscore, repository = slug.partition("_")
    return f"{organisation}/{repository}" if underscore and organisation and repository else None


def lock_path_of(folder: Path) -> Path:
    """The lock file of the model in `folder`: `<root>/.locks/<slug>.lock`."""
    return folder.parent / LOCKS_FOLDER / f"{folder.name}.lock"


def download_folder_of(folder: Path) -> Path:
    """Folder of a model's files while it is being fetched."""
    return folder.parent / INCOMING_FOLDER / f"{folder.name}.download"


def download_state_of(folder: Path) -> Path:
    """File beside the download folder that says what is being fetched."""
    return folder.parent / INCOMING_FOLDER / f"{folder.name}.download.json"


def make_directory(directory: Path) -> None:
    """Create the shared model directory. Raises StorageError, saying what to do."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "Give this user access to its parent, or choose another with --models-dir or VOICEJOBS_MODELS_DIR."
        raise StorageError(
            f"The model directory {directory} cannot be created: {error.strerror}.", hint=hint
        ) from error


def lock_of(folder: Path) -> FileLock:
    """The cross-process lock of one model: exclusive to move, fetch or remove it, shared while it is loaded.

    Raises StorageError when the locks' folder cannot be made.
    """
    path = lock_path_of(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "Give this user write access to the model directory, or choose another with --models-dir."
        raise StorageError(f"{path.parent} cannot be created: {error.strerror}.", hint=hint) from error
    return FileLock(path)


def hold_for_loading(folder: Path) -> FileLock | None:
    """A shared lock that keeps others from moving or removing the model while it is loaded; release it after.

    None where no lock can be had: a model outside the shared directory, or a directory we may only read.
    Raises Busy while another process moves, fetches or removes it.
    """
    path = lock_path_of(folder)
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        return None
    lock = FileLock(path)
    lock.acquire(shared=True)
    return lock
