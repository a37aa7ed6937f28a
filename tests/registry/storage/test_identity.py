"""A registry is known by more than its file name: what was lost is told from what never was."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from registry.errors import DamagedData, RegistryLost
from registry.registry import open_registry
from registry.storage.database import APPLICATION_ID, Database
from registry.storage.identity import ROOT_MARK, note_backup
from registry.voices.versions import add_version
from tests.registry.making import a_version

ROOT = Path(__file__).parents[3]


@pytest.fixture
def state(tmp_path) -> Path:
    """State folder of an instance in `tmp_path` whose registry has one voice."""
    with open_registry(tmp_path / "state", root=tmp_path) as registry:
        prompt = registry.objects.put(b"prompt")
        with registry.db.write() as session:
            new = a_version(prompt_sha256=prompt, reference_sha256=None, audition_sha256=None, attachments={})
            add_version(session, new, now_s=1.0)
    return tmp_path / "state"


def reopened(state: Path) -> list[str]:
    with open_registry(state, root=state.parent) as registry:
        return [voice.name for voice in registry.voices()]


def remove_database(state):
    for path in state.glob("registry.sqlite*"):
        path.unlink()


def truncate(state):
    remove_database(state)
    (state / "registry.sqlite").touch()


def remove_all(state):
    shutil.rmtree(state)


def empty_mount_point(state):
    shutil.rmtree(state)
    state.mkdir()


def an_empty_sqlite_file(state):
    remove_database(state)
    with closing(sqlite3.connect(state / "registry.sqlite")) as connection:
        connection.execute("VACUUM")


def only_objects_are_left(state):
    remove_database(state)
    (state / "registry.id").unlink()
    (state.parent / ROOT_MARK).unlink()


LOSSES = [remove_database, truncate, remove_all, empty_mount_point, an_empty_sqlite_file, only_objects_are_left]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_a_lost_database_is_no_first_run_and_nothing_is_made_in_its_place(state, lose):
    lose(state)
    before = sorted(state.rglob("*")) if state.exists() else None
    for _ in range(2):
        with pytest.raises(RegistryLost, match="voicejobs restore"):
            reopened(state)
    after = sorted(path for path in state.rglob("*") if path.suffix != ".lock") if state.exists() else None
    assert after == before


def test_the_newest_backup_that_is_known_is_named(state):
    note_backup(state.parent, Path("/backups/my voices.backup"))
    remove_all(state)
    with pytest.raises(RegistryLost, match=r"restore '/backups/my voices.backup'"):
        reopened(state)


def test_what_a_runner_rescued_is_named_first(state):
    remove_database(state)
    (state / "registry.rescued-7.sqlite").touch()
    with pytest.raises(RegistryLost, match=r"mv .*registry\.rescued-7\.sqlite"):
        reopened(state)


def test_folders_of_an_instance_just_made_are_no_loss(tmp_path):
    for name in ("objects", "takes", "logs"):
        (tmp_path / "state" / name).mkdir(parents=True)
    assert reopened(tmp_path / "state") == []


def test_a_loss_can_be_accepted(state):
    remove_database(state)
    Database.open(state / "registry.sqlite", root=state.parent, accept_loss=True).close()
    (state.parent / ROOT_MARK).unlink()
    assert reopened(state) == []


def test_the_three_ids_agree_and_lost_ones_are_written_again(state):
    ids = {json.loads(path.read_text())["id"] for path in (state / "registry.id", state.parent / ROOT_MARK)}
    for path in (state / "registry.id", state.parent / ROOT_MARK):
        path.unlink()
    assert reopened(state) == ["elena"]
    assert {json.loads(path.read_text())["id"] for path in (state / "registry.id", state.parent / ROOT_MARK)} == ids


def test_a_state_folder_of_another_instance_is_refused(state, tmp_path):
    other = tmp_path / "other"
    with open_registry(other / "state", root=other):
        pass
    shutil.rmtree(state)
    shutil.copytree(other / "state", state)
    with pytest.raises(DamagedData, match="another instance"):
        reopened(state)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": 7}', b"\xff", b"[" * 60_000])
def test_an_unreadable_id_file_costs_nothing(state, content):
    (state.parent / ROOT_MARK).write_bytes(content)
    assert reopened(state) == ["elena"]
    assert json.loads((state.parent / ROOT_MARK).read_text())["id"]


def a_folder(path):
    path.mkdir()


def a_pipe(path):
    os.mkfifo(path)


def a_socket(path):
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with closing(socket.socket(socket.AF_UNIX)) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def noise(path):
    path.write_bytes(os.urandom(20_000))


def another_program(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")


def foreign_application_id(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 7")
        connection.execute("VACUUM")


def tables_are_missing(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 3")
        connection.execute("CREATE TABLE voice (id)")


@pytest.mark.parametrize(
    "put",
    [a_folder, a_pipe, a_socket, noise, another_program, foreign_application_id, tables_are_missing],
    ids=lambda put: put.__name__,
)
def test_whatever_else_has_the_databases_name_is_named_and_left_as_it_is(state, put):
    remove_database(state)
    put(state / "registry.sqlite")
    kind = (state / "registry.sqlite").stat().st_mode
    with pytest.raises(DamagedData, match="voicejobs restore"):
        reopened(state)
    assert (state / "registry.sqlite").stat().st_mode == kind


def test_a_reader_of_a_database_that_is_gone_makes_no_empty_one(state):
    database = Database(state / "registry.sqlite")
    remove_database(state)
    with pytest.raises(RegistryLost), database.read() as session:
        session.rows("SELECT 1")
    assert not (state / "registry.sqlite").exists()


def test_processes_that_begin_a_registry_at_once_all_succeed(tmp_path):
    program = (
        "import sys, pathlib; from registry.storage.database import Database;"
        "root = pathlib.Path(sys.argv[1]); Database.open(root / 'state/registry.sqlite', root=root)"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]


READ_ALL = """
import sys, pathlib
from registry.errors import ReadOnly
from registry.registry import open_registry
root = pathlib.Path(sys.argv[1])
with open_registry(root / "state", root=root) as registry:
    assert [voice.name for voice in registry.voices()] == ["elena"], registry.voices()
    assert registry.objects.read(registry.show("elena").prompt_sha256) == b"prompt"
    registry.backup(pathlib.Path(sys.argv[2]) / "b.tar", now_s=1.0)
    try:
        registry.set_alias("elena@1", "soft", now_s=1.0)
    except ReadOnly:
        print("reads")
"""


@pytest.mark.parametrize("pending", ["none", "in-wal", "wal-without-shm"])
def test_a_disk_that_can_only_be_read_is_read(state, tmp_path_factory, pending):
    held = None
    if pending != "none":
        held = sqlite3.connect(state / "registry.sqlite")
        held.execute("PRAGMA wal_autocheckpoint = 0")
        with held:
            held.execute("UPDATE voice SET created_s = 2")
    if pending == "wal-without-shm":
        for name in ("registry.sqlite", "registry.sqlite-wal"):
            shutil.copyfile(state / name, state / f"copy.{name}")
        held.close()
        for name in ("registry.sqlite", "registry.sqlite-wal"):
            (state / f"copy.{name}").rename(state / name)
    out = tmp_path_factory.mktemp("out")
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    command = [
        "unshare",
        "-m",
        "sh",
        "-c",
        mount,
        str(state),
        sys.executable,
        "-c",
        READ_ALL,
        str(state.parent),
        str(out),
    ]
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs the right to mount")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "reads\n", done.stderr
    if held:
        held.close()
