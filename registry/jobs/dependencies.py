"""A job or a voice → the jobs that it waits for, or that need it; and jobs that end → those that may go on."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from registry.jobs.rows import IS_ASKED_AGAIN, IS_OPEN, WILL_END, job_from
from registry.jobs.values import LOST_STATUSES, OPEN_STATUSES, RETRYABLE_STATUSES, Job
from registry.storage.session import Session

_IS_LOST_NEED = f"dependency.required = 1 AND job.status IN ('failed', 'cancelled') AND NOT {IS_ASKED_AGAIN}"


def will_end(session: Session, job_id: int) -> bool:
    """Whether a job is open, or is to be tried again: others may wait for it."""
    return bool(session.rows(f"SELECT 1 FROM job WHERE id = :id AND {WILL_END}", {"id": job_id}))


def open_makers(session: Session, voice_key: str) -> list[int]:
    """Ids of the unfinished jobs that will give this voice a version, in the order in which they were claimed."""
    question = f"SELECT id FROM job WHERE makes_voice = :voice AND {WILL_END} ORDER BY id"
    return [row["id"] for row in session.rows(question, {"voice": voice_key})]


def open_references(session: Session, voice_key: str) -> list[tuple[str, str]]:
    """Names of the unfinished jobs that name this voice, each with the reference as written."""
    question = f"""
        SELECT job.name, voice_need.reference FROM voice_need JOIN job ON job.id = voice_need.job_id
        WHERE voice_need.folded = :voice AND {WILL_END} ORDER BY job.id
    """
    return [(row["name"], row["reference"]) for row in session.rows(question, {"voice": voice_key})]


def designs_in_use(session: Session) -> set[str]:
    """Names of the design jobs whose candidates an unfinished lock names."""
    question = f"""
        SELECT json_extract(spec_json, '$.from.job') AS name FROM job WHERE kind = 'lock' AND {IS_OPEN}
    """
    return {row["name"] for row in session.rows(question) if row["name"] is not None}


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A job that waited, and now may run or has lost what it waited for."""

    job_id: int
    failed_need: str | None = None  # the name of the job whose failure it cannot do without


def open_dependents(session: Session, job_id: int) -> list[str]:
    """Names of the unfinished jobs that wait for this one, or are made of it."""
    question = f"""
        SELECT job.name FROM dependency JOIN job ON job.id = dependency.job_id
        WHERE dependency.needs_id = :id AND {WILL_END} ORDER BY job.id
    """
    return [row["name"] for row in session.rows(question, {"id": job_id})]


def lost_needs(session: Session, job_id: int) -> list[Job]:
    """The failed and cancelled jobs without which this one cannot succeed, those they need themselves among them."""
    question = f"""
        WITH RECURSIVE lost (id) AS (
            SELECT job.id FROM dependency JOIN job ON job.id = dependency.needs_id
            WHERE dependency.job_id = :id AND {_IS_LOST_NEED}
            UNION
            SELECT job.id FROM lost JOIN dependency ON dependency.job_id = lost.id
            JOIN job ON job.id = dependency.needs_id WHERE {_IS_LOST_NEED}
        )
        SELECT * FROM job WHERE id IN (SELECT id FROM lost) ORDER BY id
    """
    return [job_from(row) for row in session.rows(question, {"id": job_id})]


def needs_job(session: Session, job_ids: Collection[int], needed_id: int) -> bool:
    """Whether one of these jobs is another one, or waits for it, if only by way of others."""
    question = """
        WITH RECURSIVE needed (id) AS (
            SELECT value FROM json_each(:ids)
            UNION
            SELECT dependency.needs_id FROM needed JOIN dependency ON dependency.job_id = needed.id
        )
        SELECT 1 FROM needed WHERE id = :needed
    """
    return bool(session.rows(question, {"ids": json.dumps(list(job_ids)), "needed": needed_id}))


def settle(session: Session, finished_ids: Sequence[int]) -> list[Settled]:
    """Jobs that waited for `finished_ids` and need wait no more; those that may run are queued."""
    settled = []
    for job_id in _waiting_for(session, finished_ids):
        needs = _needs_of(session, job_id)
        failed = _lost(needs)
        if failed is None and any(status in OPEN_STATUSES for _, status, _ in needs):
            continue
        if failed is None:
            session.execute_many("UPDATE job SET status = 'queued' WHERE id = ?", [(job_id,)])
        settled.append(Settled(job_id=job_id, failed_need=failed))
    return settled


def _waiting_for(session: Session, finished_ids: Sequence[int]) -> list[int]:
    question = """
        SELECT DISTINCT dependency.job_id FROM dependency JOIN job ON job.id = dependency.job_id
        WHERE dependency.needs_id IN (SELECT value FROM json_each(:ids))
        AND job.status = 'waiting' AND job.outcome IS NULL ORDER BY dependency.job_id
    """
    return [row["job_id"] for row in session.rows(question, {"ids": json.dumps(list(finished_ids))})]


def failed_need(session: Session, job_id: int) -> str | None:
    """Name of a job that this one cannot do without, and that has failed, if only in part."""
    return _lost(_needs_of(session, job_id), statuses=RETRYABLE_STATUSES)


def waits_for_open(session: Session, job_id: int) -> bool:
    """Whether anything that a job needs has not ended, or is to be tried again."""
    return any(status in OPEN_STATUSES for _, status, _ in _needs_of(session, job_id))


def _lost(needs: Iterable[tuple[str, str, bool]], *, statuses: Collection[str] = LOST_STATUSES) -> str | None:
    return next((name for name, status, required in needs if required and status in statuses), None)


def _needs_of(session: Session, job_id: int) -> list[tuple[str, str, bool]]:
    question = f"""
        SELECT job.name, CASE WHEN {IS_ASKED_AGAIN} THEN 'queued' ELSE job.status END AS status, dependency.required
        FROM dependency JOIN job ON job.id = dependency.needs_id WHERE dependency.job_id = :id ORDER BY job.id
    """
    return [(row["name"], row["status"], bool(row["required"])) for row in session.rows(question, {"id": job_id})]
