"""Values that go into the ledger's tables and come out of them, frozen and free of any database."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.errors import VoiceJobsError
from registry.jobs.line_request import LineRequest
from registry.voices.values import check_whole

JsonObject = Mapping[str, Any]

CANCEL, RETRY = "cancel", "retry"
SCRIPT = "script"  # the kind of job that makes other jobs


class JobStatus(str, enum.Enum):
    """State of a job; the word for it in the ledger, in receipts and on the command line."""

    WAITING = "waiting"  # for another job
    QUEUED = "queued"  # may start
    RUNNING = "running"  # belongs to the runner, or to one that died
    DONE = "done"
    PARTIAL = "partial"  # some lines are published, and some failed
    FAILED = "failed"
    REJECTED = "rejected"  # never became a job: something is wrong with what was dropped
    CANCELLED = "cancelled"
    DUPLICATE = "duplicate"  # never became a job: an earlier one has its `id` and its content

    __str__ = str.__str__  # the plain word also in f-strings, as in JSON and SQL


CLAIM_ID = re.compile(r"\d{20}-[0-9a-f]{8}")
OPEN_STATUSES = (JobStatus.WAITING, JobStatus.QUEUED, JobStatus.RUNNING)
LOST_STATUSES = (JobStatus.FAILED, JobStatus.CANCELLED)  # others cannot go on without what it was to make
RETRYABLE_STATUSES = (JobStatus.PARTIAL, JobStatus.FAILED, JobStatus.CANCELLED)


class LineStatus(str, enum.Enum):
    """State of a line."""

    WAITING = "waiting"  # to be spoken
    TAKEN = "taken"  # its take is durable
    PUBLISHED = "published"  # its file is in the outbox
    FAILED = "failed"
    CANCELLED = "cancelled"

    __str__ = str.__str__


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Reason why a job or a line failed, as receipts and lists show it."""

    code: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: VoiceJobsError) -> JobError:
        """The ledger's form of an error."""
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
    status: JobStatus = JobStatus.QUEUED
    outcome: JobStatus | None = None
    priority: int = 0
    model: str | None = None
    makes_voice: str | None = None
    error: JobError | None = None
    warnings: tuple[str, ...] = ()
    facts: JsonObject = field(default_factory=dict)
    dependencies: Mapping[int, bool] = field(default_factory=dict)  # needed job id -> whether it must succeed
    voices: tuple[tuple[str, str], ...] = ()  # (the voice's name key, reference as written)
    parent_id: int | None = None  # the script that it belongs to
    role: str | None = None  # in that script: `design:elena`, `chapter:3`
    live: bool = False  # somebody listens while it is spoken


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job of the ledger, as it is now."""

    id: int
    name: str
    key: str | None
    kind: str
    status: JobStatus
    outcome: JobStatus | None  # the status it will have once its receipt is in the outbox
    content_sha256: str
    spec_json: str
    claim_id: str | None
    dropped_name: str
    priority: int
    model: str | None
    makes_voice: str | None
    is_planned: bool  # its lines are fixed
    attempts: int
    not_before_s: float
    claimed_s: float
    started_s: float | None
    finished_s: float | None
    error: JobError | None
    warnings: tuple[str, ...]
    facts: JsonObject
    live: bool = False  # somebody listens while it is spoken


@dataclass(frozen=True, kw_only=True)
class NewLine:
    """One piece of audio that a starting job will make."""

    position: int
    file: str
    model: str
    request_json: str  # a LineRequest, encoded at once: a book's requests take ten times the room
    seed: int
    key: str | None = None
    is_pause: bool = False  # nothing is to be made: it is as good as published


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a job, as it is now."""

    id: int
    job_id: int
    position: int
    key: str | None
    file: str
    status: LineStatus
    model: str
    request: LineRequest
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
    outcome: str  # passed | failed-gates | failed | engine-lost | reused
    finished_s: float
    detail: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """An event in the life of a job."""

    at_s: float
    kind: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """Somebody's wish to have a job cancelled or retried."""

    id: int
    job_id: int
    request: str


@dataclass(frozen=True, kw_only=True)
class LineCounts:
    """Number of a job's lines in each state."""

    waiting: int = 0
    taken: int = 0
    published: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.waiting + self.taken + self.published + self.failed + self.cancelled


@dataclass(frozen=True, kw_only=True)
class JobState:
    """The least that is known of a job."""

    id: int
    name: str
    kind: str
    status: JobStatus


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


@dataclass(frozen=True, kw_only=True)
class TakeFacts:
    """Facts about one rendered line, beside its audio."""

    requested_seed: int
    accepted_seed: int
    finish_reason: str
    frames: int
    duration_s: float
    render_s: float
    attempts: int = 1
    failed_gates: tuple[str, ...] = ()  # stays with the take: reused, it is still the best of bad ones
    quality: JsonObject = field(default_factory=dict)
    engine: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_whole("requested_seed", self.requested_seed)
        check_whole("accepted_seed", self.accepted_seed)


@dataclass(frozen=True, kw_only=True)
class Take:
    """A rendered line that can be used again."""

    key: str
    audio_sha256: str
    size_bytes: int
    created_s: float
    last_used_s: float
    facts: TakeFacts


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Seconds of work for a second of speech, as the latest takes were made: of each model, and of all together."""

    of_models: Mapping[str, float]
    of_all: float | None = None

    def render_s(self, audio_s: float, *, model: str | None) -> float | None:
        """Time that a model, None = any, needs for so much speech; None before it has spoken here."""
        ratio = self.of_all if model is None else self.of_models.get(model)
        return None if ratio is None else audio_s * ratio
