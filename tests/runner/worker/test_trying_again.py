"""Jobs that failed and are asked for again: by command, or by the same drop."""

from __future__ import annotations

import shutil

import pytest

from registry.registry import open_registry
from registry.upkeep.restore import restore
from tests.engines.inline import InlineEngine
from tests.engines.misbehaving import MisbehavingEngine
from tests.runner.worker.bench import Bench, design, lock, speak
from tests.runner.worker.test_worker import ask

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
    ask(bench, "say", "retry")  # alone, which is too early
    bench.run()
    assert bench.receipt("say")["error"]["code"] == "dependency-failed"
    bench.engine.load_error = None
    drop_chain(bench)
    bench.drop("new.toml", speak("New.", voice="elena"), age_s=10)
    bench.run()
    assert [bench.status(job) for job in ("look", "hold", "say", "new")] == ["done"] * 4


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
