"""The lines of a job in the ledger: waiting → taken (its take is durable) → published; or failed, or cancelled.

Every function runs inside the caller's transaction. Lines are read in pages, since a job may have 20,000 of them,
and written many at a time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from registry.jobs.rows import line_from
from registry.jobs.values import JobError, JsonObject, Line, LineStatus, NewAttempt
from registry.storage.digests import canonical_json
from registry.storage.session import Session
from registry.voices.names import name_key

PAGE = 500
_WAITS_FOR_VOICE = "job_id = :job AND status = 'waiting' AND json_extract(request_json, '$.voice.source') = :kind"


def waiting(session: Session, job_id: int, *, model: str, after: int, limit: int) -> list[Line]:
    """The next lines of a job that this model has to speak, behind position `after`."""
    question = """
        SELECT * FROM line WHERE job_id = :job AND status = 'waiting' AND model = :model AND position > :after
        ORDER BY position LIMIT :limit
    """
    rows = session.rows(question, {"job": job_id, "model": model, "after": after, "limit": limit})
    return [line_from(row) for row in rows]


def with_status(session: Session, job_id: int, status: LineStatus) -> list[Line]:
    """Every line of a job in this state, in order."""
    question = "SELECT * FROM line WHERE job_id = :job AND status = :status ORDER BY position"
    return [line_from(row) for row in session.rows(question, {"job": job_id, "status": status})]


def at(session: Session, job_id: int, position: int) -> Line | None:
    """The line of a job at a position, from 1; None before the job has begun, and behind its last line."""
    question = "SELECT * FROM line WHERE job_id = :job AND position = :position"
    rows = session.rows(question, {"job": job_id, "position": position})
    return line_from(rows[0]) if rows else None


def is_published_file(session: Session, job_id: int, name: str) -> bool:
    """Whether a published line of a job has this file."""
    question = "SELECT 1 FROM line WHERE job_id = :job AND file = :file AND status = 'published' LIMIT 1"
    return bool(session.rows(question, {"job": job_id, "file": name}))


def existing_takes(session: Session, keys: Iterable[str]) -> set[str]:
    """Keys out of these that the take store has, as far as its rows say."""
    question = "SELECT key FROM take WHERE key IN (SELECT value FROM json_each(:keys))"
    return {row["key"] for row in session.rows(question, {"keys": json.dumps(list(keys))})}


def models_left(session: Session, job_ids: Sequence[int]) -> dict[int, list[str]]:
    """The models that have lines of these jobs to speak, for each job the model of its first such line first."""
    question = """
        SELECT job_id, model FROM line WHERE job_id IN (SELECT value FROM json_each(:ids)) AND status = 'waiting'
        GROUP BY job_id, model ORDER BY job_id, min(position)
    """
    left: dict[int, list[str]] = {}
    for row in session.rows(question, {"ids": json.dumps(list(job_ids))}):
        left.setdefault(row["job_id"], []).append(row["model"])
    return left


def models_waiting(session: Session, job_id: int, *, voice_kind: str) -> set[str]:
    """The models of a job's lines that wait, and have a voice of this kind."""
    question = f"SELECT DISTINCT model FROM line WHERE {_WAITS_FOR_VOICE}"
    return {row["model"] for row in session.rows(question, {"job": job_id, "kind": voice_kind})}


def give_to_model(session: Session, job_id: int, model: str, *, voice_kind: str, but: Collection[int]) -> int:
    """Have another model speak the lines that wait, and have a voice of this kind; returns how many changed.

    Those at the positions `but` stay with theirs. The job counts as one of the model of its first line that waits.
    """
    statement = f"""
        UPDATE line SET model = :model WHERE {_WAITS_FOR_VOICE} AND model <> :model
        AND position NOT IN (SELECT value FROM json_each(:but)) RETURNING id
    """
    values = {"job": job_id, "kind": voice_kind, "model": model, "but": json.dumps(list(but))}
    changed = len(session.rows(statement, values))
    if first := models_left(session, [job_id]).get(job_id):
        session.execute_many("UPDATE job SET model = ? WHERE id = ?", [(first[0], job_id)])
    return changed


def pages(session: Session, job_id: int) -> Iterator[list[Line]]:
    """All lines of a job in order, some at a time."""
    after = 0
    question = "SELECT * FROM line WHERE job_id = :job AND position > :after ORDER BY position LIMIT :limit"
    while True:
        rows = session.rows(question, {"job": job_id, "after": after, "limit": PAGE})
        if rows:
            yield [line_from(row) for row in rows]
        if len(rows) < PAGE:
            return
        after = rows[-1]["position"]


def of_job(session: Session, job_id: int) -> Iterator[Line]:
    """All lines of a job in order, read some at a time."""
    for page in pages(session, job_id):
        yield from page


@dataclass(frozen=True, kw_only=True)
class TakenLine:
    """A line whose take is durable."""

    line_id: int
    take_key: str
    result: JsonObject


def set_taken(session: Session, taken: Iterable[TakenLine]) -> None:
    """Mark lines as taken: their takes are durable, and remain to be published."""
    statement = "UPDATE line SET status = 'taken', take_key = ?, result_json = ? WHERE id = ?"
    session.execute_many(
        statement, [(item.take_key, canonical_json(dict(item.result)), item.line_id) for item in taken]
    )


def set_waiting(session: Session, line_id: int) -> None:
    """Let a line whose take is gone be spoken again."""
    statement = "UPDATE line SET status = 'waiting', take_key = NULL, result_json = NULL WHERE id = ?"
    session.execute_many(statement, [(line_id,)])


def publish_again(session: Session, job_id: int, *, unless_in: Collection[str]) -> None:
    """Let published lines whose file is not among these (name keys) be spoken, or rather reused, once more."""
    question = "SELECT id, file FROM line WHERE job_id = :job AND status = 'published' AND take_key IS NOT NULL"
    for row in session.rows(question, {"job": job_id}):  # pauses have no take
        if name_key(row["file"]) not in unless_in:
            set_waiting(session, row["id"])


def published_files(session: Session, job_id: int) -> list[str]:
    """Names of the files that the lines of a job have in the outbox, unless somebody took them."""
    question = "SELECT file FROM line WHERE job_id = :job AND status = 'published' AND take_key IS NOT NULL"
    return [row["file"] for row in session.rows(question, {"job": job_id})]


def publish_all_again(session: Session) -> None:
    """Let all that open jobs have published be spoken, or rather reused, once more: this is another outbox."""
    session.rows(
        """
        UPDATE line SET status = 'waiting', take_key = NULL, result_json = NULL
        WHERE status = 'published' AND take_key IS NOT NULL
            AND job_id IN (SELECT id FROM job WHERE status IN ('waiting', 'queued', 'running'))
        """
    )


def set_published(session: Session, line_ids: Iterable[int]) -> None:
    """Mark lines as published: their files are in the outbox."""
    session.execute_many("UPDATE line SET status = 'published' WHERE id = ?", [(line_id,) for line_id in line_ids])


def set_failed(session: Session, line_id: int, error: JobError) -> None:
    """Mark a line as failed: it cannot be spoken."""
    statement = """
        UPDATE line SET status = 'failed', error_code = ?, error_message = ?, error_hint = ? WHERE id = ?
    """
    session.execute_many(statement, [(error.code, error.message, error.hint, line_id)])


def fail_waiting(session: Session, job_id: int, error: JobError, *, model: str) -> None:
    """Mark every line that still waits for `model` as failed, for the same reason."""
    statement = """
        UPDATE line SET status = 'failed', error_code = ?, error_message = ?, error_hint = ?
        WHERE job_id = ? AND status = 'waiting' AND model = ?
    """
    session.execute_many(statement, [(error.code, error.message, error.hint, job_id, model)])


def cancel_waiting(session: Session, job_id: int) -> None:
    """Mark the lines that still wait as cancelled."""
    session.execute_many("UPDATE line SET status = 'cancelled' WHERE job_id = ? AND status = 'waiting'", [(job_id,)])


def add_crashes(session: Session, line_ids: Iterable[int]) -> None:
    """Count a crash against each of these lines: the engine died over them."""
    session.execute_many("UPDATE line SET strikes = strikes + 1 WHERE id = ?", [(line_id,) for line_id in line_ids])


def add_failures(session: Session, line_ids: Iterable[int]) -> None:
    """Count a failure against each of these lines that another try may do better."""
    session.execute_many("UPDATE line SET failures = failures + 1 WHERE id = ?", [(line_id,) for line_id in line_ids])


def add_attempts(session: Session, new: Iterable[NewAttempt]) -> None:
    """Record renderings."""
    statement = """
        INSERT INTO attempt (line_id, number, seed, outcome, detail_json, finished_s) VALUES (?, ?, ?, ?, ?, ?)
    """
    rows = [
        (item.line_id, item.number, item.seed, item.outcome, canonical_json(dict(item.detail)), item.finished_s)
        for item in new
    ]
    session.execute_many(statement, rows)
