"""Requests of other processes to the runner, as rows: to cancel a job, to try it again, or to speak a drop live."""

from __future__ import annotations

from collections.abc import Sequence

from registry.errors import Conflict
from registry.jobs.dependencies import lost_needs, will_end
from registry.jobs.jobs import by_name, change_claim, replace
from registry.jobs.values import (
    CANCEL,
    OPEN_STATUSES,
    RETRY,
    RETRYABLE_STATUSES,
    Job,
    JobStatus,
    JsonObject,
    NewJob,
    Request,
)
from registry.storage.session import Session

LIVE_DROP_S = 600.0  # a drop that was not claimed by then was taken back


class JobNotRetryable(Conflict):
    code = "job-not-retryable"


class JobFinished(Conflict):
    code = "job-finished"


class JobInUse(Conflict):
    """A job that is open, asked to be open again, or needed by one that is."""

    code = "job-in-use"

    def __init__(self, job: Job, *, dependents: Sequence[str] = ()) -> None:
        blocking, said = job.name, f"is {job.status}"
        if job.status not in OPEN_STATUSES:
            blocking = next(iter(dependents), job.name)
            said = f"is needed by {', '.join(dependents[:5])}" if dependents else "is about to be tried again"
        hint = f"Cancel {'that' if dependents else 'it'} first: `voicejobs jobs cancel {blocking}`."
        if not dependents and job.status == JobStatus.DONE:
            said, hint = "is about to make its files again", "Let a runner do that first: `voicejobs run`."
        super().__init__(f"The job {job.name!r} {said}.", hint=hint)


HAVE_FILES = ("synthesize", "design", "export")  # kinds whose files can be made again


def add_request(session: Session, name: str, wanted: str, *, now_s: float, lacks_files: bool = False) -> Job:
    """Ask the runner to cancel a job, or to retry it with the failed ones it needs.

    A job that is done is tried again when it `lacks_files` in the outbox. Raises JobNotFound, JobFinished or
    JobNotRetryable.
    """
    job = by_name(session, name)
    if wanted != CANCEL and lacks_files and job.status == JobStatus.DONE and job.kind in HAVE_FILES:
        _insert(session, job.id, wanted, now_s=now_s)
        return job
    if wanted == CANCEL and not will_end(session, job.id):  # one that is to be tried again can be cancelled, too
        raise JobFinished(f"The job {job.name!r} is {job.status} already.")
    if wanted != CANCEL and job.status not in RETRYABLE_STATUSES:
        raise JobNotRetryable(
            f"The job {job.name!r} is {job.status}; only partial, failed and cancelled jobs can be retried, "
            "and done ones whose files are gone.",
            hint="" if job.status in OPEN_STATUSES else "Drop the job file again for a new run.",
        )
    if wanted != CANCEL:
        for need in lost_needs(session, job.id):
            _insert(session, need.id, wanted, now_s=now_s)
    _insert(session, job.id, wanted, now_s=now_s)
    return job


def replace_failed(session: Session, job_id: int, new: NewJob, *, now_s: float) -> None:
    """Have a job that failed run with another content."""
    replace(session, job_id, new)
    _insert(session, job_id, RETRY, now_s=now_s)


def resume(session: Session, job_id: int, *, claim_id: str, facts: JsonObject, now_s: float) -> None:
    """Have a job retried that was dropped again after it had failed, with the files of the new drop."""
    change_claim(session, job_id, claim_id, facts=facts)
    _insert(session, job_id, RETRY, now_s=now_s)


def _insert(session: Session, job_id: int, wanted: str, *, now_s: float) -> None:
    session.execute_many("INSERT INTO job_request (job_id, request, at_s) VALUES (?, ?, ?)", [(job_id, wanted, now_s)])


def open_requests(session: Session) -> list[Request]:
    """Requests that have not been carried out yet, oldest first."""
    rows = session.rows("SELECT id, job_id, request FROM job_request ORDER BY id")
    return [Request(**row) for row in rows]


def drop_requests(session: Session, request_ids: Sequence[int]) -> None:
    """Forget requests that have been carried out."""
    session.execute_many("DELETE FROM job_request WHERE id = ?", [(request_id,) for request_id in request_ids])


def add_live_drop(session: Session, name: str, content_sha256: str, *, now_s: float) -> None:
    """Have the drop that will come under this name, with this content, spoken at once and heard as it is spoken."""
    session.execute_many(
        "DELETE FROM live_drop WHERE at_s < ? OR at_s > ?", [(now_s - LIVE_DROP_S, now_s + LIVE_DROP_S)]
    )
    statement = "INSERT OR REPLACE INTO live_drop (name, content_sha256, at_s) VALUES (?, ?, ?)"
    session.execute_many(statement, [(name, content_sha256, now_s)])


def take_live_drop(session: Session, name: str, content_sha256: str) -> bool:
    """Whether somebody listens to a drop that has been claimed; the request for it is done."""
    statement = "DELETE FROM live_drop WHERE name = :name AND content_sha256 = :content RETURNING name"
    return bool(session.rows(statement, {"name": name, "content": content_sha256}))
