"""A checked job → a drop in the inbox, and the ledger's row once the runner has claimed it."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.errors import VoiceJobsError
from registry.jobs import jobs
from registry.jobs.lists import find_drop
from registry.jobs.requests import add_live_drop
from registry.jobs.values import LOST_STATUSES, RETRYABLE_STATUSES, Job, JobError, JobStatus
from registry.storage.session import Session
from runner.errors import CHECK_HINT, IdTaken, JobFileInvalid
from runner.names import job_name_from
from runner.redaction import redact
from runner.serve.context import ServeContext
from runner.serve.errors import NoRunner, RequestRefused
from runner.serve.jobs.uploads import Upload
from runner.serve.ledger_watch import Waiter
from runner.submission.checked_job import JobOnDisk, checked_content, texts_of
from runner.submission.drop_writer import Submitted, submit_job, withdraw

CLAIMED_WITHIN_S = 30.0
STOPPED_RUNNER_S = 3.0  # one that stops is given back a little later
MOST_NAMES = 1_000
KEY_DIGITS = 20  # of a digest


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A drop that was claimed."""

    job: Job  # the one that holds its `id`, where an earlier one does
    is_new: bool = True


def checked_upload(upload: Upload) -> tuple[JobOnDisk, list[str]]:
    """The job of an upload, and what `voicejobs check` warns of. Raises RequestRefused as it refuses."""
    try:
        job = checked_content(upload.content, file_name=upload.file_name, folder=upload.folder)
        texts = texts_of(job)
    except JobFileInvalid as error:
        problems = [f"{error.file_name}{problem}" for problem in error.problems]
        raise _refused(error, problems, hint="" if error.hint == CHECK_HINT else error.hint) from None
    except VoiceJobsError as error:
        raise _refused(error, [f"{upload.file_name}: {error.message}"], hint=error.hint) from None
    unused = sorted(upload.attachments - set(job.referenced))
    left_out = [f"{name} was sent with the job, which does not name it: it was left out." for name in unused]
    return job, [*(texts.warnings() if texts else ()), *left_out]


def _refused(error: VoiceJobsError, problems: list[str], *, hint: str) -> RequestRefused:
    shown = [redact(problem) for problem in problems]
    return RequestRefused(422, "\n".join(shown), hint=hint, wire_code=error.code, more={"problems": shown})


def require_accepted(job: Job) -> None:
    """Raises RequestRefused for a drop that the runner has rejected."""
    if JobStatus.REJECTED in (job.status, job.outcome) and job.error is not None:
        if job.error.code == IdTaken.code:
            raise id_taken(job.error, job)
        more = {"job": job.name}
        raise RequestRefused(422, job.error.message, hint=job.error.hint, wire_code=job.error.code, more=more)


async def drop_once(context: ServeContext, job: JobOnDisk, *, name: str) -> Dropped:
    """The job that has the same `id` and content already, or the one that a drop becomes. Raises as `drop`."""
    if (known := await known_by_id(context, job)) is not None:
        return Dropped(job=known, is_new=False)
    await context.require_room()
    return await drop(context, job, name=name)


async def drop(context: ServeContext, job: JobOnDisk, *, name: str, live: bool = False) -> Dropped:
    """The job that a drop becomes. Raises NoRunner, and RequestRefused when it is not taken in time."""
    with _reserved(context, name) as own_name:
        if live:
            content_sha256, now_s = job.content_sha256, time.time()
            await context.request(lambda session: add_live_drop(session, own_name, content_sha256, now_s=now_s))
        submitted = await context.in_thread(
            lambda: submit_job(context.instance, job, name=own_name, database=context.database)
        )
        async with context.watch.waiting(closely=live) as waiter:
            return await _claimed(context, submitted, waiter)


def id_for(key: str) -> str:
    """The `id` of a job whose file has none, from the key by which its request may be repeated."""
    return f"request-{hashlib.sha256(key.encode()).hexdigest()[:KEY_DIGITS]}"


async def known_by_id(context: ServeContext, job: JobOnDisk) -> Job | None:
    """The job that has the same `id` and content already; None when a drop may run. Raises RequestRefused."""
    key = job.spec.id
    if key is None:
        return None
    holder = await context.read(lambda session: jobs.by_key(session, key))
    if holder is None:
        return None
    if holder.content_sha256 != job.content_sha256:
        if holder.status in LOST_STATUSES:
            return None  # it may free its id; the runner decides
        raise id_taken(JobError.of(IdTaken(key, holder.name)), holder)
    return None if holder.status in RETRYABLE_STATUSES else holder


def id_taken(error: JobError, job: Job) -> RequestRefused:
    """The answer to an `id` that belongs to a job with other content."""
    return RequestRefused(409, error.message, hint=error.hint, wire_code=IdTaken.code, more={"job": job.name})


@contextlib.contextmanager
def _reserved(context: ServeContext, name: str) -> Iterator[str]:
    """A name that no other drop of ours has that waits to be claimed: by its name a drop is found in the ledger."""
    stem, suffix = Path(name).stem, Path(name).suffix
    candidates = (name, *(f"{stem}-{number}{suffix}" for number in range(2, MOST_NAMES)))
    free = next((each for each in candidates if job_name_from(each) not in context.dropped), None)
    own_name = free or f"{stem}-{secrets.token_hex(6)}{suffix}"
    reserved = job_name_from(own_name)
    context.dropped.add(reserved)
    try:
        yield own_name
    finally:
        context.dropped.discard(reserved)


async def _claimed(context: ServeContext, submitted: Submitted, waiter: Waiter) -> Dropped:
    """Wait for the runner; take the drop back when none takes it, so that it is not done after all."""
    end_s = time.monotonic() + CLAIMED_WITHIN_S
    gone_since_s: float | None = None
    while True:
        found = await waiter.ask(lambda session: _look(session, submitted))
        if found is not None:
            return found
        now_s = time.monotonic()
        is_active = await context.runner_is_active()
        gone_since_s = None if is_active else (gone_since_s or now_s)
        if gone_since_s is not None and now_s - gone_since_s > STOPPED_RUNNER_S:
            if await context.in_thread(lambda: withdraw(submitted)):
                raise NoRunner
            raise _taken_unrecorded()
        if now_s > end_s and await context.in_thread(lambda: withdraw(submitted)):
            raise RequestRefused(
                503,
                "The runner has not taken the job in time.",
                hint="`voicejobs doctor` says what keeps it: a full disk, most often.",
                wire_code="not-claimed",
                headers={"Retry-After": "30"},
            )
        await waiter.change(at_most_s=0.2)


def _taken_unrecorded() -> RequestRefused:
    said = "The runner ended when it had just taken the job: the next runner carries it out."
    hint = (
        "Start one with `voicejobs run`. The same request may be sent again, if it has an Idempotency-Key or an `id`."
    )
    return RequestRefused(503, said, hint=hint, wire_code="no-runner-now")


def _look(session: Session, submitted: Submitted) -> Dropped | None:
    job = find_drop(session, submitted.path.name, key=submitted.key, since=submitted.since)
    if job is None:
        return None
    earlier = job.facts.get("duplicate_of")
    if job.outcome == JobStatus.DUPLICATE and earlier and (holder := jobs.find_by_name(session, earlier)) is not None:
        return Dropped(job=holder, is_new=False)
    return Dropped(job=job)
