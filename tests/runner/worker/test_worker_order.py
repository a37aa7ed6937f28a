"""In which order jobs are worked on, and what is kept how long."""

from __future__ import annotations

import json

from registry.jobs.lists import open_jobs, show_job
from tests.runner.worker.bench import MODEL, Bench, design, lock, speak

OTHER = "tests.engines.twin:open_engine"


def models(*names):
    """Job files that each name a model, in this order."""
    return [speak(f"Line {n}.", model=name) for n, name in enumerate(names)]


def drop_all(bench, texts, **more):
    for number, text in enumerate(texts):
        bench.drop(f"job-{number}.toml", text, age_s=100 - number, **more)


def test_the_engine_swaps_models_as_rarely_as_possible(bench):
    drop_all(bench, models(MODEL, OTHER, MODEL, OTHER, MODEL))
    bench.run()
    assert bench.engine.loads == [MODEL, OTHER]
    assert all(bench.status(f"job-{n}") == "done" for n in range(5))


def test_a_higher_priority_goes_first(bench):
    bench.drop("low.toml", speak("Low.", priority=-5), age_s=9)
    bench.drop("high.toml", speak("High.", priority=5), age_s=1)
    bench.run()
    assert [work.text for work in bench.engine.submitted] == ["High.", "Low."]


def test_a_job_that_waited_too_long_goes_next_whatever_its_model(make_bench):
    bench: Bench = make_bench(max_wait_s=30.0)
    bench.engine.answers_per_tick = 1
    bench.drop("long.toml", speak(*(f"Line {n}." for n in range(180)), priority=9), age_s=9)
    bench.drop("other.toml", speak("Other.", model=OTHER), age_s=1)
    bench.tick(110)
    assert bench.status("other") == "done"
    assert not (bench.instance.outbox / "long" / "result.json").exists()
    bench.engine.answers_per_tick = None
    bench.run()
    assert bench.status("long") == "done"


def test_lines_of_several_jobs_are_handed_over_together(bench):
    drop_all(bench, [speak(f"Line {n}.") for n in range(4)])
    bench.tick(3)
    assert len(bench.engine.submitted) == 4


def test_a_job_of_two_models_speaks_all_lines_of_one_before_the_other(bench):
    lines = [{"text": f"Line {n}.", "model": MODEL if n % 2 else OTHER} for n in range(6)]
    bench.drop("mixed.json", json.dumps({"kind": "synthesize", "voice": "ryan", "lines": lines}))
    bench.run()
    assert bench.engine.loads == [OTHER, MODEL]
    assert [line["status"] for line in bench.receipt("mixed")["lines"]] == ["done"] * 6


def test_takes_beyond_the_limit_go_but_never_those_of_open_jobs(make_bench):
    bench = make_bench(takes_max_bytes=0)
    bench.drop("hello.toml", speak("One.", "Two."))
    bench.run()
    bench.tick(2, step_s=700)
    bench.drop("again.toml", speak("One.", "Two."))
    bench.run()
    assert [line["reused"] for line in bench.receipt("again")["lines"]] == [False, False]
    with bench.context.database.read() as snapshot:
        assert show_job(snapshot, "hello").job.status == "done"


def test_a_job_may_come_before_the_voice_it_names_in_an_inbox_too_full_for_one_look(bench, monkeypatch):
    monkeypatch.setattr("runner.inbox.scanner.CLAIMS_PER_TICK", 2)
    bench.drop("a-scene.toml", speak("Hello.", voice="elena"), age_s=50)
    drop_all(bench, models(MODEL, MODEL, MODEL))
    bench.drop("elena-design.toml", design(), age_s=10)
    bench.drop("elena.toml", lock(), age_s=9)
    bench.run()
    assert bench.status("a-scene") == "done"
    bench.drop("b-scene.toml", speak("Hello.", voice="nobody"))
    bench.run()
    assert bench.receipt("b-scene")["error"]["code"] == "dependency-unknown"


def test_long_jobs_that_come_together_are_held_in_memory_one_after_the_other(bench, monkeypatch):
    monkeypatch.setattr("runner.inbox.scanner.READ_BYTES_PER_TICK", 1_000)
    bench.engine.answers_per_tick = 1
    drop_all(bench, [speak(*(f"Line {n} of {job}." for n in range(60))) for job in range(3)])
    bench.tick()
    with bench.context.database.read() as session:
        assert open_jobs(session) == 1
    bench.tick(10)
    with bench.context.database.read() as session:
        assert open_jobs(session) == 3
    assert len(bench.worker.in_flight.jobs) == 1
    bench.engine.answers_per_tick = None
    bench.run()
    assert [bench.status(f"job-{job}") for job in range(3)] == ["done"] * 3
