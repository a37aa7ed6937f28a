"""Clicks in takes: real speech of eSpeak NG, as it is and with samples put into it."""

import numpy as np
import pytest

from models.audio.clicks import BLOCK_SAMPLES, click_at_s
from models.audio.quality import measure
from models.draft.engine import open_draft
from models.protocol import SAMPLE_RATE_HZ, PresetVoice, SpeechWork

TEXT = "Pack the box with five dozen liquor jugs; quick, tick tock, the clock stopped and the gate clicked shut."
CLICK = np.array([0.0, 0.0, 0.8, 0.0, 0.0], np.float32)


@pytest.fixture(scope="module")
def speech():
    work = SpeechWork(id="one", text=TEXT, voice=PresetVoice(name="anna"), seed=1, language="english")
    return next(iter(open_draft().speak([work], progress=lambda _id, _frames: True))).waveform


def clicking(speech, at_s):
    at = round(at_s * SAMPLE_RATE_HZ)
    return np.concatenate([speech[:at], speech[at : at + 5] + CLICK, speech[at + 5 :]])


def test_speech_full_of_plosives_does_not_click(speech):
    assert click_at_s(speech) is None


@pytest.mark.parametrize("at_s", [0.0, 0.5, 1.234, 3.0])
def test_a_few_samples_far_above_the_sound_around_them_are_a_click(speech, at_s):
    assert click_at_s(clicking(speech, at_s)) == pytest.approx(at_s, abs=0.003)


def test_a_click_is_found_in_a_later_block_of_a_long_take(speech):
    take = np.tile(speech, 2 + BLOCK_SAMPLES // speech.size)
    at_s = take.size / SAMPLE_RATE_HZ - 0.002
    assert click_at_s(clicking(take, at_s)) == pytest.approx(at_s, abs=0.003)


@pytest.mark.parametrize("samples", [0, 1, 30, 80])
def test_a_take_of_next_to_nothing_does_not_click(samples):
    assert click_at_s(np.full(samples, 0.5, np.float32)) is None


def test_a_click_fails_its_take_where_another_seed_may_make_a_better_one(speech):
    take = clicking(speech, 1.234)
    seeded = measure(take, text=TEXT, language="english")
    assert (seeded.failed, round(seeded.figures()["click_at_s"], 2)) == (("click",), 1.23)
    unseeded = measure(take, text=TEXT, language="english", is_seeded=False)
    assert (unseeded.failed, unseeded.warnings()) == ((), ("It clicks at 1.23 s.",))
    assert "click_at_s" not in measure(speech, text=TEXT, language="english").figures()
