"""The database of a backup → its rows in a new database of the same schema, each value checked.

A backup may come from anybody. Its schema (triggers, views, generated columns) is not taken over, and no value that
could lead out of a folder or stop a runner is: all are checked as if a job file had brought them.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from registry.errors import DamagedData, InvalidInput, SchemaTooNew, VoiceJobsError
from registry.jobs.line_request import LineRequest
from registry.jobs.values import CLAIM_ID, JobStatus, LineStatus
from registry.storage.connection import Connection, any_failure_as, connect, schema_version
from registry.storage.database import APPLICATION_ID, Database
from registry.storage.migrations import MIGRATIONS, tables_of
from registry.storage.object_store import is_sha256
from registry.storage.session import Session
from registry.voices.names import check_alias_name, check_voice_name, name_key
from registry.voices.values import CONSENTS, ORIGINS
from registry.voices.version_rows import digest_of, record_sha256_of, version_from

OTHER = "Use another backup."
CELL_LIMIT_BYTES = 64 << 20
ROWS_AT_ONCE = 500
LATEST_S = 1e11  # the year 5138: later times are not times
NOT_COPIED = ("registry",)  # the id is that of the place, not of the archive
KINDS: Mapping[str, tuple[type, ...]] = {"INTEGER": (int,), "REAL": (int, float), "TEXT": (str,), "BLOB": (bytes,)}
PLAIN_WORD = re.compile(r"[a-z][a-z._-]{0,39}")
IDENTIFIER = re.compile(r"\w[\w.-]{0,63}")

Check = Callable[[Any], object]  # raises, or returns False, for a value that may not be


def copy_rows(source: Path, target: Path, *, schema: int) -> None:
    """Make `target` a new database with the rows of `source`, which is never written to and never trusted.

    Raises DamagedData, naming the first value that cannot be.
    """
    if not 1 <= schema <= MIGRATIONS[-1].number:
        raise SchemaTooNew(f"The backup has schema {schema}, which this voicejobs does not know.")
    with (
        any_failure_as(_wrong),
        Database.open(target, migrations=MIGRATIONS[:schema]) as fresh,
        contextlib.closing(connect(source, access="mode=ro&immutable=1")) as old,
        fresh.write() as session,
    ):
        _check_header(old, schema)
        session.rows("PRAGMA defer_foreign_keys = ON")
        for table in sorted(tables_of(schema)):
            if table not in NOT_COPIED:
                _copy_table(old, session, table)
        _copy_last_job(old, session)
        _check_versions(session)


def _wrong(reason: str) -> DamagedData:
    return DamagedData(f"The backup's database holds what no registry holds: {reason}.", hint=OTHER)


def _check_header(old: Connection, schema: int) -> None:
    (application,) = old.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID or schema_version(old) != schema:
        raise DamagedData("The backup's database is not the one that its manifest describes.", hint=OTHER)


def _copy_table(old: Connection, session: Session, table: str) -> None:
    columns = {row["name"]: row["type"] for row in session.rows(f"PRAGMA table_info({table})")}
    _check_is_plain_table(old, table, columns)
    names = ", ".join(columns)
    insert = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"
    too_long = " OR ".join(f"length({name}) > {CELL_LIMIT_BYTES}" for name in columns)
    if old.execute(f"SELECT 1 FROM main.{table} WHERE {too_long} LIMIT 1").fetchone():
        raise DamagedData(f"A value in the backup's table {table} is too large.", hint=OTHER)
    cursor = old.execute(f"SELECT {names} FROM main.{table}")
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        for row in rows:
            _check_row(table, dict(zip(columns, row, strict=True)), columns)
        session.execute_many(insert, rows)


def _check_is_plain_table(old: Connection, table: str, columns: Mapping[str, str]) -> None:
    found = old.execute("SELECT type, rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
    there = {name: hidden for _, name, *_, hidden in old.execute(f"PRAGMA table_xinfo({table})")}
    if [kind for kind, _ in found] != ["table"] or not found[0][1] or any(there.values()) or set(there) != set(columns):
        raise DamagedData(f"The backup's table {table} is not a table of a registry.", hint=OTHER)


def _check_row(table: str, row: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
    for column, value in row.items():
        if value is None:
            continue  # the new table refuses it where a value has to be
        check = CHECKS.get(f"{table}.{column}") or next((c for end, c in BY_ENDING if column.endswith(end)), None)
        try:
            sound = isinstance(value, KINDS[kinds[column]]) and _is_finite(value)
            sound = sound and (check is None or check(value) is not False)
        except (VoiceJobsError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            sound = False
        if not sound:
            shown = repr(value[:60] if isinstance(value, (str, bytes)) else value)
            raise DamagedData(f"The backup's {table} has the {column} {shown}, which cannot be one.", hint=OTHER)
    if "folded" in row and "name" in row and row["folded"] != name_key(row["name"]):
        raise DamagedData(f"The backup's {table} {row['name'][:60]!r} goes by another name.", hint=OTHER)


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or (math.isfinite(value) and abs(value) < LATEST_S)


def _is_one_name(value: str) -> bool:
    """Whether a value names one thing in a folder, and nothing outside of it."""
    return 0 < len(value.encode()) <= 255 and value not in (".", "..") and not re.search(r"[/\0]", value)


def _is_folder_name(value: str) -> bool:
    return _is_one_name(value) and not re.search(r"^\.|[\\\x00-\x1f\x7f]", value)


def _is_json(value: str) -> bool:
    return isinstance(json.loads(value), (dict, list))


def _is_object(value: str) -> bool:
    return isinstance(json.loads(value), dict)


def _is_list_of_words(value: str) -> bool:
    content = json.loads(value)
    return isinstance(content, list) and all(isinstance(word, str) for word in content)


def _numbers(value: str) -> bool:
    return all(isinstance(number, (int, float)) for number in json.loads(value).values())


def _texts(value: str) -> bool:
    return all(isinstance(text, str) for text in json.loads(value).values())


CHECKS: Mapping[str, Check] = {
    "voice.name": check_voice_name,
    "alias.name": check_alias_name,
    "alias_move.name": check_alias_name,
    "version.origin": ORIGINS.__contains__,
    "version.consent": CONSENTS.__contains__,
    "version.digest": is_sha256,
    "version.sampling_json": _numbers,
    "version.software_json": _texts,
    "version.pronunciations_json": _texts,
    "version.speaker_embedding": lambda value: len(value) % 4 == 0,
    "candidate.job_name": _is_folder_name,
    "candidate.sampling_json": _numbers,
    "candidate.software_json": _texts,
    "take.key": is_sha256,
    "job.name": _is_folder_name,
    "job.stem": _is_folder_name,
    "job.dropped_name": _is_one_name,
    "job.claim_id": lambda value: CLAIM_ID.fullmatch(value) is not None,
    "job.key": lambda value: IDENTIFIER.fullmatch(value) is not None,
    "job.content_sha256": lambda value: value == "" or is_sha256(value),  # "" for a drop that could not be read
    "job.kind": lambda value: PLAIN_WORD.fullmatch(value) is not None,
    "job.status": JobStatus,
    "job.outcome": JobStatus,
    "line.file": _is_folder_name,
    "line.status": LineStatus,
    "line.request_json": lambda value: LineRequest.from_json(json.loads(value)),
}
BY_ENDING: tuple[tuple[str, Check], ...] = (
    ("warnings_json", _is_list_of_words),
    ("failed_gates_json", _is_list_of_words),
    ("plan_json", _is_json),
    ("_json", _is_object),
    ("_object", is_sha256),
    ("_sha256", is_sha256),
)


def _copy_last_job(old: Connection, session: Session) -> None:
    """Carry over the last number given to a job: none is ever given twice."""
    for (number,) in old.execute("SELECT seq FROM sqlite_sequence WHERE name = 'job'"):
        if isinstance(number, int) and 0 <= number < 1 << 53:
            session.rows("DELETE FROM sqlite_sequence WHERE name = 'job'")
            session.rows("INSERT INTO sqlite_sequence (name, seq) VALUES ('job', ?)", (number,))


def _check_versions(session: Session) -> None:
    for row in _version_rows(session):
        version = version_from({**row, "parent_number": None}, attachments={})
        record = row.get("record_sha256")
        if digest_of(version) != version.digest or record not in (
            None,
            record_sha256_of(version, number=version.number),
        ):
            raise InvalidInput(f"The backup's {version.name} is not what was stored.", hint=OTHER)


def _version_rows(session: Session) -> Iterator[Mapping[str, Any]]:
    for row in session.rows("SELECT id FROM version ORDER BY id"):
        question = "SELECT version.*, voice.name AS voice_name FROM version JOIN voice ON voice.id = voice_id"
        yield from session.rows(f"{question} WHERE version.id = ?", (row["id"],))
