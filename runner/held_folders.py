"""A folder that others may change → it and its files by descriptor, so that no link leads anywhere else.

Every step below a trusted root is opened from the folder before it and never through a link: whatever is renamed or
put in its place meanwhile, we are where we were. This module touches the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.durable_files import CHUNK_BYTES

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block us
LINK_ERRORS = (errno.ELOOP, errno.EMLINK, errno.ENOTDIR)  # what the system says of a link that it may not follow

NO_SUCH_RENAME = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Folder:
    """The folder at `parts` below `root`; `root` itself may lie behind a link, as its owner likes."""

    root: Path
    parts: tuple[str, ...] = ()

    def __truediv__(self, name: str) -> Folder:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise OSError(errno.EINVAL, "not a name within a folder", name)  # of a restored job, say
        return Folder(self.root, (*self.parts, name))

    @property
    def path(self) -> Path:
        """Where it is, for messages."""
        return self.root.joinpath(*self.parts)

    @contextlib.contextmanager
    def held(self, *, make: bool = False, mode: int = 0o777) -> Iterator[int]:
        """Descriptor of the folder, which is made when it is missing and `make` is true. Raises OSError."""
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in self.parts:
                inner = _opened(part, folder, make=make, mode=mode)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def names(self) -> list[str]:
        """Names of everything in the folder. Raises OSError."""
        with self.held() as folder:
            return names_in(folder)


def names_in(folder: int) -> list[str]:
    """Names of everything in an open folder."""
    return os.listdir(folder)


def is_folder(name: str, *, dir_fd: int) -> bool:
    """Whether an entry of an open folder is a folder, and no link to one. Raises OSError."""
    return stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)


def _opened(name: str, folder: int, *, make: bool, mode: int) -> int:
    try:
        return os.open(name, FOLDER_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=folder)
        os.fsync(folder)
    return os.open(name, FOLDER_FLAGS, dir_fd=folder)


@contextlib.contextmanager
def held_inside(name: str, folder: int) -> Iterator[int]:
    """Descriptor of a folder in an open folder. Raises OSError, one of LINK_ERRORS for a link."""
    inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
    try:
        yield inner
    finally:
        os.close(inner)


@contextlib.contextmanager
def regular_file(name: str, *, dir_fd: int | None = None) -> Iterator[int]:
    """Read-only descriptor of a regular file. Raises OSError: ELOOP for a link, ENXIO for a FIFO, a device, …"""
    file = os.open(name, FILE_FLAGS, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.ENXIO, "not a regular file", name)
        yield file
    finally:
        os.close(file)


def read_at_most(file: int, limit_bytes: int) -> bytes:
    """Bytes of an open file, `limit_bytes` at most, however much it grows meanwhile."""
    pieces, left = [], limit_bytes
    while left > 0 and (piece := os.read(file, min(CHUNK_BYTES, left))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def move_new(name: str, wanted: str, *, src_dir_fd: int, dst_dir_fd: int) -> str:
    """Rename an entry to `wanted`, else to the first of `wanted-2`, `wanted-3`, … that is free; returns the name.

    Nothing is replaced, also when others take names at the same moment. Raises OSError.
    """
    while True:
        free = free_name(wanted, dir_fd=dst_dir_fd)
        with contextlib.suppress(FileExistsError):
            _rename_new(name, free, src_dir_fd, dst_dir_fd)
            return free


def _rename_new(name: str, new_name: str, src_dir_fd: int, dst_dir_fd: int) -> None:
    """Rename where the system refuses to replace; on disks that cannot, as NFS, the name was free just now."""
    is_mac = sys.platform == "darwin"
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameatx_np" if is_mac else "renameat2", None)
    flag = ctypes.c_uint(4 if is_mac else 1)  # RENAME_EXCL, RENAME_NOREPLACE
    if rename is None:  # the C library is older
        os.rename(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    elif rename(src_dir_fd, os.fsencode(name), dst_dir_fd, os.fsencode(new_name), flag) < 0:
        number = ctypes.get_errno()
        if number not in NO_SUCH_RENAME:
            raise OSError(number, os.strerror(number), new_name)
        os.rename(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


def free_name(name: str, *, dir_fd: int) -> str:
    """Name that nothing has in the folder: `name`, else with `-2`, `-3`, … before the extension."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 (a name, not a path)
    room = 255 - len(os.fsencode(suffix)) - 8
    short = os.fsdecode(os.fsencode(stem)[:room])

    def numbered(number: int) -> str:
        return name if number == 1 else f"{short}-{number}{suffix}"

    def is_used(number: int) -> bool:
        try:
            os.stat(numbered(number), dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    free = 1
    while is_used(free):
        free *= 2
    used = free // 2  # a name used fifty thousand times is found in thirty steps
    while free - used > 1:
        middle = (free + used) // 2
        if is_used(middle):
            used = middle
        else:
            free = middle
    return numbered(free)


def remove_tree(name: str, *, dir_fd: int) -> None:
    """Remove an entry of a folder and all that is below it, however deep; links are removed, never followed.

    Folders are moved up and emptied one by one, so that no depth exhausts us. Raises OSError when something stays.
    """
    if _is_unlinked(name, dir_fd):
        return
    with _opened_up(name, dir_fd) as top:
        waiting = names_in(top)
        while waiting:
            each = waiting.pop()
            if not _is_unlinked(each, top):
                waiting += _moved_up(each, top)
                os.rmdir(each, dir_fd=top)
    os.rmdir(name, dir_fd=dir_fd)


def _moved_up(name: str, top: int) -> list[str]:
    """Empty the folder; returns the new names, in `top`, of the folders that were in it."""
    moved = []
    with _opened_up(name, top) as folder:
        for each in names_in(folder):
            if not _is_unlinked(each, folder):
                with _opened_up(each, folder):
                    moved.append(f".{secrets.token_hex(12)}")
                    os.rename(each, moved[-1], src_dir_fd=folder, dst_dir_fd=top)
    return moved


def _is_unlinked(name: str, folder: int) -> bool:
    try:
        if is_folder(name, dir_fd=folder):
            return False
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    return True


@contextlib.contextmanager
def _opened_up(name: str, folder: int) -> Iterator[int]:
    """Descriptor of a folder whose entries its owner may remove from now on."""
    try:
        inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
    except PermissionError:
        place = os.open(name, getattr(os, "O_PATH", 0) | FOLDER_FLAGS, dir_fd=folder)
        try:
            Path(f"/proc/self/fd/{place}").chmod(0o700)
        finally:
            os.close(place)
        inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
    try:
        if os.fstat(inner).st_mode & 0o700 != 0o700:
            with contextlib.suppress(OSError):  # not ours: the next step tells
                os.fchmod(inner, 0o700)
        yield inner
    finally:
        os.close(inner)
