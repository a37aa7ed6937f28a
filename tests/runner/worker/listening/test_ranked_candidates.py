"""Candidates of a design job, heard and rated: the receipt ranks them, and a cast would take the best."""

import numpy as np
import pytest

from models.listen.noise import NoiseRater, network_path
from runner.worker.books.script_step import best_candidate
from tests.engines.bad_speech import BadSpeechEngine
from tests.engines.inline import InlineEngine
from tests.natural_speech import BREEZE, WORLD, spoken
from tests.runner.worker.bench import design


class Candidates(BadSpeechEngine):
    """The first says another text, the second is noisy, the third is right."""

    def said(self, text):
        self.number = getattr(self, "number", 0) + 1
        rng = np.random.default_rng(1)
        noise = rng.normal(0, 0.02, spoken(text).size).astype(np.float32) if self.number == 2 else np.float32(0)
        return spoken(WORLD if self.number == 1 else text) + noise


@pytest.fixture
def bench_with(make_bench):
    return lambda **settings: make_bench(engine=InlineEngine(Candidates), **settings)


def candidates_of(bench, count=3):
    bench.drop("look.toml", design(text=BREEZE, candidates=count))
    for _ in range(100):
        bench.tick()
        if bench.worker.is_drained():
            return bench.receipt("look")["candidates"]
    raise AssertionError("the work did not end")


def test_a_candidate_that_says_something_else_comes_last_and_is_kept(bench_with):
    bench = bench_with(recogniser="pocketsphinx")
    found = candidates_of(bench)
    assert found[0]["rank"] == 3
    assert [candidate["attempts"] for candidate in found] == [1, 1, 1]
    assert [candidate["quality"]["passed"] for candidate in found] == [True, True, True]
    assert found[0]["quality"]["heard"]["distance"] > 0.5
    with bench.context.database.read() as session:
        assert best_candidate(session, "look") == next(at for at, one in enumerate(found, 1) if one["rank"] == 1)


def test_without_a_recogniser_they_keep_their_order(bench_with, monkeypatch):
    monkeypatch.setattr("runner.worker.in_flight.network_path", lambda: None)
    bench = bench_with()
    assert [candidate["rank"] for candidate in candidates_of(bench)] == [1, 2, 3]
    assert bench.worker.listen._pipe is None


def test_one_candidate_and_off_are_not_listened_to(bench_with):
    bench = bench_with(recogniser="pocketsphinx", verify="off")
    candidates_of(bench)
    assert bench.worker.listen._pipe is None


@pytest.mark.skipif(network_path() is None, reason="the extra `rank` is not installed")
def test_noise_lowers_the_rating_of_the_background_and_the_whole():
    rater = NoiseRater(network_path())
    noise = np.random.default_rng(1).normal(0, 0.02, spoken(BREEZE).size).astype(np.float32)
    clean, noisy = rater.rated(spoken(BREEZE)), rater.rated(spoken(BREEZE) + noise)
    assert clean["overall"] > 3 > noisy["overall"] > 1
    assert clean["background"] - noisy["background"] > 1
    assert rater.rated(np.zeros(0, np.float32)) is None
