"""Broken states of the registry, with real runners: each is named with exit code 3, and nothing is overwritten."""

import os
import shutil

import pytest

from registry.durable_files import is_locked
from registry.storage.database import Database
from registry.upkeep.restore import restore
from runner.cli.program import run_command
from tests.patience import PATIENCE_S, wait_until
from tests.regimes.test_many_runners import OTHER_RUNNER_ACTIVE
from tests.regimes.yard import Yard, kill, texts

pytestmark = pytest.mark.slow


@pytest.fixture
def yard(tmp_path):
    """An instance that has spoken a job, and has a backup."""
    made = Yard(tmp_path / "instance")
    made.drop("first", lines=texts(2))
    assert made.drain() == 0
    assert run_command(["--root", str(made.root), "backup", str(tmp_path / "good.backup")]) == 0
    return made


def remove_database(state):
    for path in state.glob("registry.sqlite*"):
        path.unlink()


def truncate(state):
    remove_database(state)
    (state / "registry.sqlite").touch()


def cut_in_half(state):
    for end in ("-wal", "-shm"):
        (state / f"registry.sqlite{end}").unlink(missing_ok=True)
    os.truncate(state / "registry.sqlite", (state / "registry.sqlite").stat().st_size // 2 // 4096 * 4096 + 100)


def noise(state):
    remove_database(state)
    (state / "registry.sqlite").write_bytes(os.urandom(90_000))


def folder(state):
    remove_database(state)
    (state / "registry.sqlite").mkdir()


def pipe(state):
    remove_database(state)
    os.mkfifo(state / "registry.sqlite")


def empty_mount_point(state):
    shutil.rmtree(state)
    state.mkdir()


def no_state_folder(state):
    shutil.rmtree(state)


BROKEN = [remove_database, truncate, cut_in_half, noise, folder, pipe, empty_mount_point, no_state_folder]


@pytest.mark.parametrize("break_it", BROKEN, ids=lambda break_it: break_it.__name__)
def test_a_broken_registry_stops_everything_and_a_restore_mends_it(yard, tmp_path, break_it, capsys):
    archive = tmp_path / "good.backup"
    before = archive.read_bytes()
    break_it(yard.state_dir)
    objects = sorted(yard.state_dir.glob("objects/*/*")) if yard.state_dir.exists() else []
    yard.drop("second", lines=texts(1))
    for arguments in (["run", "--once"], ["backup", str(archive)], ["voices", "list"], ["voices", "gc"], ["doctor"]):
        assert run_command(["--root", str(yard.root), *arguments]) in (1, 3), arguments
    told = "".join(capsys.readouterr())
    assert "Traceback" not in told
    assert "voicejobs restore" in told
    assert archive.read_bytes() == before
    assert sorted(yard.state_dir.glob("objects/*/*")) == objects
    assert (yard.inbox / "second.json").exists()
    assert run_command(["--root", str(yard.root), "restore", str(archive)]) == 0
    assert yard.drain() == 0
    assert {job: receipt["status"] for job, receipt in yard.receipts().items()} == {"first": "done", "second": "done"}


def rename_another_over_it(state):
    shutil.copyfile(state / "registry.sqlite", state / "copy")
    (state / "copy").rename(state / "registry.sqlite")


@pytest.mark.parametrize("take_away", [remove_database, rename_another_over_it, no_state_folder])
def test_a_database_taken_from_a_running_daemon_is_saved(yard, take_away):
    daemon = yard.start()
    yard.drop("second", lines=texts(1))
    wait_until(lambda: "second" in yard.receipts())
    take_away(yard.state_dir)
    assert daemon.wait(timeout=PATIENCE_S) == 3
    (saved,) = [path for folder in (yard.state_dir, yard.root) for path in folder.glob("registry.rescued-*.sqlite")]
    with Database.open(saved) as database, database.read() as snapshot:
        assert [row["name"] for row in snapshot.rows("SELECT name FROM job ORDER BY id")] == ["first", "second"]
    assert run_command(["--root", str(yard.root), "voices", "list"]) == (
        0 if take_away is rename_another_over_it else 3
    )


def test_a_lock_and_a_log_that_lost_their_names_are_there_again_while_the_daemon_goes_on(yard):
    daemon = yard.start()
    yard.drop("second", lines=texts(1))
    wait_until(lambda: "second" in yard.receipts())
    lock = yard.state_dir / "runner.lock"
    lock.with_suffix(".new").touch()
    lock.with_suffix(".new").rename(lock)
    shutil.rmtree(yard.state_dir / "logs")
    wait_until(lambda: is_locked(lock), what="a lock under its name")
    assert yard.drain() == OTHER_RUNNER_ACTIVE
    yard.drop("third", lines=texts(1, start=7))
    wait_until(lambda: "third" in yard.receipts())
    wait_until(lambda: "third" in (yard.state_dir / "logs" / "runner.log").read_text(), what="a log of it")
    assert daemon.poll() is None
    kill(daemon)


def test_an_inbox_has_one_runner_also_when_two_instances_name_it(yard, tmp_path):
    daemon = yard.start()
    other = Yard(tmp_path / "other")
    with (other.root / "voicejobs.toml").open("a") as settings:
        settings.write(f'inbox = "{yard.inbox}"\n')
    yard.drop("second", lines=texts(1))
    wait_until(lambda: "second" in yard.receipts())
    assert other.drain() == OTHER_RUNNER_ACTIVE
    assert f"works on the inbox {yard.inbox}" in other.errors.read_text()
    assert other.receipts() == {}
    kill(daemon)


@pytest.mark.usefixtures("yard")
def test_a_restored_registry_of_another_place_speaks_on(tmp_path):
    other = Yard(tmp_path / "other")
    restore(tmp_path / "good.backup", other.state_dir, now_s=1.0, root=other.root)
    other.drop("third", lines=texts(1))
    assert other.drain() == 0
    assert other.receipts()["third"]["status"] == "done"
