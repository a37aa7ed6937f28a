"""The schema's history: whatever released schema a database has, it becomes the newest one with nothing lost."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from registry.jobs import jobs
from registry.storage.database import APPLICATION_ID, Database
from registry.storage.migrations import MIGRATIONS
from registry.voices.candidates import get_candidate
from registry.voices.lookup import aliases, history, resolve
from registry.voices.version_rows import digest_of
from tests.forked import run_program
from tests.registry.making import a_candidate, sha256

ROOT = Path(__file__).parents[3]
SCHEMAS = Path(__file__).parent / "schemas"
OPEN = "import sys, pathlib; from registry.storage.database import Database; Database.open(pathlib.Path(sys.argv[1]))"
NUMBERS = [migration.number for migration in MIGRATIONS]


def old_database(path: Path, number: int) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((SCHEMAS / f"{number}.sql").read_text(encoding="utf-8"))
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    return path


def definitions_of(db: Database) -> dict[str, str]:
    with db.read() as snapshot:
        rows = snapshot.rows("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
    return {row["name"]: " ".join(row["sql"].split()) for row in rows}


def test_migrations_are_numbered_without_a_gap():
    assert list(range(1, len(NUMBERS) + 1)) == NUMBERS


def test_every_schema_has_a_dump_to_upgrade_from():
    assert sorted(int(path.stem) for path in SCHEMAS.glob("*.sql")) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_a_database_of_any_released_schema_becomes_the_newest(tmp_path, number):
    with (
        Database.open(old_database(tmp_path / "old.sqlite", number)) as upgraded,
        Database.open(tmp_path / "new.sqlite") as fresh,
    ):
        assert definitions_of(upgraded) == definitions_of(fresh)


@pytest.mark.parametrize("number", NUMBERS)
def test_an_upgrade_loses_nothing(tmp_path, number):
    with (
        Database.open(old_database(tmp_path / "old.sqlite", number)) as db,
        db.read() as session,
    ):
        assert [(version.number, version.parent) for version in history(session, "elena")] == [(2, 1), (1, None)]
        assert {alias.name: alias.number for alias in aliases(session, "elena")} == {"current": 2, "soft": 1}
        assert get_candidate(session, "design-1", 1).content == a_candidate()
        if number >= 2:
            assert jobs.by_name(session, "night").key == "night-7"


@pytest.mark.parametrize("number", NUMBERS)
def test_digests_and_take_keys_survive_every_upgrade(tmp_path, number):
    with Database.open(old_database(tmp_path / "old.sqlite", number)) as db, db.read() as snapshot:
        for version in history(snapshot, "elena"):
            assert digest_of(version) == version.digest
            assert resolve(snapshot, f"elena@sha256:{version.digest}") == version
        assert [row["key"] for row in snapshot.rows("SELECT key FROM take")] == [sha256("key")]


def test_processes_that_upgrade_a_database_at_once_all_succeed(tmp_path):
    path = old_database(tmp_path / "old.sqlite", 1)
    started = [subprocess.Popen([sys.executable, "-c", OPEN, str(path)], cwd=ROOT) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    with Database.open(path) as db, Database.open(tmp_path / "new.sqlite") as fresh:
        assert definitions_of(db) == definitions_of(fresh)


@pytest.mark.parametrize("point", ["database.before-migration-commit", "database.migrated"])
def test_an_upgrade_that_dies_is_finished_by_the_next_one(tmp_path, point):
    path = old_database(tmp_path / "old.sqlite", 1)
    environment = {**os.environ, "VOICEJOBS_CRASH_AT": f"{point}:2"}
    died = run_program(OPEN, str(path), environment=environment)
    assert died.returncode == 137
    with Database.open(path) as db, db.read() as snapshot:
        assert [version.number for version in history(snapshot, "elena")] == [2, 1]


def test_the_database_as_it_was_is_kept_beside_an_upgraded_one(tmp_path):
    Database.open(old_database(tmp_path / "registry.sqlite", 1)).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "registry.schema-1.sqlite")) as kept:
        assert kept.execute("PRAGMA user_version").fetchone() == (1,)
        assert kept.execute("SELECT count(*) FROM version").fetchone() == (2,)
    Database.open(tmp_path / "fresh.sqlite").close()
    assert not list(tmp_path.glob("fresh.schema*"))
