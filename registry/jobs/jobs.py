"""The ledger of jobs: values in → rows; questions → values. Every function runs inside the caller's transaction.

A job is waiting (for other jobs) → queued → running → done, partial, failed or cancelled. Before its receipt is
published its `outcome` is set; once the receipt is in the outbox the outcome becomes its status. A drop
that was answered without becoming a job (rejected, duplicate) takes the same last two steps.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from registry.errors import NotFound, nearest
from registry.jobs.dependencies import waits_for_open
from registry.jobs.rows import IS_OPEN, IS_SPARE, job_from
from registry.jobs.values import Job, JobError, JobStatus, JsonObject, LineStatus, NewJob, NewLine
from registry.storage.digests import canonical_json
from registry.storage.session import Session
from registry.voices.candidates import forget_candidates
from registry.voices.names import name_key

MAX_WARNINGS = 50
NAMES_TO_GUESS_FROM = 1_000
OF_ITS_END = ("track", "voice", "files", "published_again")  # facts that are found again when a job ends again


# ---- recording -------------------------------------------------------------------------------------------------


def add(session: Session, new: NewJob, *, taken: Collection[str] = frozenset()) -> Job:
    """Record a claimed drop under a free name; `taken` holds the name keys that the outbox has already."""
    name, stem, suffix = free_name(session, new.stem, taken=taken)
    columns = {
        "name": name,
        "folded": name_key(name),
        "stem": stem,
        "suffix": suffix,
        "key": new.key,
        "kind": new.kind,
        "status": new.status,
        "outcome": new.outcome,
        "content_sha256": new.content_sha256,
        "spec_json": new.spec_json,
        "claim_id": new.claim_id,
        "dropped_name": new.dropped_name,
        "priority": new.priority,
        "model": new.model,
        "makes_voice": new.makes_voice,
        "claimed_s": new.claimed_s,
        "finished_s": new.claimed_s if new.outcome else None,
        **_error_columns(new.error),
        "warnings_json": canonical_json(list(new.warnings)),
        "facts_json": canonical_json(dict(new.facts)),
        **({"parent_id": new.parent_id, "role": new.role} if new.parent_id is not None else {}),
        "live": int(new.live),
    }
    job = get(session, session.insert("job", columns))
    _insert_needs(session, job.id, new)
    if new.kind == "design" and new.outcome is None:
        forget_candidates(session, name)  # a pruned job may have left some under this name
    return job


def _error_columns(error: JobError | None) -> dict[str, str | None]:
    return {
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
        "error_hint": error.hint if error else None,
    }


def free_name(session: Session, wanted: str, *, taken: Collection[str]) -> tuple[str, str, int]:
    """First free name, its stem and suffix: `hello`, else `hello-2`, `hello-3`, …, unused in the ledger and on disk."""
    stem = name_key(wanted)
    if stem not in taken and not _is_recorded_name(session, stem):
        return wanted, stem, 1
    highest = session.rows("SELECT max(suffix) AS highest FROM job WHERE stem = :stem", {"stem": stem})[0]["highest"]
    suffix = max(2, (highest or 1) + 1)
    while name_key(f"{wanted}-{suffix}") in taken or _is_recorded_name(session, name_key(f"{wanted}-{suffix}")):
        suffix += 1
    return f"{wanted}-{suffix}", stem, suffix


def _is_recorded_name(session: Session, folded_name: str) -> bool:
    return bool(session.rows("SELECT 1 FROM job WHERE folded = :folded", {"folded": folded_name}))


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event in the life of a job, to be noted."""

    job_id: int
    kind: str
    message: str
    at_s: float


def add_events(session: Session, events: Iterable[NewEvent]) -> None:
    """Add events to their jobs."""
    rows = [(event.job_id, event.at_s, event.kind, event.message) for event in events]
    session.execute_many("INSERT INTO job_event (job_id, at_s, kind, message) VALUES (?, ?, ?, ?)", rows)


def add_event(session: Session, job_id: int, *, kind: str, message: str, at_s: float) -> None:
    """Add one event to a job."""
    add_events(session, [NewEvent(job_id=job_id, kind=kind, message=message, at_s=at_s)])


def add_warning(session: Session, job_id: int, warning: str) -> None:
    """Add a sentence to the job's warnings, once."""
    warnings = get(session, job_id).warnings
    if warning not in warnings and len(warnings) < MAX_WARNINGS:
        _update(session, job_id, warnings_json=canonical_json([*warnings, warning]))


# ---- looking up ------------------------------------------------------------------------------------------------


class JobNotFound(NotFound):
    code = "job-not-found"


def get(session: Session, job_id: int) -> Job:
    """The job with this ledger id. Raises JobNotFound."""
    job = find(session, job_id)
    if job is None:
        raise JobNotFound(f"There is no job number {job_id}.")
    return job


def find(session: Session, job_id: int) -> Job | None:
    """The job with this ledger id; None once it is pruned."""
    found = session.rows("SELECT * FROM job WHERE id = :id", {"id": job_id})
    return job_from(found[0]) if found else None


def by_name(session: Session, name: str) -> Job:
    """The job of this exact name (in any case). Raises JobNotFound, which names those nearest."""
    job = find_by_name(session, name)
    if job is None:
        names = session.rows("SELECT name FROM job ORDER BY id DESC LIMIT :limit", {"limit": NAMES_TO_GUESS_FROM})
        near = nearest(name, [row["name"] for row in names])
        guess = f"Did you mean {', '.join(near)}? " if near else ""
        raise JobNotFound(f"There is no job {name!r}.", hint=f"{guess}`voicejobs jobs list` shows them all.")
    return job


def find_by_name(session: Session, name: str) -> Job | None:
    """The job of this exact name (in any case), if any."""
    found = session.rows("SELECT * FROM job WHERE folded = :folded", {"folded": name_key(name)})
    return job_from(found[0]) if found else None


def by_claim(session: Session, claim_id: str) -> Job | None:
    """The job that was recorded from this claim."""
    found = session.rows("SELECT * FROM job WHERE claim_id = :claim", {"claim": claim_id})
    return job_from(found[0]) if found else None


def by_key(session: Session, key: str) -> Job | None:
    """The job that holds this `id`."""
    found = session.rows("SELECT * FROM job WHERE key = :key", {"key": key})
    return job_from(found[0]) if found else None


def is_recorded(session: Session, claim_id: str) -> bool:
    """Whether a claim has become a row already."""
    return bool(session.rows("SELECT 1 FROM job WHERE claim_id = :claim", {"claim": claim_id}))


def open_take_keys(session: Session) -> set[str]:
    """Keys of the takes that unfinished jobs still publish from: their own, those of the jobs that a script has made,
    and of the jobs that a master is made of."""
    question = f"""
        SELECT line.take_key FROM line JOIN job ON job.id = line.job_id
        WHERE {IS_OPEN} AND line.take_key IS NOT NULL
        UNION
        SELECT line.take_key FROM job JOIN job AS child ON child.parent_id = job.id
        JOIN line ON line.job_id = child.id WHERE {IS_OPEN} AND line.take_key IS NOT NULL
        UNION
        SELECT line.take_key FROM job JOIN dependency ON dependency.job_id = job.id
        JOIN line ON line.job_id = dependency.needs_id
        WHERE job.kind = 'master' AND {IS_OPEN} AND line.take_key IS NOT NULL
    """
    return {row["take_key"] for row in session.rows(question)}


# ---- the life of a job -----------------------------------------------------------------------------------------


START_JOB = """
    UPDATE job SET status = 'running', model = :model, attempts = attempts + :is_attempt,
        started_s = coalesce(started_s, :now_s), plan_json = coalesce(plan_json, :plan_json),
        facts_json = json_set(facts_json, '$.run', json_object('since_s', :now_s, 'ended', (
            SELECT count(*) FROM line WHERE job_id = :id AND status IN ('published', 'failed')
        )))
    WHERE id = :id RETURNING *
"""
PLAN_JOB = """
    UPDATE job SET model = :model, plan_json = :plan_json
    WHERE id = :id AND plan_json IS NULL AND outcome IS NULL AND status = 'queued' RETURNING id
"""
INSERT_LINE = """
    INSERT INTO line (job_id, position, key, file, status, model, request_json, seed)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


def start(
    session: Session,
    job: Job,
    *,
    model: str | None,
    now_s: float,
    plan: JsonObject | None = None,
    lines: Iterable[NewLine] = (),
    is_attempt: bool = True,
) -> Job:
    """Mark a job as running and return it; the plan and the lines of its first start hold over every retry."""
    if not job.is_planned:
        session.execute_many(INSERT_LINE, [_line_columns(job.id, line) for line in lines])
    values = {"id": job.id, "model": model, "now_s": now_s, "is_attempt": is_attempt}
    values["plan_json"] = canonical_json(dict(plan or {}))
    return job_from(session.rows(START_JOB, values)[0])


def set_plan(
    session: Session, job_id: int, *, plan: JsonObject, model: str, lines: Iterable[NewLine], warnings: Iterable[str]
) -> bool:
    """Give a queued job its plan and its lines, before it starts; False when it has them, has ended, or is gone."""
    values = {"id": job_id, "model": model, "plan_json": canonical_json(dict(plan))}
    if not session.rows(PLAN_JOB, values):
        return False
    session.execute_many(INSERT_LINE, [_line_columns(job_id, line) for line in lines])
    for warning in warnings:
        add_warning(session, job_id, warning)
    return True


def _line_columns(job_id: int, line: NewLine) -> tuple[object, ...]:
    status = LineStatus.PUBLISHED if line.is_pause else LineStatus.WAITING
    return (job_id, line.position, line.key, line.file, status, line.model, line.request_json, line.seed)


def requeue(session: Session, job_id: int, *, not_before_s: float, warning: str | None = None) -> None:
    """Put a running job back into the queue."""
    _update(session, job_id, status=JobStatus.QUEUED, not_before_s=not_before_s)
    if warning:
        add_warning(session, job_id, warning)


def note_facts(session: Session, job_id: int, **facts: Any) -> None:
    """Add to the facts that the receipt will state of the whole job."""
    _update(session, job_id, facts_json=_facts_and(session, job_id, facts))


def _facts_and(session: Session, job_id: int, facts: JsonObject) -> str:
    known = session.rows("SELECT facts_json FROM job WHERE id = :id", {"id": job_id})[0]["facts_json"]
    return canonical_json(json.loads(known) | dict(facts))


def set_outcome(
    session: Session,
    job_id: int,
    outcome: JobStatus,
    *,
    now_s: float,
    error: JobError | None = None,
    warnings: Iterable[str] = (),
    facts: JsonObject | None = None,
) -> None:
    """Fix what the receipt will say of a job that has nothing left to do; `warnings` and `facts` join those noted."""
    for warning in warnings:
        add_warning(session, job_id, warning)
    noted = {"facts_json": _facts_and(session, job_id, facts)} if facts else {}
    _update(session, job_id, outcome=outcome, finished_s=now_s, **_error_columns(error), **noted)
    add_event(session, job_id, kind=outcome, message=error.message if error else outcome, at_s=now_s)


def unpublished(session: Session) -> list[Job]:
    """Jobs with an outcome whose receipt may not be in the outbox yet."""
    question = f"SELECT * FROM job WHERE outcome IS NOT NULL AND {IS_OPEN} ORDER BY id"
    return [job_from(row) for row in session.rows(question)]


def close(session: Session, job_ids: Sequence[int]) -> None:
    """Give jobs their outcome as status: their receipts are in the outbox."""
    session.execute_many("UPDATE job SET status = outcome WHERE id = ?", [(job_id,) for job_id in job_ids])


def recover_unowned(session: Session) -> int:
    """Queue every running job again at once, since its runner is gone. Returns how many."""
    unowned = "UPDATE job SET status = 'queued', not_before_s = 0 WHERE status = 'running' AND outcome IS NULL"
    return len(session.rows(f"{unowned} RETURNING id"))


def reset_for_retry(session: Session, job_id: int) -> None:
    """Put a finished job back into the queue; published lines stay, failed and cancelled ones wait again."""
    job = get(session, job_id)
    _update(
        session,
        job_id,
        status=JobStatus.WAITING if waits_for_open(session, job_id) else JobStatus.QUEUED,
        outcome=None,
        finished_s=None,
        not_before_s=0.0,
        warnings_json=_planned_warnings(session, job_id),
        facts_json=canonical_json({key: value for key, value in job.facts.items() if key not in OF_ITS_END}),
        **_error_columns(None),
    )
    statement = """
        UPDATE line SET status = 'waiting', strikes = 0, failures = 0, error_code = NULL, error_message = NULL,
            error_hint = NULL
        WHERE job_id = ? AND status IN ('failed', 'cancelled')
    """
    session.execute_many(statement, [(job_id,)])


def _planned_warnings(session: Session, job_id: int) -> str:
    """The warnings of a job's plan, which holds over every retry."""
    question = "SELECT json_extract(plan_json, '$.warnings') AS warnings FROM job WHERE id = :id"
    return session.rows(question, {"id": job_id})[0]["warnings"] or "[]"


def publishes_nothing(session: Session, job_id: int) -> bool:
    """Whether nothing of a job is in the outbox or on its way there, but for its receipt; nor of jobs made for it."""
    question = """
        SELECT 1 FROM line WHERE job_id = :id AND take_key IS NOT NULL
        UNION ALL SELECT 1 FROM job WHERE parent_id = :id LIMIT 1
    """
    return not session.rows(question, {"id": job_id})


def replace(session: Session, job_id: int, new: NewJob) -> None:
    """Give a failed job another content, claim and plan; its name, its `id` and the jobs that need it stay."""
    for table in ("line", "dependency", "voice_need"):
        session.execute_many(f"DELETE FROM {table} WHERE job_id = ?", [(job_id,)])
    _update(
        session,
        job_id,
        kind=new.kind,
        content_sha256=new.content_sha256,
        spec_json=new.spec_json,
        claim_id=new.claim_id,
        dropped_name=new.dropped_name,
        priority=new.priority,
        model=new.model,
        makes_voice=new.makes_voice,
        plan_json=None,
        started_s=None,
        facts_json=canonical_json(dict(new.facts)),
    )
    _insert_needs(session, job_id, new)


def _insert_needs(session: Session, job_id: int, new: NewJob) -> None:
    needs = [(job_id, needs_id, required) for needs_id, required in new.dependencies.items()]
    session.execute_many("INSERT INTO dependency (job_id, needs_id, required) VALUES (?, ?, ?)", needs)
    voices = [(job_id, voice_key, reference) for voice_key, reference in new.voices]
    session.execute_many("INSERT INTO voice_need (job_id, folded, reference) VALUES (?, ?, ?)", voices)


def change_claim(session: Session, job_id: int, claim_id: str, *, facts: JsonObject) -> None:
    """Give a job the files of another drop; `facts` say which is its job file."""
    _update(session, job_id, claim_id=claim_id, facts_json=_facts_and(session, job_id, facts))


def forget(session: Session, job_id: int) -> bool:
    """Remove a job that has ended, with its lines and events; False when it is open again, wanted or gone."""
    statement = f"DELETE FROM job WHERE id = :id AND {IS_SPARE} RETURNING id"
    return bool(session.rows(statement, {"id": job_id}))


def _update(session: Session, job_id: int, **values: Any) -> None:
    columns = ", ".join(f"{name} = ?" for name in values)
    session.execute_many(f"UPDATE job SET {columns} WHERE id = ?", [(*values.values(), job_id)])
