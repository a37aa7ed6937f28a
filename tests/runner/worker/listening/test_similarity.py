"""Takes that sound less like their lock than they should: warned of, and made again where a bound is set."""

from dataclasses import replace

import pytest

from registry.voices.lookup import resolve
from tests.engines.inline import InlineEngine
from tests.engines.noop import NoopEngine
from tests.runner.worker.bench import Bench, design, lock, speak

TEXT = "The door is open. Please close it."


class OtherVoice(NoopEngine):
    """Speaks with another voice in the first take of each line of a job, always where its text says so."""

    def render(self, line, progress):
        done = super().render(line, progress)
        if not hasattr(line.voice, "prompt"):
            return done
        is_other = "always" in line.text or ("once" in line.text and line.id not in self.choice.extra)
        self.choice.extra.add(line.id)
        return replace(done, similarity=0.3 if is_other else 0.9, codes_sha256="ab" * 32)


class Choice:
    model, extra = "tests.engines.noop:open_engine", set()


@pytest.fixture
def bench_with(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    Choice.extra = set()
    benches = []

    def made(**settings):
        bench = Bench(tmp_path, engine=InlineEngine(lambda _choice: OtherVoice(Choice)), **settings)
        bench.drop("elena-design.toml", design(candidates=1))
        bench.drop("elena.toml", lock())
        bench.run()
        benches.append(bench)
        return bench

    yield made
    for bench in benches:
        bench.worker.close()


def lines_of(bench, *texts, **more):
    bench.drop("said.toml", speak(*texts, voice="elena", **more))
    bench.run()
    return bench.receipt("said")


def test_a_lock_remembers_how_alike_its_audition_sounds_and_odd_takes_are_warned_of(bench_with):
    bench = bench_with()
    with bench.context.database.read() as session:
        kept = resolve(session, "elena").provenance["audition"]
    assert (kept["similarity"], kept["least_similarity"]) == (0.9, 0.7)
    receipt = lines_of(bench, TEXT, f"{TEXT} always")
    assert receipt["status"] == "done"
    right, other = receipt["lines"]
    assert (right["quality"]["similarity"], right["warnings"]) == (0.9, [])
    assert (other["quality"]["similarity"], other["attempts"]) == (0.3, 1)
    assert "similarity 0.30, where 0.70 or more" in other["warnings"][0]
    assert receipt["warnings"] == [f"{other['file']}: {other['warnings'][0]}"]


@pytest.mark.parametrize("settings", [{"min_similarity": 0.5}, {}], ids=["setting", "key"])
def test_below_a_bound_that_is_set_another_take_is_made(bench_with, settings):
    keys = {} if settings else {"min_similarity": 0.5}
    receipt = lines_of(bench_with(**settings), f"{TEXT} once", f"{TEXT} always", **keys)
    once, always = receipt["lines"]
    assert (once["attempts"], once["quality"]["similarity"]) == (2, 0.9)
    assert (always["attempts"], always["quality"]["failed_gates"]) == (3, ["dissimilar"])
    assert any("sounds like another voice (dissimilar)" in warning for warning in receipt["warnings"])


def test_a_model_without_an_encoder_has_no_similarity(bench_with):
    bench = bench_with()
    bench.drop("said.toml", speak(TEXT, voice="ryan"))
    bench.run()
    assert bench.receipt("said")["lines"][0]["quality"]["similarity"] is None
