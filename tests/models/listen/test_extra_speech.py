"""Takes in which more is said than their text, and right ones."""

import numpy as np
import pytest

from models.draft.engine import open_draft
from models.draft.espeak import find_library
from models.listen.extra_speech import text_end_s
from models.protocol import SAMPLE_RATE_HZ, PresetVoice, SpeechWork
from tests.natural_speech import BREEZE, WORLD, silence, spoken

GERMAN = "Der Zug fährt heute eine Stunde später. Wir warten auf dem Bahnsteig."
MORE = "Danke, dass Sie zugesehen haben."


def found(waveform, text, language="english"):
    return text_end_s(waveform, text=text, language=language, library=find_library())


def german(text):
    work = SpeechWork(id="x", text=text, voice=PresetVoice(name="anna"), seed=1, language="german")
    return next(iter(open_draft().speak([work], progress=lambda *_: True))).waveform


@pytest.mark.parametrize("text", [BREEZE, f"{BREEZE} {WORLD}"])
def test_a_right_take_ends_with_its_text(text):
    assert found(spoken(text), text) is None


@pytest.mark.parametrize("more", ["Thank you for watching.", WORLD])
def test_more_speech_after_the_text_is_found_with_its_place(more):
    said = spoken(BREEZE)
    place_s = found(np.concatenate([said, silence(0.4), spoken(more)]), BREEZE)
    assert place_s == pytest.approx(said.size / SAMPLE_RATE_HZ, abs=0.7)  # hibari ends with half a second of silence


def test_any_language_of_espeak_will_do():
    assert found(german(GERMAN), GERMAN, "german") is None
    said = np.concatenate([german(GERMAN), silence(0.4), german(MORE)])
    assert found(said, GERMAN, "german") == pytest.approx(german(GERMAN).size / SAMPLE_RATE_HZ, abs=0.3)


@pytest.mark.parametrize("waveform", [silence(0), silence(2)], ids=["nothing", "silence"])
def test_where_nothing_is_heard_nothing_goes_on(waveform):
    assert found(waveform, BREEZE) is None
