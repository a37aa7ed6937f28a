"""Questions of people and programs about the ledger → lists of jobs, details of one, jobs that may be pruned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from registry.jobs.jobs import by_key, by_name
from registry.jobs.rows import IS_OPEN, IS_SPARE, job_from, line_from
from registry.jobs.values import (
    Job,
    JobDetails,
    JobEvent,
    JobState,
    JobStatus,
    Line,
    LineCounts,
    LineStatus,
    ListedJob,
)
from registry.storage.session import Row, Session
from registry.voices.names import name_key

PAGE = 50
EVENTS_SHOWN = 200
_IS_FLAGGED = "(status = 'failed' OR json_array_length(result_json, '$.quality.failed_gates') > 0)"
_STATE = "SELECT id, name, kind, status FROM job"

_LINE_COUNTS = """
    SELECT job_id, status, count(*) AS lines FROM line
    WHERE job_id IN (SELECT value FROM json_each(:ids)) GROUP BY job_id, status
"""
_NEEDS = f"""
    SELECT dependency.job_id, job.name FROM dependency JOIN job ON job.id = dependency.needs_id
    WHERE dependency.job_id IN (SELECT value FROM json_each(:ids)) AND {IS_OPEN} ORDER BY job.id
"""


# A job without what its file said, which may be megabytes.
_WITHOUT_SPEC = """
    id, name, key, kind, status, outcome, content_sha256, '{}' AS spec_json, claim_id, dropped_name, priority, model,
    makes_voice, NULL AS plan_json, attempts, not_before_s, claimed_s, started_s, finished_s, error_code,
    error_message, error_hint, warnings_json, facts_json, live
"""


def list_jobs(
    session: Session,
    *,
    statuses: Sequence[str] = (),
    kind: str | None = None,
    limit: int = PAGE,
    before: int | None = None,
) -> list[ListedJob]:
    """The latest jobs first, without what their files said; the next page is `before` the last ledger id of this."""
    condition = "AND status IN (SELECT value FROM json_each(:statuses))" if statuses else ""
    condition += " AND kind = :kind" if kind else ""
    question = f"SELECT {_WITHOUT_SPEC} FROM job WHERE id < :before {condition} ORDER BY id DESC LIMIT :limit"
    bound = before if before is not None else 1 << 62
    rows = session.rows(question, {"statuses": json.dumps(statuses), "kind": kind, "limit": limit, "before": bound})
    return listed(session, [job_from(row) for row in rows])


def names_like(session: Session, pattern: str, *, statuses: Sequence[str]) -> list[str]:
    """Names of the jobs with one of these statuses that fit a pattern with `*`, `?` and `[…]`, the oldest first."""
    question = """
        SELECT name FROM job
        WHERE status IN (SELECT value FROM json_each(:statuses)) AND folded GLOB :pattern ORDER BY id
    """
    rows = session.rows(question, {"statuses": json.dumps(list(statuses)), "pattern": name_key(pattern)})
    return [row["name"] for row in rows]


def next_jobs(session: Session, *, limit: int = PAGE) -> list[ListedJob]:
    """The jobs that have not begun, in the order in which they may, without what their files said."""
    question = f"""
        SELECT {_WITHOUT_SPEC} FROM job WHERE status IN ('waiting', 'queued') ORDER BY priority DESC, id LIMIT :limit
    """
    return listed(session, [job_from(row) for row in session.rows(question, {"limit": limit})])


def show_job(session: Session, name: str, *, lines: int = 1_000) -> JobDetails:
    """Everything about one job, with the first of its lines. Raises JobNotFound, which names those nearest."""
    job = by_name(session, name)
    question = "SELECT * FROM line WHERE job_id = :id ORDER BY position LIMIT :limit"
    found = session.rows(question, {"id": job.id, "limit": lines})
    events = session.rows(
        "SELECT * FROM (SELECT * FROM job_event WHERE job_id = :id ORDER BY id DESC LIMIT :limit) ORDER BY id",
        {"id": job.id, "limit": EVENTS_SHOWN},
    )
    return JobDetails(
        listed=listed(session, [job])[0],
        lines=tuple(line_from(line) for line in found),
        events=tuple(JobEvent(at_s=event["at_s"], kind=event["kind"], message=event["message"]) for event in events),
    )


def lines_after(
    session: Session, job_id: int, *, after: int = 0, limit: int = PAGE, flagged: bool = False
) -> list[Line]:
    """One page of a job's lines, in order; `flagged` ones alone are those that failed, or whose take did at a gate."""
    condition = f"AND {_IS_FLAGGED}" if flagged else ""
    question = f"""
        SELECT * FROM line WHERE job_id = :job AND position > :after {condition} ORDER BY position LIMIT :limit
    """
    rows = session.rows(question, {"job": job_id, "after": after, "limit": limit})
    return [line_from(row) for row in rows]


def flagged_lines(session: Session, job_id: int) -> int:
    """Number of a job's lines that failed, or whose take did at a gate."""
    question = f"SELECT count(*) AS lines FROM line WHERE job_id = :job AND {_IS_FLAGGED}"
    return int(session.rows(question, {"job": job_id})[0]["lines"])


def track_before_s(session: Session, job_id: int, position: int) -> float:
    """How long the track of a job is before the line at a position."""
    question = """
        SELECT total(json_extract(result_json, '$.duration_s')) + total(json_extract(request_json, '$.pause_after_s'))
        AS before_s FROM line WHERE job_id = :job AND position < :position AND status = 'published'
    """
    return float(session.rows(question, {"job": job_id, "position": position})[0]["before_s"])


@dataclass(frozen=True, kw_only=True)
class LedgerMark:
    """Ledger just before a drop, by which its job is told from earlier ones, whatever clocks do."""

    last_job_id: int
    claim_id: str | None = None  # of the job that holds the `id` of the drop


def mark(session: Session, *, key: str | None) -> LedgerMark:
    """Mark for a file that is about to be dropped, whose job has this `id`."""
    holder = by_key(session, key) if key is not None else None
    return LedgerMark(last_job_id=last_job_id(session), claim_id=holder.claim_id if holder is not None else None)


def find_drop(session: Session, dropped_name: str, *, key: str | None, since: LedgerMark) -> Job | None:
    """The job that a file dropped after a mark became: its own row, or the one that holds its `id`."""
    question = """
        SELECT * FROM job WHERE dropped_name = :name AND id > :last AND parent_id IS NULL ORDER BY id DESC LIMIT 1
    """  # the jobs that a script makes have its name, too
    found = session.rows(question, {"name": dropped_name, "last": since.last_job_id})
    if found or key is None:
        return job_from(found[0]) if found else None
    holder = by_key(session, key)
    if holder is None or holder.id > since.last_job_id or holder.claim_id == since.claim_id:
        return None
    return holder  # it goes on with the files of this drop


def jobs_naming(session: Session, voice: str, *, limit: int = PAGE) -> list[tuple[JobState, str]]:
    """The latest jobs whose files name a voice, each with the reference as it is written there."""
    question = """
        SELECT job.id, job.name, job.kind, job.status, voice_need.reference
        FROM voice_need JOIN job ON job.id = voice_need.job_id
        WHERE voice_need.folded = :folded ORDER BY job.id DESC LIMIT :limit
    """
    rows = session.rows(question, {"folded": name_key(voice), "limit": limit})
    return [(_state_from(row), row["reference"]) for row in rows]


def line_counts(session: Session, job_id: int) -> LineCounts:
    """Number of a job's lines in each state."""
    found = session.rows(_LINE_COUNTS, {"ids": json.dumps([job_id])})
    return LineCounts(**{row["status"]: row["lines"] for row in found})


def prunable(session: Session, *, older_than_s: float) -> list[Job]:
    """Jobs that ended before a moment, oldest first, without what their files said: they may go."""
    question = f"SELECT {_WITHOUT_SPEC} FROM job WHERE finished_s < :older AND {IS_SPARE} ORDER BY finished_s"
    return [job_from(row) for row in session.rows(question, {"older": older_than_s})]


def waiting_jobs(session: Session) -> int:
    """Number of jobs that have not begun."""
    question = "SELECT count(*) AS jobs FROM job WHERE status IN ('waiting', 'queued')"
    return int(session.rows(question)[0]["jobs"])


def open_jobs(session: Session) -> int:
    """Number of jobs that have not ended."""
    return int(session.rows(f"SELECT count(*) AS jobs FROM job WHERE {IS_OPEN}")[0]["jobs"])


def latest_named(session: Session, stem: str) -> Job | None:
    """The last of the jobs that a drop of this name became: `hello`, `hello-2`, …"""
    found = session.rows("SELECT * FROM job WHERE stem = :stem ORDER BY suffix DESC LIMIT 1", {"stem": stem})
    return job_from(found[0]) if found else None


# ---- states, for those who follow the ledger -------------------------------------------------------------------


def open_states(session: Session) -> list[JobState]:
    """The jobs that have not ended."""
    return _states(session, f"WHERE {IS_OPEN}")


def states_after(session: Session, job_id: int) -> list[JobState]:
    """The jobs recorded after this one, in order."""
    return _states(session, "WHERE id > :last ORDER BY id", last=job_id)


def states_of(session: Session, job_ids: Iterable[int]) -> list[JobState]:
    """These jobs, unless they have been pruned."""
    return _states(session, "WHERE id IN (SELECT value FROM json_each(:ids))", ids=json.dumps(list(job_ids)))


def _states(session: Session, condition: str, **parameters: Any) -> list[JobState]:
    return [_state_from(row) for row in session.rows(f"{_STATE} {condition}", parameters)]


def _state_from(row: Row) -> JobState:
    return JobState(id=row["id"], name=row["name"], kind=row["kind"], status=JobStatus(row["status"]))


def last_job_id(session: Session) -> int:
    """Ledger id of the job recorded last; 0 in an empty ledger."""
    return int(session.rows("SELECT max(id) AS last FROM job")[0]["last"] or 0)


# ---- figures ---------------------------------------------------------------------------------------------------


def jobs_by_status(session: Session) -> dict[JobStatus, int]:
    """Number of jobs in each state."""
    found = {row["status"]: row["number"] for row in session.rows(_by_status("job"))}
    return {status: found.get(status, 0) for status in JobStatus}


def lines_by_status(session: Session) -> dict[LineStatus, int]:
    """Number of lines in each state, those of all jobs."""
    found = {row["status"]: row["number"] for row in session.rows(_by_status("line"))}
    return {status: found.get(status, 0) for status in LineStatus}


def attempts_by_outcome(session: Session) -> dict[str, int]:
    """Number of renderings and reuses by what came of them: `passed`, `failed-gates`, `engine-lost`, …"""
    rows = session.rows("SELECT outcome, count(*) AS number FROM attempt GROUP BY outcome")
    return {row["outcome"]: row["number"] for row in rows}


def _by_status(table: str) -> str:
    return f"SELECT status, count(*) AS number FROM {table} GROUP BY status"


def oldest_queued_s(session: Session) -> float | None:
    """When the oldest job that could start was claimed, in epoch seconds; None when none could."""
    found: float | None = session.rows("SELECT min(claimed_s) AS at_s FROM job WHERE status = 'queued'")[0]["at_s"]
    return found


def newest_claim_s(session: Session) -> float | None:
    """When the last job was claimed, in epoch seconds; None in an empty ledger."""
    found: float | None = session.rows("SELECT max(claimed_s) AS at_s FROM job")[0]["at_s"]
    return found


# ---- lists -----------------------------------------------------------------------------------------------------


def listed(session: Session, found: Sequence[Job]) -> list[ListedJob]:
    """Jobs with the number of their lines and what they wait for."""
    ids = json.dumps([job.id for job in found])
    counts: dict[int, dict[str, int]] = {}
    for row in session.rows(_LINE_COUNTS, {"ids": ids}):
        counts.setdefault(row["job_id"], {})[row["status"]] = row["lines"]
    needs: dict[int, list[str]] = {}
    for row in session.rows(_NEEDS, {"ids": ids}):
        needs.setdefault(row["job_id"], []).append(row["name"])
    return [
        ListedJob(job=job, lines=LineCounts(**counts.get(job.id, {})), waits_for=tuple(needs.get(job.id, ())))
        for job in found
    ]
