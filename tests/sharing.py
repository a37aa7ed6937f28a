"""What is dear to make: the first test process of a run that needs it makes it, and the others take it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.durable_files import FileLock


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder of this name, filled by `make`; nobody changes it afterwards."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # which all workers of this run have
    folder, made = root / name, root / f"{name}.made"
    lock = FileLock(root / f"{name}.lock")
    lock.acquire(wait=True)
    try:
        if not made.exists():
            folder.mkdir()
            make(folder)
            made.touch()
    finally:
        lock.release()
    return folder
