"""Peaks between samples, RMS, the noise of pauses, and the silence around sound."""

import numpy as np
import pytest

from models.audio.levels import LevelMeter
from models.audio.true_peak import TruePeakMeter

RATE_HZ = 44_100


def levels_of(sound, block=10_007):
    meter = LevelMeter(RATE_HZ, channels=sound.shape[1])
    for start in range(0, len(sound), block):
        meter.add(sound[start : start + block])
    return meter.levels()


def tone(seconds, level=0.5, hz=440.0, phase=0.0):
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ + phase))[:, None]


def silence(seconds, noise=0.0):
    random = np.random.default_rng(3)
    return noise * random.standard_normal((round(seconds * RATE_HZ), 1))


@pytest.mark.parametrize("hz, phase", [(RATE_HZ / 4, np.pi / 4), (5_000, 0.3), (15_000, 1.1)])
def test_a_true_peak_is_between_samples_too(hz, phase):
    meter = TruePeakMeter(channels=1)
    sound = (tone(0.2, 1.0, hz, phase)[:, 0] * np.hanning(round(0.2 * RATE_HZ)))[:, None]
    for start in range(0, len(sound), 997):
        meter.add(sound[start : start + 997])
    assert 20 * np.log10(meter.peak()) == pytest.approx(0.0, abs=0.02)


def test_rms_and_peak_are_of_the_whole_and_of_all_channels():
    sound = np.hstack([tone(4, 0.5), tone(4, 0.25)])
    levels = levels_of(sound)
    assert levels.peak_db == pytest.approx(20 * np.log10(0.5), abs=0.01)
    assert levels.rms_db == pytest.approx(10 * np.log10((0.5**2 + 0.25**2) / 4), abs=0.01)


def test_silence_before_and_after_sound_is_measured_though_it_hisses():
    levels = levels_of(np.concatenate([silence(0.7, 1e-4), tone(3), silence(1.5, 1e-4)]))
    assert levels.head_s == pytest.approx(0.7, abs=0.02)
    assert levels.tail_s == pytest.approx(1.5, abs=0.02)


def test_the_noise_floor_is_that_of_the_loudest_pause():
    quiet, loud = silence(1, 1e-4), silence(1, 1e-3)
    levels = levels_of(np.concatenate([quiet, tone(2), loud, tone(2), quiet]))
    assert levels.noise_floor_db == pytest.approx(-60, abs=0.3)


def test_without_a_pause_the_noise_floor_is_the_quietest_half_second():
    levels = levels_of(np.concatenate([tone(1, 0.5), tone(0.6, 0.1), tone(1, 0.5)]))
    assert levels.noise_floor_db == pytest.approx(20 * np.log10(0.1) - 3.01, abs=0.1)


@pytest.mark.parametrize("sound", [np.zeros((0, 1)), np.zeros((5 * RATE_HZ, 2))])
def test_silence_alone_has_no_loudness_and_all_of_it_is_head(sound):
    levels = levels_of(sound)
    assert levels.integrated_lufs is None and levels.is_silent
    assert (levels.rms_db, levels.peak_db, levels.noise_floor_db) == (-120, -120, -120)
    assert levels.head_s == len(sound) / RATE_HZ and levels.tail_s == 0
