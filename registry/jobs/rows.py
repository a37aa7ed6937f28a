"""Rows of the ledger → the values that leave the registry; and conditions on jobs, as SQL."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from registry.errors import DamagedData
from registry.jobs.line_request import LineRequest
from registry.jobs.values import Job, JobError, JobStatus, Line, LineStatus
from registry.storage.connection import RESTORE_DAMAGED
from registry.storage.session import Row

IS_OPEN = "job.status IN ('waiting', 'queued', 'running')"
IS_ASKED_AGAIN = """
    (job.status IN ('partial', 'failed', 'cancelled') AND EXISTS (
        SELECT 1 FROM job_request WHERE job_request.job_id = job.id AND job_request.request = 'retry'
    ))
"""
WILL_END = f"({IS_OPEN} OR {IS_ASKED_AGAIN})"
# It has ended, nobody has asked anything of it, and no open job needs it: a lock its candidates, by their name.
IS_SPARE = f"""
    NOT {IS_OPEN} AND NOT EXISTS (SELECT 1 FROM job_request WHERE job_request.job_id = job.id)
    AND NOT EXISTS (
        SELECT 1 FROM dependency JOIN job AS other ON other.id = dependency.job_id
        WHERE dependency.needs_id = job.id AND other.status IN ('waiting', 'queued', 'running')
    )
"""


def job_from(row: Row) -> Job:
    """A row as the ledger's value."""
    with _sound("job", row):
        return Job(
            id=row["id"],
            name=row["name"],
            key=row["key"],
            kind=row["kind"],
            status=JobStatus(row["status"]),
            outcome=JobStatus(row["outcome"]) if row["outcome"] else None,
            content_sha256=row["content_sha256"],
            spec_json=row["spec_json"],
            claim_id=row["claim_id"],
            dropped_name=row["dropped_name"],
            priority=row["priority"],
            model=row["model"],
            makes_voice=row["makes_voice"],
            is_planned=row["plan_json"] is not None,
            attempts=row["attempts"],
            not_before_s=row["not_before_s"],
            claimed_s=row["claimed_s"],
            started_s=row["started_s"],
            finished_s=row["finished_s"],
            error=error_from(row),
            warnings=tuple(json.loads(row["warnings_json"])),
            facts=json.loads(row["facts_json"]),
            live=bool(row["live"]),
        )


def line_from(row: Row) -> Line:
    """A row as the ledger's value."""
    with _sound("line", row):
        return Line(
            id=row["id"],
            job_id=row["job_id"],
            position=row["position"],
            key=row["key"],
            file=row["file"],
            status=LineStatus(row["status"]),
            model=row["model"],
            request=LineRequest.from_json(json.loads(row["request_json"])),
            seed=row["seed"],
            take_key=row["take_key"],
            crash_count=row["strikes"],
            failures=row["failures"],
            result=json.loads(row["result_json"]) if row["result_json"] else None,
            error=error_from(row),
        )


def error_from(row: Row) -> JobError | None:
    """Error in a row's three columns, if any."""
    if not row["error_code"]:
        return None
    return JobError(code=row["error_code"], message=row["error_message"] or "", hint=row["error_hint"] or "")


@contextlib.contextmanager
def _sound(thing: str, row: Row) -> Iterator[None]:
    """Raise DamagedData for a row that this program has not written."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"The ledger's {thing} {row['id']} holds what no {thing} holds: {error}."
        raise DamagedData(reason, hint=RESTORE_DAMAGED) from error
