"""A file that somebody named for a command's result → checked before the work is done; then written whole.

This module touches the disk.
"""

from __future__ import annotations

from pathlib import Path

from registry.durable_files import write_durably
from registry.errors import NotFound, storage_error
from runner.errors import UsageProblem


def check_target(path: Path) -> None:
    """Raises UsageProblem when `path` is a folder, NotFound when there is no folder to write it into."""
    if path.is_dir():
        raise UsageProblem(f"{path} is a folder.", hint="Name the file to write.")
    if not path.absolute().parent.is_dir():
        raise NotFound(f"There is no folder {path.absolute().parent} to write {path.name} into.")


def write_target(path: Path, content: bytes) -> None:
    """Make `path` hold `content`, whole or not at all. Raises what `check_target` does, and StorageError."""
    check_target(path)
    try:
        write_durably(path.absolute(), content)
    except OSError as error:
        raise storage_error(error, f"writing {path}") from error
