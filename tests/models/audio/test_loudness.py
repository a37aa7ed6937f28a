"""Loudness against the figures of the recommendation, and against what an ear would say."""

import numpy as np
import pyloudnorm
import pytest

from models.audio.loudness import LoudnessMeter, loudness_lufs
from models.protocol import SAMPLE_RATE_HZ


def sine(hz, seconds=3.0, level=1.0):
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ)).astype("f4")


def test_a_sine_of_997_hz_at_full_scale_has_the_loudness_that_the_recommendation_says():
    assert loudness_lufs(sine(997)) == pytest.approx(-3.01, abs=0.05)


def test_half_the_level_is_six_decibels_less():
    assert loudness_lufs(sine(997, level=0.5)) == pytest.approx(loudness_lufs(sine(997)) - 6.02, abs=0.01)


def test_bass_counts_little_and_treble_more():
    assert loudness_lufs(sine(40)) < loudness_lufs(sine(997)) - 3
    assert loudness_lufs(sine(4_000)) > loudness_lufs(sine(997)) + 2


def test_silence_around_speech_does_not_make_it_quieter():
    silence = np.zeros(5 * SAMPLE_RATE_HZ, np.float32)
    among = loudness_lufs(np.concatenate([silence, sine(997), silence]))
    assert among == pytest.approx(loudness_lufs(sine(997)), abs=0.5)


@pytest.mark.parametrize("waveform", [np.zeros(48_000, np.float32), sine(997, seconds=0.2), np.zeros(0, np.float32)])
def test_silence_and_what_is_too_short_have_none(waveform):
    assert loudness_lufs(waveform) is None


@pytest.mark.parametrize("rate_hz", [22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_loudness_is_that_of_another_meter_at_any_rate_and_in_any_blocks(rate_hz, channels):
    random = np.random.default_rng(rate_hz)
    loudness = np.repeat(random.random(12), rate_hz)[:, None] ** 3
    sound = (random.standard_normal((12 * rate_hz, channels)) * 0.2 * loudness).astype(np.float32)
    meter = LoudnessMeter(rate_hz, channels=channels)
    for start in range(0, len(sound), 30_011):
        meter.add(sound[start : start + 30_011])
    other = pyloudnorm.Meter(rate_hz).integrated_loudness(sound.astype(np.float64))
    assert meter.integrated_lufs() == pytest.approx(other, abs=0.1)


def test_a_sine_of_997_hz_has_its_loudness_at_48_khz_to_a_hundredth():
    meter = LoudnessMeter(48_000, channels=1)
    meter.add(np.sin(2 * np.pi * 997 * np.arange(5 * 48_000) / 48_000)[:, None])
    assert meter.integrated_lufs() == pytest.approx(-3.01, abs=0.01)
