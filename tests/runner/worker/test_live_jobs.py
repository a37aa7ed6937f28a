"""Jobs of which the server has said that somebody listens while they are spoken."""

from dataclasses import replace

import pytest

from registry.jobs import jobs
from registry.jobs.requests import LIVE_DROP_S, add_live_drop
from runner.submission.checked_job import checked_content
from tests.engines.inline import InlineEngine
from tests.engines.noop import NoopEngine
from tests.runner.worker.bench import speak

LINES = [f"Line {number} of a batch." for number in range(40)]
RUNS_ON = "word " * 230  # a tone of more than a minute fails a gate


def drop_live(bench, text, *, name="speech.toml", announced=None):
    job = checked_content((announced or text).encode(), file_name=name, folder=bench.instance.inbox)
    with bench.context.database.write() as session:
        add_live_drop(session, name, job.content_sha256, now_s=bench.context.clock())
    bench.drop(name, text)


def is_live(bench, name="speech"):
    with bench.context.database.read() as session:
        return jobs.by_name(session, name).live


def test_a_live_line_is_submitted_though_the_engine_has_all_of_the_batch_that_it_takes(bench):
    bench.engine.answers_per_tick = 0
    bench.drop("batch.toml", speak(*LINES))
    bench.tick(5)
    before = len(bench.engine.submitted)
    assert 0 < before < len(LINES)
    drop_live(bench, speak("Somebody listens."))
    bench.tick(2)
    assert [work.text for work in bench.engine.submitted[before:]] == ["Somebody listens."]
    assert [work.live for work in bench.engine.submitted] == [False] * before + [True]


def test_a_live_job_of_many_lines_does_not_fill_the_engine(bench):
    bench.engine.answers_per_tick = 0
    drop_live(bench, speak(*LINES))
    bench.tick(5)
    assert 0 < len(bench.engine.submitted) <= 8
    bench.engine.answers_per_tick = None
    bench.run()
    assert bench.status("speech") == "done"


@pytest.mark.parametrize(("live", "takes"), [(True, 1), (False, 3)])
def test_a_live_line_is_spoken_once_since_what_was_heard_cannot_be_taken_back(bench, live, takes):
    if live:
        drop_live(bench, speak(RUNS_ON))
    else:
        bench.drop("speech.toml", speak(RUNS_ON))
    bench.run()
    assert len(bench.engine.submitted) == takes
    assert not bench.receipt("speech")["lines"][0]["quality"]["passed"]


def test_no_other_drop_of_that_name_is_live_and_none_twice(bench):
    drop_live(bench, speak("Another text."), announced=speak("The text."))
    bench.run()
    assert not is_live(bench)
    bench.drop("speech.toml", speak("The text."))
    bench.run()
    bench.drop("speech.toml", speak("The text."))
    bench.run()
    assert [is_live(bench, name) for name in ("speech-2", "speech-3")] == [True, False]


def test_what_was_never_claimed_is_forgotten(bench):
    with bench.context.database.write() as session:
        add_live_drop(session, "a", "0", now_s=0.0)
        add_live_drop(session, "b", "0", now_s=LIVE_DROP_S + 1)
        assert [row["name"] for row in session.rows("SELECT name FROM live_drop")] == ["b"]


@pytest.mark.parametrize(("live_version", "renderings"), [("", 1), ("tone-live", 2)])
def test_live_speech_that_may_sound_different_is_a_take_of_its_own_in_both_directions(
    make_bench, live_version, renderings
):
    class Engine(NoopEngine):
        def facts(self):
            return replace(super().facts(), live_render_version=live_version)

    bench = make_bench(engine=InlineEngine(Engine))
    drop_live(bench, speak("Good morning."))
    bench.run()
    bench.drop("batch.toml", speak("Good morning."))
    bench.run()
    drop_live(bench, speak("Good morning."), name="again.toml")
    bench.run()
    assert len(bench.engine.submitted) == renderings
    takes = [bench.receipt(name)["lines"][0]["take"] for name in ("speech", "batch", "again")]
    assert takes[0] == takes[2] and len(set(takes)) == renderings
