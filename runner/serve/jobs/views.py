"""A job of the ledger → JSON: its receipt once it has ended, what is known of it before."""

from __future__ import annotations

import json
from typing import Any

from registry.jobs import lines
from registry.jobs.jobs import by_name
from registry.jobs.lists import listed
from registry.jobs.values import OPEN_STATUSES, Job, JobState, LineCounts, ListedJob
from registry.storage.session import Session
from runner.outbox.receipt import encoded, error_entry, iso, receipt
from runner.redaction import redact


def job_body(session: Session, name: str) -> bytes:
    """The receipt of a job that has ended, key for key, or its state. Raises JobNotFound."""
    job = by_name(session, name)
    if job.status not in OPEN_STATUSES:
        return encoded(receipt(job, lines.of_job(session, job.id)))
    return json.dumps(open_job(listed(session, [job])[0]), ensure_ascii=False).encode()


def open_job(found: ListedJob) -> dict[str, Any]:
    """A job that has not ended."""
    job = found.job
    return {**listed_job(found), "id": job.key, "warnings": [redact(warning) for warning in job.warnings]}


def listed_job(found: ListedJob) -> dict[str, Any]:
    """One entry of a list of jobs."""
    job = found.job
    return {
        **brief(job),
        "priority": job.priority,
        "model": job.model,
        "claimed_at": iso(job.claimed_s),
        "started_at": iso(job.started_s),
        "finished_at": iso(job.finished_s),
        "progress": progress(found.lines),
        "waits_for": list(found.waits_for),
        "error": error_entry(job.error),
    }


def brief(job: Job | JobState) -> dict[str, Any]:
    """The least that is said of a job."""
    return {"job": job.name, "kind": job.kind, "status": job.status}


def progress(counts: LineCounts) -> dict[str, int]:
    """Number of lines: all, finished and failed ones."""
    return {"lines": counts.total, "published": counts.published, "failed": counts.failed}
