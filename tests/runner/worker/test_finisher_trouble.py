"""Jobs whose end goes wrong: a take that cannot be read again, a receipt that cannot be written, a late cancel."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from models.engine_kinds import DRAFT
from registry.jobs.lists import show_job
from registry.jobs.requests import add_request
from registry.jobs.values import CANCEL, RETRY, JobStatus
from runner.listen.listen_process import ListenProcess
from runner.outbox.take_encoding import RecentTakes
from runner.worker import finisher, finisher_thread
from tests.patience import PATIENCE_S
from tests.runner.worker.bench import design, lock, speak


@pytest.fixture(autouse=True)
def no_memory(monkeypatch):
    """Tracks are made from the store, as those of long jobs are."""
    monkeypatch.setattr(RecentTakes, "get", lambda *_: None)


def spoken(bench, name="hello"):
    """A job of three lines of which two are published; with the last one its track is made."""
    bench.engine.answers_per_tick = 1
    bench.drop(f"{name}.toml", speak("One.", "Two.", "Three."))
    bench.tick(4)
    assert len(list(bench.instance.takes_dir.glob("*/*"))) == 2


def _identity(status):
    return status.st_ino, status.st_mtime_ns  # an inode may be used again


class BadSectors:
    """Reading the files that lie in these folders now gives EIO; what is written later can be read."""

    def __init__(self, monkeypatch, folder):
        self.bad = {_identity(path.stat()) for path in folder.rglob("[!.]*") if path.is_file()}
        self.reads, self.open, self.os_open = 0, Path.open, os.open
        monkeypatch.setattr(Path, "open", lambda path, *args, **more: self.try_open(path, *args, **more))
        monkeypatch.setattr(os, "open", self.try_os_open)

    def try_open(self, path, mode="r", *args, **more):
        if "r" in mode and path.exists():
            self.check(path.stat())
        return self.open(path, mode, *args, **more)

    def try_os_open(self, path, flags, *args, **more):
        descriptor = self.os_open(path, flags, *args, **more)
        self.check(os.fstat(descriptor))
        return descriptor

    def check(self, status):
        if _identity(status) in self.bad:
            self.reads += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def details(bench, job):
    with bench.context.database.read() as session:
        return show_job(session, job)


def copies_of(bench, job):
    return bench.instance.claim_copies_dir / details(bench, job).job.claim_id


def test_a_take_that_the_disk_refuses_keeps_its_own_job_waiting_and_no_other(bench, monkeypatch):
    spoken(bench)
    with monkeypatch.context() as patch:
        disk = BadSectors(patch, bench.instance.takes_dir)
        bench.tick(4)
        assert disk.reads > 0
        assert bench.worker.pause.error is None
        assert details(bench, "hello").job.status == JobStatus.QUEUED
    bench.tick(10)
    receipt = bench.receipt("hello")
    assert (receipt["status"], receipt["track"]["file"]) == ("done", "track.wav")
    assert "Input/output error" in receipt["warnings"][0]


def test_lines_whose_takes_are_damaged_before_their_track_is_made_are_spoken_again(bench):
    spoken(bench)
    for path in bench.instance.takes_dir.glob("*/*"):
        path.write_bytes(b"rot")
    bench.run(at_most=30)
    receipt = bench.receipt("hello")
    assert (receipt["status"], receipt["track"]["file"]) == ("done", "track.wav")
    assert len(bench.engine.submitted) > 3


def test_a_job_file_that_the_disk_refuses_keeps_its_own_job_waiting_and_no_other(bench, monkeypatch):
    spoken(bench)
    with monkeypatch.context() as patch:
        BadSectors(patch, copies_of(bench, "hello"))
        bench.drop("other.toml", speak("Four."))
        bench.tick(6)
        assert bench.worker.pause.error is None
        assert bench.status("other") == "done"
        assert details(bench, "hello").job.status == JobStatus.QUEUED
    bench.tick(20)
    assert bench.status("hello") == "done"


def test_a_job_file_that_the_disk_never_gives_back_costs_its_copy_and_no_answer(bench, monkeypatch):
    spoken(bench)
    BadSectors(monkeypatch, copies_of(bench, "hello"))
    bench.tick(30)
    assert "job file could not be copied" in bench.receipt("hello")["warnings"][-1]
    assert "hello.toml" not in bench.files("hello")


def test_a_drop_that_the_disk_does_not_give_is_answered(bench, monkeypatch):
    bench.drop("hello.toml", speak("One."))
    BadSectors(monkeypatch, bench.instance.inbox)
    bench.tick(2)
    assert bench.status("hello") == "rejected"
    assert bench.files("hello") == ["result.json"]


def test_a_take_that_the_disk_never_gives_back_is_spoken_again_in_the_end(bench, monkeypatch):
    spoken(bench)
    BadSectors(monkeypatch, bench.instance.takes_dir)
    bench.tick(30)
    assert bench.receipt("hello")["track"]["file"] == "track.wav"
    assert len(bench.engine.submitted) == 3 + 2


def test_a_job_whose_takes_rot_again_and_again_ends_without_its_track(bench, monkeypatch):
    monkeypatch.setattr(finisher, "STARTS_WITHOUT", 1)
    spoken(bench)
    for _ in range(8):
        for path in bench.instance.takes_dir.glob("*/*"):
            path.write_bytes(b"rot")
        bench.tick()
    bench.run()
    receipt = bench.receipt("hello")
    assert (receipt["status"], receipt["track"]) == ("done", None)
    assert "No track was made" in receipt["warnings"][-1]


def test_a_job_that_waits_for_its_folder_goes_on_without_any_other_event(bench):
    bench.engine.answers_per_tick = 1
    bench.drop("hello.toml", speak("One.", "Two.", "Three."))
    bench.tick(2)
    folder = bench.instance.outbox / "hello"
    folder.write_text("in the way")
    bench.tick(4)
    assert details(bench, "hello").job.status == JobStatus.QUEUED
    folder.unlink()
    bench.tick(20)
    assert bench.status("hello") == "done"


class ReadOnly:
    """Nothing in this folder can be renamed."""

    def __init__(self, monkeypatch, folder):
        self.folder, self.rename = _identity(folder.stat()), os.rename
        monkeypatch.setattr(os, "rename", self.try_rename)

    def try_rename(self, source, target, *, src_dir_fd=None, dst_dir_fd=None):
        if src_dir_fd is not None and _identity(os.fstat(src_dir_fd)) == self.folder:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return self.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


def ask(bench, job, request):
    with bench.context.database.write() as session:
        add_request(session, job, request, now_s=1.0)


@pytest.mark.skipif(not DRAFT.is_installed, reason="words are timed with eSpeak NG")
def test_a_job_whose_words_are_timed_holds_up_no_other(bench, monkeypatch):
    begun, may_go_on = threading.Event(), threading.Event()

    def slow(*_, **__):
        begun.set()
        assert may_go_on.wait(PATIENCE_S)
        return ()

    monkeypatch.setattr(ListenProcess, "word_times", slow)
    bench.drop("long.toml", speak("A sentence of a dozen words, which is spoken again. " * 8))
    while not begun.is_set():
        bench.tick()
    bench.drop("short.toml", speak("Hello."))
    while not (bench.instance.outbox / "short" / "result.json").exists():
        bench.tick()
    assert not (bench.instance.outbox / "long" / "result.json").exists()
    may_go_on.set()
    bench.run()
    assert bench.status("long") == "done"


@pytest.mark.parametrize(("module", "length"), [(finisher_thread, "SHORT_LINES"), (finisher, "SHORT_SAMPLES")])
def test_a_cancel_that_comes_while_a_long_track_is_made_is_answered_with_why_it_is_too_late(
    bench, monkeypatch, module, length
):
    monkeypatch.setattr(module, length, 0)  # a track of many lines, or of much speech
    may_go_on = threading.Event()
    spoken(bench)
    with monkeypatch.context() as patch:
        patch.setattr(RecentTakes, "get", lambda *_: may_go_on.wait(PATIENCE_S) and None)
        bench.tick(2)
        ask(bench, "hello", CANCEL)
        bench.tick()
        told = details(bench, "hello").events[-1]
        may_go_on.set()
        bench.run()
    assert told.kind == "cancel"
    assert "too late" in told.message
    assert bench.status("hello") == "done"


def test_a_job_that_cannot_be_retried_for_its_folder_keeps_no_other_from_working(bench, monkeypatch):
    bench.engine.load_error = {"code": "broken", "message": "No.", "retryable": False}
    bench.drop("hello.toml", speak("One."))
    bench.run()
    bench.engine.load_error = None
    with monkeypatch.context() as patch:
        ReadOnly(patch, bench.instance.outbox / "hello")
        ask(bench, "hello", RETRY)
        bench.drop("other.toml", speak("Two."))
        bench.tick(6)
        assert bench.status("other") == "done"
        assert bench.status("hello") == "failed"
    bench.tick(20)
    assert bench.status("hello") == "done"


def test_a_folder_under_a_temporary_name_in_the_outbox_keeps_no_other_job_from_its_answer(bench):
    spoken(bench)
    (bench.instance.outbox / "hello" / ".sync.tmp").mkdir()
    bench.restart()
    bench.drop("other.toml", speak("Two."))
    bench.run()
    assert bench.status("other") == bench.status("hello") == "done"


class FullFor:
    """The disk is full once, when the folder of this name is made."""

    def __init__(self, monkeypatch, name):
        self.name, self.mkdir = name, os.mkdir
        self.monkeypatch = monkeypatch
        monkeypatch.setattr(os, "mkdir", self.make)

    def make(self, path, *args, **more):
        if path == self.name:
            self.monkeypatch.setattr(os, "mkdir", self.mkdir)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.mkdir(path, *args, **more)


def test_every_closed_job_is_counted_although_the_disk_fills_up_between_two_receipts(bench, monkeypatch):
    bench.engine.load_error = {"code": "broken", "message": "No.", "retryable": False}
    bench.drop("elena-design.toml", design(), age_s=9)
    bench.drop("elena-lock.toml", lock(), age_s=8)
    FullFor(monkeypatch, "elena-lock")
    bench.run()
    assert bench.status("elena-design") == bench.status("elena-lock") == "failed"
    assert bench.worker.outcomes == {"failed": 2}
