"""From a dropped file to the outbox."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from registry.errors import DiskFull
from registry.jobs.requests import add_request
from registry.jobs.values import CANCEL, RETRY
from runner.worker import take_writer
from runner.worker.worker import IDLE_LOOK_S, REQUEST_LOOK_S
from tests.runner.worker.bench import design, lock, speak


def cast(bench):
    """Two designed and locked voices."""
    for voice in ("elena", "marcus"):
        bench.drop(f"{voice}-design.toml", design(voice), age_s=9)
        bench.drop(f"{voice}-lock.toml", lock(voice, job=f"{voice}-design"), age_s=8)


def ask(bench, job, request):
    with bench.context.database.write() as session:
        add_request(session, job, request, now_s=1.0)


def test_five_files_dropped_at_once_order_themselves(bench):
    bench.drop("a-play.toml", speak("Hello there.", "Good night.", voice="elena"), age_s=99)
    cast(bench)
    bench.run()
    statuses = {job: bench.status(job) for job in ("a-play", "elena-design", "elena-lock", "marcus-lock")}
    assert set(statuses.values()) == {"done"}
    assert bench.receipt("a-play")["voice"]["name"] == "elena"
    assert bench.receipt("elena-lock")["voice"]["version"] == 1


def test_the_outbox_holds_the_job_file_the_audio_the_track_and_the_receipt(bench):
    text = speak("One.", "Two.")
    bench.drop("hello.toml", text)
    bench.run()
    assert bench.files("hello") == sorted(
        ["hello.toml", "line-1.wav", "line-2.wav", "track.wav", "captions.srt", "captions.vtt", "result.json"]
    )
    assert (bench.instance.outbox / "hello" / "hello.toml").read_text() == text
    assert list(bench.instance.inbox.iterdir()) == [bench.instance.claimed_dir]
    assert list(bench.instance.claimed_dir.iterdir()) == []


def test_the_track_is_the_lines_and_their_pauses(bench):
    bench.drop("hello.toml", speak("One.", "Two.", pause_after_s=0.5))
    bench.run()
    lines = [bench.audio("hello", f"line-{n}.wav") for n in (1, 2)]
    silence = np.zeros(12_000)
    assert np.array_equal(bench.audio("hello", "track.wav"), np.concatenate([lines[0], silence, lines[1], silence]))


def test_a_second_drop_of_one_name_is_a_new_run_that_reuses_the_takes(bench):
    for _ in range(2):
        bench.drop("hello.toml", speak("One."))
        bench.run()
    assert bench.receipt("hello-2")["lines"][0]["reused"] is True
    assert len(bench.engine.submitted) == 1


def test_takes_are_reused_a_little_at_a_time_so_that_the_job_can_be_cancelled_meanwhile(bench, monkeypatch):
    monkeypatch.setattr(take_writer, "REUSED_AT_ONCE_S", 0.1)
    texts = ("One.", "Two.", "Three.", "Four.")
    for _ in range(2):
        bench.drop("hello.toml", speak(*texts))
        bench.run()
    assert [line["reused"] for line in bench.receipt("hello-2")["lines"]] == [True] * 4
    bench.drop("hello.toml", speak(*texts))
    while not (bench.instance.outbox / "hello-3").exists():
        bench.tick()
    ask(bench, "hello-3", CANCEL)
    bench.run()
    assert 1 <= sum(line["status"] == "done" for line in bench.receipt("hello-3")["lines"]) < 4
    assert bench.status("hello-3") == "cancelled"


def test_candidates_have_consecutive_seeds_so_that_an_engine_can_keep_them_apart(bench):
    bench.drop("elena.toml", design("elena"))
    bench.run()
    seeds = [candidate["seed"] for candidate in bench.receipt("elena")["candidates"]]
    assert seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    assert len(seeds) > 1


def test_fresh_draws_new_seeds_and_speaks_again(bench):
    for _ in range(2):
        bench.drop("hello.toml", speak("One.", fresh=True))
        bench.run()
    first, second = (bench.receipt(job)["lines"][0] for job in ("hello", "hello-2"))
    assert first["seed"] != second["seed"]
    assert second["reused"] is False


def test_editing_one_line_renders_one_line(bench):
    bench.drop("hello.toml", speak("One.", "Two.", "Three."))
    bench.run()
    bench.drop("hello.toml", speak("Zero.", "One.", "Two!", "Three."))
    bench.run()
    assert [work.text for work in bench.engine.submitted] == ["One.", "Two.", "Three.", "Zero.", "Two!"]


@pytest.mark.parametrize("again", ["done", "other"])
def test_an_id_makes_a_drop_idempotent(bench, again):
    bench.drop("hello.toml", speak("One.", id="ep1"))
    bench.run()
    bench.drop("hello.toml", speak("One." if again == "done" else "Two.", id="ep1"))
    bench.run()
    assert bench.status("ep1") == "done"
    expected = {"done": "duplicate", "other": "rejected"}[again]
    assert bench.status("hello") == expected


def test_a_rejected_job_holds_no_id(bench):
    bench.drop("hello.toml", speak("One.", voice="nobody", id="ep1"))
    bench.run()
    bench.drop("again.toml", speak("One.", id="ep1"))
    bench.run()
    assert bench.status("hello") == "rejected"
    assert bench.status("ep1") == "done"


def test_what_nothing_known_will_make_is_rejected_at_once(bench):
    cast(bench)
    bench.drop("late.toml", speak("One.", voice="elena@2"))
    bench.drop("hello.toml", speak("One.", voice="helena"))
    bench.run()
    assert bench.status("late") == bench.status("hello") == "rejected"
    bench.drop("typo.toml", speak("One.", voice="elenna"))
    bench.run()
    assert "elena" in bench.receipt("typo")["error"]["hint"]


def test_a_job_fails_when_what_it_waits_for_fails(bench):
    bench.drop("elena-design.toml", design(), age_s=9)
    bench.drop("elena-lock.toml", lock(candidate=1), age_s=8)
    bench.drop("play.toml", speak("One.", voice="elena"))
    bench.engine.load_error = {"code": "unsupported-checkpoint", "message": "No.", "retryable": False}
    bench.run()
    assert bench.receipt("elena-design")["error"]["code"] == "unsupported-checkpoint"
    assert bench.receipt("elena-lock")["error"]["code"] == "dependency-failed"
    assert bench.receipt("play")["error"]["code"] == "dependency-failed"


def test_a_failed_job_is_retried_and_its_earlier_receipt_kept(bench):
    bench.engine.load_error = {"code": "broken", "message": "No.", "retryable": False}
    bench.drop("hello.toml", speak("One."))
    bench.run()
    bench.engine.load_error = None
    ask(bench, "hello", RETRY)
    bench.run()
    assert bench.receipt("hello", "result.1.json")["status"] == "failed"
    assert bench.status("hello") == "done"


def test_dropping_a_failed_job_with_an_id_again_resumes_it(bench):
    bench.engine.load_error = {"code": "broken", "message": "No.", "retryable": False}
    bench.drop("hello.toml", speak("One.", id="ep1"))
    bench.run()
    bench.engine.load_error = None
    bench.drop("hello.toml", speak("One.", id="ep1"))
    bench.run()
    assert bench.status("ep1") == "done"
    assert not (bench.instance.outbox / "hello").exists()


def test_a_job_is_cancelled_at_any_moment_and_keeps_what_is_published(bench):
    bench.engine.answers_per_tick = 1
    bench.drop("hello.toml", speak(*(f"Line {n}." for n in range(30))))
    bench.tick(5)
    ask(bench, "hello", CANCEL)
    bench.run()
    receipt = bench.receipt("hello")
    assert receipt["status"] == "cancelled"
    assert {line["status"] for line in receipt["lines"]} == {"done", "cancelled"}


def test_a_line_that_kills_the_engine_three_times_is_quarantined_and_the_others_finish(bench):
    bench.engine.lose = lambda work: work.text == "Boom."
    bench.drop("hello.toml", speak("One.", "Boom.", "Two."))
    bench.run()
    receipt = bench.receipt("hello")
    assert receipt["status"] == "partial"
    assert [line["status"] for line in receipt["lines"]] == ["done", "failed", "done"]
    assert receipt["lines"][1]["error"]["code"] == "quarantined"
    assert [work.text for work in bench.engine.submitted].count("Boom.") == 3


def test_a_runner_that_dies_costs_the_lines_in_flight_and_no_more(bench):
    bench.engine.answers_per_tick = 1
    bench.drop("hello.toml", speak(*(f"Line {n}." for n in range(30))))
    bench.tick(10)
    spoken = bench.files("hello")
    assert spoken
    bench.restart()
    bench.run()
    assert bench.status("hello") == "done"
    assert len(bench.engine.submitted) <= 30 - len(spoken)


def test_concurrent_locks_of_one_voice_make_two_versions(bench):
    bench.drop("elena-design.toml", design(), age_s=9)
    for candidate in (1, 2):
        bench.drop(f"lock-{candidate}.toml", lock(candidate=candidate), age_s=8 - candidate)
    bench.run()
    assert [bench.receipt(f"lock-{n}")["voice"]["version"] for n in (1, 2)] == [1, 2]


@pytest.mark.parametrize("disk_is_full", [False, True], ids=["later", "full"])
def test_takes_above_the_limit_are_evicted_when_their_job_is_done(make_bench, monkeypatch, disk_is_full):
    bench = make_bench(takes_max_bytes=1)
    bench.drop("hello.toml", speak("One.", "Two."))
    bench.run()
    if disk_is_full:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=-1))
        bench.worker._put_aside(DiskFull("No space left."), now_s=bench.now_s)
    else:
        bench.now_s += 60
    bench.tick(2)
    assert [path for path in bench.instance.takes_dir.rglob("*") if path.is_file() and path.name != ".lock"] == []
    assert bench.status("hello") == "done"


def test_run_once_leaves_no_more_takes_than_its_limit_allows(make_bench):
    bench = make_bench(takes_max_bytes=100_000)
    bench.drop("hello.toml", speak(*(f"This is sentence number {n}." for n in range(9))))
    bench.run()
    bench.worker.tidy_up()
    with bench.context.database.read() as session:
        assert bench.context.takes.used_bytes(session) <= 100_000


def test_a_worker_that_hears_requests_rests_while_nothing_is_open(bench):
    bench.run()
    bench.worker.drops.next_scan_s = bench.now_s + 60
    assert bench.worker.next_tick_s(bench.now_s) == REQUEST_LOOK_S
    bench.worker.hears_requests = True
    assert bench.worker.next_tick_s(bench.now_s) == IDLE_LOOK_S
    bench.engine.answers_per_tick = 0
    bench.drop("hello.toml", speak("Hello."))
    bench.tick(3)
    bench.worker.drops.next_scan_s = bench.now_s + 60
    assert bench.worker.next_tick_s(bench.now_s) < REQUEST_LOOK_S
