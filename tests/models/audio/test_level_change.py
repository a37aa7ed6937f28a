"""Speech is told from sounds that keep their level in every band."""

import numpy as np
import pytest

from benchmarks.bench_recordings import coloured, sounds
from models.audio.level_change import LEAST_CHANGE_DB, level_change_db
from tests.models.audio.test_reference_mending import speech

MADE = dict(sounds(np.random.default_rng(7)))


@pytest.mark.parametrize("name", [name for name in MADE if name != "applause, 200 claps a s"])
def test_what_keeps_its_level_is_no_speech(name):
    assert level_change_db(MADE[name]) < LEAST_CHANGE_DB


def test_speech_is_speech_also_limited_and_half_drowned_in_noise():
    voice = speech()
    assert level_change_db(voice) > 2 * LEAST_CHANGE_DB
    assert level_change_db(np.clip(10 * voice, -0.3, 0.3)) > LEAST_CHANGE_DB
    for slope in (0, 1, 2):
        noise = np.resize(coloured(slope, np.random.default_rng(1)), voice.size)
        noise *= np.sqrt(np.mean(np.square(voice, dtype=np.float64)) / np.mean(np.square(noise)))
        assert level_change_db((voice + noise).astype(np.float32)) > LEAST_CHANGE_DB


@pytest.mark.parametrize("manner", [None, "whispering", "shouting"])
def test_no_manner_of_speaking_is_taken_for_noise(manner):
    pytest.importorskip("espeakng_loader")
    from models.draft.engine import open_draft
    from models.protocol import PresetVoice, SpeechWork

    text = "Somebody is at the door, and it is not the wind."
    work = SpeechWork(id="a", text=text, voice=PresetVoice(name="anna"), seed=1, instruct=manner)
    (done,) = open_draft().speak([work], progress=lambda *_: True)
    assert level_change_db(done.waveform) > LEAST_CHANGE_DB


@pytest.mark.parametrize("samples", [0, 1, 700, 24_000])
def test_nothing_does_not_change(samples):
    assert level_change_db(np.zeros(samples, np.float32)) == 0
