"""Questions about the ledger, for people and programs: lists, details, what may be pruned.

They go in plain SQL, so that a command answers without importing SQLModel.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from registry.database import Row, Session
from registry.errors import NotFound, nearest
from registry.job_values import (
    FINAL_STATUSES,
    OPEN_STATUSES,
    Job,
    JobDetails,
    JobError,
    JobEvent,
    JobSummary,
    Line,
    LineCounts,
)
from registry.voice_names import fold

PAGE = 50
NAMES_TO_GUESS_FROM = 1_000
EVENTS_SHOWN = 200

_LINE_COUNTS = """
    SELECT job_id, status, count(*) AS lines FROM line WHERE job_id IN ({ids}) GROUP BY job_id, status
"""
_NEEDS = """
    SELECT dependency.job_id, job.name FROM dependency JOIN job ON job.id = dependency.needs_id
    WHERE dependency.job_id IN ({ids}) AND job.status IN ('waiting', 'queued', 'running') ORDER BY job.id
"""


class JobNotFound(NotFound):
    code = "job-not-found"


def list_jobs(
    session: Session,
    *,
    statuses: Sequence[str] = (),
    before_id: int | None = None,
    limit: int = PAGE,
) -> list[JobSummary]:
    """Jobs, the latest first; the next page is `before_id` the last id of this one."""
    condition = "id < :before"
    if statuses:
        condition += f" AND status IN ({', '.join(repr(_checked(status)) for status in statuses)})"
    bound = before_id if before_id is not None else 1 << 62
    question = f"SELECT * FROM job WHERE {condition} ORDER BY id DESC LIMIT :limit"
    rows = session.rows(question, {"before": bound, "limit": limit})
    return _summaries(session, rows)


def show_job(session: Session, name: str, *, after_line: int = 0, lines: int = 1_000) -> JobDetails:
    """Everything about one job, with a page of its lines. Raises JobNotFound, which names those nearest."""
    row = _row_named(session, name)
    question = "SELECT * FROM line WHERE job_id = :id AND position > :after ORDER BY position LIMIT :limit"
    found = session.rows(question, {"id": row["id"], "after": after_line, "limit": lines})
    events = session.rows(
        "SELECT * FROM (SELECT * FROM job_event WHERE job_id = :id ORDER BY id DESC LIMIT :limit) ORDER BY id",
        {"id": row["id"], "limit": EVENTS_SHOWN},
    )
    return JobDetails(
        job=job_from(row),
        summary=_summaries(session, [row])[0],
        lines=tuple(line_from(line) for line in found),
        events=tuple(JobEvent(at_s=event["at_s"], kind=event["kind"], message=event["message"]) for event in events),
    )


def find_drop(session: Session, dropped_name: str, *, key: str | None, since_s: float) -> Job | None:
    """The job that a file dropped after `since_s` became: its own row, or the one that holds its `id`."""
    question = "SELECT * FROM job WHERE dropped_name = :name AND claimed_s >= :since ORDER BY id DESC LIMIT 1"
    found = session.rows(question, {"name": dropped_name, "since": since_s})
    return job_from(found[0]) if found else _resumed(session, key, since_s)


def _resumed(session: Session, key: str | None, since_s: float) -> Job | None:
    question = """
        SELECT job.* FROM job JOIN job_event ON job_event.job_id = job.id
        WHERE job.key = :key AND job_event.kind = 'retry' AND job_event.at_s >= :since LIMIT 1
    """
    found = session.rows(question, {"key": key, "since": since_s}) if key is not None else []
    return job_from(found[0]) if found else None


def get_job(session: Session, job_id: int) -> Job | None:
    """The job with this ledger id; None once it is pruned."""
    found = session.rows("SELECT * FROM job WHERE id = :id", {"id": job_id})
    return job_from(found[0]) if found else None


def line_counts(session: Session, job_id: int) -> LineCounts:
    """How many lines of a job are in which state."""
    found = session.rows(_LINE_COUNTS.format(ids=int(job_id)))
    return LineCounts(**{row["status"]: row["lines"] for row in found})


def prunable(session: Session, *, older_than_s: float, limit: int = 500) -> list[Job]:
    """Jobs that ended before a moment, oldest first: their rows and folders may go."""
    final = ", ".join(repr(status) for status in FINAL_STATUSES)
    question = f"""
        SELECT * FROM job WHERE finished_s < :older AND status IN ({final})
        AND NOT EXISTS (SELECT 1 FROM job_request WHERE job_request.job_id = job.id) ORDER BY finished_s LIMIT :limit
    """
    return [job_from(row) for row in session.rows(question, {"older": older_than_s, "limit": limit})]


def open_jobs(session: Session) -> int:
    """How many jobs have not ended."""
    statuses = ", ".join(repr(status) for status in OPEN_STATUSES)
    return int(session.rows(f"SELECT count(*) AS jobs FROM job WHERE status IN ({statuses})")[0]["jobs"])


def _checked(status: str) -> str:
    if status not in (*OPEN_STATUSES, *FINAL_STATUSES):
        known = ", ".join((*OPEN_STATUSES, *FINAL_STATUSES))
        raise JobNotFound(f"There is no status {status!r}.", hint=f"There are {known}.")
    return status


def _row_named(session: Session, name: str) -> Row:
    found = session.rows("SELECT * FROM job WHERE folded = :folded", {"folded": fold(name)})
    if found:
        return found[0]
    names = session.rows("SELECT name FROM job ORDER BY id DESC LIMIT :limit", {"limit": NAMES_TO_GUESS_FROM})
    near = nearest(name, [row["name"] for row in names])
    guess = f"Did you mean {', '.join(near)}? " if near else ""
    raise JobNotFound(f"There is no job {name!r}.", hint=f"{guess}`voicejobs jobs list` shows them all.")


def _summaries(session: Session, rows: Sequence[Row]) -> list[JobSummary]:
    ids = ", ".join(str(int(row["id"])) for row in rows)
    counts: dict[int, dict[str, int]] = {}
    for found in session.rows(_LINE_COUNTS.format(ids=ids)):
        counts.setdefault(found["job_id"], {})[found["status"]] = found["lines"]
    needs: dict[int, list[str]] = {}
    for found in session.rows(_NEEDS.format(ids=ids)):
        needs.setdefault(found["job_id"], []).append(found["name"])
    return [
        JobSummary(
            id=row["id"],
            name=row["name"],
            kind=row["kind"],
            status=row["status"],
            priority=row["priority"],
            model=row["model"],
            claimed_s=row["claimed_s"],
            started_s=row["started_s"],
            finished_s=row["finished_s"],
            lines=LineCounts(**counts.get(row["id"], {})),
            error=error_from(row),
            waits_for=tuple(needs.get(row["id"], ())),
        )
        for row in rows
    ]


def job_from(row: Row) -> Job:
    """A row as the ledger's value."""
    return Job(
        id=row["id"],
        name=row["name"],
        key=row["key"],
        kind=row["kind"],
        status=row["status"],
        outcome=row["outcome"],
        content_sha256=row["content_sha256"],
        spec_json=row["spec_json"],
        claim_id=row["claim_id"],
        dropped_name=row["dropped_name"],
        priority=row["priority"],
        model=row["model"],
        makes_voice=row["makes_voice"],
        plan=json.loads(row["plan_json"]) if row["plan_json"] else None,
        attempts=row["attempts"],
        not_before_s=row["not_before_s"],
        claimed_s=row["claimed_s"],
        started_s=row["started_s"],
        finished_s=row["finished_s"],
        error=error_from(row),
        warnings=tuple(json.loads(row["warnings_json"])),
        facts=json.loads(row["facts_json"]),
    )


def line_from(row: Row) -> Line:
    """A row as the ledger's value."""
    return Line(
        id=row["id"],
        job_id=row["job_id"],
        position=row["position"],
        key=row["key"],
        file=row["file"],
        status=row["status"],
        model=row["model"],
        request=json.loads(row["request_json"]),
        seed=row["seed"],
        take_key=row["take_key"],
        strikes=row["strikes"],
        failures=row["failures"],
        result=json.loads(row["result_json"]) if row["result_json"] else None,
        error=error_from(row),
    )


def error_from(row: Row) -> JobError | None:
    """Three columns → one value."""
    if not row["error_code"]:
        return None
    return JobError(code=row["error_code"], message=row["error_message"] or "", hint=row["error_hint"] or "")
