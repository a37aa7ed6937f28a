"""The ledger → queued jobs that may start now, for the scheduler to choose from."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from registry.storage.session import Session

LONGEST_DELAY_S = 120.0  # twice what jobs are delayed by: a clock that was set back must not keep them waiting


@dataclass(frozen=True, kw_only=True)
class ReadyJob:
    """A job as the scheduler sees it."""

    id: int
    priority: int
    model: str | None
    claimed_s: float
    live: bool = False


def ready_jobs(
    session: Session,
    *,
    now_s: float,
    overdue_before_s: float,
    model: str | None,
    limit: int,
    absent: Collection[str] = (),
) -> list[ReadyJob]:
    """Queued jobs that may start: live ones, the oldest overdue ones, those of the highest priority, and of these
    those whose work needs `model`; none whose model is `absent`."""
    fitting = """
        SELECT id, priority, model, claimed_s, live FROM job WHERE status = 'queued' AND outcome IS NULL
        AND (not_before_s <= :now_s OR not_before_s > :now_s + :longest_delay_s)
        AND (model IS NULL OR model NOT IN (SELECT value FROM json_each(:absent)))
    """
    values: dict[str, Any] = {"now_s": now_s, "longest_delay_s": LONGEST_DELAY_S, "limit": limit}
    values["absent"] = json.dumps(list(absent))
    found: dict[int, ReadyJob] = {}

    def collect(condition: str, **more: Any) -> None:
        for row in session.rows(f"{fitting} {condition} LIMIT :limit", {**values, **more}):
            found[row["id"]] = ReadyJob(**{**row, "live": bool(row["live"])})

    collect("ORDER BY priority DESC, id")
    if len(found) >= limit:  # else these are all there are
        collect("AND live = 1 ORDER BY id")
        highest = max(job.priority for job in found.values())
        collect("AND priority = :highest AND model = :model ORDER BY id", highest=highest, model=model)
        collect("AND claimed_s < :overdue_before_s ORDER BY id", overdue_before_s=overdue_before_s)
    return list(found.values())


def next_delayed_s(session: Session, *, now_s: float) -> float | None:
    """Time at which the earliest delayed job may start; None when none is delayed."""
    question = "SELECT min(not_before_s) AS earliest FROM job WHERE status = 'queued' AND not_before_s > :now_s"
    earliest: float | None = session.rows(question, {"now_s": now_s})[0]["earliest"]
    return earliest
