"""A path as a person wrote it → the path that it means, what it names, and the bytes behind it, or why not.

For settings, jobs, arguments and the environment alike. This module reads the disk and changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from models.errors import InvalidPath

MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 1_023 if sys.platform == "darwin" else 4_095
SHOWN_CHARACTERS = 120
SILENT_S = 60.0  # how long a pipe or device may say nothing
READ_BYTES = 1 << 16
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a disk",
}


def named_path(
    written: str | os.PathLike[str], *, below: Path | None = None, environ: Mapping[str, str] | None = None
) -> Path:
    """Path with its `~` or `~user` expanded; a relative one is `below` that folder. Raises InvalidPath."""
    text = os.fspath(written)
    if not text:
        raise InvalidPath("A path is empty.", hint="Name a file or folder.")
    if "\0" in text or is_no_text(text):
        reason = "it contains a NUL character" if "\0" in text else "its bytes are not UTF-8"
        raise InvalidPath(f"The path {shown_path(text)} cannot be used: {reason}.")
    path = _home_expanded(Path(text), os.environ if environ is None else environ)
    path = path if below is None else below / path
    if any(len(os.fsencode(part)) > MAX_COMPONENT_BYTES for part in path.parts):
        reason = f"a name in it is longer than {MAX_COMPONENT_BYTES} bytes"
    elif len(os.fsencode(path)) > MAX_PATH_BYTES:
        reason = f"it is longer than {MAX_PATH_BYTES:,} bytes"
    else:
        return path
    raise InvalidPath(f"The path {shown_path(text)} cannot be used: {reason}.")


def shown_path(written: str | os.PathLike[str]) -> str:
    """Path for a message: without what a terminal would obey, and not longer than a person reads."""
    text = os.fspath(written)
    text = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return text if text.isprintable() else repr(text)  # not printable: controls, bidi controls, surrogates


def home_of(environ: Mapping[str, str]) -> Path:
    """The user's home folder, as the environment says, else as the system does. Raises InvalidPath for neither."""
    if environ.get("HOME"):
        return Path(environ["HOME"])
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        hint = "Set HOME, or write the whole path."
        raise InvalidPath("This user has no home folder that HOME or the system knows.", hint=hint) from None


def status_of(path: Path) -> os.stat_result | None:
    """Facts about what `path` names, links followed; None when nothing is there. Raises InvalidPath."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise refused(path, error) from None


def refused(path: Path, error: OSError | ValueError, *, verb: str = "used") -> InvalidPath:
    """Error for a path that the system refuses."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    permitted = not isinstance(error, PermissionError)
    hint = "" if permitted else "Give this user the right to it, or choose another place."
    return InvalidPath(f"The path {shown_path(path)} cannot be {verb}: {reason}.", hint=hint)


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder that the system lets us see; never raises."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def kind_of(status: os.stat_result) -> str | None:
    """`a folder`, `a pipe`, …; None of a regular file."""
    return None if stat.S_ISREG(status.st_mode) else KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")


def read_named(path: Path, *, limit_bytes: int, silent_s: float = SILENT_S) -> bytes:
    """Bytes of a file, a pipe or a device, at most `limit_bytes` and one more, which tells that it is too large.

    Raises InvalidPath, also when nothing comes for `silent_s`; a regular file alone is read with `silent_s` of 0.
    """
    with _opened(path) as descriptor:
        status = os.fstat(descriptor)
        kind = kind_of(status)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISBLK(status.st_mode) or (kind and not silent_s):
            raise InvalidPath(f"{shown_path(path)} is {kind}, where a file is needed.")
        content = bytearray()
        last_s = time.monotonic()
        while len(content) <= limit_bytes:
            if kind and not _has_something(descriptor, within_s=last_s + silent_s - time.monotonic()):
                raise InvalidPath(f"{shown_path(path)} is {kind} from which nothing came for {silent_s:.0f} s.")
            try:
                piece = os.read(descriptor, min(READ_BYTES, limit_bytes + 1 - len(content)))
            except BlockingIOError:
                continue
            except OSError as error:
                raise refused(path, error, verb="read") from None
            if not piece:
                break
            content += piece
            last_s = time.monotonic()
        return bytes(content)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise refused(path, error, verb="read") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _has_something(descriptor: int, *, within_s: float) -> bool:
    """Whether bytes, or the end, can be read; devices that cannot be waited for always can."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, within_s) * 1_000))


def _home_expanded(path: Path, environ: Mapping[str, str]) -> Path:
    first, *rest = path.parts or ("",)
    if first == "~":
        return home_of(environ).joinpath(*rest)
    if not first.startswith("~"):
        return path
    try:
        return Path(pwd.getpwnam(first[1:]).pw_dir, *rest)
    except KeyError:
        hint = f"Write ./{first[:40]} for a file that is called so."
        reason = f"there is no user {first[1:41]!r}"
        raise InvalidPath(f"The path {shown_path(path)} cannot be used: {reason}.", hint=hint) from None


def is_no_text(text: str) -> bool:
    """Whether bytes that are not UTF-8 are in it, which Python keeps as surrogates."""
    return any("\ud800" <= character <= "\udfff" for character in text)
