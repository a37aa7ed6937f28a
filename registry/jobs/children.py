"""A script's job → the jobs that belong to it, by their roles; and what it waits for."""

from __future__ import annotations

import json
from collections.abc import Sequence

from registry.jobs.jobs import note_facts
from registry.jobs.rows import job_from
from registry.jobs.values import Job, JobStatus, JsonObject
from registry.storage.session import Session


def children_of(session: Session, parent_id: int) -> list[tuple[str, Job]]:
    """(role, job) of every job that belongs to a script, the oldest first."""
    rows = session.rows("SELECT * FROM job WHERE parent_id = :id ORDER BY id", {"id": parent_id})
    return [(row["role"], job_from(row)) for row in rows]


def scripts_of(session: Session, job_ids: Sequence[int]) -> dict[int, str]:
    """The spec of the script that each of these jobs belongs to, by the job's ledger id."""
    question = """
        SELECT job.id, parent.spec_json FROM job JOIN job AS parent ON parent.id = job.parent_id
        WHERE job.id IN (SELECT value FROM json_each(:ids))
    """
    return {row["id"]: row["spec_json"] for row in session.rows(question, {"ids": json.dumps(list(job_ids))})}


def claim_of(session: Session, job: Job) -> str | None:
    """The claim that has a job's files: its own, else that of the script it belongs to."""
    question = "SELECT claim_id FROM job WHERE id = (SELECT parent_id FROM job WHERE id = :id)"
    rows = [] if job.claim_id is not None else session.rows(question, {"id": job.id})
    return rows[0]["claim_id"] if rows else job.claim_id


def wait_for(session: Session, job_id: int, needs: Sequence[int], *, facts: JsonObject) -> None:
    """Have a script wait until these jobs have ended, well or not; without any, until somebody has chosen."""
    note_facts(session, job_id, **facts)
    rows = [(job_id, needs_id) for needs_id in needs]
    session.execute_many("INSERT OR IGNORE INTO dependency (job_id, needs_id, required) VALUES (?, ?, 0)", rows)
    session.execute_many("UPDATE job SET status = ? WHERE id = ?", [(JobStatus.WAITING, job_id)])


def go_on(session: Session, job_id: int, *, facts: JsonObject) -> None:
    """Have a script that waits for a choice look again; one that waits for jobs does so when they have ended."""
    note_facts(session, job_id, **facts)
    statement = """
        UPDATE job SET status = 'queued' WHERE id = ? AND status = 'waiting' AND outcome IS NULL AND NOT EXISTS (
            SELECT 1 FROM dependency JOIN job AS need ON need.id = dependency.needs_id
            WHERE dependency.job_id = job.id AND need.status IN ('waiting', 'queued', 'running')
        )
    """
    session.execute_many(statement, [(job_id,)])
