"""Work with pauses in its text is spoken part by part, and answered once."""

from dataclasses import replace

import numpy as np
import pytest

from models.processes.timed_speech import TimedSpeech
from models.protocol import (
    SAMPLE_RATE_HZ,
    DescribedVoice,
    ModelChoice,
    PresetVoice,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    WorkFailed,
)
from tests.engines.noop import NoopEngine, tone_for

WORK = SpeechWork(
    id="line-1", text="One of three. Two of three. Three.", voice=PresetVoice(name="ryan"), seed=7,
    pauses=((14, 1.0), (28, 2.0)),
)  # fmt: skip


def spoken(work, *, order=(0, 1, 2)):
    """What the engine process sends of a work whose parts a real engine speaks, answered in this order."""
    timed = TimedSpeech(work=work, number=1)
    parts = [timed.next_part() for _ in range(3)]
    engine = NoopEngine(ModelChoice(engine="noop"))
    done = list(engine.speak(parts, progress=lambda *_: True))
    return parts, [answer for at in order for answer in timed.add(done[at])]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_parts_are_joined_in_their_order_with_the_pauses_between_them(order):
    parts, (done,) = spoken(WORK, order=order)
    assert [part.text for part in parts] == ["One of three.", "Two of three.", "Three."]
    assert (done.id, done.seed, done.finish_reason) == ("line-1", 7, "eos")
    speech = sum(tone_for(part).size for part in parts)
    assert abs(done.waveform.size - speech - 3 * SAMPLE_RATE_HZ) < 50  # a tone begins and ends quietly
    assert np.flatnonzero(np.diff(np.flatnonzero(done.waveform)) > SAMPLE_RATE_HZ // 2).size == 2


def test_parts_of_live_work_are_sent_as_soon_as_those_before_them_were():
    _, answers = spoken(replace(WORK, live=True), order=(0, 1, 2))
    _, (whole,) = spoken(WORK)
    *pieces, done = answers
    assert all(isinstance(piece, SpeechPiece) and piece.id == "line-1" for piece in pieces)
    assert isinstance(done, SpeechDone)
    assert np.array_equal(np.concatenate([*(piece.waveform for piece in pieces), done.waveform]), whole.waveform)


def test_a_part_that_fails_fails_the_work_once_and_ends_the_others():
    timed = TimedSpeech(work=WORK, number=1)
    first, second = timed.next_part(), timed.next_part()
    assert list(timed.add(WorkFailed(id=first.id, code="x", message="No."))) == []
    assert (timed.is_given_up, timed.waiting) == (True, [])
    (answer,) = timed.add(WorkFailed(id=second.id, code="y", message="Nor this."))
    assert (answer.id, answer.code) == ("line-1", "x")


def test_each_part_has_a_seed_of_its_own_unless_the_seed_is_the_voice():
    parts, _ = spoken(WORK)
    assert len({part.seed for part in parts}) == 3
    assert parts[0].seed == 7
    parts, _ = spoken(replace(WORK, voice=DescribedVoice(description="Warm.")))
    assert {part.seed for part in parts} == {7}


def test_the_longest_time_of_the_work_is_shared_by_its_parts():
    parts, _ = spoken(replace(WORK, max_seconds=10.0))
    assert sum(part.max_seconds for part in parts) == pytest.approx(10.0)
    assert min(part.max_seconds for part in parts) > 1


def test_parts_of_two_tries_have_different_ids():
    first, second = TimedSpeech(work=WORK, number=1).next_part(), TimedSpeech(work=WORK, number=2).next_part()
    assert first.id != second.id
