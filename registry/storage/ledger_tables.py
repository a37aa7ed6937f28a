"""The ledger's tables, as the newest schema has them; `registry/storage/migrations.py` says how they came to be.

A row is built from checked values and never leaves `registry/`.
"""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class JobRow(SQLModel, table=True):
    """One drop: a job, or the answer to something that could not become one."""

    __tablename__ = "job"

    id: int | None = Field(default=None, primary_key=True)  # the order in which jobs were claimed
    name: str  # of the job and of its outbox folder
    folded: str = Field(unique=True)
    stem: str  # folded name before "-2", "-3", …
    suffix: int  # 1 for none
    key: str | None = None  # the job file's `id`, while this job holds it
    kind: str
    status: str
    outcome: str | None = None  # the status it will have once its receipt lies in the outbox
    content_sha256: str
    spec_json: str
    claim_id: str | None = None
    dropped_name: str
    priority: int = 0
    model: str | None = None  # what its next work needs, as the scheduler sees it
    makes_voice: str | None = None  # folded name of the voice that gets a version from it
    plan_json: str | None = None  # names resolved to digests when it started; kept over retries
    attempts: int = 0
    not_before_s: float = 0.0
    claimed_s: float
    started_s: float | None = None
    finished_s: float | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_hint: str | None = None
    warnings_json: str = "[]"
    facts_json: str = "{}"  # engine, versions, timings, voice: what the receipt says of the whole job


class LineRow(SQLModel, table=True):
    """One piece of audio that a job makes: a line, or a candidate."""

    __tablename__ = "line"

    id: int | None = Field(default=None, primary_key=True)
    job_id: int = Field(foreign_key="job.id", ondelete="CASCADE")
    position: int  # from 1
    key: str | None = None  # the line's own `id`
    file: str
    status: str
    model: str
    request_json: str  # what is to be spoken, names resolved
    seed: int
    take_key: str | None = None
    strikes: int = 0  # engine deaths while it was being rendered
    failures: int = 0  # failed renderings that a retry may mend
    result_json: str | None = None  # what the receipt says of the accepted take
    error_code: str | None = None
    error_message: str | None = None
    error_hint: str | None = None


class AttemptRow(SQLModel, table=True):
    """One rendering of a line, whatever came of it."""

    __tablename__ = "attempt"

    id: int | None = Field(default=None, primary_key=True)
    line_id: int = Field(foreign_key="line.id", ondelete="CASCADE")
    number: int
    seed: int
    outcome: str
    detail_json: str
    finished_s: float


class DependencyRow(SQLModel, table=True):
    """A job that waits for an earlier one."""

    __tablename__ = "dependency"

    job_id: int = Field(foreign_key="job.id", primary_key=True, ondelete="CASCADE")
    needs_id: int = Field(foreign_key="job.id", primary_key=True, ondelete="CASCADE")
    required: bool  # False: only the order matters, not the success


class VoiceNeedRow(SQLModel, table=True):
    """A voice that a job names, so that it is not deleted under the job."""

    __tablename__ = "voice_need"

    job_id: int = Field(foreign_key="job.id", primary_key=True, ondelete="CASCADE")
    folded: str = Field(primary_key=True)
    reference: str = Field(primary_key=True)


class JobEventRow(SQLModel, table=True):
    """Something that happened to a job, for people."""

    __tablename__ = "job_event"

    id: int | None = Field(default=None, primary_key=True)
    job_id: int = Field(foreign_key="job.id", ondelete="CASCADE")
    at_s: float
    kind: str
    message: str


class JobRequestRow(SQLModel, table=True):
    """What somebody asks the runner to do with a job: cancel or retry."""

    __tablename__ = "job_request"

    id: int | None = Field(default=None, primary_key=True)
    job_id: int = Field(foreign_key="job.id", ondelete="CASCADE")
    request: str
    at_s: float
