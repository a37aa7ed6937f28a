"""Notices to receivers outside: added with what they tell of, kept until they are delivered or given up.

Every function runs inside the caller's transaction. Times are epoch seconds.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from registry.storage.session import Session

KEPT_S = 7 * 86_400.0  # for which one that was given up is remembered, without its content
FURTHEST_S = 2 * 3_600.0  # a time further ahead was set by a clock that has been set back since


@dataclass(frozen=True, kw_only=True)
class NewDelivery:
    """A notice that is to be delivered to one receiver."""

    hook: str
    webhook_id: str
    type: str
    at_s: float
    data: bytes  # JSON


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A notice that is due."""

    id: int
    webhook_id: str
    type: str
    at_s: float
    data: bytes
    attempts: int


@dataclass(frozen=True, kw_only=True)
class HookTrouble:
    """Notices of one receiver that could not be delivered so far, or were given up."""

    hook: str
    failing: int
    given_up: int
    error: str


def add(session: Session, deliveries: Iterable[NewDelivery]) -> None:
    """Add notices, due at once."""
    rows = [(new.hook, new.webhook_id, new.type, new.at_s, zlib.compress(new.data), new.at_s) for new in deliveries]
    columns = "hook, webhook_id, type, at_s, data, next_s"
    session.execute_many(f"INSERT INTO hook_delivery ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)


def next_due(session: Session, hook: str, *, now_s: float) -> tuple[Delivery | None, float | None]:
    """The notice to a receiver that has been due longest, and when the next one is due; None where there is none."""
    question = """
        SELECT id, webhook_id, type, at_s, data, attempts, next_s FROM hook_delivery
        WHERE hook = :hook AND given_up_s IS NULL
        ORDER BY CASE WHEN next_s > :furthest_s THEN 0 ELSE next_s END, id LIMIT 1
    """
    found = session.rows(question, {"hook": hook, "furthest_s": now_s + FURTHEST_S})
    if not found:
        return None, None
    row = dict(found[0])
    next_s = row.pop("next_s")
    if now_s < next_s <= now_s + FURTHEST_S:
        return None, next_s
    return Delivery(**row | {"data": zlib.decompress(row["data"])}), next_s


def set_delivered(session: Session, ids: Iterable[int]) -> None:
    """Forget notices that have been delivered."""
    session.execute_many("DELETE FROM hook_delivery WHERE id = ?", [(each,) for each in ids])


def set_failed(session: Session, delivery_id: int, *, error: str, next_s: float) -> None:
    """Note a failed attempt, and when the next one is due."""
    statement = "UPDATE hook_delivery SET attempts = attempts + 1, error = ?, next_s = ? WHERE id = ?"
    session.execute_many(statement, [(error, next_s, delivery_id)])


def give_up(session: Session, delivery_id: int, *, error: str, now_s: float) -> None:
    """Try a notice no more; those that were given up long ago are forgotten."""
    statement = "UPDATE hook_delivery SET attempts = attempts + 1, error = ?, given_up_s = ?, data = NULL WHERE id = ?"
    session.execute_many(statement, [(error, now_s, delivery_id)])
    session.execute_many("DELETE FROM hook_delivery WHERE given_up_s < ?", [(now_s - KEPT_S,)])


def withdraw_others(session: Session, hooks: Collection[str]) -> int:
    """Forget notices to receivers that are no longer set; returns how many."""
    marks = ", ".join("?" * len(hooks))
    gone = session.rows(f"DELETE FROM hook_delivery WHERE hook NOT IN ({marks}) RETURNING id", tuple(hooks))
    return len(gone)


def troubles(session: Session) -> list[HookTrouble]:
    """Receivers of which some notices have failed."""
    question = """
        SELECT hook, count(*) FILTER (WHERE given_up_s IS NULL) AS failing,
            count(given_up_s) AS given_up, max(error) AS error
        FROM hook_delivery WHERE attempts > 0 GROUP BY hook ORDER BY hook
    """
    return [HookTrouble(**row) for row in session.rows(question)]


def notices_by_state(session: Session) -> dict[str, int]:
    """Numbers of notices that wait for their first attempt, that failed and are tried again, and that were given up."""
    question = """
        SELECT count(*) FILTER (WHERE attempts = 0) AS waiting,
            count(*) FILTER (WHERE attempts > 0 AND given_up_s IS NULL) AS failing,
            count(given_up_s) AS given_up
        FROM hook_delivery
    """
    return {state: int(number) for state, number in session.rows(question)[0].items()}
