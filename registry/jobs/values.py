"""The ledger's values: what goes into the job tables and what comes out, frozen and free of any database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.errors import VoiceJobsError

JsonObject = Mapping[str, Any]

WAITING, QUEUED, RUNNING = "waiting", "queued", "running"  # waiting: for another job
DONE, PARTIAL, FAILED, REJECTED = "done", "partial", "failed", "rejected"
CANCELLED, DUPLICATE = "cancelled", "duplicate"
OPEN_STATUSES = (WAITING, QUEUED, RUNNING)
RETRYABLE_STATUSES = (PARTIAL, FAILED, CANCELLED)

# A line's own: waiting → taken (its take is durable) → published; or failed, or cancelled.
TAKEN, PUBLISHED = "taken", "published"

CANCEL, RETRY = "cancel", "retry"


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Why a job or a line failed, as receipts and lists show it."""

    code: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: VoiceJobsError) -> JobError:
        """An error as the ledger keeps it."""
        return cls(code=error.code, message=_storable(error.message), hint=_storable(error.hint))


def _storable(text: str) -> str:
    """Text that may quote anything a file or a library says, as UTF-8 can hold it."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A claimed drop about to be recorded. `stem` is its wished name; the ledger finds a free one."""

    stem: str
    dropped_name: str
    kind: str
    content_sha256: str
    spec_json: str
    claimed_s: float
    claim_id: str | None = None
    key: str | None = None
    status: str = QUEUED
    outcome: str | None = None
    priority: int = 0
    model: str | None = None
    makes_voice: str | None = None
    error: JobError | None = None
    warnings: tuple[str, ...] = ()
    facts: JsonObject = field(default_factory=dict)
    dependencies: Mapping[int, bool] = field(default_factory=dict)  # needed job id -> whether it must succeed
    voices: tuple[tuple[str, str], ...] = ()  # (folded voice name, reference as written)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One row of the ledger, as it stands."""

    id: int
    name: str
    key: str | None
    kind: str
    status: str
    outcome: str | None
    content_sha256: str
    spec_json: str
    claim_id: str | None
    dropped_name: str
    priority: int
    model: str | None
    makes_voice: str | None
    plan: JsonObject | None
    attempts: int
    not_before_s: float
    claimed_s: float
    started_s: float | None
    finished_s: float | None
    error: JobError | None
    warnings: tuple[str, ...]
    facts: JsonObject


@dataclass(frozen=True, kw_only=True)
class NewLine:
    """One piece of audio that a starting job will make."""

    position: int
    file: str
    model: str
    request_json: str  # what is to be spoken: encoded at once, since a book's requests take ten times the room
    seed: int
    key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a job, as it stands."""

    id: int
    job_id: int
    position: int
    key: str | None
    file: str
    status: str
    model: str
    request: JsonObject
    seed: int
    take_key: str | None
    crash_count: int
    failures: int
    result: JsonObject | None
    error: JobError | None


@dataclass(frozen=True, kw_only=True)
class NewAttempt:
    """One rendering of a line, to be recorded."""

    line_id: int
    number: int
    seed: int
    outcome: str  # accepted | kept | rejected | failed | engine-lost | reused
    finished_s: float
    detail: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One rendering of a line, as recorded."""

    number: int
    seed: int
    outcome: str
    finished_s: float
    detail: JsonObject


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """Something that happened to a job."""

    at_s: float
    kind: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """Somebody wants a job cancelled or retried."""

    id: int
    job_id: int
    request: str


@dataclass(frozen=True, kw_only=True)
class LineCounts:
    """How many lines of a job are in which state."""

    waiting: int = 0
    taken: int = 0
    published: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.waiting + self.taken + self.published + self.failed + self.cancelled


@dataclass(frozen=True, kw_only=True)
class ListedJob:
    """One line of `jobs list`."""

    job: Job
    lines: LineCounts
    waits_for: tuple[str, ...] = ()  # names of jobs that have not ended


@dataclass(frozen=True, kw_only=True)
class JobDetails:
    """Everything `jobs show` knows."""

    listed: ListedJob
    lines: tuple[Line, ...]
    events: tuple[JobEvent, ...]

    @property
    def job(self) -> Job:
        return self.listed.job
