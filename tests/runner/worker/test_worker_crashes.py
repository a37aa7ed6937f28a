"""A worker killed at every named step, and the next one that takes over.

The kill is an exception here, so that hundreds of them are quick; tests/regimes kills real processes.
"""

from __future__ import annotations

import os
import shutil

import pytest

from registry import durable_files
from tests.runner.worker.bench import design, lock, speak

STEPS = [
    "intake.claim-renamed",
    "intake.claim-synced",
    "intake.release-kept",
    "worker.drops-recorded",
    "objects.before-write",
    "objects.written",
    "recording.takes-stored",
    "recording.lines-committed",
    "recording.published",
    "recording.published-committed",
    "publish.before-write",
    "files.written",
    "publish.file",
    "publish.before-receipt",
    "finishing.outcome-committed",
    "finishing.receipt-published",
    "finishing.closed",
    "files.opened",
    "files.synced",
    "files.renamed",
    "database.before-commit",
    "database.committed",
]


class Killed(BaseException):
    """Stands for a process that is gone."""


@pytest.fixture
def kill_at(monkeypatch):
    def die(_status):
        raise Killed

    def arm(step):
        monkeypatch.setattr(os, "_exit", die)
        monkeypatch.setattr(durable_files, "_crash_visits", {})
        monkeypatch.setenv("VOICEJOBS_CRASH_AT", step)

    yield arm
    monkeypatch.delenv("VOICEJOBS_CRASH_AT", raising=False)


def run_until_killed(bench):
    """Tick until the kill; True when there was one."""
    try:
        bench.run()
    except Killed:
        return True
    return False


@pytest.mark.parametrize("visit", [1, 2, 5])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_changes_nothing_about_the_result(bench, kill_at, monkeypatch, step, visit):
    bench.drop("hello.toml", speak("One.", "Two."))
    kill_at(f"{step}:{visit}")
    assert run_until_killed(bench) or visit > 1
    monkeypatch.delenv("VOICEJOBS_CRASH_AT")
    bench.restart()
    bench.run()
    receipt = bench.receipt("hello")
    assert (receipt["status"], len(receipt["lines"])) == ("done", 2)
    names = {"hello.toml", "line-1.wav", "line-2.wav", "track.wav", "captions.srt", "captions.vtt", "result.json"}
    assert set(bench.files("hello")) == names
    assert [path.name for path in bench.instance.outbox.iterdir()] == ["hello"]
    assert list(bench.instance.claimed_dir.iterdir()) == []


@pytest.mark.parametrize("visit", range(1, 30, 4))
@pytest.mark.parametrize("step", ["database.before-commit", "database.committed"])
def test_a_lock_is_made_once_whenever_its_worker_is_killed(bench, kill_at, monkeypatch, step, visit):
    bench.drop("d.toml", design(candidates=2), age_s=9)
    bench.drop("l.toml", lock(job="d", candidate=2))
    kill_at(f"{step}:{visit}")
    run_until_killed(bench)
    monkeypatch.delenv("VOICEJOBS_CRASH_AT")
    bench.restart()
    bench.run()
    assert bench.receipt("l")["voice"]["version"] == 1
    bench.drop("hello.toml", speak("One.", voice="elena@2"))
    bench.run()
    assert bench.status("hello") == "rejected"


def test_a_kill_while_a_job_is_resumed_by_another_drop_makes_no_answer_more(bench, kill_at, monkeypatch):
    bench.engine.load_error = {"code": "broken", "message": "No.", "retryable": False}
    bench.drop("hello.toml", speak("One.", id="ep1"))
    bench.run()
    bench.drop("again.toml", speak("One.", id="ep1"))
    kill_at("worker.drops-recorded")
    assert run_until_killed(bench)
    monkeypatch.delenv("VOICEJOBS_CRASH_AT")
    bench.restart()
    bench.run()
    assert bench.status("ep1") == "done"
    assert [path.name for path in bench.instance.outbox.iterdir()] == ["ep1"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_job_file_whose_copy_a_power_cut_took_is_copied_again(bench, is_folder):
    if is_folder:
        (bench.instance.inbox / "one").mkdir()
        bench.drop("one/job.toml", speak("Hello."))
    else:
        bench.drop("one.toml", speak("Hello."))
    while not (claims := list(bench.instance.claim_copies_dir.glob("*"))):
        bench.tick()
    assert not (bench.instance.outbox / "one" / "result.json").exists()
    shutil.rmtree(claims[0])
    bench.restart()
    bench.run()
    assert bench.status("one") == "done"
    published = bench.instance.outbox / "one" / ("job.toml" if is_folder else "one.toml")
    assert published.read_text() == speak("Hello.")
