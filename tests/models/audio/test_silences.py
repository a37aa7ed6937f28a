"""Silences and tails of takes: real speech of eSpeak NG, right and with faults put into it."""

import numpy as np
import pytest

from models.audio.quality import measure
from models.audio.silences import silences_of
from models.audio.speech_detector import find_detector
from models.draft.engine import open_draft
from models.protocol import SAMPLE_RATE_HZ, PresetVoice, SpeechWork

SHORT = "Yes."
LONG = "It was the middle of the night when the old clock struck twelve, and the wind began to rise over the fields."


@pytest.fixture(scope="module")
def say():
    engine = open_draft()

    def said(text):
        work = SpeechWork(id="one", text=text, voice=PresetVoice(name="anna"), seed=1, language="english")
        return next(iter(engine.speak([work], progress=lambda _id, _frames: True))).waveform

    return said


def silence(duration_s):
    return np.zeros(round(duration_s * SAMPLE_RATE_HZ), np.float32)


def noise(duration_s, *, level=0.1, power=0.0):
    samples = round(duration_s * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(samples))
    spectrum[1:] /= np.arange(1, spectrum.size) ** power
    spectrum[:60] = 0
    waveform = np.fft.irfft(spectrum, samples)
    return (level * waveform / np.abs(waveform).max()).astype(np.float32)


def gates(waveform, text, **others):
    return measure(waveform, text=text, language="english", **others).failed


def test_silences_are_measured_before_inside_and_after_the_speech(say):
    speech = say(LONG)
    middle = speech.size // 2
    take = np.concatenate([silence(0.4), speech[:middle], silence(1.5), speech[middle:], silence(0.7)])
    found = silences_of(take)
    assert found.leading_s == pytest.approx(0.4, abs=0.1)
    assert found.trailing_s == pytest.approx(0.7, abs=0.1)
    assert found.longest_s == pytest.approx(1.5, abs=0.1)
    assert found.longest_at_s == pytest.approx(0.4 + middle / SAMPLE_RATE_HZ, abs=0.1)


def test_a_take_with_nothing_in_it_is_all_leading_silence():
    assert silences_of(silence(2)).leading_s == 2
    assert silences_of(silence(0)).leading_s == 0


def test_the_hiss_of_a_recorded_room_is_silence(say):
    take = np.concatenate([silence(0.5), say(LONG), silence(1.0)])
    hissing = take + noise(take.size / SAMPLE_RATE_HZ, level=0.004)
    assert silences_of(hissing).trailing_s == pytest.approx(1.0, abs=0.1)
    assert gates(hissing, LONG) == ()


@pytest.mark.parametrize("text", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0], ids=["white", "pink", "brown"])
def test_noise_after_the_text_fails_the_gate_with_the_detector_and_without(say, text, power):
    take = np.concatenate([say(text), noise(3.0, power=power)])
    assert gates(take, text) == ("runs-on",)
    assert gates(take, text, speech_end=find_detector()) == ("runs-on",)
    assert "goes on" in measure(take, text=text, language="english", is_seeded=False).warnings()[0]


def test_a_held_vowel_is_no_tone_to_the_detector(say):
    held = say("No" + "o" * 30 + "!")
    assert gates(held, "Noooooooooooo!", speech_end=find_detector()) == ()


def test_another_line_spoken_after_a_short_one_fails_the_gate(say):
    take = np.concatenate([say(SHORT), silence(0.5), say("Thank you all for watching.")])
    assert "runs-on" in gates(take, SHORT)


@pytest.mark.parametrize("hole_s", [2.0, 8.0])
def test_a_hole_in_a_sentence_fails_the_gate_and_is_named_with_its_place(say, hole_s):
    speech = say("Come here to me now!")
    take = np.concatenate([speech[:12_000], silence(hole_s), speech[12_000:]])
    assert "long-silence" in gates(take, "Come here to me now!")
    doubted = measure(take, text="Come here to me now!", is_seeded=False)
    assert doubted.passed
    assert f"silent for {hole_s:.1f} s from 0.5 s on" in doubted.warnings()[-1]


def test_a_pause_between_paragraphs_may_last_longer(say):
    first, second = say("The end came."), say("Nobody saw it.")
    take = np.concatenate([first, silence(2.6), second])
    assert gates(take, "The end came.\n\nNobody saw it.") == ()
    assert "long-silence" in gates(take, "The end came. Nobody saw it.")
