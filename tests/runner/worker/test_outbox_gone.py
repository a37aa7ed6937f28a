"""An outbox whose disk is away: work waits, nothing is written elsewhere, and all goes on when it is back."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from registry.jobs.lists import open_jobs
from runner.cli.prune import prune_jobs
from runner.outbox.outbox import Outbox, OutboxGone
from tests.runner.worker.bench import START_S, Bench, speak


@pytest.fixture
def nas(tmp_path):
    """The mount point of a disk that holds the outbox."""
    (tmp_path / "nas" / "outbox").mkdir(parents=True)
    return tmp_path / "nas"


@pytest.fixture
def bench(tmp_path, nas, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    made = Bench(tmp_path / "instance", outbox=str(nas / "outbox"))
    yield made
    made.context.database.close()


def unmount(nas):
    nas.rename(nas.with_name("elsewhere"))
    nas.mkdir()


def mount(nas):
    nas.rmdir()  # and fails if anything was written below the mount point
    nas.with_name("elsewhere").rename(nas)


@pytest.mark.parametrize("ticks", [0, 1, 2, 3])
def test_jobs_wait_while_the_outbox_is_gone_and_go_on_by_themselves(bench, nas, caplog, ticks):
    bench.engine.answers_per_tick = 1
    bench.drop("hello.toml", speak("One.", "Two."))
    bench.tick(ticks)
    unmount(nas)
    bench.drop("later.toml", speak("Three."))
    bench.tick(40)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"work is put aside: The outbox {nas}/outbox is gone. "
        "Mount its disk, or create it again: work goes on by itself."
    ]
    mount(nas)
    bench.tick(40)
    assert [bench.status("hello"), bench.status("later")] == ["done", "done"]
    assert len(bench.receipt("hello")["warnings"]) <= 1


def test_an_outbox_in_the_instance_that_somebody_removed_is_created_again(make_bench):
    bench = make_bench()
    bench.drop("hello.toml", speak("One.", "Two."))
    bench.tick()
    shutil.rmtree(bench.instance.outbox)
    bench.run()
    assert bench.status("hello") == "done"


def test_a_runner_started_before_the_disk_is_mounted_waits_for_it(bench, nas):
    bench.drop("hello.toml", speak("One."))
    unmount(nas)
    bench.restart()
    bench.tick(40)
    assert bench.worker.is_drained()
    assert bench.worker.work_waits()
    mount(nas)
    bench.tick(40)
    assert bench.status("hello") == "done"


def test_an_inbox_whose_disk_is_away_is_not_made_below_the_mount_point(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    bench = Bench(tmp_path / "instance", inbox=str(tmp_path / "nas" / "inbox"))
    bench.drop("hello.toml", speak("One."))
    unmount(tmp_path / "nas")
    bench.restart()
    bench.tick(20)
    mount(tmp_path / "nas")
    bench.run()
    assert bench.status("hello") == "done"
    bench.context.database.close()


def test_a_disk_unmounted_from_the_outbox_itself_is_noticed(bench, nas, monkeypatch):
    mounts = {str(nas / "outbox")}
    monkeypatch.setattr("os.path.ismount", lambda path: str(path) in mounts or str(path) == "/")
    outbox = dataclasses.replace(Outbox.of(bench.instance), device=-1)  # mounted again, a disk has another number
    outbox.publish("hello", {"a.txt": b"a"})
    mounts.clear()
    with pytest.raises(OutboxGone):
        outbox.publish("hello", {"b.txt": b"b"})
    with pytest.raises(OutboxGone):
        outbox.names()
    assert bench.files("hello") == ["a.txt"]


def test_nothing_is_pruned_while_the_outbox_is_gone(bench, nas):
    bench.drop("hello.toml", speak("One."))
    bench.run()
    unmount(nas)
    with pytest.raises(OutboxGone):
        prune_jobs(bench.instance, bench.context.database, older_than_s=START_S + 10_000)
    mount(nas)
    assert bench.status("hello") == "done"
    with bench.context.database.read() as session:
        assert open_jobs(session) == 0


def test_an_outbox_in_the_instance_is_made_again_when_the_runner_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    bench = Bench(tmp_path)
    bench.instance.outbox.rmdir()
    bench.restart()
    bench.drop("hello.toml", speak("One."))
    bench.run()
    assert bench.status("hello") == "done"
    bench.context.database.close()
