"""A path that a person gave for a command's result → checked before the work starts, then written whole.

This module touches the disk.
"""

from __future__ import annotations

from pathlib import Path

from registry.durable_files import write_durably
from registry.errors import NotFound, storage_error
from runner.errors import UsageProblem


def check_target(path: Path) -> None:
    """Raise UsageProblem when `path` is a folder, NotFound when the folder it belongs in does not exist."""
    if path.is_dir():
        raise UsageProblem(f"{path} is a folder.", hint="Name the file to write.")
    if not path.absolute().parent.is_dir():
        raise NotFound(f"There is no folder {path.absolute().parent} to write {path.name} into.")


def write_target(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises as `check_target`, and StorageError."""
    check_target(path)
    try:
        write_durably(path.absolute(), content)
    except OSError as error:
        raise storage_error(error, f"writing {path}") from error
