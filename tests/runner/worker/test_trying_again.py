"""Jobs that failed and are asked for again: by command, or by the same drop."""

from __future__ import annotations

import shutil

import pytest

from registry.registry import open_registry
from registry.upkeep.restore import restore
from runner.config.instance import Instance
from tests.engines.inline import InlineEngine
from tests.engines.misbehaving import MisbehavingEngine
from tests.runner.worker.bench import MODEL, Bench, design, lock, speak
from tests.runner.worker.test_worker import ask
from tests.runner.worker.test_worker_order import OTHER

BROKEN = {"code": "broken", "message": "No.", "retryable": False}


@pytest.fixture
def partial(make_bench):
    """A job of which one of two lines is published."""
    made = make_bench(engine=InlineEngine(MisbehavingEngine))
    made.drop("one.toml", speak("refuse", "Hello.", id="ep1"))
    made.run()
    return made


def drop_chain(bench):
    """A line, the voice that it needs, and the design that the voice needs: the line is claimed first."""
    bench.drop("a.toml", speak("Hi.", voice="elena", id="say"), age_s=9)
    bench.drop("b.toml", lock(job="look", id="hold"), age_s=8)
    bench.drop("c.toml", design(candidates=1, id="look", text="One, two, three, four and five."), age_s=7)


def test_a_whole_chain_that_failed_is_dropped_again_in_any_order(bench):
    bench.engine.load_error = BROKEN
    drop_chain(bench)
    bench.run()
    bench.engine.load_error = None
    drop_chain(bench)
    bench.drop("new.toml", speak("New.", voice="elena"), age_s=10)
    bench.run()
    assert [bench.status(job) for job in ("look", "hold", "say", "new")] == ["done"] * 4


def test_a_retry_takes_along_the_failed_jobs_that_the_job_needs(bench):
    bench.engine.load_error = BROKEN
    drop_chain(bench)
    bench.run()
    assert bench.receipt("say")["error"]["code"] == "dependency-failed"
    bench.engine.load_error = None
    ask(bench, "say", "retry")
    bench.run()
    assert [bench.status(job) for job in ("look", "hold", "say")] == ["done"] * 3


def test_a_job_that_failed_with_nothing_published_frees_its_id_and_what_needs_it_goes_on(bench):
    bench.engine.load_error = BROKEN
    drop_chain(bench)
    bench.run()
    bench.engine.load_error = None
    bench.drop("new.toml", design(candidates=2, id="look", text="Six, seven, eight, nine and ten."))
    bench.run()
    assert bench.status("look") == "done"
    assert [line["text"] for line in bench.receipt("look")["candidates"]] == ["Six, seven, eight, nine and ten."] * 2
    ask(bench, "say", "retry")
    bench.run()
    assert [bench.status(job) for job in ("hold", "say")] == ["done"] * 2
    assert {"look", "hold", "say"} == {path.name for path in bench.instance.outbox.iterdir()}


def test_an_id_of_which_something_is_published_is_kept(partial):
    partial.drop("two.toml", speak("Other.", id="ep1"))
    partial.run()
    assert partial.receipt("two")["error"]["code"] == "id-conflict"
    assert partial.receipt("ep1")["status"] == "partial"


@pytest.mark.parametrize(
    ("job", "model", "expected"),
    [
        (speak("Hi.", id="x"), None, OTHER),
        (design(id="x", candidates=1), None, OTHER),
        (speak("Hi.", id="x"), MODEL, MODEL),
    ],
    ids=["preset", "design", "named"],
)
def test_a_retry_takes_todays_default_model_unless_the_file_names_one(bench, monkeypatch, job, model, expected):
    bench.engine.load_error = BROKEN
    bench.drop("job.toml", f'model = "{model}"\n{job}' if model else job)
    bench.run()
    assert bench.status("x") == "failed"
    monkeypatch.setattr(bench, "instance", Instance(bench.instance.root, replaced(bench.instance.settings, OTHER)))
    bench.restart()
    ask(bench, "x", "retry")
    bench.run()
    entries = bench.receipt("x")["lines"] or bench.receipt("x")["candidates"]
    assert (bench.status("x"), entries[0]["model"]) == ("done", expected)


def test_a_lock_stays_with_its_own_model_when_the_default_changes(bench):
    bench.drop("look.toml", design(candidates=1, text="One, two, three, four and five."), age_s=9)
    bench.drop("hold.toml", lock(job="look"), age_s=8)
    bench.run()
    bench.engine.lose = lambda work: hasattr(work, "voice")
    bench.drop("say.toml", speak("Hi.", voice="elena"))
    bench.run()
    bench.instance = Instance(bench.instance.root, replaced(bench.instance.settings, OTHER))
    bench.restart()
    ask(bench, "say", "retry")
    bench.run()
    assert bench.receipt("say")["lines"][0]["model"] == MODEL


def replaced(settings, model):
    return settings.model_copy(update={"model": model})


def test_a_lock_whose_candidate_alone_failed_says_which_job_it_needed(bench):
    designed = "description"  # of two candidates, one has an odd seed
    bench.engine.lose = lambda work: hasattr(work, "voice") and hasattr(work.voice, designed) and work.seed % 2
    bench.drop("look.toml", design(candidates=2, text="One, two, three, four and five."), age_s=9)
    bench.drop("1.toml", lock(job="look", candidate=1), age_s=8)
    bench.drop("2.toml", lock(job="look", candidate=2))
    bench.run()
    assert bench.status("look") == "partial"
    errors = [bench.receipt(job)["error"] for job in ("1", "2")]
    assert sorted(error["code"] for error in errors if error) == ["dependency-failed"]


def test_what_was_taken_out_of_the_outbox_is_there_again_after_a_retry(partial):
    shutil.rmtree(partial.instance.outbox / "ep1")
    partial.drop("two.toml", speak("refuse", "Hello.", id="ep1"))
    partial.run()
    assert {"two.toml", partial.receipt("ep1")["lines"][1]["file"]} <= set(partial.files("ep1"))
    assert partial.receipt("ep1")["job_file"] == "two.toml"
    assert len(partial.engine.submitted) == 3  # the line that was done comes from its take


def test_of_two_equal_drops_that_resume_a_job_the_second_is_a_duplicate(partial):
    for name in ("two.toml", "three.toml"):
        partial.drop(name, speak("refuse", "Hello.", id="ep1"))
    partial.run()
    assert (partial.status("ep1"), partial.status("two")) == ("partial", "duplicate")


def test_a_job_cancelled_on_its_second_try_names_no_track_of_the_first(partial):
    ask(partial, "ep1", "retry")
    partial.engine.answers_per_tick = 0
    partial.tick(2)
    ask(partial, "ep1", "cancel")
    partial.run()
    assert (partial.status("ep1"), partial.receipt("ep1")["track"]) == ("cancelled", None)


def test_a_job_restored_elsewhere_publishes_there_what_it_had_published_here(bench, tmp_path):
    bench.engine.answers_per_tick = 1
    bench.drop("hello.toml", speak("One.", "Two."))
    bench.tick(3)
    assert "line-1.wav" in bench.files("hello")
    with open_registry(bench.instance.state_dir) as registry:
        saved = registry.backup(tmp_path / "saved", now_s=1)
    restore(saved.path, tmp_path / "b" / ".voicejobs", now_s=2)
    other = Bench(tmp_path / "b")
    other.run()
    other.context.database.close()
    assert {"line-1.wav", "line-2.wav", "track.wav"} <= set(other.files("hello"))
    assert len(other.engine.submitted) == 1
