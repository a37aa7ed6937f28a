"""Files below a folder: listed, recorded and compared, copied with a check, forced to the medium.

This module touches the disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from models.store.manifest import PROVENANCE_FILE, VERIFIED_FILE
from registry.durable_files import CHUNK_BYTES, fsync_file, fsync_folder, sha256_of


class FileRecord(NamedTuple):
    """One file of a moved folder, as it was: enough to tell later whether anybody touched it."""

    path: str
    size_bytes: int
    modified_ns: int


def entries_below(folder: Path) -> Iterator[tuple[Path, str]]:
    """Entries below `folder` as (path, "folder" | "file" | "link" | "other"); a folder comes before its content."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.is_symlink():
            yield path, "link"
        elif entry.is_dir():
            yield path, "folder"
            yield from entries_below(path)
        else:
            yield path, "file" if entry.is_file() else "other"


def record_of(path: Path, folder: Path) -> FileRecord | None:
    """Record of a file or link at this moment; None when it is not there."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    modified_ns = 0 if stat.S_ISLNK(status.st_mode) else status.st_mtime_ns
    return FileRecord(path.relative_to(folder).as_posix(), status.st_size, modified_ns)


def recorded_files(folder: Path) -> tuple[FileRecord, ...]:
    """A record of every file and link below `folder`, sorted by path; none for a folder that is not there."""
    if not folder.is_dir():
        return ()
    records = [record_of(path, folder) for path, kind in entries_below(folder) if kind != "folder"]
    return tuple(sorted((record for record in records if record), key=lambda record: record.path))


def changed_files(records: Iterable[FileRecord], folder: Path) -> list[str]:
    """Paths below `folder` that are not as recorded: changed, gone, or new. Our own marks are free."""
    was = {file.path: file for file in records}
    now = {file.path: file for file in recorded_files(folder)}
    changed = [path for path in was.keys() | now.keys() if was.get(path) != now.get(path)]
    return sorted(path for path in changed if path not in (PROVENANCE_FILE, VERIFIED_FILE))


def sync_tree(folder: Path) -> None:
    """Force a folder's entries, and those of its sub-folders, to the medium."""
    for path, kind in entries_below(folder):
        if kind == "folder":
            fsync_folder(path)
    fsync_folder(folder)


def remove_empty_folders(folder: Path) -> None:
    """Remove `folder` and those below it that hold nothing more; one that holds something stays."""
    if not folder.is_dir():
        return
    below = [path for path, kind in entries_below(folder) if kind == "folder"]
    for path in [*reversed(below), folder]:
        with contextlib.suppress(OSError):
            path.rmdir()


def copy_checked(source: Path, target: Path) -> None:
    """Copy a file, force it to the medium, and read it back: the copy has the bytes that were read.

    Raises OSError also when the source changed meanwhile.
    """
    digest = hashlib.sha256()
    before = source.stat()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        fsync_file(writer.fileno())
    after = source.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(errno.EAGAIN, f"{source.name} changed while it was copied", str(source))
    if sha256_of(target) != digest.hexdigest():
        raise OSError(errno.EIO, f"{target.name} reads back differently than it was written", str(target))
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
