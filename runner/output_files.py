"""A path that a person gave for a command's result → checked before the work starts, then written.

A file is replaced whole, at the end of its links; a pipe, a device or an open descriptor is written into. This module
touches the disk.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from pathlib import Path

from models.named_paths import kind_of, refused, shown_path, status_of
from registry.durable_files import write_durably
from registry.errors import NotFound, storage_error
from runner.errors import UsageProblem

READER_WITHIN_S = 60.0
READER_PAUSE_S = 0.05
MOST_LINKS = 40
_DESCRIPTOR_FOLDERS = re.compile(r"/dev/fd|/proc/(\d+)/fd")


def check_target(path: Path) -> None:
    """Raise UsageProblem for what cannot be written, NotFound when the folder it belongs in does not exist."""
    if _descriptor(path) is not None:
        return
    status = status_of(path)
    if status is not None and not (stat.S_ISREG(status.st_mode) or _is_written_into(status)):
        raise UsageProblem(f"{shown_path(path)} is {kind_of(status)}.", hint="Name the file to write.")
    if status is None:
        target = real_target(path)
        folder = status_of(target.parent)
        if folder is None or not stat.S_ISDIR(folder.st_mode):
            raise NotFound(f"There is no folder {shown_path(target.parent)} to write {shown_path(target.name)} into.")


def real_target(path: Path) -> Path:
    """File at the end of all links, which is what a new content replaces."""
    return Path(os.path.realpath(path))


def takes_a_stream(path: Path) -> bool:
    """Whether `path` is a pipe, a character device or a descriptor of this process, which no file may replace."""
    status = status_of(path) if _descriptor(path) is None else None
    return _descriptor(path) is not None or (status is not None and _is_written_into(status))


def write_target(path: Path, content: bytes) -> None:
    """Write `content` to `path`: a file whole or not at all. Raises as `check_target`, and StorageError."""
    check_target(path)
    try:
        if takes_a_stream(path):
            _write_into(path, content)
        else:
            write_durably(real_target(path), content)
    except BrokenPipeError:
        raise  # as with any pipe: its reader has gone
    except OSError as error:
        raise storage_error(error, f"writing {shown_path(path)}") from error


def _is_written_into(status: os.stat_result) -> bool:
    return stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode)


def _descriptor(path: Path) -> int | None:
    """Descriptor of this process that `path` names, as /dev/stdout and /dev/fd/3 do."""
    path = path.absolute()
    for _ in range(MOST_LINKS):
        folder = os.path.realpath(path.parent)
        match = _DESCRIPTOR_FOLDERS.fullmatch(folder)
        if match and path.name.isascii() and path.name.isdigit() and match[1] in (None, str(os.getpid())):
            return int(path.name)
        try:
            path = Path(folder, path.readlink())
        except (OSError, ValueError):
            return None
    return None


def _write_into(path: Path, content: bytes) -> None:
    number = _descriptor(path)
    descriptor = os.dup(number) if number is not None else _opened(path)
    try:
        os.set_blocking(descriptor, True)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Descriptor of a pipe or device; a pipe's reader is awaited. Raises UsageProblem when none comes."""
    until_s = time.monotonic() + READER_WITHIN_S
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno != errno.ENXIO or not path.is_fifo():
                raise refused(path, error, verb="written") from error
        if time.monotonic() > until_s:
            raise UsageProblem(f"Nobody reads the pipe {shown_path(path)}.", hint="Start its reader first.")
        time.sleep(READER_PAUSE_S)
