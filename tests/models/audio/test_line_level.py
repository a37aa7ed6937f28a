"""Lines brought to one loudness."""

import numpy as np
import pytest

from models.audio.line_level import line_level
from models.audio.loudness import loudness_lufs


def tone(peak, *, duration_s=2.0):
    return (peak * np.sin(2 * np.pi * 440 * np.arange(round(duration_s * 24_000)) / 24_000)).astype(np.float32)


@pytest.mark.parametrize("peak", [0.01, 0.1, 0.5])
def test_loud_and_quiet_lines_come_to_one_loudness(peak):
    sound = tone(peak)
    level = line_level([sound], target_lufs=-23.0)
    assert loudness_lufs(sound * level.gain) == pytest.approx(-23.0, abs=0.1)
    assert level.short_by_db == 0.0


def test_a_line_in_parts_has_the_level_of_the_whole():
    sound = tone(0.1)
    whole = line_level([sound], target_lufs=-20.0)
    assert line_level(np.split(sound, [100, 30_000]), target_lufs=-20.0).gain == pytest.approx(whole.gain, rel=0.01)


def test_a_sound_is_raised_no_further_than_its_peak_allows():
    clicks = np.zeros(48_000, np.float32)
    clicks[::4_800] = 0.5
    level = line_level([clicks], target_lufs=-10.0)
    assert level.gain == pytest.approx(10 ** (-1 / 20) / 0.5)
    assert level.short_by_db > 3


def test_a_short_word_is_measured_as_if_it_went_on():
    long, short = (line_level([tone(0.2, duration_s=length)], target_lufs=-23.0) for length in (2.0, 0.2))
    assert short.gain == pytest.approx(long.gain, rel=0.1)


def test_silence_stays_as_it_is():
    assert line_level([np.zeros(48_000, np.float32)], target_lufs=-23.0).gain == 1.0
