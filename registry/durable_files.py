"""Durable files: bytes in → a file that is whole or absent after a crash; and locks that die with their process.

This module touches the disk. Nothing here is specific to jobs or voices.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import stat
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeVar

from registry.errors import Busy

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

CHUNK_BYTES = 1 << 20
DISK_THREADS = 16  # that wait for the disk at one moment; started when they are first needed
LONGEST_PLAIN_BYTES = 220  # a temporary name adds a few
CRASH_EXIT_STATUS = 137  # what a shell reports for SIGKILL, so that a test cannot tell the two apart

_BY_A_WRITER = re.compile(r"\.(.+)\.\d+\.\d+\.tmp", re.DOTALL)  # as `this_writer` and `temporary_beside` make it
_crash_visits: dict[str, int] = {}

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def temporary_beside(path: Path, *, writer: str = "") -> Path:
    """The hidden name under which `path` is written before it is renamed.

    It is always the same, so that the next try replaces what a crash left; where several may write `path` at once,
    each gives a `writer` of its own.
    """
    name = path.name if len(os.fsencode(path.name)) <= LONGEST_PLAIN_BYTES else _short_name(path.name)
    return path.with_name(f".{name}{writer}.tmp")


def _short_name(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()


def write_durably(path: Path, content: bytes, *, private: bool = False) -> None:
    """Make `path` hold `content`: temporary name, fsync, rename over, fsync of the folder.

    A `private` file can be read by this user alone; others as the umask says.
    """
    for error in write_all_durably([(path, content)], writer=this_writer(), private=private).values():
        raise error


def write_all_durably(
    files: Sequence[tuple[Path, bytes]],
    *,
    writer: str = "",
    private: bool = False,
    folders: Mapping[Path, int] | None = None,
) -> dict[Path, OSError]:
    """Make every path hold its content, each as `write_durably` does; returns those that failed, and why.

    All are written and synced, then all are renamed, then each folder is synced once: file systems join the syncs
    that wait at one moment. `folders` are parents that the caller holds open, where others could put links.
    """
    paths, held, mode = [path for path, _ in files], folders or {}, 0o600 if private else 0o666
    items = [(temporary_beside(path, writer=writer), content, held.get(path.parent), mode) for path, content in files]
    written = zip(paths, side_by_side(_write, items), strict=True)
    failed = {path: error for path, error in written if error is not None}
    crash_point("files.synced")
    for path, (temporary, _, folder, _) in zip(paths, items, strict=True):
        if path not in failed and (error := _rename(temporary, path, folder)) is not None:
            failed[path] = error
        crash_point("files.renamed")
    renamed = [path for path in paths if path not in failed]
    parents = list({path.parent: None for path in renamed})
    syncs = side_by_side(_sync_folder, [(parent, held.get(parent)) for parent in parents])
    synced = dict(zip(parents, syncs, strict=True))
    return failed | {path: error for path in renamed if (error := synced[path.parent]) is not None}


def new_file(path: Path, *, folder: int | None = None, mode: int = 0o666) -> BinaryIO:
    """New file in the place of whatever has its name, never through a link; `folder` is its parent, held open."""
    name = path if folder is None else path.name
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.fdopen(os.open(name, flags, mode, dir_fd=folder), "w+b")
    except FileExistsError:
        os.unlink(name, dir_fd=folder)
        return os.fdopen(os.open(name, flags, mode, dir_fd=folder), "w+b")


def _write(item: tuple[Path, bytes, int | None, int]) -> OSError | None:
    temporary, content, folder, mode = item
    try:
        with new_file(temporary, folder=folder, mode=mode) as file:
            crash_point("files.opened")
            file.write(content)
            file.flush()
            crash_point("files.written")
            fsync_file(file.fileno())
    except OSError as error:
        _discard(temporary, folder)
        return error
    return None


def _rename(temporary: Path, path: Path, folder: int | None) -> OSError | None:
    try:
        replace_in(temporary, path, folder=folder)
    except OSError as error:
        _discard(temporary, folder)
        return error
    return None


def replace_in(temporary: Path, path: Path, *, folder: int | None) -> None:
    """Give a file its name; `folder` is the parent of both, held open. Raises OSError."""
    if folder is None:
        temporary.replace(path)
    else:
        os.replace(temporary.name, path.name, src_dir_fd=folder, dst_dir_fd=folder)


def _discard(temporary: Path, folder: int | None) -> None:
    with contextlib.suppress(OSError):
        os.unlink(temporary if folder is None else temporary.name, dir_fd=folder)


def _sync_folder(item: tuple[Path, int | None]) -> OSError | None:
    path, folder = item
    try:
        fsync_folder(path) if folder is None else os.fsync(folder)
    except OSError as error:
        return error
    return None


def side_by_side(do: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Results of `do` for every item, in order; computed in threads, since waits for the disk may overlap.

    Raises what one of them raised, when all threads have ended; that thread's further items are left out.
    """
    if len(items) < 2:
        return [do(item) for item in items]
    threads = min(len(items), DISK_THREADS)

    def share(start: int) -> list[Result]:
        return [do(item) for item in items[start::threads]]

    begun = [_disk_threads().submit(share, start) for start in range(threads)]
    for one in begun:
        one.exception()  # waits
    results: dict[int, Result] = {}
    for start, one in enumerate(begun):
        results |= zip(range(start, len(items), threads), one.result(), strict=True)
    return [results[number] for number in range(len(items))]


@functools.cache
def _disk_threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # not at the top: every command of the line loads this module

    return ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="disk")


def this_writer() -> str:
    """Part of a temporary file's name that tells this thread's files from those of others."""
    return f".{os.getpid()}.{threading.get_native_id()}"


def sweep_abandoned(
    folder: Path, *, older_than_s: float, of: Collection[str] | None = None, dry_run: bool = False
) -> tuple[int, int]:
    """Number and bytes of a folder's own half-written files that killed processes left: removed, or with `dry_run` not.

    Only names as `write_durably` gives them, last changed before `older_than_s` (epoch seconds), are looked at; in a
    folder where others keep theirs, only those `of` our files by name.
    """
    removed = freed_bytes = 0
    with contextlib.suppress(OSError):  # a folder that is away holds none
        for path in folder.iterdir():
            with contextlib.suppress(OSError):  # removed meanwhile, or a disk that can only be read
                written = _BY_A_WRITER.fullmatch(path.name)
                if written is None or (of is not None and written[1] not in of):
                    continue
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_mtime < older_than_s:
                    if not dry_run:
                        path.unlink()
                    removed += 1
                    freed_bytes += facts.st_size
    return removed, freed_bytes


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


def regular_opener(path: str | os.PathLike[str], flags: int) -> int:
    """Descriptor of a regular file, as the `opener` of `open`. Raises OSError for anything else: a pipe would block."""
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # of a pipe that nobody reads
            error.strerror = "not a regular file"
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ENXIO, "not a regular file", str(path))
    return descriptor


def open_regular(path: Path) -> BinaryIO:
    """A regular file, opened for reading. Raises OSError for anything else."""
    return open(path, "rb", opener=regular_opener)


def read_regular(path: Path, *, at_most: int | None = None) -> bytes:
    """The bytes of a regular file. Raises OSError for anything else, and for a file of more bytes than `at_most`."""
    with open_regular(path) as file:
        content = file.read() if at_most is None else file.read(at_most + 1)
    if at_most is not None and len(content) > at_most:
        raise OSError(errno.EFBIG, f"more than {at_most:,} bytes", str(path))
    return content


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as lower-case hex; the file is read in pieces."""
    with open_regular(path) as file:
        return sha256_of_stream(file)


def sha256_of_stream(file: IO[bytes]) -> str:
    """As `sha256_of`, of what an open file still has to give."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


class FileLock:
    """An advisory lock on a file, held by this process until released or dead.

    The file tells the holder's process id and host for people and error messages; the lock itself is the
    kernel's (`flock`), so a killed holder never blocks the next one. The file is never removed: removing it
    would let two processes lock two different files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._folders: list[int] = []

    def acquire(self, *, shared: bool = False, wait: bool = False) -> None:
        """Take the lock. Raises Busy, naming the holder, when another process has it and `wait` is false.

        A shared lock needs no right to write to a file that is there.
        """
        access = os.O_RDONLY if shared else os.O_RDWR
        descriptor = os.open(self.path, access | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
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
        while self._folders:
            os.close(self._folders.pop())

    def hold_folder(self, folder: Path) -> None:
        """Lock a folder itself, until this lock is released. Raises Busy when another process has it.

        A file system that locks no folders, as some network mounts, is not an error: nothing is held there.
        """
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise Busy(f"{folder} is held by another process.") from None
            return
        self._folders.append(descriptor)

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
            with open_regular(self.path) as file:
                owner = json.loads(file.read())
        except (OSError, ValueError):
            return None  # absent, empty or half-written: nobody to name, which is an answer
        return owner if isinstance(owner, dict) else None

    def is_holder_dead(self) -> bool:
        """Whether whoever last took the lock exclusively was a process of this host that has ended.

        A child that it was just starting when it was killed holds the lock a moment longer.
        """
        owner = self.holder()
        if owner is None or owner.get("host") != os.uname().nodename or not isinstance(owner.get("pid"), int):
            return False
        try:
            os.kill(owner["pid"], 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        return False

    def describe_holder(self) -> str:
        """The holder in words, for error messages."""
        owner = self.holder()
        return f"process {owner.get('pid')} on {owner.get('host')}" if owner else "another process"

    def __enter__(self) -> FileLock:
        if not self.held:
            self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
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


def is_folder_locked(folder: Path) -> bool:
    """Whether a `FileLock` of some process, this one included, holds `folder`; False where there is none."""
    lock = FileLock(folder)
    try:
        lock.hold_folder(folder)
    except Busy:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    finally:
        lock.release()
    return False


def is_locked(path: Path) -> bool:
    """Whether some process, this one included, holds the lock file exclusively.

    The lock is taken, shared, for an instant to find out. Raises OSError where the file may not be opened.
    """
    if not path.exists():
        return False
    try:
        with held_lock(path, shared=True, wait=False):
            return False
    except Busy:
        return True
