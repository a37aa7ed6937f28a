"""What is told of a job while it is waited for."""

import contextlib
import dataclasses
import logging
import pty
import sys

import pytest

from models.protocol import Progress
from registry.jobs import jobs
from registry.jobs.lists import show_job
from registry.jobs.values import LineCounts, ListedJob, Speeds
from runner.cli.live_line import ERASE, line_below_log
from runner.cli.progress import ProgressLine, progress_text, wait_with_progress
from runner.outbox.progress_file import estimated_s, lines_under_way, time_left_s
from runner.submission.drop_writer import Submitted
from tests.runner.worker.bench import speak


@pytest.fixture
def job(bench):
    bench.drop("scene.toml", speak("Hello."))
    bench.run()
    with bench.context.database.read() as session:
        done = jobs.by_name(session, "scene")
    return dataclasses.replace(done, status="running", outcome=None, started_s=100.0, facts={})


def test_a_running_job_shows_how_far_it_is_and_what_is_left(job):
    lines = LineCounts(waiting=3, published=1)
    assert time_left_s(job, lines, now_s=110.0) == 30.0
    text = progress_text(ListedJob(job=job, lines=lines), now_s=110.0)
    assert text == f"scene: [{'#' * 6}{'.' * 18}] 1/4 lines, 30 s left"


def test_without_a_pace_no_time_is_promised(job):
    assert time_left_s(job, LineCounts(waiting=4), now_s=110.0) is None
    assert "left" not in progress_text(ListedJob(job=job, lines=LineCounts(waiting=4)), now_s=110.0)


def test_a_job_whose_track_is_being_made_is_finishing_and_promises_no_time(job):
    lines = LineCounts(published=3, failed=1)
    assert time_left_s(job, lines, now_s=110.0) is None
    assert progress_text(ListedJob(job=job, lines=lines), now_s=110.0).endswith("4/4 lines, finishing")


def test_a_job_that_does_not_run_shows_its_state(job):
    waiting = dataclasses.replace(job, status="queued")
    assert progress_text(ListedJob(job=waiting, lines=LineCounts(waiting=4)), now_s=0.0) == "scene: queued"


def test_nothing_is_drawn_where_no_terminal_is(job, capsys):
    with ProgressLine(enabled=False) as line:
        line.update(ListedJob(job=job, lines=LineCounts(waiting=1)))
    assert capsys.readouterr().err == ""


def test_a_terminal_is_left_clean(job, capsys):
    with ProgressLine(enabled=True) as line:
        line.update(ListedJob(job=job, lines=LineCounts(waiting=1)))
    assert capsys.readouterr().err.endswith("\r\x1b[K")


@pytest.fixture
def long_line(bench):
    """A job of one line, of which the engine tells that 40 frames, 3.2 s, are spoken: again and again."""
    bench.engine.answers_per_tick = 0
    bench.drop("scene.toml", speak("This sentence lasts for some eight seconds. " * 3))
    bench.tick(3)
    progress = Progress(id=bench.engine.submitted[0].id, frames=40)
    bench.engine.tick = lambda _now_s: [progress]
    return bench


def test_a_job_of_one_long_line_tells_how_far_that_line_is(long_line):
    long_line.tick(5)
    now_s = long_line.context.clock()
    with long_line.context.database.read() as session:
        listed = show_job(session, "scene").listed
    under_way = lines_under_way(long_line.instance.state_dir, now_s=now_s)[listed.job.id]
    assert 0.1 < under_way.lines < 0.9
    left_s = time_left_s(listed.job, listed.lines, under_way, now_s=now_s)
    assert left_s == pytest.approx((now_s - under_way.since_s) / under_way.lines * (1 - under_way.lines))
    text = progress_text(listed, under_way, now_s=now_s)
    assert "[##" in text
    assert "0/1 lines" in text
    assert "left" in text


@contextlib.contextmanager
def terminal_as_stderr(monkeypatch):
    """The other end of a terminal that is this process's stderr."""
    reader, writer = pty.openpty()
    with open(writer, "w") as stderr, open(reader, "rb", buffering=0) as other:  # noqa: PTH123 - descriptors
        monkeypatch.setattr(sys, "stderr", stderr)
        yield other


def read_until(terminal, text):
    shown = ""
    while text not in shown:
        shown += terminal.read(4096).decode()
    return shown


def test_a_terminal_shows_what_runs_below_the_log_and_is_left_clean(long_line, monkeypatch):
    record = logging.makeLogRecord({"msg": "job 7 (other): done"})
    with terminal_as_stderr(monkeypatch) as terminal:
        with line_below_log(long_line.instance) as log:
            assert "scene: [" in read_until(terminal, "0/1 lines")
            log.handle(record)
            assert f"{ERASE}job 7 (other): done\r\n" in read_until(terminal, "0/1 lines")
        assert read_until(terminal, ERASE).endswith(ERASE)


def test_a_file_gets_no_line_below_its_log(long_line):
    with line_below_log(long_line.instance) as log:
        assert log is None


def test_what_was_told_of_lines_is_written_every_five_seconds_and_grows_old(long_line):
    path = long_line.instance.state_dir / "progress.json"
    long_line.tick()
    first = path.read_bytes()
    long_line.tick(4)
    assert path.read_bytes() == first
    long_line.tick(2)
    assert path.read_bytes() != first
    assert lines_under_way(path.parent, now_s=long_line.context.clock() + 60) == {}


def test_lines_that_have_ended_are_under_way_no_more(long_line):
    long_line.tick()
    long_line.worker.in_flight.clear()
    long_line.worker.listener.progress.keep_only(())
    assert not long_line.worker.listener.progress.is_due(long_line.now_s + 60)


def test_the_time_left_counts_from_the_present_start_alone(job):
    again = dataclasses.replace(job, facts={"run": {"since_s": 1_000.0, "ended": 2}})
    assert time_left_s(again, LineCounts(waiting=4, published=2), now_s=1_020.0) is None
    assert time_left_s(again, LineCounts(waiting=2, published=4), now_s=1_020.0) == 20.0


def test_a_job_that_waits_is_expected_to_take_what_this_machine_takes(job):
    speeds = Speeds(of_models={"slow": 2.0}, of_all=0.5)
    waiting = dataclasses.replace(job, status="queued", model="slow", facts={"expected_s": 30.0})
    assert estimated_s(ListedJob(job=waiting, lines=LineCounts()), speeds) == 60.0
    assert estimated_s(ListedJob(job=dataclasses.replace(waiting, model=None), lines=LineCounts()), speeds) == 15.0
    assert estimated_s(ListedJob(job=dataclasses.replace(waiting, model="new"), lines=LineCounts()), speeds) is None
    half_done = ListedJob(job=waiting, lines=LineCounts(waiting=2, published=2))
    assert estimated_s(half_done, speeds) == 30.0
    assert estimated_s(half_done, Speeds(of_models={})) is None


def test_an_interrupted_wait_says_what_becomes_of_the_job(job, bench, monkeypatch, capsys):
    listed = ListedJob(job=job, lines=LineCounts(waiting=3, published=1))

    def interrupted(_instance, _submitted, *, on_progress):
        on_progress(listed)
        raise KeyboardInterrupt

    monkeypatch.setattr("runner.cli.submit.wait_for", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wait_with_progress(bench.instance, None)
    said = capsys.readouterr().err
    assert "Interrupted. scene is kept (1 of 4 lines done): `voicejobs run` continues it" in said


def test_an_interrupted_wait_for_a_drop_that_nobody_has_claimed_names_the_drop(bench, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("runner.cli.submit.wait_for", interrupted)
    submitted = Submitted(path=bench.instance.inbox / "scene.toml", key="", since=0)
    with pytest.raises(KeyboardInterrupt):
        wait_with_progress(bench.instance, submitted)
    assert f"The drop {submitted.path} is kept: `voicejobs run` takes it" in capsys.readouterr().err
