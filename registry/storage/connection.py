"""A path → a connection to SQLite with our settings, and SQLite's failures as errors of the tree; touches the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from registry.errors import FREE_SPACE_HINT, DamagedData, DatabaseLocked, DiskFull, ReadOnly, RegistryLost, StorageError

Connection = sqlite3.Connection  # for those who may name it and not import SQLite
WAIT_FOR_LOCK_S = 30.0
WAL_KEPT_BYTES = 64 << 20  # a checkpoint cuts a WAL grown beyond this back
RESTORE_DAMAGED = "Restore a backup: `voicejobs restore --replace FILE`; the damaged file is kept beside it."
WRITABLE_AGAIN = "Mount the disk for writing again (its check may be due: fsck), or correct the file's permissions."
NO_SPACE_BYTES = 1 << 20  # SQLite reports some failures for want of space as a bare I/O error


def connect(path: Path, *, wait_s: float = WAIT_FOR_LOCK_S, access: str = "mode=rw") -> sqlite3.Connection:
    """A connection with our settings to a file that exists; transactions are begun by hand."""
    address = f"{path.absolute().as_uri()}?{access}"
    connection = sqlite3.connect(address, uri=True, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")  # a file's own triggers and views call no outside functions
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        if sys.platform == "darwin":  # a plain fsync there stops at the drive's cache
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def copy_database(source: Path, target: Path) -> None:
    """Copy a database that others may be writing to, as of one moment, over whatever `target` holds.

    Other connections to `target` see the new content when it is complete. Raises StorageError.
    """
    make_private_file(target)
    with (
        translated(target),
        contextlib.closing(connect(source)) as original,
        contextlib.closing(connect(target)) as copy,
    ):
        original.backup(copy)  # all pages in one step, so that no writer can make it begin again


def make_private_file(path: Path) -> None:
    """Create an empty file that only this user can read, if there is none; SQLite's further files take its mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last migration applied; 0 in an empty file."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about storage into those of the tree; wrong SQL and broken constraints pass through."""
    try:
        yield
    except sqlite3.Error as error:
        if ours := error_from_sqlite(error, path):
            raise ours from error
        raise
    except Exception as error:
        original = getattr(error, "orig", None)  # SQLAlchemy's wrapper; naming its class would import it
        if isinstance(original, sqlite3.Error) and (ours := error_from_sqlite(original, path)):
            raise ours from original
        raise


@contextlib.contextmanager
def any_failure_as(make: Callable[[str], StorageError]) -> Iterator[None]:
    """Turn whatever SQLite objects to, wrong SQL and broken constraints too, into an error of one kind."""
    try:
        yield
    except sqlite3.Error as error:
        raise make(str(error)) from error


def is_of_storage(error: Exception) -> bool:
    """Whether `translated` makes an error about storage of it, when it leaves the transaction."""
    original = getattr(error, "orig", error)
    return isinstance(original, sqlite3.Error) and error_from_sqlite(original, Path()) is not None


def error_from_sqlite(error: sqlite3.Error, path: Path) -> StorageError | None:
    """The tree's error for a storage failure, told by SQLite's own wording; None for anything else."""
    text = str(error)  # Python 3.10 gives no error number, and these texts have not changed since SQLite 3.0
    if "disk is full" in text or ("disk I/O error" in text and _is_full(path)):
        return DiskFull(f"No space left for {path}.", hint=FREE_SPACE_HINT)
    if "is locked" in text:
        return DatabaseLocked(f"{path} stayed locked by another process for longer than we wait.")
    if "malformed" in text or "not a database" in text:
        return DamagedData(f"{path} is damaged ({text}).", hint=RESTORE_DAMAGED)
    if "unable to open" in text and not path.exists():
        return RegistryLost(f"{path} is gone.", hint="`voicejobs doctor` says what is left, and what helps.")
    if "readonly database" in text:
        return ReadOnly(f"{path} cannot be written to (readonly database).", hint=WRITABLE_AGAIN)
    if any(words in text for words in ("disk I/O error", "unable to open", "permission denied")):
        return StorageError(f"{path} cannot be used: {text}.", hint="`voicejobs doctor` checks disk and permissions.")
    return None


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < NO_SPACE_BYTES
    except OSError:
        return False  # the folder itself is gone or failing, which is not a matter of space
