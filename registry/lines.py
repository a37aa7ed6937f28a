"""The lines of a job in the ledger: waiting → taken (its take is durable) → published; or failed, or cancelled.

Every function runs inside the caller's transaction. Lines are read in pages, since a job may have 20,000 of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import func
from sqlmodel import Session, col, select, update

from registry.digests import canonical_json
from registry.job_lists import line_from
from registry.job_values import (
    CANCELLED,
    FAILED,
    PUBLISHED,
    TAKEN,
    WAITING,
    Attempt,
    JobError,
    JsonObject,
    Line,
    LineCounts,
    NewAttempt,
)
from registry.ledger_tables import AttemptRow, LineRow
from registry.tables import TakeRow

PAGE = 500


def waiting(session: Session, job_id: int, *, model: str, after: int, limit: int) -> list[Line]:
    """The next lines of a job that this model has to speak, behind position `after`."""
    statement = (
        select(LineRow)
        .where(LineRow.job_id == job_id, LineRow.status == WAITING, LineRow.model == model, LineRow.position > after)
        .order_by(col(LineRow.position))
        .limit(limit)
    )
    return [_line(row) for row in session.exec(statement)]


def with_status(session: Session, job_id: int, status: str) -> list[Line]:
    """Every line of a job in this state, in order."""
    statement = select(LineRow).where(LineRow.job_id == job_id, LineRow.status == status)
    return [_line(row) for row in session.exec(statement.order_by(col(LineRow.position)))]


def existing_takes(session: Session, keys: Iterable[str]) -> set[str]:
    """Those of these keys that the take store has, as far as its rows say."""
    return set(session.exec(select(TakeRow.key).where(col(TakeRow.key).in_(list(keys)))))


def models_left(session: Session, job_id: int) -> dict[str, int]:
    """How many waiting lines of a job each model has to speak, the model of the first such line first."""
    statement = (
        select(LineRow.model, func.count())
        .where(LineRow.job_id == job_id, LineRow.status == WAITING)
        .group_by(LineRow.model)
        .order_by(func.min(LineRow.position))
    )
    return dict(session.exec(statement).all())


def counts(session: Session, job_id: int) -> LineCounts:
    """How many lines of a job are in which state."""
    statement = select(LineRow.status, func.count()).where(LineRow.job_id == job_id).group_by(LineRow.status)
    return LineCounts(**dict(session.exec(statement).all()))


def pages(session: Session, job_id: int) -> Iterator[list[Line]]:
    """All lines of a job in order, some at a time."""
    after = 0
    while True:
        statement = select(LineRow).where(LineRow.job_id == job_id, LineRow.position > after)
        rows = session.exec(statement.order_by(col(LineRow.position)).limit(PAGE)).all()
        if not rows:
            return
        yield [_line(row) for row in rows]
        after = rows[-1].position
        session.expunge_all()


def get(session: Session, line_id: int) -> Line:
    """One line by its ledger id."""
    row = session.get(LineRow, line_id)
    assert row is not None, "lines go with their job only"
    return _line(row)


def set_taken(session: Session, line_id: int, *, take_key: str, result: JsonObject) -> None:
    """The line's take is durable; what remains is to publish it."""
    values = {"status": TAKEN, "take_key": take_key, "result_json": canonical_json(dict(result))}
    session.execute(update(LineRow).where(col(LineRow.id) == line_id).values(**values))


def set_waiting(session: Session, line_id: int) -> None:
    """The line's take is gone: it has to be spoken again."""
    values = {"status": WAITING, "take_key": None, "result_json": None}
    session.execute(update(LineRow).where(col(LineRow.id) == line_id).values(**values))


def set_published(session: Session, line_ids: Sequence[int]) -> None:
    """The lines' files lie in the outbox."""
    session.execute(update(LineRow).where(col(LineRow.id).in_(line_ids)).values(status=PUBLISHED))


def set_failed(session: Session, line_id: int, error: JobError) -> None:
    """The line cannot be spoken."""
    values = {
        "status": FAILED,
        "error_code": error.code,
        "error_message": error.message,
        "error_hint": error.hint,
    }
    session.execute(update(LineRow).where(col(LineRow.id) == line_id).values(**values))


def fail_waiting(session: Session, job_id: int, error: JobError, *, model: str | None = None) -> None:
    """Every line that still waits (for `model`) fails for the same reason."""
    condition = [col(LineRow.job_id) == job_id, col(LineRow.status) == WAITING]
    if model is not None:
        condition.append(col(LineRow.model) == model)
    values = {
        "status": FAILED,
        "error_code": error.code,
        "error_message": error.message,
        "error_hint": error.hint,
    }
    session.execute(update(LineRow).where(*condition).values(**values))


def cancel_waiting(session: Session, job_id: int) -> None:
    """Nobody will speak the lines that still wait."""
    waits = (col(LineRow.job_id) == job_id, col(LineRow.status) == WAITING)
    session.execute(update(LineRow).where(*waits).values(status=CANCELLED))


def add_strike(session: Session, line_id: int) -> int:
    """The engine died over this line. Returns how often it has by now."""
    session.execute(update(LineRow).where(col(LineRow.id) == line_id).values(strikes=LineRow.strikes + 1))
    return int(session.exec(select(LineRow.strikes).where(LineRow.id == line_id)).one())


def add_failure(session: Session, line_id: int) -> int:
    """A rendering failed that another try may mend. Returns how often by now."""
    session.execute(update(LineRow).where(col(LineRow.id) == line_id).values(failures=LineRow.failures + 1))
    return int(session.exec(select(LineRow.failures).where(LineRow.id == line_id)).one())


def add_attempt(session: Session, new: NewAttempt) -> None:
    """Record one rendering."""
    session.add(
        AttemptRow(
            line_id=new.line_id,
            number=new.number,
            seed=new.seed,
            outcome=new.outcome,
            detail_json=canonical_json(dict(new.detail)),
            finished_s=new.finished_s,
        )
    )


def attempts(session: Session, line_id: int) -> list[Attempt]:
    """Every rendering of a line, oldest first."""
    rows = session.exec(select(AttemptRow).where(AttemptRow.line_id == line_id).order_by(col(AttemptRow.id)))
    return [
        Attempt(
            number=row.number,
            seed=row.seed,
            outcome=row.outcome,
            finished_s=row.finished_s,
            detail=json.loads(row.detail_json),
        )
        for row in rows
    ]


def _line(row: LineRow) -> Line:
    return line_from(row.model_dump())
