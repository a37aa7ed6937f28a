"""Files that a process holds open for months → an error, or a mended lock, once one is no longer under its name.

This module touches the disk.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from registry.durable_files import FileLock
from registry.errors import RegistryLost, StorageError
from registry.storage.database import Database
from registry.storage.identity import put_back

LOOK_S = 5.0  # how often the names are compared; two calls of the system


class HeldFiles:
    """Database and lock of a process, compared with what has their names."""

    def __init__(self, database: Database, lock: FileLock, *, root: Path) -> None:
        self._database, self._root = database, root
        self._locks = [lock]
        self._file = _file_at(database.path)
        self._next_look_s = 0.0

    def check(self, now_s: float) -> str | None:
        """A sentence about what had to be mended, if anything.

        Raises RegistryLost when the database was removed or replaced, and Busy when the lock file was and another
        process has locked the new one.
        """
        if now_s < self._next_look_s:
            return None
        self._next_look_s = now_s + LOOK_S
        if self._file is None or _file_at(self._database.path) != self._file:
            raise self._loss()
        lock = self._locks[-1]
        if _file_at(lock.path) == _file_of(lock.fileno()):
            return None
        return self._lock_again(FileLock(lock.path))

    def release(self) -> None:
        """Give all locks back."""
        for lock in self._locks:
            lock.release()

    def _loss(self) -> RegistryLost:
        """The error, after what the process still holds has been saved beside the database's name or in the root."""
        path = self._database.path
        folder = path.parent if path.parent.is_dir() else self._root
        target = folder / f"registry.rescued-{time.time():.0f}.sqlite"
        what = f"{path} was removed or replaced while a runner had it open."
        try:
            self._database.save_to(target)
        except (StorageError, OSError) as error:
            return RegistryLost(what, hint=f"It cannot be saved: {error} `voicejobs doctor` says what helps.")
        return RegistryLost(what, hint=f"All that it held is saved: {put_back(target, path)}")

    def _lock_again(self, lock: FileLock) -> str:
        try:
            lock.acquire()
        except OSError as error:  # its folder is gone or read-only: no other runner can lock it either
            return f"{lock.path} was removed and cannot be locked again: {error.strerror}"
        self._locks.append(lock)
        return f"{lock.path} was removed or replaced, and is locked again"


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _file_of(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
