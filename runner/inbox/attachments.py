"""A path that a job names → that file's bytes, opened so that nothing outside the given folder can be reached.

Each part of the path is opened separately and never through a link, so no rename or link made meanwhile can lead
elsewhere. Where the exact spelling is absent, names compare in NFC and casefolded.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.durable_files import CHUNK_BYTES, fsync_file, new_file
from registry.errors import InvalidInput, VoiceJobsError, storage_error
from registry.voices.names import name_key
from runner.errors import AttachmentMissing, EntryRefused, StillArriving
from runner.held_folders import LINK_ERRORS, Folder, held_inside, read_at_most, regular_file
from runner.inbox.entries import Signature, is_temporary, signature_of
from runner.names import printable_name, relative_path

MAX_ATTACHMENT_BYTES = 1 << 30
STEP_BYTES = 64 << 20  # of a copy, after which others have their turn
OUR_OWN_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # not about the file, and temporary


@contextlib.contextmanager
def opened_below(folder: Folder, path: str) -> Iterator[int]:
    """Read-only descriptor of the regular file `path` below `folder`.

    Raises AttachmentMissing, EntryRefused (a link, a device, …) or OSError.
    """
    *parents, name = _checked(path).split("/")
    with contextlib.ExitStack() as held:
        inner = held.enter_context(folder.held())
        for part in parents:
            with _refusals(inner, part, path):
                inner = held.enter_context(held_inside(_spelled(inner, part), inner))
        with _refusals(inner, name, path):
            file = held.enter_context(regular_file(_spelled(inner, name), dir_fd=inner))
        yield file


def _checked(path: str) -> str:
    try:
        return relative_path(path)
    except ValueError as error:
        raise EntryRefused(f"{printable_name(path)}: {error}.") from None


@contextlib.contextmanager
def _refusals(folder: int, part: str, path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise _missing(folder, part, path) from None
    except BlockingIOError:
        raise StillArriving(f"{printable_name(path)} is in use by another program.") from None
    except OSError as error:
        if error.errno in (*LINK_ERRORS, errno.ENXIO, errno.EOPNOTSUPP):
            raise EntryRefused(
                f"{printable_name(path)} leads through a link, or is not a regular file.",
                hint="Copy the file itself to that path.",
            ) from None
        if error.errno in OUR_OWN_ERRORS:
            raise
        raise refused_by_system(path, error, verb="read") from error


def _spelled(descriptor: int, part: str) -> str:
    """Name in the folder that is `part`: exactly, else the only one equal in NFC and casefolded."""
    try:
        os.stat(part, dir_fd=descriptor, follow_symlinks=False)
        return part
    except FileNotFoundError:
        wanted = name_key(part)
        same = [name for name in os.listdir(descriptor) if name_key(name) == wanted]
        if len(same) != 1:
            raise
        return same[0]


def _missing(descriptor: int, part: str, path: str) -> AttachmentMissing:
    shown = printable_name(path)
    wanted = name_key(part)
    names = os.listdir(descriptor)
    starts = (f".{wanted}.", f"{wanted}.")  # .elena.wav.Xy12Z (rsync), elena.wav.part (browsers)
    if any(is_temporary(name) and name_key(name).startswith(starts) for name in names):
        return StillArriving(f"The job names {shown!r}, which is still being written.")
    return AttachmentMissing(
        f"The job names {shown!r}, which is not there.",
        hint="Put it into the inbox before the job file, or drop both together in one folder.",
    )


@dataclass
class Copy:
    """A file below a folder on its way to a place of our own; `step` is called until it is `done`.

    `is_written` tells of an open file whether another program is still writing it. Raises StillArriving when one is,
    or the file changed while it was read; and as `opened_below`.
    """

    folder: Folder
    path: str
    target: Folder | None = None  # below which it appears as `path`; None: for its SHA-256 alone
    is_written: Callable[[int], bool] = lambda _file: False
    durable: bool = False
    sha256: str = ""
    _steps: Generator[None, None, None] | None = field(default=None, repr=False)

    def step(self) -> bool:
        """Copy the next piece; returns whether the whole file is copied, and appears, with `sha256` set."""
        self._steps = self._steps or self._run()
        try:
            next(self._steps)
        except StopIteration:
            return True
        return False

    def whole(self) -> str:
        """Copy all of it at once; returns the SHA-256."""
        while not self.step():
            pass
        return self.sha256

    def _run(self) -> Generator[None, None, None]:
        digest = hashlib.sha256()
        with opened_below(self.folder, self.path) as file, self._output() as copy:
            before = os.fstat(file)
            if before.st_size > MAX_ATTACHMENT_BYTES:
                limit = f"{before.st_size:,} bytes, over the limit of {MAX_ATTACHMENT_BYTES:,}"
                raise EntryRefused(f"{printable_name(self.path)} has {limit}.")
            left = before.st_size
            while left > 0 and (chunk := self._read(file, min(left, CHUNK_BYTES))):
                digest.update(chunk)
                if copy is not None:
                    copy.write(chunk)
                left -= len(chunk)
                if (before.st_size - left) % STEP_BYTES == 0:
                    yield
            if signature_of(os.fstat(file)) != signature_of(before) or left or self.is_written(file):
                raise StillArriving(f"{printable_name(self.path)} is still being written.")
            if copy is not None:
                copy.flush()
                os.utime(copy.fileno(), ns=(before.st_mtime_ns, before.st_mtime_ns))
        self.sha256 = digest.hexdigest()

    @contextlib.contextmanager
    def _output(self) -> Iterator[Any]:
        """The copy as a file object, which gets its name at the end."""
        if self.target is None:
            yield None
            return
        *parents, name = self.path.split("/")
        temporary = Path(".copying.tmp")
        with Folder(self.target.root, (*self.target.parts, *parents)).held(make=True) as folder:
            try:
                with new_file(temporary, folder=folder) as copy:
                    yield copy
                    if self.durable:
                        fsync_file(copy.fileno())
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                if self.durable:
                    os.fsync(folder)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    def _read(self, file: int, size: int) -> bytes:
        try:
            return os.read(file, size)
        except OSError as error:
            raise refused_by_system(self.path, error, verb="read") from error


def sha256_below(folder: Path, path: str) -> str:
    """SHA-256 of the file `path` below `folder`. Raises as `opened_below`."""
    return Copy(Folder(folder), path).whole()


def copy_below(folder: Path, path: str, target: Folder) -> str:
    """Copy the file durably to the same path below `target`, whole or not at all; returns its SHA-256."""
    return Copy(Folder(folder), path, target, durable=True).whole()


def look_below(folder: Folder, path: str, *, is_written: Callable[[int], bool]) -> Signature | None:
    """Signature of the file `path` below `folder`; None while a program has it open for writing. As `opened_below`."""
    with opened_below(folder, path) as file:
        return None if is_written(file) else signature_of(os.fstat(file))


def read_file(path: Path, *, limit_bytes: int) -> bytes:
    """Bytes of one small regular file, whatever its name. Raises InvalidInput above `limit_bytes`, or OSError."""
    return read_in(path.name, str(path), limit_bytes=limit_bytes)


def read_in(shown: str, name: str, *, limit_bytes: int, dir_fd: int | None = None) -> bytes:
    """As `read_file`, of the file `name` in an open folder. Raises StillArriving when it changes meanwhile."""
    try:
        with regular_file(name, dir_fd=dir_fd) as file:
            before = os.fstat(file)
            if before.st_size > limit_bytes:
                size = f"{before.st_size:,} bytes, over the limit of {limit_bytes:,}"
                raise InvalidInput(f"{printable_name(shown)} has {size}.")
            content = read_at_most(file, before.st_size)
            if len(content) < before.st_size or signature_of(os.fstat(file)) != signature_of(before):
                raise StillArriving(f"{printable_name(shown)} is still being written.")
            return content
    except OSError as error:
        if error.errno in (*LINK_ERRORS, errno.ENXIO):
            raise EntryRefused(f"{printable_name(shown)} is not a regular file.") from None
        raise


def lost_or_refused(path: Path, error: OSError) -> VoiceJobsError:
    """Error for a claimed file that cannot be read: it is gone, or the disk may deliver it later."""
    if isinstance(error, FileNotFoundError):
        return AttachmentMissing(f"{printable_name(path.name)} is gone from {path.parent}.", hint="Drop the job again.")
    return storage_error(error, f"reading {path}")


def refused_by_system(name: str, error: OSError, *, verb: str) -> EntryRefused:
    """Refusal of a file that the operating system does not let us use."""
    reason = error.strerror or str(error)
    return EntryRefused(
        f"{printable_name(name)} cannot be {verb}: {reason}.", hint="Check its permissions and those of the inbox."
    )
