"""A real engine process that hangs, dies, lies and eats memory over some lines: the other lines finish.

Deadlines pass by decree: once the engine has begun a line that hangs, a tick counts for ten seconds. However long it
takes over any other line, hardly any time passes.
"""

import select
import time

import numpy as np
import pytest
import soundfile

from models.protocol import PresetVoice, SpeechWork
from runner.engine.client import Deadlines, EngineClient
from tests.engines.noop import tone_for
from tests.patience import PATIENCE_S
from tests.runner.worker.bench import Bench, speak

MODEL = "tests.engines.misbehaving:open_engine"
QUIET_S = 0.3
LONG_S = {"hang": 10, "hang in C": 10, "eat memory": 1}  # how much time passes at each look at such a line
MEMORY_LIMIT_BYTES = 400 << 20
TWO_STEPS_OF_16_BIT = 2 / 32768

# What a line makes the engine do, and the code of the error that becomes of it.
SHORT = {
    "hang": "quarantined",
    "abort": "quarantined",
    "nan": "no-usable-take",
    "silence": "no-usable-take",
    "raise": "engine-failure",
    "refuse": "unsupported-request",
}
LONG = {
    **SHORT,
    "exit 0": "quarantined",
    "eat memory": "quarantined",
    "hang in C": "quarantined",
    "close the pipe": "quarantined",
    "write rubbish": "quarantined",
    "empty": "no-usable-take",
    "a matrix": "engine-failure",
    "answer another": "engine-failure",
}
GOOD = ("The first line is a good one.", "So is the second.", "And here is the last.")


class WatchedEngine(EngineClient):
    """Knows what the lines that are in flight say."""

    def submit(self, work, *, expected_s=0.0):
        self.texts = {**getattr(self, "texts", {}), work.id: work.text}
        super().submit(work, expected_s=expected_s)

    @property
    def passing_s(self):
        """How much time passes at the next look."""
        begun = [self.texts[work_id] for work_id, work in self._watch.in_flight.items() if work.has_started]
        return max((LONG_S.get(text, 0.01) for text in begun), default=0.01)


class Yard:
    """A runner with the misbehaving engine in a process of its own."""

    def __init__(self, root, *, max_takes=2):
        self.engine = WatchedEngine(
            log_path=root / "engine.log",
            memory_limit_bytes=MEMORY_LIMIT_BYTES,
            deadlines=Deadlines(silence_s=35, silence_per_expected=1),
        )
        self.bench = Bench(root, engine=self.engine, model=MODEL, max_takes=max_takes)

    def run(self):
        """Tick until all is done; time jumps while the engine hangs."""
        give_up_s = time.monotonic() + PATIENCE_S
        self.bench.tick(step_s=0.01)
        while not self.bench.worker.is_drained():
            assert time.monotonic() < give_up_s, "the work did not end"
            descriptor = self.engine.fileno()
            if descriptor is not None and self.engine.passing_s < max(LONG_S.values()):
                select.select([descriptor], [], [], QUIET_S)
            self.bench.tick(step_s=self.engine.passing_s)


@pytest.fixture
def yard(tmp_path, monkeypatch, request):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    made = Yard(tmp_path, **getattr(request, "param", {}))
    yield made
    made.engine.stop(0)
    made.bench.context.database.close()


def drop_and_run(yard, acts):
    """One job of good and bad lines in turn, one of good lines only; returns the first's lines by text."""
    texts = [GOOD[0], *acts, GOOD[1], GOOD[2]]
    yard.bench.drop("mixed.toml", speak(*texts), age_s=2)
    yard.bench.drop("innocent.toml", speak(*GOOD, language="en"), age_s=1)
    yard.run()
    return {line["text"]: line for line in yard.bench.receipt("mixed")["lines"]}


def assert_good_lines_are_right(yard, lines):
    for text in GOOD:
        line = lines[text]
        assert line["status"] == "done", line
        work = SpeechWork(id="", text=text, voice=PresetVoice(name="ryan"), seed=line["seed"], language="auto")
        published, right = yard.bench.audio("mixed", line["file"]), tone_for(work)
        assert published.shape == right.shape
        assert np.abs(published - right).max() < TWO_STEPS_OF_16_BIT


def assert_fates(lines, acts):
    fates = {text: (lines[text]["status"], lines[text]["error"]["code"]) for text in acts}
    assert fates == {text: ("failed", code) for text, code in acts.items()}


def test_lines_that_hang_kill_or_deceive_the_engine_fail_alone_and_the_others_finish(yard):
    lines = drop_and_run(yard, SHORT)
    assert_fates(lines, SHORT)
    assert_good_lines_are_right(yard, lines)
    assert yard.bench.status("mixed") == "partial"
    assert yard.bench.status("innocent") == "done"


@pytest.mark.slow
def test_every_way_to_misbehave_costs_its_own_line_only(yard):
    lines = drop_and_run(yard, LONG)
    assert_fates(lines, LONG)
    assert_good_lines_are_right(yard, lines)
    assert yard.bench.status("mixed") == "partial"
    assert yard.bench.status("innocent") == "done"


@pytest.mark.parametrize("yard", [{"max_takes": 1}], indirect=True)
def test_two_minutes_of_noise_for_one_sentence_is_published_with_the_mark_of_its_failed_gate(yard):
    yard.bench.drop("noise.toml", speak("two minutes of noise"))
    yard.run()
    (line,) = yard.bench.receipt("noise")["lines"]
    assert "too-long" in line["quality"]["failed_gates"]
    published = yard.bench.instance.outbox / "noise" / line["file"]
    assert soundfile.info(published).duration == 120


def test_stray_output_of_the_engine_harms_nothing(yard):
    yard.bench.drop("print.toml", speak("print"))
    yard.run()
    assert yard.bench.status("print") == "done"
    assert np.abs(yard.bench.audio("print", "line-1.wav")).max() > 0.1
