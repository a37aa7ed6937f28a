"""An engine that dies while it loads a model: the model is to blame, its jobs wait, and those of others go on."""

from __future__ import annotations

import itertools

import pytest

from registry.jobs.lists import list_jobs
from registry.jobs.requests import add_request
from runner.engine.client import EngineLost
from runner.engine.model_loader import LOAD_DEATHS
from runner.outbox.waits_file import read_waits
from tests.engines.inline import InlineEngine
from tests.runner.worker.bench import MODEL, Bench, speak
from tests.runner.worker.test_worker_order import OTHER


class DyingEngine(InlineEngine):
    """Dies over a model, so many times."""

    def __init__(self, *, deaths=1_000, reason="died", model=MODEL):
        super().__init__()
        self.deaths, self.reason, self.model = deaths, reason, model

    def _loaded(self):
        if self.choice.model != self.model or self.deaths == 0:
            return super()._loaded()
        self.deaths -= 1
        self.state, self.choice = "stopped", None
        return EngineLost(reason=self.reason, detail="It died.", in_flight=(), started=(), was_loading=True)


@pytest.fixture
def make_bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")

    def make(**arguments):
        return Bench(tmp_path, engine=DyingEngine(**arguments))

    return make


def waits_of(bench):
    waits = read_waits(bench.instance.state_dir)
    with bench.context.database.read() as session:
        return {each.job.name: waits.of(each, now_s=bench.context.clock()) for each in list_jobs(session)}


def test_jobs_wait_for_a_model_that_loads_at_the_fifth_try(make_bench):
    bench = make_bench(deaths=4)
    for name in ("a", "b", "c"):
        bench.drop(f"{name}.toml", speak(f"{name} speaks."))
    bench.run()
    assert [bench.status(name) for name in ("a", "b", "c")] == ["done"] * 3
    assert len(bench.engine.loads) == 5


def test_jobs_of_another_model_go_on_meanwhile(make_bench):
    bench = make_bench()
    bench.drop("bad.toml", speak("One.", priority=9), age_s=9)
    bench.drop("good.toml", speak("Two.", model=OTHER))
    bench.tick(12)
    assert bench.status("good") == "done"
    assert not (bench.instance.outbox / "bad" / "result.json").exists()


@pytest.mark.parametrize(("reason", "what"), [("died", "engine"), ("memory", "memory")])
def test_a_list_tells_for_what_they_wait(make_bench, reason, what):
    bench = make_bench(reason=reason)
    bench.drop("a.toml", speak("One."))
    bench.tick(4)
    wait = waits_of(bench)["a"]
    assert wait.what == what
    assert f"{MODEL} cannot be loaded" in wait.why
    bench.worker.close()
    assert not (bench.instance.state_dir / "waits.json").exists()


def test_after_so_many_deaths_all_jobs_that_waited_fail_for_the_model_without_further_loads(make_bench):
    bench = make_bench()
    for name in ("a", "b", "c"):
        bench.drop(f"{name}.toml", speak(f"{name} speaks."))
    bench.run()
    for name in ("a", "b", "c"):
        error = bench.receipt(name)["error"]
        assert error["code"] == "engine-failure"
        assert f"{MODEL} cannot be loaded: the engine died over it, {LOAD_DEATHS} times so far" in error["message"]
    assert len(bench.engine.loads) == LOAD_DEATHS


@pytest.mark.parametrize("again", ["dropped", "retried"])
def test_a_job_that_comes_later_or_is_retried_has_the_model_tried_again(make_bench, again):
    bench = make_bench(deaths=LOAD_DEATHS)
    bench.drop("a.toml", speak("One."))
    bench.run()
    assert bench.status("a") == "failed"
    if again == "dropped":
        bench.drop("b.toml", speak("Two."))
    else:
        with bench.context.database.write() as session:
            add_request(session, "a", "retry", now_s=bench.now_s)
    bench.run()
    assert bench.status("b" if again == "dropped" else "a") == "done"


def test_pauses_between_loads_grow(make_bench):
    bench, tried_s = make_bench(), []
    bench.drop("a.toml", speak("One."))
    for _ in range(400):
        bench.tick(step_s=0.5)
        tried_s += [bench.now_s] * (len(bench.engine.loads) - len(tried_s))
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(tried_s)]
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] > 60
