"""A job too large to be planned between two steps is planned in a thread; other jobs start meanwhile."""

from __future__ import annotations

import sqlite3
from concurrent.futures import Executor, Future

import pytest

from registry.jobs.jobs import by_name
from registry.jobs.lists import show_job
from registry.jobs.requests import add_request
from runner.scheduling.plan_thread import LARGE_CHARACTERS
from tests.runner.worker.bench import design, lock, speak
from tests.runner.worker.test_worker_crashes import Killed, kill_at

__all__ = ["kill_at"]

MANY = LARGE_CHARACTERS // 20


class WhenTold(Executor):
    """Runs what it was given when it is told to, in the test's own thread."""

    def __init__(self):
        self.given = []

    def submit(self, function, *arguments):
        future: Future = Future()
        self.given.append((future, function, arguments))
        return future

    def work(self):
        for future, function, arguments in self.given:
            try:
                future.set_result(function(*arguments))
            except Exception as error:
                future.set_exception(error)
        self.given.clear()


@pytest.fixture
def thread(bench):
    made = bench.worker.dispatcher.plan_thread.pool = WhenTold()
    bench.waits_for_plans = False
    return made


def large(**more):
    return speak(*(f"This is line {number}." for number in range(MANY)), **more)


def spoken(bench, text):
    return any(getattr(work, "text", None) == text for work in bench.engine.submitted)


def lines_of(bench, name):
    with bench.context.database.read() as session:
        return show_job(session, name).lines


def test_a_small_job_starts_and_ends_while_a_large_one_is_planned(bench, thread):
    bench.drop("book.toml", large(priority=9), age_s=9)
    bench.drop("hello.toml", speak("Hello."))
    bench.tick(8)
    assert bench.status("hello") == "done"
    assert len(thread.given) == 1
    assert lines_of(bench, "book") == ()
    assert not bench.worker.is_drained()
    thread.work()
    bench.tick(2)
    assert len(lines_of(bench, "book")) == 1_000  # as many as `jobs show` gives
    assert spoken(bench, "This is line 0.")


def test_a_large_text_file_is_planned_apart_as_well(bench, thread):
    folder = bench.instance.inbox / ".book"
    folder.mkdir()
    (folder / "book.txt").write_text("A long sentence of a book.\n\n" * MANY)
    (folder / "job.toml").write_text('kind = "synthesize"\nvoice = "ryan"\ntext_file = "book.txt"\n')
    folder.rename(bench.instance.inbox / "book")
    bench.tick(4)
    assert len(thread.given) == 1
    thread.work()
    bench.tick(3)
    assert bench.engine.submitted


def test_large_jobs_are_planned_one_after_another_the_most_urgent_first(bench, thread):
    bench.engine.answers_per_tick = 0
    for name, priority in (("first", 0), ("later", 0), ("urgent", 9)):
        bench.drop(f"{name}.toml", large(priority=priority))
        bench.tick(4)
    (only,) = thread.given
    assert only[2][0].name == "first"
    thread.work()
    bench.tick(2)
    (only,) = thread.given
    assert only[2][0].name == "urgent"


def test_a_large_job_that_cannot_be_planned_fails_alone_and_says_why(bench, thread):
    bench.drop("book.toml", large(voice="ryan", model="~nosuch/m"), age_s=9)
    bench.tick(4)
    thread.work()
    bench.drop("hello.toml", speak("Hello."))
    bench.run()
    assert bench.status("book") == "failed"
    assert "nosuch" in bench.receipt("book")["error"]["message"]
    assert bench.status("hello") == "done"


def test_a_large_job_cancelled_while_it_is_planned_has_no_lines(bench, thread):
    bench.drop("book.toml", large())
    bench.tick(4)
    with bench.context.database.write() as session:
        add_request(session, "book", "cancel", now_s=bench.now_s)
    bench.tick(3)
    thread.work()
    bench.run()
    assert bench.status("book") == "cancelled"
    assert lines_of(bench, "book") == ()


def test_a_runner_that_dies_while_it_plans_leaves_no_half_of_it(bench, kill_at, monkeypatch, thread):
    bench.drop("book.toml", large())
    bench.tick(4)
    assert (bench.instance.state_dir / "planning.json").exists()
    kill_at("worker.job-planned")
    with pytest.raises(Killed):
        thread.work()
    monkeypatch.delenv("VOICEJOBS_CRASH_AT")
    assert lines_of(bench, "book") == ()
    bench.restart()
    bench.waits_for_plans = True
    bench.engine.answers_per_tick = 0
    bench.tick(4)
    bench.wait_for_threads()
    bench.tick(3)
    assert bench.engine.submitted
    assert not (bench.instance.state_dir / "planning.json").exists()


@pytest.mark.parametrize("end", ["stop", "close"])
def test_a_runner_told_to_end_while_it_plans_counts_nothing_against_the_job(bench, thread, end):
    bench.drop("book.toml", large())
    bench.tick(4)
    thread.shutdown = lambda **_: None
    getattr(bench.worker, end)()
    assert not (bench.instance.state_dir / "planning.json").exists()


def test_a_large_job_cancelled_and_tried_again_while_it_is_planned_is_spoken_whole(bench, thread):
    bench.drop("book.toml", large())
    bench.tick(4)
    for request in ("cancel", "retry"):
        with bench.context.database.write() as session:
            add_request(session, "book", request, now_s=bench.now_s)
        bench.tick(2)
        if request == "cancel":
            thread.work()
            bench.tick(2)
    bench.tick(2)
    thread.work()
    bench.tick(3)
    assert len(lines_of(bench, "book")) == 1_000
    assert spoken(bench, "This is line 0.")


@pytest.mark.usefixtures("thread")
def test_a_small_job_starts_behind_more_large_ones_than_are_looked_at_together(bench, monkeypatch):
    monkeypatch.setattr("runner.worker.dispatcher.JOBS_AT_ONCE", 2)
    for number in range(4):
        bench.drop(f"book-{number}.toml", large(priority=9), age_s=9)
    bench.drop("hello.toml", speak("Hello."))
    bench.tick(16)
    assert bench.status("hello") == "done"


def test_a_large_job_over_which_three_runners_died_is_set_aside(bench):
    (bench.instance.state_dir / "planning.json").write_text('{"begun": [1], "deaths": {"1": 2}}')
    bench.restart()
    bench.drop("book.toml", large())
    bench.run()
    assert bench.receipt("book")["error"]["code"] == "runner-died"


def test_a_drop_that_waits_for_the_database_is_work_that_waits(bench):
    bench.drop("hello.toml", speak("Hello."))
    bench.context.database.close()
    bench.context.database.wait_s = 0.01
    other = sqlite3.connect(bench.instance.database_path)
    other.execute("BEGIN IMMEDIATE")
    bench.run()
    assert bench.worker.work_waits()
    other.close()
    bench.now_s += 60
    bench.tick(8)
    assert bench.status("hello") == "done"
    assert not bench.worker.work_waits()


def test_an_empty_inbox_is_no_work_that_waits(bench):
    bench.run()
    assert not bench.worker.work_waits()
    with bench.context.database.read() as session, pytest.raises(Exception, match="no job"):
        by_name(session, "hello")


def test_a_small_job_starts_while_the_receipt_of_a_cancelled_one_is_written(bench):
    bench.engine.answers_per_tick = 0
    bench.drop("book.toml", speak("A line.", "Another."))
    bench.tick(2)
    writer = bench.worker.finisher_thread._pool = WhenTold()
    with bench.context.database.write() as session:
        add_request(session, "book", "cancel", now_s=bench.now_s)
    bench.tick_without_rest()
    bench.drop("hello.toml", speak("Hello."))
    for _ in range(3):
        bench.tick_without_rest()
    assert spoken(bench, "Hello.")
    assert not (bench.instance.outbox / "book" / "result.json").exists()
    writer.work()
    bench.tick()
    assert bench.status("book") == "cancelled"


# ---- reading ---------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(bench):
    made = bench.worker.drops.scanner._reader._pool = WhenTold()
    bench.waits_for_readings = False
    return made


@pytest.mark.parametrize("voice", ["ryan", "elena"], ids=["of-a-model", "locked"])
def test_a_small_job_starts_while_the_file_of_a_large_one_is_read(bench, reader, voice):
    if voice == "elena":
        bench.drop("elena-design.toml", design(), age_s=20)
        bench.drop("elena-lock.toml", lock(), age_s=19)
        bench.run()
    bench.drop("book.toml", large(), age_s=9)
    bench.drop("hello.toml", speak("Hello.", voice=voice))
    bench.tick(8)
    assert bench.status("hello") == "done"
    assert len(reader.given) == 1
    assert not bench.worker.is_drained()
    reader.work()
    bench.engine.answers_per_tick = 0
    bench.tick(2)
    bench.wait_for_threads()
    bench.tick(3)
    assert spoken(bench, "This is line 0.")


def test_large_job_files_are_read_one_at_a_time(bench, reader):
    for number in range(3):
        bench.drop(f"book-{number}.toml", large(), age_s=9 - number)
    bench.tick(6)
    assert len(reader.given) == 1


def test_a_wrong_large_job_file_is_refused_with_its_place(bench, reader):
    bench.drop("book.toml", large() + "[[lines]]\ntxet = 'x'\n")
    bench.tick(3)
    reader.work()
    bench.tick(3)
    assert f"line {2 * MANY + 4}" in bench.receipt("book")["error"]["message"]


@pytest.mark.parametrize("job", [speak("Hello."), large()], ids=["small", "large"])
def test_a_drop_over_whose_reading_three_runners_died_is_set_aside_and_named(bench, kill_at, monkeypatch, job):
    bench.drop("bad.toml", job, age_s=9)
    for begin in (bench.run, bench.restart, bench.restart):
        kill_at("intake.job-being-read")
        with pytest.raises(Killed):
            begin()
            bench.run()
        monkeypatch.delenv("VOICEJOBS_CRASH_AT")
    bench.restart()
    bench.drop("good.toml", speak("Two."))
    bench.run()
    assert bench.receipt("bad")["error"]["code"] == "runner-died"
    assert (bench.instance.rejected_dir / "bad.toml").exists()
    assert bench.status("good") == "done"
    assert not (bench.instance.state_dir / "reading.json").exists()
