"""Recordings that voices are locked from: good, bearable, and of no use."""

from __future__ import annotations

import numpy as np
import pytest

from models.audio.files import AudioFacts
from models.audio.reference_check import reference_warnings
from models.errors import InvalidReferenceAudio
from models.protocol import SAMPLE_RATE_HZ

WORDS = "I won't let you down, whatever they say. "


def tone(duration_s: float, *, amplitude: float = 0.3) -> np.ndarray:
    seconds = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.clip(amplitude * np.sin(2 * np.pi * 180 * seconds), -1, 1).astype(np.float32)


def facts(sample_rate_hz: int) -> AudioFacts:
    return AudioFacts(sample_rate_hz=sample_rate_hz, channels=1, duration_s=5, format="WAV", encoding="PCM_16")


@pytest.mark.parametrize(
    ("waveform", "transcript", "rate_hz", "reason"),
    [
        (tone(0.5), "Hi.", 24_000, r"lasts 0\.5 s"),
        (tone(61), WORDS * 20, 24_000, r"lasts 61\.0 s"),
        (tone(5, amplitude=0.001), WORDS * 2, 24_000, "silent"),
        (tone(5, amplitude=2), WORDS * 2, 24_000, "clipped"),
        (tone(2), WORDS * 20, 24_000, "transcript takes about"),
        (tone(30), "Hi.", 24_000, "transcript takes about"),
        (tone(5), WORDS * 2, 4_000, "too low"),
    ],
    ids=["short", "long", "silent", "clipped", "too many words", "too few words", "low rate"],
)
def test_a_recording_of_no_use_is_refused_with_the_reason(waveform, transcript, rate_hz, reason):
    with pytest.raises(InvalidReferenceAudio, match=reason):
        reference_warnings(waveform, transcript=transcript, facts=facts(rate_hz))


@pytest.mark.parametrize(
    ("waveform", "transcript", "rate_hz", "warning"),
    [
        (tone(2), WORDS, 24_000, "are recommended"),
        (tone(5, amplitude=0.9992), WORDS * 2, 24_000, "is clipped"),
        (tone(5), WORDS * 2, 11_025, "16 kHz or more is recommended"),
    ],
    ids=["short", "clipped", "low rate"],
)
def test_a_recording_that_could_be_better_is_taken_with_a_warning(waveform, transcript, rate_hz, warning):
    (found,) = reference_warnings(waveform, transcript=transcript, facts=facts(rate_hz))
    assert warning in found


def test_a_good_recording_is_taken_without_a_word():
    assert reference_warnings(tone(5), transcript=WORDS * 2, facts=facts(24_000)) == ()
