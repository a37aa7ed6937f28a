"""Peaks above a ceiling are turned down, smoothly; everything else passes as it is."""

import numpy as np
import pytest

from models.audio.limiter import limited
from models.audio.true_peak import TruePeakMeter

RATE_HZ = 44_100


def true_peak_db(sound):
    meter = TruePeakMeter(channels=sound.shape[1])
    meter.add(sound)
    return 20 * np.log10(meter.peak())


def run(sound, ceiling_db, block=7_919):
    blocks = (sound[start : start + block] for start in range(0, len(sound), block))
    return np.concatenate(list(limited(blocks, sample_rate_hz=RATE_HZ, ceiling_db=ceiling_db)))


def bursts(channels=1, seconds=6):
    random = np.random.default_rng(4)
    loudness = np.repeat(random.random(seconds * 10), RATE_HZ // 10) ** 4
    return (random.standard_normal((seconds * RATE_HZ, channels)) * loudness[:, None]).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2])
def test_no_true_peak_passes_the_ceiling_and_no_sample_is_lost(channels):
    sound = bursts(channels)
    result = run(sound, -3.5)
    assert result.shape == sound.shape
    assert -3.6 < true_peak_db(result) <= -3.5


def test_sound_below_the_ceiling_is_not_touched():
    sound = bursts() * np.float32(0.05)
    assert np.array_equal(run(sound, -3.0), sound)


def test_the_size_of_the_blocks_changes_nothing():
    sound = bursts()
    assert np.array_equal(run(sound, -6.0, block=500), run(sound, -6.0, block=200_000))


def test_a_peak_at_the_very_beginning_or_end_is_limited_too():
    sound = np.zeros((RATE_HZ, 1), np.float32)
    sound[0], sound[-1] = 1.0, -1.0
    assert true_peak_db(run(sound, -6.0)) <= -6.0


def test_the_gain_changes_smoothly_around_a_peak():
    sound = np.full((RATE_HZ, 1), 0.1, np.float32)
    sound[20_000] = 0.9
    gain = run(sound, -6.0)[:, 0] / sound[:, 0]
    assert np.abs(np.diff(np.delete(gain, 20_000))).max() < 0.01
    assert gain[18_000] == pytest.approx(1.0) and gain[22_000] == pytest.approx(1.0)


@pytest.mark.parametrize("samples", [1, 100, 70_000])
def test_any_length_will_do(samples):
    assert run(np.ones((samples, 1), np.float32), -3.0).shape == (samples, 1)


def test_of_nothing_comes_nothing():
    assert list(limited([], sample_rate_hz=RATE_HZ, ceiling_db=-3.0)) == []
