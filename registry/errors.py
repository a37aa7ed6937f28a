"""The root of every error of the project, and the few errors that all rooms share.

    VoiceJobsError
    ├── InvalidInput         what a person or another program wrote is wrong (also a ValueError)
    ├── NotFound             a name that nothing known answers to
    ├── Conflict             the thing exists, is in use, or changed meanwhile
    ├── Busy                 another process holds it
    └── StorageError         the disk is full, failing or not permitted
        ├── DiskFull         no space left, or over quota
        ├── DatabaseLocked   another process kept the database for longer than we wait
        ├── DamagedData      bytes on disk are not what was written
        └── SchemaTooNew     the database was written by a newer voicejobs

A room's own errors are in its `errors.py` and derive from one of these.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from typing import ClassVar

NOT_PERMITTED = (errno.EACCES, errno.EPERM, errno.EROFS)
IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO)


class VoiceJobsError(Exception):
    """Base of all errors: a stable `code`, a message about the value, and a hint on what to do next."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False  # whether the same work can succeed later without anybody's help

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidInput(VoiceJobsError, ValueError):
    """A value that a person or another program gave cannot be used."""

    code = "invalid-input"


class NotFound(VoiceJobsError):
    """Nothing known has this name."""

    code = "not-found"


class Conflict(VoiceJobsError):
    """The thing exists already, is still needed, or has changed meanwhile."""

    code = "conflict"


class Busy(VoiceJobsError):
    """Another process holds what is needed."""

    code = "busy"
    retryable = True


class StorageError(VoiceJobsError):
    """The disk is full, failing, or not permitted."""

    code = "storage"
    retryable = True
    is_instance_wide: ClassVar[bool] = False  # whether any other work would meet it, too

    def __init__(self, message: str, *, hint: str = "", errno: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = errno  # the system's own number where there is one


class DiskFull(StorageError):
    """No space left on the device, or over quota: the same work succeeds once there is room."""

    code = "disk-full"
    is_instance_wide = True


class DatabaseLocked(StorageError):
    """Another process held the database's write lock for longer than we wait."""

    code = "database-locked"
    is_instance_wide = True


class DamagedData(StorageError):
    """Bytes on disk are not the bytes that were written."""

    code = "damaged-data"
    retryable = False


class RegistryLost(DamagedData):
    """The database that this instance had is gone, empty or no longer under its name."""

    code = "registry-lost"
    is_instance_wide = True


class ReadOnly(StorageError):
    """Nothing can be written where the registry is; reading goes on."""

    code = "read-only"
    is_instance_wide = True


class SchemaTooNew(StorageError):
    """The database was written by a newer voicejobs than this one."""

    code = "schema-too-new"
    retryable = False


FREE_SPACE_HINT = "Free some space; waiting work goes on by itself."


def storage_error(error: OSError, doing: str) -> StorageError:
    """Error of the tree for a refusal of the system while `doing` ("writing /x/y")."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"No space left while {doing} ({reason}).", hint=FREE_SPACE_HINT, errno=error.errno)
    hint = "Give this user the right to it, or choose another place." if error.errno in NOT_PERMITTED else ""
    if error.errno in IN_THE_WAY:
        hint = "Something of another kind has a name on the way there: move it away, or choose another place."
    if error.errno == errno.EROFS:
        hint = "Mount its disk for writing again (its check may be due: fsck), or choose another place."
    return StorageError(f"The system refused {doing}: {reason}.", hint=hint, errno=error.errno)


LONGEST_NEAR = 200  # characters: comparing costs their square, and nobody mistypes a book


def nearest(wanted: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """The known names closest to `wanted`, best first; empty when none is close."""
    if len(wanted) > LONGEST_NEAR:
        return []
    by_folded = {name.casefold(): name for name in known}
    return [by_folded[key] for key in difflib.get_close_matches(wanted.casefold(), by_folded, n=limit)]
