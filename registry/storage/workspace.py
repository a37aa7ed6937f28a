"""A temporary folder for work that takes a while, whose leftovers the next work of its kind removes.

This module touches the disk. The folder is locked while its process lives, so that what a killed one left is told
from what another one is at.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".tmp"
JUST_MADE_S = 60.0  # a folder may be this young and not locked yet


@contextlib.contextmanager
def workspace(parent: Path, *, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, removed at the end; abandoned ones of the same `prefix` are removed first."""
    _sweep(parent, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=SUFFIX, dir=parent))
    try:
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):  # network file systems lock no folders: leftovers stay there, unswept
                held.enter_context(_locked(folder))
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises OSError, BlockingIOError where a living process has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _sweep(parent: Path, prefix: str) -> None:
    for name in os.listdir(parent):  # noqa: PTH208 - a name may hold characters that a pattern takes for its own
        if not (name.startswith(prefix) and name.endswith(SUFFIX)):
            continue
        folder = parent / name
        with contextlib.suppress(OSError):  # it is used, gone, or not ours: then it stays
            if time.time() - folder.lstat().st_mtime > JUST_MADE_S:
                with _locked(folder):
                    shutil.rmtree(folder)
