"""The worker and a disk, an engine or a clock that fails."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import Future

import pytest

from registry.errors import DiskFull
from registry.jobs import lines
from registry.jobs.lists import show_job
from registry.jobs.requests import add_request
from registry.jobs.values import CANCEL, JobStatus
from tests.engines.inline import InlineEngine
from tests.engines.noop import NoopEngine
from tests.patience import PATIENCE_S
from tests.runner.worker.bench import Bench, design, lock, speak


class Disk:
    """Makes `os.fsync` fail while `error` is set; `after` calls still succeed."""

    def __init__(self, monkeypatch):
        self.error, self.after, self.calls = None, 0, 0
        self.fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor):
        self.calls += 1
        if self.error is not None:
            if self.after == 0:
                raise OSError(self.error, os.strerror(self.error))
            self.after -= 1
        self.fsync(descriptor)


@pytest.fixture
def disk(monkeypatch, bench):  # noqa: ARG001 - after the bench: its database must be there
    return Disk(monkeypatch)


def details(bench, job):
    with bench.context.database.read() as snapshot:
        return show_job(snapshot, job)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=["full", "failing"])
def test_work_waits_with_one_warning_while_the_disk_fails_and_goes_on_by_itself(bench, disk, error):
    bench.drop("hello.toml", speak("One.", "Two."))
    bench.tick(2)
    disk.error = error
    for _ in range(40):
        bench.tick()
        assert not (bench.worker.in_flight.jobs and bench.worker.is_drained()), "gave up while a try was under way"
    assert not (bench.instance.outbox / "hello" / "result.json").exists()
    disk.error = None
    bench.tick(30)  # the longest pause between two tries
    bench.run()
    receipt = bench.receipt("hello")
    assert receipt["status"] == "done"
    assert len(receipt["warnings"]) == 1


@pytest.mark.parametrize("after", range(0, 36, 2))
def test_the_disk_may_fail_at_any_moment_and_the_result_is_the_same(bench, disk, after):
    bench.drop("d.toml", design(), age_s=9)
    bench.drop("l.toml", lock(job="d"), age_s=8)
    bench.drop("hello.toml", speak("One.", "Two.", voice="elena"))
    disk.error, disk.after = errno.ENOSPC, after
    bench.tick(4)
    disk.error = None
    bench.run()
    assert [bench.status(job) for job in ("d", "l", "hello")] == ["done"] * 3
    assert bench.receipt("l")["voice"]["version"] == 1
    assert not [path for path in bench.instance.outbox.rglob("*") if path.name.startswith(".")]


def test_a_receipt_names_its_engine_although_the_first_commit_failed(bench, monkeypatch):
    def fail(*_):
        monkeypatch.undo()
        raise DiskFull("No space left.")

    bench.drop("hello.toml", speak("One."))
    monkeypatch.setattr(lines, "set_taken", fail)
    bench.run()
    assert bench.receipt("hello")["engine"]["fingerprint"]


def test_takes_damaged_after_their_lines_were_published_are_spoken_again_for_the_track(bench):
    bench.engine.answers_per_tick = 1
    bench.drop("hello.toml", speak(*(f"Line {n}." for n in range(6))))
    bench.tick(4)
    for path in (bench.instance.state_dir / "takes").glob("*/*"):
        path.write_bytes(b"rot")
    bench.restart()
    bench.run(at_most=30)
    receipt = bench.receipt("hello")
    assert (receipt["status"], receipt["track"]["file"]) == ("done", "track.wav")
    assert "spoken again" in receipt["warnings"][0]


def test_a_job_whose_folder_cannot_be_written_waits_and_the_others_go_on(bench):
    bench.drop("hello.toml", speak("One."))
    bench.tick()
    (bench.instance.outbox / "hello").write_text("in the way")
    bench.drop("other.toml", speak("Two."))
    bench.tick(8)
    assert bench.status("other") == "done"
    assert details(bench, "hello").job.status == JobStatus.QUEUED
    (bench.instance.outbox / "hello").unlink()
    bench.tick(200)
    assert bench.status("hello") == "done"
    assert bench.receipt("hello")["warnings"]


def test_a_receipt_that_could_not_be_written_is_tried_again_while_other_jobs_are_ending(bench):
    bench.engine.answers_per_tick = 1
    bench.drop("hello.toml", speak("One.", "Two.", "Three."))
    bench.tick(2)
    (bench.instance.outbox / "hello" / "result.json").mkdir(parents=True)
    bench.tick(6)
    assert details(bench, "hello").job.outcome == "done"
    bench.worker.finisher_thread._making[Future()] = 0  # a long track, which takes for ever
    (bench.instance.outbox / "hello" / "result.json").rmdir()
    bench.tick(8)
    assert bench.status("hello") == "done"


def test_nothing_is_claimed_while_the_disk_is_short(make_bench):
    bench = make_bench(min_free_bytes=2**60)
    bench.drop("hello.toml", speak("One."))
    bench.tick(3)
    assert (bench.instance.inbox / "hello.toml").exists()


class Picky(NoopEngine):
    """Its first takes of a line are silent, as many as the text says."""

    def render(self, line, progress):
        done = super().render(line, progress)
        self.seen = getattr(self, "seen", {})
        count = self.seen[line.text] = self.seen.get(line.text, 0) + 1
        if count <= int(line.text.split()[0]):
            done.waveform[:] = 0
        return done


@pytest.fixture
def picky(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    bench = Bench(tmp_path, engine=InlineEngine(Picky), max_takes=3)
    yield bench
    bench.context.database.close()


def test_a_take_that_fails_its_gates_is_made_again_with_another_seed(picky):
    picky.drop("hello.toml", speak("2 silent takes before this one."))
    picky.run()
    line = picky.receipt("hello")["lines"][0]
    assert (line["status"], line["attempts"], line["quality"]["passed"]) == ("done", 3, True)
    assert line["seed"] != line["requested_seed"]
    assert len({work.seed for work in picky.engine.submitted}) == 3


def test_a_line_without_any_usable_take_fails_and_the_others_are_kept(picky):
    picky.drop("hello.toml", speak("9 silent takes.", "0 silent takes."))
    picky.run()
    receipt = picky.receipt("hello")
    assert receipt["status"] == "partial"
    assert receipt["lines"][0]["error"]["code"] == "no-usable-take"
    assert receipt["lines"][1]["status"] == "done"


class Long(NoopEngine):
    """Never ends a line by itself."""

    def render(self, line, progress):
        from dataclasses import replace

        return replace(super().render(line, progress), finish_reason="length")


def test_the_best_of_bad_takes_is_kept_and_marked_also_when_it_is_reused(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    bench = Bench(tmp_path, engine=InlineEngine(Long), max_takes=2)
    for name in ("first", "second"):
        bench.drop(f"{name}.toml", speak("One."))
        bench.run()
        receipt = bench.receipt(name)
        assert receipt["lines"][0]["quality"]["failed_gates"] == ["length-cap"]
        assert receipt["status"] == "done"
        assert "length-cap" in receipt["warnings"][0]
    assert len(bench.engine.submitted) == 2
    bench.context.database.close()


def test_a_model_that_does_not_load_is_tried_three_times_when_that_can_help(bench):
    bench.engine.load_error = {"code": "engine-failure", "message": "Not now.", "retryable": True}
    bench.drop("hello.toml", speak("One."))
    bench.run()
    assert len(bench.engine.loads) == 3
    assert bench.receipt("hello")["error"]["code"] == "engine-failure"


def test_drops_are_taken_and_lines_are_spoken_while_a_slow_disk_takes_what_came_before(bench, monkeypatch):
    fsync, disk_is_awake = os.fsync, threading.Event()

    def slow(descriptor):
        assert not threading.current_thread().name.startswith("take-writer") or disk_is_awake.wait(PATIENCE_S)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    bench.drop("first.toml", speak("One."))
    while not bench.worker.take_writer_thread:
        bench.tick_without_rest()
    bench.drop("second.toml", speak("Two."))
    while not bench.worker.in_flight.results:
        bench.tick_without_rest()
    assert not (bench.instance.outbox / "first").exists()
    disk_is_awake.set()
    bench.run()
    assert [bench.status(job) for job in ("first", "second")] == ["done"] * 2


LONG = "A line of more than a minute. " * 38


@pytest.fixture
def long_take_being_encoded(bench):
    """A job of one long line, which has been spoken; it is encoded when the event is set."""
    may_go_on = threading.Event()
    bench.worker.encoder._long_pool.submit(may_go_on.wait, 30)
    bench.drop("long.toml", speak(LONG))
    bench.tick(4)
    yield may_go_on
    may_go_on.set()


def test_a_long_take_that_is_being_encoded_holds_nothing_else_up(bench, long_take_being_encoded):
    bench.drop("short.toml", speak("One."))
    bench.tick(8)
    assert bench.status("short") == "done"
    assert not (bench.instance.outbox / "long").exists()
    long_take_being_encoded.set()
    bench.worker.encoder._long_pool.submit(int).result(30)  # it encodes one after the other
    bench.run()
    assert bench.status("long") == "done"


def test_a_job_that_is_cancelled_while_its_long_take_is_encoded_publishes_nothing_of_it(bench, long_take_being_encoded):
    with bench.context.database.write() as session:
        add_request(session, "long", CANCEL, now_s=1.0)
    bench.tick(3)
    long_take_being_encoded.set()
    bench.run()
    assert bench.status("long") == "cancelled"
    assert bench.files("long") == ["long.toml", "result.json"]
