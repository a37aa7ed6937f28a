"""A key of all that decides a line's sound → the take that was rendered from it, without an engine; in plain SQL.

The audio is in an object store of its own (`<state>/takes`), so that it can be evicted without touching
anything that a voice needs. A take whose file is gone or damaged is no take.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from registry.durable_files import crash_point
from registry.errors import storage_error
from registry.jobs.values import JsonObject, Speeds, Take, TakeFacts
from registry.storage.database import Database
from registry.storage.digests import canonical_json
from registry.storage.object_store import ObjectStore
from registry.storage.session import Row, Session

ROWS_AT_ONCE = 500  # per transaction, so that eviction never keeps the worker waiting
JUST_PUT_S = 60.0  # audio put this recently may belong to a take that is being added; `gc` looks again later


@dataclass(frozen=True, kw_only=True)
class Eviction:
    """Result of an eviction."""

    takes: int
    freed_bytes: int
    left_bytes: int


TAKES_FOR_SPEED = 200


class TakeStore:
    """Takes in the database, their audio in a folder."""

    def __init__(self, audio: ObjectStore) -> None:
        self.audio = audio

    def find(self, session: Session, key: str, *, now_s: float) -> Take | None:
        """The take of this key, marked as just used; None when there is none or its audio is not whole."""
        found = session.rows("SELECT * FROM take WHERE key = :key", {"key": key})
        if not found or not self.audio.is_whole(found[0]["audio_sha256"]):
            return None
        take = _take_from(found[0])
        used_s = max(take.last_used_s, now_s)
        session.execute_many("UPDATE take SET last_used_s = ? WHERE key = ?", [(used_s, key)])
        return replace(take, last_used_s=used_s)

    def unheard(self, session: Session, keys: Iterable[str]) -> dict[str, str]:
        """Takes out of these in which no recogniser has heard anything: the SHA-256 of their audio, by key."""
        question = """
            SELECT key, audio_sha256 FROM take WHERE key IN (SELECT value FROM json_each(:keys))
            AND json_extract(quality_json, '$.heard') IS NULL
        """
        found = session.rows(question, {"keys": json.dumps(list(keys))})
        return {row["key"]: row["audio_sha256"] for row in found}

    def note_heard(self, session: Session, key: str, heard: JsonObject, *, gate: str | None) -> None:
        """Keep with a take what was heard in it, and the gate that it fails because of that."""
        for row in session.rows("SELECT quality_json, failed_gates_json FROM take WHERE key = :key", {"key": key}):
            quality, failed = json.loads(row["quality_json"]), json.loads(row["failed_gates_json"])
            quality["heard"] = heard
            values = (canonical_json(quality), canonical_json([*failed, *([gate] if gate else [])]), key)
            session.execute_many("UPDATE take SET quality_json = ?, failed_gates_json = ? WHERE key = ?", [values])

    def add(self, session: Session, key: str, audio_sha256: str, facts: TakeFacts, *, now_s: float) -> Take:
        """Remember a take whose audio `self.audio` holds. The first of a key stays, unless its audio is not whole."""
        for known in session.rows("SELECT * FROM take WHERE key = :key", {"key": key}):
            if self.audio.is_whole(known["audio_sha256"]):
                return _take_from(known)
            session.execute_many("DELETE FROM take WHERE key = ?", [(key,)])
        path = self.audio.path(audio_sha256)
        try:
            size_bytes = path.stat().st_size
        except OSError as error:
            raise storage_error(error, f"reading the audio of a new take, {path}") from error
        take = Take(
            key=key,
            audio_sha256=audio_sha256,
            size_bytes=size_bytes,
            created_s=now_s,
            last_used_s=now_s,
            facts=facts,
        )
        session.insert("take", _row_of(take))
        return take

    def mark_used(self, session: Session, job_id: int, *, now_s: float) -> None:
        """Mark the takes of a job's lines as just used."""
        statement = """
            UPDATE take SET last_used_s = max(last_used_s, ?)
            WHERE key IN (SELECT take_key FROM line WHERE job_id = ? AND take_key IS NOT NULL)
        """
        session.execute_many(statement, [(now_s, job_id)])

    def read(self, take: Take) -> bytes:
        """The audio of a take, checked. Raises ObjectMissing and ObjectDamaged."""
        return self.audio.read(take.audio_sha256)

    def totals(self, session: Session) -> tuple[int, int]:
        """Number of takes, and the sum of their sizes in bytes, audio that several share counted for each."""
        row = session.rows("SELECT count(*) AS takes, coalesce(sum(size_bytes), 0) AS bytes FROM take")[0]
        return int(row["takes"]), int(row["bytes"])

    def durations_s(self, session: Session) -> tuple[float, float]:
        """Seconds of speech in the store, and seconds that an engine took for it."""
        question = "SELECT coalesce(sum(duration_s), 0) AS spoken, coalesce(sum(render_s), 0) AS render FROM take"
        row = session.rows(question)[0]
        return float(row["spoken"]), float(row["render"])

    def used_bytes(self, session: Session) -> int:
        """Size of all takes; audio that several takes share counts once."""
        question = """
            SELECT coalesce(sum(size_bytes), 0) AS used_bytes
            FROM (SELECT max(size_bytes) AS size_bytes FROM take GROUP BY audio_sha256)
        """
        return int(session.rows(question)[0]["used_bytes"])

    def evict(
        self,
        db: Database,
        *,
        max_bytes: int,
        pinned: Collection[str] = (),
        now_s: float,
        just_put_s: float = JUST_PUT_S,
    ) -> Eviction:
        """Forget the takes that were used least recently until the rest fits in `max_bytes`.

        `pinned` keys, those of open jobs, stay whatever the size. Runs in short transactions of its own. Audio put
        within the last `just_put_s` stays; 0 is for a caller that knows of no take being added.
        """
        forgotten = 0
        after = (-1.0, "")  # the last take looked at, by use and key: pinned ones are passed once
        with db.read() as session:
            before_bytes = left_bytes = self.used_bytes(session)
        while left_bytes > max_bytes:
            with db.write() as session:
                page = _least_recently_used(session, after=after)
                if not page:
                    break  # what is left is pinned
                free = [row for row in page if row["key"] not in pinned]
                doomed = _enough_of(free, wanted_bytes=left_bytes - max_bytes)
                last = page[-1] if len(doomed) == len(free) else doomed[-1]
                after = (last["last_used_s"], last["key"])
                session.execute_many("DELETE FROM take WHERE key = ?", [(row["key"],) for row in doomed])
                orphans = _without_takes(session, {row["audio_sha256"] for row in doomed})
                left_bytes = self.used_bytes(session)
            crash_point("takes.forgotten")
            for sha256 in orphans:
                self.audio.remove_unused(sha256, older_than_s=now_s - just_put_s)
            forgotten += len(doomed)
        return Eviction(takes=forgotten, freed_bytes=before_bytes - left_bytes, left_bytes=left_bytes)


def _least_recently_used(session: Session, *, after: tuple[float, str]) -> list[Row]:
    question = """
        SELECT key, audio_sha256, size_bytes, last_used_s FROM take WHERE (last_used_s, key) > (:used_s, :key)
        ORDER BY last_used_s, key LIMIT :limit
    """
    return session.rows(question, {"used_s": after[0], "key": after[1], "limit": ROWS_AT_ONCE})


def _enough_of(rows: Sequence[Row], *, wanted_bytes: int) -> Sequence[Row]:
    """The first of these takes that together hold what is wanted; audio that others share makes it less."""
    held_bytes = itertools.accumulate(row["size_bytes"] for row in rows)
    return rows[: 1 + sum(held < wanted_bytes for held in held_bytes)]


def _without_takes(session: Session, audio: Collection[str]) -> set[str]:
    """Files out of these that no take refers to any more."""
    question = "SELECT audio_sha256 FROM take WHERE audio_sha256 IN (SELECT value FROM json_each(:audio))"
    return set(audio) - {row["audio_sha256"] for row in session.rows(question, {"audio": json.dumps(list(audio))})}


def _row_of(take: Take) -> dict[str, Any]:
    facts = take.facts
    return {
        "key": take.key,
        "audio_sha256": take.audio_sha256,
        "size_bytes": take.size_bytes,
        "created_s": take.created_s,
        "last_used_s": take.last_used_s,
        "requested_seed": facts.requested_seed,
        "accepted_seed": facts.accepted_seed,
        "finish_reason": facts.finish_reason,
        "frames": facts.frames,
        "duration_s": facts.duration_s,
        "render_s": facts.render_s,
        "attempts": facts.attempts,
        "failed_gates_json": canonical_json(list(facts.failed_gates)),
        "quality_json": canonical_json(dict(facts.quality)),
        "engine_json": canonical_json(dict(facts.engine)),
    }


def _take_from(row: Row) -> Take:
    facts = TakeFacts(
        requested_seed=row["requested_seed"],
        accepted_seed=row["accepted_seed"],
        finish_reason=row["finish_reason"],
        frames=row["frames"],
        duration_s=row["duration_s"],
        render_s=row["render_s"],
        attempts=row["attempts"],
        failed_gates=tuple(json.loads(row["failed_gates_json"])),
        quality=json.loads(row["quality_json"]),
        engine=json.loads(row["engine_json"]),
    )
    return Take(
        key=row["key"],
        audio_sha256=row["audio_sha256"],
        size_bytes=row["size_bytes"],
        created_s=row["created_s"],
        last_used_s=row["last_used_s"],
        facts=facts,
    )


def speeds(session: Session) -> Speeds:
    """The speeds of this machine. Takes of one batch share its time."""
    question = f"""
        SELECT json_extract(engine_json, '$.model') AS model, sum(duration_s) AS audio_s,
            sum(render_s / max(1, coalesce(json_extract(quality_json, '$.batch'), 1))) AS render_s
        FROM (SELECT * FROM take ORDER BY created_s DESC LIMIT {TAKES_FOR_SPEED}) GROUP BY 1
    """
    rows = [row for row in session.rows(question) if row["audio_s"]]
    audio_s, render_s = sum(row["audio_s"] for row in rows), sum(row["render_s"] for row in rows)
    return Speeds(
        of_models={row["model"] or "": row["render_s"] / row["audio_s"] for row in rows},
        of_all=render_s / audio_s if audio_s else None,
    )
