"""A job that meets what nobody foresaw ends with a receipt, and takes nobody along."""

from __future__ import annotations

import pytest

from runner.beginnings import Beginnings
from runner.errors import RunnerDied
from runner.scheduling.blame import as_told, is_of_one_job
from tests.runner.worker.bench import design, speak
from tests.runner.worker.test_worker_crashes import kill_at, run_until_killed

__all__ = ["kill_at"]


def nested(depth):
    return nested(depth + 1)


@pytest.mark.parametrize(
    "job",
    [
        speak("Hello.", model="~nosuch/m"),
        speak("Hello.", model="~nosuch/m", priority=5),
        'kind = "synthesize"\nvoice = "ryan"\n[[lines]]\ntext = "Hello."\nmodel = "~nosuch/m"\n',
        design(model="~nosuch/m"),
        speak("Hello.", model="/" + "m" * 300),
        speak("Hello.", model="m/" * 2_00 + "m"),
    ],
    ids=["user", "user-first", "user-in-a-line", "user-of-a-design", "long-name", "long-path"],
)
def test_a_job_whose_model_is_no_path_fails_alone(bench, job):
    bench.drop("a.toml", job, age_s=9)
    bench.drop("b.toml", speak("Two."), age_s=8)
    bench.run()
    assert bench.status("a") in ("failed", "rejected")
    assert bench.receipt("a")["error"]["message"]
    assert bench.status("b") == "done"


def test_the_receipt_names_the_place_of_an_error_that_nobody_foresaw():
    with pytest.raises(RecursionError) as caught:
        nested(0)
    told = as_told(caught.value)
    assert told.code == "internal"
    assert "RecursionError in test_broken_jobs.py" in told.message


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), OSError(5, "I/O error"), OSError(24, "Too many files")]
)
def test_what_the_system_tells_everybody_is_no_jobs_own_error(error):
    assert not is_of_one_job(error)


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), PermissionError(13, "Permission denied", "/x/y")])
def test_what_one_job_alone_meets_is_its_own_error(error):
    assert is_of_one_job(error)


def test_a_job_over_which_three_runners_died_is_set_aside_and_named(bench, kill_at, monkeypatch):
    bench.drop("a.toml", speak("One."), age_s=9)
    for _ in range(3):
        kill_at("worker.jobs-beginning")
        assert run_until_killed(bench)
        monkeypatch.delenv("VOICEJOBS_CRASH_AT")
        bench.restart()
    bench.drop("b.toml", speak("Two."))
    bench.run()
    assert bench.receipt("a")["error"]["code"] == "runner-died"
    assert "3 times" in bench.receipt("a")["error"]["message"]
    assert bench.status("b") == "done"


def test_a_job_over_which_a_runner_died_once_is_begun_again(bench, kill_at, monkeypatch):
    bench.drop("a.toml", speak("One."), age_s=9)
    kill_at("worker.jobs-beginning")
    assert run_until_killed(bench)
    monkeypatch.delenv("VOICEJOBS_CRASH_AT")
    bench.restart()
    bench.run()
    assert bench.status("a") == "done"
    assert not (bench.instance.state_dir / "beginning.json").exists()


def test_suspects_are_begun_one_by_one_and_after_the_others(tmp_path):
    begun = Beginnings(path=tmp_path / "beginning.json").noted([4, 5])
    begun.__enter__()  # and never left, as by a kill
    after = Beginnings(path=tmp_path / "beginning.json")
    after.recover()
    assert list(after.admit([4, 5, 6])) == [4]
    assert list(after.admit([6, 4, 5])) == [6]
    after.refuse_deadly(4)


@pytest.mark.parametrize("left", ["", "{", "[]", '{"begun": 3, "deaths": {}}', '{"begun": [], "deaths": {"x": 1}}'])
def test_a_file_of_beginnings_that_is_cut_short_stops_nobody(tmp_path, left):
    (tmp_path / "beginning.json").write_text(left)
    beginnings = Beginnings(path=tmp_path / "beginning.json")
    beginnings.recover()
    assert list(beginnings.admit([4, 5])) == [4, 5]


def test_a_job_that_was_set_aside_may_be_tried_again(tmp_path):
    path = tmp_path / "beginning.json"
    path.write_text('{"begun": [4], "deaths": {"4": 2}}')
    beginnings = Beginnings(path=path)
    beginnings.recover()
    with pytest.raises(RunnerDied):
        beginnings.refuse_deadly(4)
    beginnings.refuse_deadly(4)
