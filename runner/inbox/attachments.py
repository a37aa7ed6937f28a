"""A path that a job names → that file's bytes, opened so that nothing outside the given folder can be reached.

Each part of the path is opened separately and never through a link, so no rename or link made meanwhile can lead
elsewhere. Where the exact spelling is absent, names compare in NFC and casefolded.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from registry.durable_files import CHUNK_BYTES, fsync_file
from registry.errors import InvalidInput, VoiceJobsError, storage_error
from registry.voices.names import name_key
from runner.errors import AttachmentMissing, EntryRefused, StillArriving
from runner.inbox.entries import Signature, is_temporary, signature_of
from runner.names import printable_name, relative_path

MAX_ATTACHMENT_BYTES = 1 << 30
OUR_OWN_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # not about the file, and temporary
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block us


@contextlib.contextmanager
def opened_below(folder: Path, path: str) -> Iterator[int]:
    """Read-only descriptor of the regular file `path` below `folder`.

    Raises AttachmentMissing, EntryRefused (a link, a device, …) or OSError.
    """
    *parents, name = _checked(path).split("/")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parents:
            inner = _open_part(descriptor, part, flags=_FOLDER_FLAGS, path=path)
            os.close(descriptor)
            descriptor = inner
        file = _open_part(descriptor, name, flags=_FILE_FLAGS, path=path)
    finally:
        os.close(descriptor)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise EntryRefused(f"{printable_name(path)} is not a regular file.")
        yield file
    finally:
        os.close(file)


def _checked(path: str) -> str:
    try:
        return relative_path(path)
    except ValueError as error:
        raise EntryRefused(f"{printable_name(path)}: {error}.") from None


def _open_part(descriptor: int, part: str, *, flags: int, path: str) -> int:
    name = _spelled(descriptor, part)
    if name is None:
        raise _missing(descriptor, part, path)
    try:
        return os.open(name, flags, dir_fd=descriptor)
    except FileNotFoundError:
        raise _missing(descriptor, part, path) from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.ENXIO, errno.EOPNOTSUPP):
            raise EntryRefused(
                f"{printable_name(path)} leads through a link, or is not a regular file.",
                hint="Copy the file itself to that path.",
            ) from None
        if error.errno in OUR_OWN_ERRORS:
            raise
        raise refused_by_system(path, error, verb="read") from error


def _spelled(descriptor: int, part: str) -> str | None:
    """Name in the folder that is `part`: exactly, else the only one equal in NFC and casefolded."""
    try:
        os.stat(part, dir_fd=descriptor, follow_symlinks=False)
        return part
    except FileNotFoundError:
        wanted = name_key(part)
        same = [name for name in os.listdir(descriptor) if name_key(name) == wanted]
        return same[0] if len(same) == 1 else None


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


def signature_below(folder: Path, path: str) -> Signature:
    """Signature of the file `path` below `folder`. Raises as `opened_below`."""
    with opened_below(folder, path) as file:
        return signature_of(os.fstat(file))


def sha256_below(folder: Path, path: str) -> str:
    """SHA-256 of the file `path` below `folder`. Raises as `opened_below`."""
    digest = hashlib.sha256()
    for chunk in _chunks(folder, path):
        digest.update(chunk)
    return digest.hexdigest()


def copy_below(folder: Path, path: str, target: Path) -> str:
    """Copy the file durably to `target`, which appears whole or not at all; returns its SHA-256."""
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(".copying.tmp")
    try:
        with temporary.open("wb") as copy:
            for chunk in _chunks(folder, path):
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            fsync_file(copy.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return digest.hexdigest()


def read_file(path: Path, *, limit_bytes: int) -> bytes:
    """Bytes of one small regular file, whatever its name. Raises InvalidInput above `limit_bytes`, or OSError."""
    file = os.open(path, _FILE_FLAGS)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise EntryRefused(f"{printable_name(path.name)} is not a regular file.")
        if status.st_size > limit_bytes:
            size = f"{status.st_size:,} bytes, over the limit of {limit_bytes:,}"
            raise InvalidInput(f"{printable_name(path.name)} has {size}.")
        return _read_all(file, limit_bytes)
    finally:
        os.close(file)


def _read_all(file: int, limit_bytes: int) -> bytes:
    return b"".join(iter(lambda: os.read(file, CHUNK_BYTES), b""))[:limit_bytes]


def _chunks(folder: Path, path: str) -> Iterator[bytes]:
    """The file in pieces. Raises EntryRefused when the system does not let us read it."""
    with opened_below(folder, path) as file:
        size = os.fstat(file).st_size
        if size > MAX_ATTACHMENT_BYTES:
            limit = f"{size:,} bytes, over the limit of {MAX_ATTACHMENT_BYTES:,}"
            raise EntryRefused(f"{printable_name(path)} has {limit}.")
        while chunk := _read(file, path):
            yield chunk


def _read(file: int, path: str) -> bytes:
    try:
        return os.read(file, CHUNK_BYTES)
    except OSError as error:
        raise refused_by_system(path, error, verb="read") from error


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
