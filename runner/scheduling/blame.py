"""An error met while one job was worked on → whether it is that job's alone, and what its receipt says of it."""

from __future__ import annotations

import errno

from registry.errors import StorageError, VoiceJobsError, storage_error
from registry.storage.connection import is_of_storage
from runner.errors import Unforeseen, raised_at

# Whatever one job does, the system tells these to every other job as well.
EVERYBODYS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def is_of_one_job(error: Exception) -> bool:
    """False for what the disk, the database or the system may refuse to any other work as well."""
    if isinstance(error, StorageError):
        return not error.retryable
    if isinstance(error, OSError):
        return error.errno not in EVERYBODYS
    return not is_of_storage(error)


def as_told(error: Exception) -> VoiceJobsError:
    """The error as one of the tree, with the place where it was raised when nothing better is known."""
    if isinstance(error, VoiceJobsError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        return storage_error(error, f"the use of {error.filename}")
    said = str(error).strip()
    hint = "This is a defect: the log has the whole trace. Other jobs are not affected."
    return Unforeseen(f"{raised_at(error)}{': ' + said if said else ''}.", hint=hint)
