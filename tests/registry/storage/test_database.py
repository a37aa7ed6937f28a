"""The database file: durable, checked, and safe between processes."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlmodel import select

from registry.errors import DamagedData, DatabaseLocked, DiskFull, SchemaTooNew, StorageError
from registry.storage.connection import connect
from registry.storage.database import Database
from registry.storage.migrations import MIGRATIONS, Migration
from registry.storage.tables import VoiceRow

ROOT = Path(__file__).parents[3]
ADD_VOICE = "INSERT INTO voice (name, folded, created_s) VALUES (:name, :name, 0)"


def voice_names(db: Database) -> list[str]:
    with db.read() as session:
        return [row["name"] for row in session.rows("SELECT name FROM voice ORDER BY name")]


def pragma(db: Database, name: str) -> object:
    with db.read() as session:
        return session.rows(f"PRAGMA {name}")[0][name]


def test_what_a_write_transaction_did_is_there_after_it(db):
    with db.write() as session:
        session.rows(ADD_VOICE, {"name": "elena"})
    assert voice_names(db) == ["elena"]


def test_an_exception_undoes_the_whole_transaction(db):
    with pytest.raises(ZeroDivisionError), db.write() as session:
        session.rows(ADD_VOICE, {"name": "elena"})
        _ = 1 / 0
    assert voice_names(db) == []


def test_what_is_changed_through_sqlmodel_is_asked_for_and_undone_in_the_same_transaction(db):
    with pytest.raises(ZeroDivisionError), db.write() as session:
        session.orm.add(VoiceRow(name="elena", folded="elena", created_s=0))
        assert len(session.rows("SELECT * FROM voice")) == 1
        session.rows(ADD_VOICE, {"name": "marcus"})
        assert len(session.orm.exec(select(VoiceRow)).all()) == 2
        _ = 1 / 0
    assert voice_names(db) == []


def test_what_is_changed_through_sqlmodel_is_committed(db):
    with db.write() as session:
        session.orm.add(VoiceRow(name="elena", folded="elena", created_s=0))
    assert voice_names(db) == ["elena"]


def test_the_file_is_set_up_for_durability(db):
    settings = {name: pragma(db, name) for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_read_sees_one_moment_whatever_is_written_meanwhile(db):
    with db.read() as snapshot:
        assert snapshot.rows("SELECT * FROM voice") == []
        with db.write() as session:
            session.rows(ADD_VOICE, {"name": "elena"})
        assert snapshot.rows("SELECT * FROM voice") == []
    assert voice_names(db) == ["elena"]


def test_a_read_transaction_cannot_write(db):
    with pytest.raises(StorageError, match="readonly"), db.read() as session:
        session.rows(ADD_VOICE, {"name": "elena"})
    with db.write() as session:
        session.rows(ADD_VOICE, {"name": "marcus"})
    assert voice_names(db) == ["marcus"]


def test_a_write_inside_a_write_of_the_same_thread_is_a_mistake_that_shows_at_once(db):
    with db.write(), pytest.raises(AssertionError, match="already open"), db.write():
        pass


def test_a_database_of_a_newer_voicejobs_is_refused_by_name(tmp_path):
    later = Migration(number=MIGRATIONS[-1].number + 1, name="from the future", statements=())
    Database.open(tmp_path / "registry.sqlite", migrations=(*MIGRATIONS, later)).close()
    with pytest.raises(SchemaTooNew, match="Install the newer voicejobs"):
        Database.open(tmp_path / "registry.sqlite")


def test_a_foreign_sqlite_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "registry.sqlite"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE recipe (name)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(DamagedData, match="not a voicejobs registry"):
        Database.open(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "registry.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(DamagedData, match="Restore a backup"):
        Database.open(tmp_path / "registry.sqlite")


def test_a_place_where_no_database_can_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.sqlite").mkdir()
    for path in (tmp_path / "file" / "registry.sqlite", tmp_path / "folder.sqlite"):
        with pytest.raises(StorageError, match=r"file|folder"):
            Database.open(path)


def test_a_migration_that_fails_leaves_the_schema_as_it_was(tmp_path):
    path = tmp_path / "registry.sqlite"
    Database.open(path).close()
    statements = ("CREATE TABLE half (id INTEGER)", "CREATE TABLE voice (id INTEGER)")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        Database.open(path, migrations=(*MIGRATIONS, Migration(number=99, name="wrong", statements=statements)))
    with Database.open(path) as db, db.read() as snapshot:
        assert snapshot.rows("SELECT name FROM sqlite_master WHERE name = 'half'") == []


def test_opening_again_changes_nothing(tmp_path):
    for _ in range(2):
        Database.open(tmp_path / "registry.sqlite").close()
    with Database.open(tmp_path / "registry.sqlite") as db:
        assert pragma(db, "user_version") == MIGRATIONS[-1].number


def test_processes_that_open_a_missing_database_at_once_all_succeed(tmp_path):
    program = (
        "import sys, pathlib; from registry.storage.database import Database; Database.open(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "registry.sqlite")]
    started = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)]
    for process in started:
        _, complaints = process.communicate()
        assert process.returncode == 0, complaints.decode()


def test_a_full_disk_is_told_from_other_failures(db):
    with pytest.raises(DiskFull), db.write() as session:
        pages = session.rows("PRAGMA page_count")[0]["page_count"]
        session.rows(f"PRAGMA max_page_count = {pages}")
        for number in range(1000):
            session.rows(ADD_VOICE, {"name": f"voice-{number}" * 20})
    assert voice_names(db) == []


def test_a_writer_that_never_yields_is_reported_as_a_locked_database(db):
    holder = connect(db.path)
    holder.execute("BEGIN IMMEDIATE")
    with (
        Database.open(db.path, wait_s=0.01) as impatient,
        pytest.raises(DatabaseLocked, match="stayed locked"),
        impatient.write(),
    ):
        pass
    holder.close()


def test_neither_plain_sql_nor_the_runner_imports_sqlalchemy(tmp_path):
    program = """if True:
        import sys, pathlib, runner.worker.daemon
        from registry.storage.database import Database
        with Database.open(pathlib.Path(sys.argv[1])) as db, db.read() as snapshot:
            assert snapshot.rows("SELECT name FROM voice") == []
        assert "sqlalchemy" not in sys.modules and "sqlmodel" not in sys.modules
    """
    command = [sys.executable, "-c", program, str(tmp_path / "registry.sqlite")]
    subprocess.run(command, cwd=ROOT, check=True)


def test_unused_space_is_given_back_when_it_is_worth_it(db):
    with db.write() as session:
        session.execute_many(
            "INSERT INTO voice (name, folded, created_s) VALUES (?, ?, 0)",
            [(f"{number}-{'x' * 200}", str(number)) for number in range(20_000)],
        )
    with db.write() as session:
        session.rows("DELETE FROM voice WHERE id > 10")
    db.compact(worth_bytes=1 << 30)
    before = db.path.stat().st_size
    assert db.compact(worth_bytes=1 << 20) > 1 << 20
    assert db.path.stat().st_size < before / 4
    assert len(voice_names(db)) == 10
