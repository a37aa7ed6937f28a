"""A model that is still on its way here holds up its own jobs, and nobody else's."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from models.errors import DownloadCorrupt, EngineFailure, HubUnreachable
from models.fetch.download_process import one_at_a_time
from models.store.events import ModelEvent
from registry.jobs.lists import open_jobs, show_job
from runner.engine.model_loader import Prepared
from tests.patience import PATIENCE_S
from tests.runner.worker.bench import MODEL, design, speak
from tests.runner.worker.test_dying_loads import waits_of
from tests.runner.worker.test_worker_order import OTHER

FAR, FARTHER = "qwen3-tts-0.6b-customvoice", "qwen3-tts-1.7b-customvoice"


class Downloads:
    """Models that come when they are told to; `error` is raised instead."""

    def __init__(self):
        self.arrive, self.begun, self.error = threading.Event(), [], None
        self.hub_answers = False

    def __call__(self, name, *, instance, on_event):  # noqa: ARG002
        self.begun.append(name)
        on_event(ModelEvent(kind="progress", model=name, message="1 of 2 files"))
        if name in (FAR, FARTHER):
            self.arrive.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return Prepared(name=name)

    def finish(self):
        self.arrive.set()
        for thread in threading.enumerate():
            if thread.name == "model":
                thread.join()


@pytest.fixture
def downloads(bench):
    made = Downloads()
    bench.worker.loader.prepare = made
    bench.worker.loader.hub_watch.answers = lambda: made.hub_answers
    yield made
    made.finish()


def test_jobs_of_a_loaded_model_are_spoken_while_another_is_downloaded(bench, downloads):
    bench.drop("loaded.toml", speak("Now."))
    bench.run()
    bench.drop("far.toml", speak("Later.", model=FAR, priority=9), age_s=9)
    bench.drop("near.toml", speak("Meanwhile."))
    bench.tick(10)
    assert bench.status("near") == "done"
    assert not bench.worker.is_drained()
    downloads.finish()
    bench.run()
    assert bench.status("far") == "done"
    assert downloads.begun == [FAR]


def test_a_model_that_lies_here_is_loaded_while_another_is_downloaded(bench, downloads):
    bench.drop("far.toml", speak("Later.", model=FAR), age_s=9)
    bench.tick(2)
    bench.drop("near.toml", speak("Meanwhile."))
    bench.drop("other.toml", speak("Meanwhile too.", model=OTHER))
    bench.tick(12)
    assert [bench.status("near"), bench.status("other")] == ["done", "done"]
    downloads.finish()
    bench.run()
    assert bench.engine.loads == [MODEL, OTHER, FAR]


def test_more_jobs_than_are_held_in_memory_may_wait_for_a_download(bench, downloads, monkeypatch):
    monkeypatch.setattr("runner.worker.dispatcher.JOBS_AT_ONCE", 4)
    monkeypatch.setattr("runner.worker.dispatcher.WAITING_AT_ONCE", 2)
    for number in range(4):
        bench.drop(f"far-{number}.toml", speak("Later.", model=FAR, priority=number % 2), age_s=9)
        bench.drop(f"unsure-{number}.toml", speak("Later.", model=FAR.upper(), priority=1), age_s=9)
    bench.drop("near.toml", speak("Meanwhile.", priority=-9))
    bench.tick(12)
    assert bench.status("near") == "done"
    assert len(bench.worker.in_flight.jobs) <= 4
    downloads.finish()
    bench.run()
    assert sum(bench.worker.outcomes.values()) == bench.worker.outcomes["done"] == 9


def test_two_downloads_hold_up_no_job_either(bench, downloads):
    bench.drop("far.toml", speak("Later.", model=FAR, priority=2))
    bench.drop("farther.toml", speak("Later still.", model=FARTHER, priority=1))
    bench.drop("near.toml", speak("Meanwhile."))
    bench.tick(15)
    assert bench.status("near") == "done"
    downloads.finish()
    bench.run()
    assert [bench.status("far"), bench.status("farther")] == ["done", "done"]


def test_a_model_that_is_soon_found_keeps_its_turn(bench, downloads):
    bench.drop("loaded.toml", speak("Now."))
    bench.run()
    downloads.arrive.set()
    bench.drop("urgent.toml", speak("First.", model=FAR, priority=9), age_s=9)
    bench.drop("near.toml", speak("Second."))
    bench.tick()
    downloads.finish()
    bench.run()
    assert [work.text for work in bench.engine.submitted] == ["Now.", "First.", "Second."]


def test_jobs_wait_for_a_hub_that_cannot_be_reached_until_it_answers(bench, downloads):
    downloads.error = HubUnreachable("The hub cannot be reached.")
    downloads.arrive.set()
    bench.drop("far.toml", speak("Later.", model=FAR, priority=9))
    bench.drop("near.toml", speak("Meanwhile."))
    for _ in range(20):
        bench.tick(60)
        bench.wait_for_threads()
    assert bench.status("near") == "done"
    assert waits_of(bench)["far"].text == "waits (network): The hub cannot be reached."
    assert 8 < len(downloads.begun) < 16  # in 20 minutes: the pauses grow
    downloads.error, downloads.hub_answers = None, True
    bench.tick(8)
    bench.wait_for_threads()
    bench.run()
    assert bench.status("far") == "done"


def test_run_once_ends_while_the_hub_is_away_and_says_that_work_waits(bench, downloads):
    downloads.error = HubUnreachable("The hub cannot be reached.")
    downloads.arrive.set()
    bench.drop("far.toml", speak("Later.", model=FAR))
    bench.run()
    assert len(downloads.begun) == 3
    assert bench.worker.work_waits()


def test_a_model_that_is_refused_fails_its_own_jobs(bench, downloads):
    downloads.error = DownloadCorrupt("Other bytes arrived.")
    bench.drop("far.toml", speak("Later.", model=FAR, priority=9))
    bench.drop("near.toml", speak("Meanwhile."))
    bench.tick(8)
    assert bench.status("near") == "done"
    downloads.arrive.set()
    bench.run()
    assert bench.receipt("far")["lines"][0]["error"]["code"] == "download-corrupt"
    assert len(downloads.begun) == 3


@pytest.mark.usefixtures("downloads")
def test_the_job_that_waits_for_a_download_tells_how_far_it_is(bench):
    bench.drop("far.toml", speak("Later.", model=FAR))
    bench.drop("near.toml", speak("Meanwhile."))
    bench.tick(8)
    with bench.context.database.read() as session:
        assert "1 of 2 files" in [event.message for event in show_job(session, "far").events]
        assert open_jobs(session) == 1
    assert bench.status("near") == "done"


def test_a_try_whose_time_has_come_is_not_waited_for_again(bench, downloads):
    downloads.error = EngineFailure("It cannot be read now.")
    bench.drop("far.toml", speak("Later.", model=FAR))
    bench.tick(2)
    downloads.finish()
    bench.tick()
    assert bench.worker.loader.next_try_s() == bench.now_s
    bench.worker.in_flight.clear()
    bench.worker.listener.tick(bench.now_s)
    assert bench.worker.loader.next_try_s() is None


def test_downloads_of_one_runner_come_one_after_the_other():
    told = SimpleQueue()

    def fetch_second():
        with one_at_a_time("a/second", told.put):
            told.put("fetched")

    second = threading.Thread(target=fetch_second)
    with one_at_a_time("a/first", told.put):
        second.start()
        assert told.get(timeout=PATIENCE_S).message == "a/second is fetched once the download under way has ended."
        assert told.empty()
    second.join(PATIENCE_S)
    assert told.get() == "fetched"


@pytest.mark.parametrize(("job", "model"), [(design(), "voicedesign"), (speak("Hi."), "customvoice")])
def test_a_job_is_not_held_up_by_a_model_that_another_ability_needs(make_bench, job, model):
    bench = make_bench(model="qwen3-tts-1.7b-base")
    bench.drop("job.toml", job)
    bench.worker.is_stopping = False
    bench.worker.dispatcher.dispatch = lambda _now_s: None
    bench.tick()
    with bench.context.database.read() as session:
        assert show_job(session, "job").job.model == f"qwen3-tts-1.7b-{model}"


def test_what_was_loaded_while_another_model_came_first_speaks_its_own_jobs_only(bench):
    engine = bench.engine
    is_slow = [True, True, True]
    tick = engine.tick
    engine.tick = lambda now_s: [] if engine.state == "loading" and is_slow and is_slow.pop() else tick(now_s)
    bench.drop("slow.toml", speak("Slow."))
    bench.tick()
    bench.drop("urgent.toml", speak("Urgent.", model=OTHER, priority=9))
    bench.run()
    assert bench.receipt("urgent")["lines"][0]["model"] == OTHER
    assert bench.receipt("slow")["lines"][0]["model"] == MODEL
    assert [engine.loads, bench.status("urgent")] == [[MODEL, OTHER, MODEL], "done"]
