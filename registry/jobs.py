"""The ledger of jobs: values in → rows; questions → values. Every function runs inside the caller's transaction.

A job is waiting (for other jobs) → queued → running → done, partial, failed or cancelled. Before its receipt is
published its `outcome` is set; once the receipt lies in the outbox the outcome becomes its status. What was
answered without becoming a job (rejected, duplicate) takes the same last two steps.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, text
from sqlmodel import Session, col, delete, select, update

from registry.candidates import forget_candidates
from registry.digests import canonical_json
from registry.errors import Conflict
from registry.job_lists import JobNotFound, job_from
from registry.job_values import (
    CANCEL,
    CANCELLED,
    DONE,
    FAILED,
    OPEN_STATUSES,
    PARTIAL,
    QUEUED,
    RETRY,
    RETRYABLE_STATUSES,
    RUNNING,
    WAITING,
    Job,
    JobError,
    JsonObject,
    NewJob,
    NewLine,
    Request,
)
from registry.ledger_tables import (
    DependencyRow,
    JobEventRow,
    JobRequestRow,
    JobRow,
    LineRow,
    VoiceNeedRow,
)
from registry.voice_names import fold

MAX_WARNINGS = 50
LONGEST_DELAY_S = 3_600.0  # a clock that was set back must not make a delayed job wait for ever


class JobNotRetryable(Conflict):
    code = "job-not-retryable"


class JobFinished(Conflict):
    code = "job-finished"


# ---- recording -------------------------------------------------------------------------------------------------


def add(session: Session, new: NewJob, *, taken: Collection[str] = frozenset()) -> Job:
    """Record a claimed drop under a free name; `taken` holds the folded names that lie in the outbox already."""
    name, stem, suffix = _free_name(session, new.stem, taken=taken)
    row = JobRow(
        name=name,
        folded=fold(name),
        stem=stem,
        suffix=suffix,
        key=new.key,
        kind=new.kind,
        status=new.status,
        outcome=new.outcome,
        content_sha256=new.content_sha256,
        spec_json=new.spec_json,
        claim_id=new.claim_id,
        dropped_name=new.dropped_name,
        priority=new.priority,
        model=new.model,
        makes_voice=new.makes_voice,
        claimed_s=new.claimed_s,
        finished_s=new.claimed_s if new.outcome else None,
        error_code=new.error.code if new.error else None,
        error_message=new.error.message if new.error else None,
        error_hint=new.error.hint if new.error else None,
        warnings_json=canonical_json(list(new.warnings)),
        facts_json=canonical_json(dict(new.facts)),
    )
    session.add(row)
    session.flush()
    assert row.id is not None
    for needs_id, required in new.dependencies.items():
        session.add(DependencyRow(job_id=row.id, needs_id=needs_id, required=required))
    for folded_voice, reference in new.voices:
        session.add(VoiceNeedRow(job_id=row.id, folded=folded_voice, reference=reference))
    if new.kind == "design" and new.outcome is None:
        forget_candidates(session, name)  # a pruned job may have left some under this name
    return _job(row)


def _free_name(session: Session, wanted: str, *, taken: Collection[str]) -> tuple[str, str, int]:
    """`hello`, else `hello-2`, `hello-3`, …: unused in the ledger and on disk."""
    stem = fold(wanted)
    if stem not in taken and not _is_recorded_name(session, stem):
        return wanted, stem, 1
    highest = session.exec(select(func.max(JobRow.suffix)).where(JobRow.stem == stem)).one() or 1
    suffix = max(2, highest + 1)
    while fold(f"{wanted}-{suffix}") in taken or _is_recorded_name(session, fold(f"{wanted}-{suffix}")):
        suffix += 1
    return f"{wanted}-{suffix}", stem, suffix


def _is_recorded_name(session: Session, folded_name: str) -> bool:
    return session.exec(select(JobRow.id).where(JobRow.folded == folded_name)).first() is not None


def add_event(session: Session, job_id: int, *, kind: str, message: str, at_s: float) -> None:
    """Note what happened to a job."""
    session.add(JobEventRow(job_id=job_id, at_s=at_s, kind=kind, message=message))


def add_warning(session: Session, job_id: int, warning: str) -> None:
    """Add a sentence to the job's warnings, once."""
    row = _row(session, job_id)
    warnings = json.loads(row.warnings_json)
    if warning not in warnings and len(warnings) < MAX_WARNINGS:
        row.warnings_json = canonical_json([*warnings, warning])
        session.add(row)


# ---- looking up ------------------------------------------------------------------------------------------------


def get(session: Session, job_id: int) -> Job:
    """The job with this ledger id. Raises JobNotFound."""
    return _job(_row(session, job_id))


def by_name(session: Session, name: str) -> Job:
    """The job of this exact name (compared folded). Raises JobNotFound."""
    row = session.exec(select(JobRow).where(JobRow.folded == fold(name))).first()
    if row is None:
        raise JobNotFound(f"There is no job {name!r}.", hint="`voicejobs jobs list` shows them all.")
    return _job(row)


def find_name(session: Session, name: str) -> str | None:
    """The name as the ledger spells it; None when there is no such job."""
    found: str | None = session.exec(select(JobRow.name).where(JobRow.folded == fold(name))).first()
    return found


def by_claim(session: Session, claim_id: str) -> Job | None:
    """The job that was recorded from this claim."""
    row = session.exec(select(JobRow).where(JobRow.claim_id == claim_id)).first()
    return _job(row) if row else None


def by_key(session: Session, key: str) -> Job | None:
    """The job that holds this `id`."""
    row = session.exec(select(JobRow).where(JobRow.key == key)).first()
    return _job(row) if row else None


def is_recorded(session: Session, claim_id: str) -> bool:
    """Whether a claim has become a row already."""
    return session.exec(select(JobRow.id).where(JobRow.claim_id == claim_id)).first() is not None


def open_makers(session: Session, folded_voice: str) -> list[int]:
    """Ids of the unfinished jobs that will give this voice a version, in the order in which they were claimed."""
    rows = session.exec(
        select(JobRow.id)
        .where(JobRow.makes_voice == folded_voice, col(JobRow.status).in_(OPEN_STATUSES))
        .order_by(col(JobRow.id))
    )
    return [job_id for job_id in rows if job_id is not None]


def open_references(session: Session, folded_voice: str) -> list[tuple[str, str]]:
    """(job name, reference as written) of every unfinished job that names this voice."""
    rows = session.exec(
        select(JobRow.name, VoiceNeedRow.reference)
        .join(VoiceNeedRow, col(VoiceNeedRow.job_id) == col(JobRow.id))
        .where(VoiceNeedRow.folded == folded_voice, col(JobRow.status).in_(OPEN_STATUSES))
    )
    return [(name, reference) for name, reference in rows]


def open_take_keys(session: Session) -> set[str]:
    """Keys of the takes that unfinished jobs still publish from."""
    rows = session.exec(
        select(LineRow.take_key)
        .join(JobRow, col(JobRow.id) == col(LineRow.job_id))
        .where(col(JobRow.status).in_(OPEN_STATUSES), col(LineRow.take_key).is_not(None))
    )
    return {key for key in rows if key is not None}


# ---- choosing --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ReadyJob:
    """What the scheduler looks at."""

    id: int
    priority: int
    model: str | None
    claimed_s: float


def ready(session: Session, *, now_s: float, overdue_before_s: float, model: str | None, limit: int) -> list[ReadyJob]:
    """Queued jobs that may start: the oldest overdue ones, those of the highest priority, and of these those
    whose work needs `model`."""
    fitting = (
        "SELECT id, priority, model, claimed_s FROM job WHERE status = 'queued' AND outcome IS NULL "
        "AND (not_before_s <= :now_s OR not_before_s > :now_s + :longest_delay_s) "
    )
    values: dict[str, Any] = {"now_s": now_s, "longest_delay_s": LONGEST_DELAY_S, "limit": limit}
    found: dict[int, ReadyJob] = {}

    def collect(condition: str, **more: Any) -> None:
        for row in session.connection().execute(text(f"{fitting} {condition} LIMIT :limit"), {**values, **more}):
            found[row.id] = ReadyJob(id=row.id, priority=row.priority, model=row.model, claimed_s=row.claimed_s)

    collect("ORDER BY priority DESC, id")
    if found:
        highest = max(job.priority for job in found.values())
        collect("AND priority = :highest AND model = :model ORDER BY id", highest=highest, model=model)
        collect("AND claimed_s < :overdue_before_s ORDER BY id", overdue_before_s=overdue_before_s)
    return list(found.values())


def counts_by_status(session: Session) -> dict[str, int]:
    """How many jobs are in which status."""
    return dict(session.exec(select(JobRow.status, func.count()).group_by(JobRow.status)).all())


def next_delayed_s(session: Session, *, now_s: float) -> float | None:
    """When the earliest delayed job may start."""
    statement = select(func.min(JobRow.not_before_s)).where(JobRow.status == QUEUED, JobRow.not_before_s > now_s)
    earliest: float | None = session.exec(statement).one()
    return earliest


# ---- the life of a job -----------------------------------------------------------------------------------------


def start(
    session: Session, job_id: int, *, plan: JsonObject, model: str | None, lines: Iterable[NewLine], now_s: float
) -> None:
    """The job runs: its plan and its lines are fixed from now on, over every retry."""
    row = _row(session, job_id)
    if row.plan_json is None:
        row.plan_json = canonical_json(dict(plan))
        session.add_all(
            LineRow(
                job_id=job_id,
                position=line.position,
                key=line.key,
                file=line.file,
                status=WAITING,
                model=line.model,
                request_json=canonical_json(dict(line.request)),
                seed=line.seed,
            )
            for line in lines
        )
    row.status, row.model = RUNNING, model
    row.attempts += 1
    row.started_s = row.started_s or now_s
    session.add(row)


def requeue(session: Session, job_id: int, *, not_before_s: float, warning: str | None = None) -> None:
    """Put a running job back into the queue."""
    _update(session, job_id, status=QUEUED, not_before_s=not_before_s)
    if warning:
        add_warning(session, job_id, warning)


def set_model(session: Session, job_id: int, model: str | None) -> None:
    """What the job's next work needs."""
    _update(session, job_id, model=model)


def note_facts(session: Session, job_id: int, **facts: Any) -> None:
    """Add to what the receipt will say of the whole job."""
    row = _row(session, job_id)
    row.facts_json = canonical_json(json.loads(row.facts_json) | facts)
    session.add(row)
    session.flush()


def set_outcome(
    session: Session, job_id: int, outcome: str, *, now_s: float, facts: JsonObject, error: JobError | None = None
) -> None:
    """Nothing is left to do but to publish the receipt, which says this for ever; `facts` join those noted."""
    if facts:
        note_facts(session, job_id, **facts)
    _update(
        session,
        job_id,
        outcome=outcome,
        finished_s=now_s,
        error_code=error.code if error else None,
        error_message=error.message if error else None,
        error_hint=error.hint if error else None,
    )


def unpublished(session: Session) -> list[Job]:
    """Jobs whose receipt may not lie in the outbox yet."""
    statement = select(JobRow).where(col(JobRow.outcome).is_not(None), col(JobRow.status).in_(OPEN_STATUSES))
    return [_job(row) for row in session.exec(statement.order_by(col(JobRow.id)))]


def close(session: Session, job_id: int) -> None:
    """The receipt lies in the outbox."""
    session.execute(update(JobRow).where(col(JobRow.id) == job_id).values(status=JobRow.outcome))


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A job that waited, and now may run or has lost what it waited for."""

    job_id: int
    failed_need: str | None = None  # the name of the job whose failure it cannot do without


def settle_dependents(session: Session, finished_ids: Sequence[int]) -> list[Settled]:
    """Jobs that waited for `finished_ids` and need wait no more; those that may run are queued."""
    settled = []
    for job_id in _waiting_for(session, finished_ids):
        needs = _needs_of(session, job_id)
        failed = next((name for name, status, required in needs if required and status not in (DONE, PARTIAL)), None)
        if any(status in OPEN_STATUSES for _, status, _ in needs):
            failed = next((n for n, s, required in needs if required and s in (FAILED, CANCELLED)), None)
            if failed is None:
                continue
        if failed is None:
            _update(session, job_id, status=QUEUED)
        settled.append(Settled(job_id=job_id, failed_need=failed))
    return settled


def _waiting_for(session: Session, finished_ids: Sequence[int]) -> list[int]:
    statement = (
        select(DependencyRow.job_id)
        .join(JobRow, col(JobRow.id) == col(DependencyRow.job_id))
        .where(col(DependencyRow.needs_id).in_(finished_ids), JobRow.status == WAITING, col(JobRow.outcome).is_(None))
        .distinct()
        .order_by(col(DependencyRow.job_id))
    )
    return list(session.exec(statement))


def _needs_of(session: Session, job_id: int) -> list[tuple[str, str, bool]]:
    statement = (
        select(JobRow.name, JobRow.status, DependencyRow.required)
        .join(DependencyRow, col(DependencyRow.needs_id) == col(JobRow.id))
        .where(DependencyRow.job_id == job_id)
        .order_by(col(JobRow.id))
    )
    return [(name, status, bool(required)) for name, status, required in session.exec(statement)]


def recover_unowned(session: Session) -> int:
    """Whatever runs belongs to a runner that is gone: it is queued again at once. Returns how many."""
    unowned = (col(JobRow.status) == RUNNING, col(JobRow.outcome).is_(None))
    result = session.execute(update(JobRow).where(*unowned).values(status=QUEUED, not_before_s=0.0))
    return int(result.rowcount)  # type: ignore[attr-defined] # a CursorResult, as for every UPDATE


def reset_for_retry(session: Session, job_id: int, *, claim_id: str | None = None) -> None:
    """A finished job goes back into the queue; published lines stay, failed and cancelled ones wait again."""
    waits = any(status in OPEN_STATUSES for _, status, _ in _needs_of(session, job_id))
    _update(
        session,
        job_id,
        status=WAITING if waits else QUEUED,
        outcome=None,
        finished_s=None,
        not_before_s=0.0,
        error_code=None,
        error_message=None,
        error_hint=None,
        warnings_json="[]",
        **({"claim_id": claim_id} if claim_id else {}),
    )
    session.execute(
        update(LineRow)
        .where(col(LineRow.job_id) == job_id, col(LineRow.status).in_((FAILED, CANCELLED)))
        .values(status=WAITING, strikes=0, failures=0, error_code=None, error_message=None, error_hint=None)
    )


# ---- requests from other processes -----------------------------------------------------------------------------


def ask(session: Session, name: str, request: str, *, now_s: float) -> Job:
    """Ask the runner to cancel or retry a job. Raises JobNotFound, JobFinished or JobNotRetryable."""
    job = by_name(session, name)
    if request == CANCEL and job.status not in OPEN_STATUSES:
        raise JobFinished(f"The job {job.name!r} is {job.status} already.")
    if request != CANCEL and job.status not in RETRYABLE_STATUSES:
        allowed = ", ".join(RETRYABLE_STATUSES)
        raise JobNotRetryable(
            f"The job {job.name!r} is {job.status}; only {allowed} jobs can be retried.",
            hint="Drop the job file again for a new run.",
        )
    session.add(JobRequestRow(job_id=job.id, request=request, at_s=now_s))
    return job


def resume(session: Session, job_id: int, *, claim_id: str, now_s: float) -> None:
    """The same job was dropped again after it had failed: it is to be retried, with the files of the new drop."""
    _update(session, job_id, claim_id=claim_id)
    session.add(JobRequestRow(job_id=job_id, request=RETRY, at_s=now_s))


def requests(session: Session) -> list[Request]:
    """What was asked and not yet obeyed, oldest first."""
    rows = session.exec(select(JobRequestRow).order_by(col(JobRequestRow.id)))
    return [Request(id=row.id or 0, job_id=row.job_id, request=row.request) for row in rows]


def forget(session: Session, job_id: int) -> bool:
    """Remove a job that has ended, with its lines and events; False when it is open again or gone."""
    row = session.get(JobRow, job_id)
    if row is None or row.status in OPEN_STATUSES:
        return False
    session.delete(row)
    session.flush()
    return True


def drop_requests(session: Session, request_ids: Sequence[int]) -> None:
    """The requests are obeyed."""
    session.execute(delete(JobRequestRow).where(col(JobRequestRow.id).in_(request_ids)))


# ---- rows and values -------------------------------------------------------------------------------------------


def _row(session: Session, job_id: int) -> JobRow:
    row = session.get(JobRow, job_id)
    if row is None:
        raise JobNotFound(f"There is no job number {job_id}.")
    return row


def _update(session: Session, job_id: int, **values: Any) -> None:
    session.execute(update(JobRow).where(col(JobRow.id) == job_id).values(**values))


def _job(row: JobRow) -> Job:
    return job_from(row.model_dump())
