"""An error → the exit code of the command line. The one place where codes are mapped.

0 ok · 1 the work failed · 2 usage · 3 not found or needs action · 4 another runner is active · 75 try again ·
130 interrupted.
"""

from __future__ import annotations

import errno

from registry.errors import IN_THE_WAY, NOT_PERMITTED, StorageError, VoiceJobsError
from registry.jobs.values import JobStatus

OK, FAILED, USAGE, NEEDS_ACTION, RUNNER_ACTIVE, TRY_AGAIN, INTERRUPTED = 0, 1, 2, 3, 4, 75, 130

EXIT_CODES: dict[str, int] = {
    # the work failed
    "internal": FAILED,
    "runner-died": FAILED,
    "work-failed": FAILED,
    "invalid-job-file": FAILED,
    "entry-refused": FAILED,
    "attachment-missing": FAILED,
    "attachment-arriving": FAILED,
    "recorded-otherwise": FAILED,
    "dependency-failed": FAILED,
    "dependency-unknown": FAILED,
    "engine-failure": FAILED,
    "model-changed": FAILED,
    "invalid-reference-audio": FAILED,
    "invalid-clone-prompt": FAILED,
    "invalid-manifest": FAILED,
    "download-corrupt": FAILED,
    "download-failed": FAILED,
    "wire": FAILED,
    "nothing-to-speak-with": FAILED,
    "playback-failed": FAILED,
    "encoding-failed": FAILED,
    "vox-invalid": FAILED,
    "vox-refused": FAILED,
    "request-refused": FAILED,
    "source-refused": FAILED,
    "analyzer-failed": FAILED,
    "sound-refused": FAILED,
    "cover-refused": FAILED,
    "mastering-failed": FAILED,
    # usage
    "usage": USAGE,
    "invalid-input": USAGE,
    "settings-invalid": USAGE,
    "invalid-voice-name": USAGE,
    "invalid-voice-reference": USAGE,
    "invalid-model-id": USAGE,
    "invalid-path": USAGE,
    "ambiguous-digest": USAGE,
    "unknown-language": USAGE,
    "language-not-spoken": USAGE,
    "key-file-invalid": USAGE,
    "unsupported-request": USAGE,
    # not found, or somebody has to do something first
    "not-found": NEEDS_ACTION,
    "no-instance": NEEDS_ACTION,
    "extra-missing": NEEDS_ACTION,
    "job-not-found": NEEDS_ACTION,
    "part-not-found": NEEDS_ACTION,
    "job-not-retryable": NEEDS_ACTION,
    "job-finished": NEEDS_ACTION,
    "job-in-use": NEEDS_ACTION,
    "voice-not-found": NEEDS_ACTION,
    "version-not-found": NEEDS_ACTION,
    "alias-not-found": NEEDS_ACTION,
    "candidate-not-found": NEEDS_ACTION,
    "unknown-speaker": NEEDS_ACTION,
    "unknown-model": NEEDS_ACTION,
    "model-not-installed": NEEDS_ACTION,
    "model-incomplete": NEEDS_ACTION,
    "repository-not-found": NEEDS_ACTION,
    "repository-gated": NEEDS_ACTION,
    "model-needed": NEEDS_ACTION,
    "unsupported-checkpoint": NEEDS_ACTION,
    "prompt-model-mismatch": NEEDS_ACTION,
    "not-enough-memory": NEEDS_ACTION,
    "no-space": NEEDS_ACTION,
    "no-player": NEEDS_ACTION,
    "not-spoken": NEEDS_ACTION,
    "no-encoder": NEEDS_ACTION,
    "cannot-move": NEEDS_ACTION,
    "undo-refused": NEEDS_ACTION,
    "id-conflict": NEEDS_ACTION,
    "conflict": NEEDS_ACTION,
    "consent-missing": NEEDS_ACTION,
    "version-in-use": NEEDS_ACTION,
    "object-missing": NEEDS_ACTION,
    "object-damaged": NEEDS_ACTION,
    "damaged-data": NEEDS_ACTION,
    "registry-lost": NEEDS_ACTION,
    "read-only": NEEDS_ACTION,
    "no-recogniser": NEEDS_ACTION,
    "schema-too-new": NEEDS_ACTION,
    # another runner
    "runner-active": RUNNER_ACTIVE,
    # the same command can succeed later
    "busy": TRY_AGAIN,
    "no-runner": TRY_AGAIN,
    "model-not-here": TRY_AGAIN,
    "model-in-use": TRY_AGAIN,
    "hub-unreachable": TRY_AGAIN,
    "hub-refused": TRY_AGAIN,
    "supervisor-failed": NEEDS_ACTION,
    "storage": TRY_AGAIN,
    "disk-full": TRY_AGAIN,
    "outbox-gone": TRY_AGAIN,
    "database-locked": TRY_AGAIN,
}

# Refusals of the system that do not pass by themselves.
LASTING = (*NOT_PERMITTED, *IN_THE_WAY, errno.ENAMETOOLONG)

# How one job ended → the exit code of the command that waited for it.
STATUS_EXIT_CODES = {
    JobStatus.DONE: OK,
    JobStatus.DUPLICATE: OK,
    JobStatus.CANCELLED: OK,
    JobStatus.PARTIAL: FAILED,
    JobStatus.FAILED: FAILED,
    JobStatus.REJECTED: FAILED,
}


def exit_code_for(error: VoiceJobsError) -> int:
    """Exit code of an error: its own, else that of the nearest base class that has one."""
    if isinstance(error, StorageError) and error.errno in LASTING:
        return NEEDS_ACTION
    codes = (kind.code for kind in type(error).__mro__ if issubclass(kind, VoiceJobsError))
    return next(EXIT_CODES[code] for code in codes if code in EXIT_CODES)
