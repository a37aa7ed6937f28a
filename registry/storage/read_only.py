"""A database on a disk that cannot be written to → how SQLite can read it all the same; touches the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from registry.errors import DiskFull
from registry.storage.connection import connect, error_from_sqlite


@dataclass(frozen=True, kw_only=True)
class ReadableCopy:
    """File that SQLite can read, and the access to ask of it."""

    path: Path
    access: str
    folder: tempfile.TemporaryDirectory[str] | None = None  # removed with the last value that refers to it


def readable_copy(database: Path, *, reads_only: bool = False) -> ReadableCopy | None:
    """How to read a database whose folder cannot be written to; None where it can, or where there is no database.

    A full disk counts as one that cannot be written to for those who only read, and only for a moment.

    In WAL mode SQLite wants to make a file beside the database even to read it. Without changes that wait in the
    WAL it can be told that nothing changes; with some, it reads them where they are or from a copy.
    """
    folder = database.parent
    if not database.exists() or (
        os.access(folder, os.W_OK) and not (reads_only and _is_unreadable_for_want_of_space(database))
    ):
        return None
    wal = database.with_name(f"{database.name}-wal")
    if not wal.exists() or not wal.stat().st_size:
        return ReadableCopy(path=database, access="mode=ro&immutable=1")
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(database, access="mode=ro")) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return ReadableCopy(path=database, access="mode=ro")
    temporary = tempfile.TemporaryDirectory(prefix="voicejobs-read-")
    copy = Path(temporary.name) / database.name
    shutil.copyfile(database, copy)
    shutil.copyfile(wal, copy.with_name(f"{copy.name}-wal"))
    return ReadableCopy(path=copy, access="mode=rw", folder=temporary)


def _is_unreadable_for_want_of_space(database: Path) -> bool:
    """Whether SQLite finds no room for the files that it makes beside a database to read it."""
    try:
        with contextlib.closing(connect(database)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return isinstance(error_from_sqlite(error, database), DiskFull)
    return False
