"""Durable files: bytes in → a file that is whole or absent after a crash; and locks that die with their process.

This module touches the disk. Nothing here is specific to jobs or voices.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from registry.errors import Busy

CHUNK_BYTES = 1 << 20
SYNCS_AT_ONCE = 16
CRASH_EXIT_STATUS = 137  # what a shell reports for SIGKILL, so that a test cannot tell the two apart

_crash_visits: dict[str, int] = {}


def crash_point(name: str) -> None:
    """Die here, as by `kill -9`, when `VOICEJOBS_CRASH_AT` is `name` or `name:visit` (visits count from 1).

    Tests walk every named step of the durable path with it; in normal life it costs one dictionary look-up.
    """
    wanted = os.environ.get("VOICEJOBS_CRASH_AT")
    if not wanted:
        return
    wanted_name, _, wanted_visit = wanted.partition(":")
    if wanted_name != name:
        return
    _crash_visits[name] = _crash_visits.get(name, 0) + 1
    if _crash_visits[name] == int(wanted_visit or 1):
        os._exit(CRASH_EXIT_STATUS)


def fsync_file(descriptor: int) -> None:
    """Force a file's bytes to the medium; on macOS through the drive's own cache (F_FULLFSYNC)."""
    full_fsync = getattr(fcntl, "F_FULLFSYNC", None) if sys.platform == "darwin" else None
    if full_fsync is None:
        os.fsync(descriptor)
        return
    try:
        fcntl.fcntl(descriptor, full_fsync)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
            raise
        os.fsync(descriptor)  # network and FAT volumes on macOS know no F_FULLFSYNC


def fsync_folder(folder: Path) -> None:
    """Force a folder's entries (creations, renames, removals) to the medium."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Make `path` hold `content`: temporary name, fsync, rename over, fsync of the folder."""
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.{threading.get_native_id()}.tmp")
    try:
        with temporary.open("wb") as file:
            crash_point("files.opened")
            file.write(content)
            file.flush()
            crash_point("files.written")
            fsync_file(file.fileno())
        crash_point("files.synced")
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    crash_point("files.renamed")
    fsync_folder(path.parent)


def write_all_durably(files: Sequence[tuple[Path, bytes]]) -> None:
    """Make every path hold its content, each as `write_durably` does; raises the first error, the others done.

    File systems join the syncs that wait at one moment, so that many files take little longer than one.
    """
    if len(files) < 2:
        for path, content in files:
            write_durably(path, content)
        return
    from concurrent.futures import ThreadPoolExecutor  # not at the top: every command of the line loads this module

    with ThreadPoolExecutor(min(len(files), SYNCS_AT_ONCE), thread_name_prefix="sync") as pool:
        written = [pool.submit(write_durably, path, content) for path, content in files]
    for one in written:  # all have ended: a failed one keeps none from being written
        one.result()


def rename_durably(source: Path, target: Path) -> None:
    """Rename and make the rename survive a power cut: both folders are synced."""
    source.rename(target)
    crash_point("files.moved")
    fsync_folder(target.parent)
    if source.parent != target.parent:
        fsync_folder(source.parent)


def make_folder_durably(folder: Path) -> None:
    """Create `folder` and its missing parents, each synced into its parent."""
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for part in reversed(missing):
        part.mkdir(exist_ok=True)
        fsync_folder(part.parent)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as lower-case hex; the file is read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


class FileLock:
    """An advisory lock on a file, held by this process until released or dead.

    The holder's process id and host stand in the file for people and error messages; the lock itself is the
    kernel's (`flock`), so a killed holder never blocks the next one. The file is never removed: removing it
    would let two processes lock two different files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, shared: bool = False, wait: bool = False) -> None:
        """Take the lock. Raises Busy, naming the holder, when another process has it and `wait` is false."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(descriptor, operation)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise Busy(f"{self.path} is held by {self.describe_holder()}.") from None
            raise
        self._descriptor = descriptor
        if not shared:
            owner = json.dumps({"pid": os.getpid(), "host": os.uname().nodename}).encode()
            with contextlib.suppress(OSError):  # the name is for people: a full disk must not cost the lock
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, owner, 0)

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def fileno(self) -> int:
        """The descriptor that holds the lock; a child process that inherits it holds the lock too, until it ends."""
        assert self._descriptor is not None, "the lock is not held"
        return self._descriptor

    def holder(self) -> dict[str, Any] | None:
        """Who last took the lock exclusively, `{"pid", "host"}`; None when the file says nothing readable."""
        try:
            owner = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # absent, empty or half-written: nobody to name, which is an answer
        return owner if isinstance(owner, dict) else None

    def describe_holder(self) -> str:
        """The holder in words, for error messages."""
        owner = self.holder()
        return f"process {owner.get('pid')} on {owner.get('host')}" if owner else "another process"

    def __enter__(self) -> FileLock:
        if not self.held:
            self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextlib.contextmanager
def held_lock(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[FileLock]:
    """Hold the lock file `path` for the duration of a `with` block."""
    lock = FileLock(path)
    lock.acquire(shared=shared, wait=wait)
    try:
        yield lock
    finally:
        lock.release()
