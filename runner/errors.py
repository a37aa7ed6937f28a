"""Errors of the room that decides when work happens.

VoiceJobsError
├── InvalidInput
│   ├── SettingsInvalid        voicejobs.toml, the environment or a flag holds a wrong key or value
│   ├── JobFileInvalid         a job file breaks a rule of docs/jobs.md
│   ├── EntryRefused           an inbox entry that cannot be a job (link, device, escaping path, …)
│   └── UsageProblem           the command line makes no sense
├── NotFound
│   ├── InstanceNotFound       no voicejobs.toml here or above
│   ├── ExtraMissing           an optional part of the program is not installed
│   ├── NoRecogniser           nothing is set that hears
│   ├── AttachmentMissing      a job file names a file that is not there
│   │   └── StillArriving      … but one is there under a temporary name
│   └── DependencyUnknown      no known job makes something that a job refers to
├── Busy
│   └── RunnerActive           another runner owns the instance
├── StorageError
│   └── OutboxGone             the outbox is not there, often because its disk is not mounted
├── DependencyFailed           a job that this one needs did not succeed
├── IdTaken                    the `id` belongs to another job
├── RecordedOtherwise          another version recorded the job in a form that this one cannot read
├── Unforeseen                 an error that the program does not know how to meet
├── RunnerDied                 a job over which several runners have died
└── WorkFailed                 a job, or a check, ended badly
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

from models.extras import install_command
from registry.errors import Busy, InvalidInput, NotFound, StorageError, VoiceJobsError


class SettingsInvalid(InvalidInput):
    code = "settings-invalid"


class JobFileInvalid(InvalidInput):
    """A job file that breaks a rule; `problems` lists every one found, each with its place, `sentences` without."""

    code = "invalid-job-file"

    def __init__(self, file_name: str, problems: list[str], *, sentences: Sequence[str] = (), hint: str = "") -> None:
        self.file_name = file_name
        self.problems = problems
        self.sentences = tuple(sentences or (problem.removeprefix(": ") for problem in problems))
        super().__init__("\n".join(f"{file_name}{problem}" for problem in problems), hint=hint or CHECK_HINT)


CHECK_HINT = "`voicejobs check FILE` checks a job file without running it."


class EntryRefused(InvalidInput):
    code = "entry-refused"


class UsageProblem(InvalidInput):
    code = "usage"


class InstanceNotFound(NotFound):
    code = "no-instance"


class AttachmentMissing(NotFound):
    code = "attachment-missing"


class StillArriving(AttachmentMissing):
    """A missing file of which there is one under a temporary name that contains its name."""

    code = "attachment-arriving"


class DependencyUnknown(NotFound):
    code = "dependency-unknown"


class ExtraMissing(NotFound):
    """A part of the program that needs packages which are not installed."""

    code = "extra-missing"

    def __init__(self, part: str, *, extra: str, packages: Sequence[str]) -> None:
        hint = f"Install the extra {extra}: `{install_command(extra)}`."
        super().__init__(f"{part} needs packages that are not installed: {', '.join(packages)}.", hint=hint)


class NoRecogniser(NotFound):
    code = "no-recogniser"

    def __init__(self) -> None:
        hint = (
            'Set recogniser = "pocketsphinx" (English, coarse) or "faster-whisper:small" in voicejobs.toml, '
            "and try the job again."
        )
        super().__init__("No recogniser is set, so nothing can be heard.", hint=hint)


class RunnerActive(Busy):
    code = "runner-active"


class OutboxGone(StorageError):
    code = "outbox-gone"
    is_instance_wide = True


class DependencyFailed(VoiceJobsError):
    code = "dependency-failed"

    def __init__(self, job_name: str) -> None:
        hint = f"`voicejobs jobs show {job_name}` says why; a retry of this job tries that one again, too."
        super().__init__(f"This job needs the job {job_name!r}, which did not succeed.", hint=hint)


class IdTaken(VoiceJobsError):
    code = "id-conflict"

    def __init__(self, key: str, holder: str) -> None:
        super().__init__(
            f"The id {key!r} is already used by the job {holder!r} with different content.",
            hint=f"Give the changed job another id, or none; or remove that one: `voicejobs jobs rm {holder}`.",
        )


class RecordedOtherwise(VoiceJobsError):
    code = "recorded-otherwise"


class Unforeseen(VoiceJobsError):
    """A defect of the program, or a state of the system that it does not know; the code is `internal`."""


def raised_at(error: Exception) -> str:
    """The kind of an error and the place where it was raised, `TypeError in names.py:12 (checked)`."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno} ({frames[-1].name})" if frames else ""
    return f"{type(error).__name__}{place}"


class RunnerDied(VoiceJobsError):
    code = "runner-died"

    def __init__(self, deaths: int) -> None:
        super().__init__(
            f"The runner died {deaths} times while it was reading or beginning this job, which is set aside.",
            hint="The logs and the system's own log say why (memory, most often). "
            "Then retry the job, or drop the file again.",
        )


class WorkFailed(VoiceJobsError):
    code = "work-failed"
