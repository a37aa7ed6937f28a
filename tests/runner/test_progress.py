"""What is told of a job while it is waited for."""

import dataclasses

import pytest

from registry import jobs
from registry.job_values import LineCounts
from runner.progress import ProgressLine, progress_text, time_left_s
from tests.runner.bench import speak


@pytest.fixture
def job(bench):
    bench.drop("scene.toml", speak("Hello."))
    bench.run()
    with bench.context.database.read() as session:
        done = jobs.by_name(session, "scene")
    return dataclasses.replace(done, status="running", started_s=100.0)


def test_a_running_job_shows_how_far_it_is_and_what_is_left(job):
    lines = LineCounts(waiting=3, published=1)
    assert time_left_s(job, lines, now_s=110.0) == 30.0
    text = progress_text(job, lines, now_s=110.0)
    assert text == f"scene: [{'#' * 6}{' ' * 18}] 1/4 lines, 30 s left"


def test_without_a_pace_no_time_is_promised(job):
    assert time_left_s(job, LineCounts(waiting=4), now_s=110.0) is None
    assert "left" not in progress_text(job, LineCounts(waiting=4), now_s=110.0)


def test_a_job_that_does_not_run_shows_its_state(job):
    waiting = dataclasses.replace(job, status="queued")
    assert progress_text(waiting, LineCounts(waiting=4), now_s=0.0) == "scene: queued"


def test_nothing_is_drawn_where_no_terminal_is(job, capsys):
    with ProgressLine(enabled=False) as line:
        line.update(job, LineCounts(waiting=1))
    assert capsys.readouterr().err == ""


def test_a_terminal_is_left_clean(job, capsys):
    with ProgressLine(enabled=True) as line:
        line.update(job, LineCounts(waiting=1))
    assert capsys.readouterr().err.endswith("\r\x1b[K")
