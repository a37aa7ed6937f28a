"""A recogniser and a speech model take turns in memory where only one of them fits."""

import functools

import pytest

from tests.engines.bad_speech import open_engine as open_bad_speech
from tests.engines.inline import InlineEngine
from tests.natural_speech import BREEZE
from tests.runner.listen.test_verified_takes import RECOGNISER, job

LINES = [(f"{BREEZE}{'!' * number}", "") for number in range(2)]


@pytest.fixture
def tight_bench(make_bench):
    """Makes a bench on a machine where nothing is free once a model is in memory."""

    def made(**settings):
        opened = functools.cache(open_bad_speech)  # which remembers what it said before
        bench = make_bench(engine=InlineEngine(opened, answers_per_tick=1), **{**RECOGNISER, **settings})
        bench.worker.turns.free_bytes = lambda: -1  # and the engine of the tests has no weights
        return bench

    return made


def test_takes_are_heard_after_the_engine_has_spoken_all_lines_and_ended(tight_bench):
    bench = tight_bench()
    bench.drop("said.toml", job(*LINES))
    heard_while = []
    hear, listen = bench.worker.listen.begin_turn, bench.worker.listen
    listen.begin_turn = lambda: (heard_while.append((bench.engine.state, len(bench.engine.submitted))), hear())
    bench.run()
    assert heard_while == [("stopped", 2)]
    assert [line["quality"]["heard"]["distance"] < 0.3 for line in bench.receipt("said")["lines"]] == [True] * 2


def test_a_take_that_is_made_again_gets_the_engine_back_and_the_recogniser_ends_first(tight_bench):
    bench = tight_bench(max_takes=2)
    load, ended = bench.engine.load, []
    bench.engine.load = lambda choice: (ended.append(bench.worker.listen._pipe is None), load(choice))
    bench.drop("said.toml", job((BREEZE, "drop words")))
    bench.run()
    (line,) = bench.receipt("said")["lines"]
    assert (line["attempts"], line["quality"]["failed_gates"]) == (2, [])
    assert ended == [True, True]


def test_where_both_fit_hearing_begins_while_the_engine_speaks(tight_bench):
    bench = tight_bench()
    turns, listen = bench.worker.turns, bench.worker.listen
    turns.free_bytes = lambda: 1
    bench.engine.state, bench.engine.waiting = "ready", {"line": object()}
    listen._waiting.append(2)
    turns.tick(100.0)
    assert not listen.may_hear
    listen._waiting[:] = [1]
    turns.tick(101.0)
    assert (listen.may_hear, bench.engine.unloads) == (True, 0)
    assert turns.may_load(None, 102.0)
    listen._waiting.clear()


def test_hearing_waits_no_longer_than_a_turn_for_an_engine_that_always_has_work(tight_bench):
    bench = tight_bench(verify="basic")
    turns, listen = bench.worker.turns, bench.worker.listen
    bench.engine.state, bench.engine.waiting = "ready", {"line": object()}
    listen._waiting.append(1)
    turns.tick(100.0)
    assert (turns.is_draining, listen.may_hear) == (False, False)
    turns.tick(221.0)
    assert turns.is_draining
    bench.engine.waiting.clear()
    turns.tick(222.0)
    turns.tick(223.0)
    assert (turns.is_draining, listen.may_hear, bench.engine.state) == (False, True, "stopped")
    listen._waiting.clear()


def test_speech_waits_no_longer_than_a_turn_for_hearings_and_live_speech_not_at_all(tight_bench):
    bench = tight_bench()
    turns, listen = bench.worker.turns, bench.worker.listen
    listen.begin_turn()
    listen._waiting.append(1)
    assert not turns.may_load(None, 100.0)
    assert turns.may_load(None, 221.0)
    turns.tick(222.0)
    assert not listen.may_hear  # the memory is promised to the speech model
    turns.tick(227.0)
    assert listen.may_hear
    turns.is_urgent = lambda: True
    assert turns.may_load(None, 228.0)
    listen.begin_turn()
    listen._hearings = 1
    assert not turns.may_load(None, 240.0)  # what is being heard is heard to its end
    listen._hearings = 0
    listen._waiting.clear()
