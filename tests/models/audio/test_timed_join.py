"""Takes of the parts of a text are joined so that nothing is heard for exactly as long as was asked for."""

import numpy as np
import pytest

from models.audio.timed_join import TimedJoin
from models.protocol import SAMPLE_RATE_HZ


def take(quiet_before_s, quiet_after_s):
    silence = [np.zeros(round(quiet_s * SAMPLE_RATE_HZ), np.float32) for quiet_s in (quiet_before_s, quiet_after_s)]
    return np.concatenate([silence[0], np.full(2_400, 0.5, np.float32), silence[1]])


def joined(first, second, *, pause_s, block):
    join, heard = TimedJoin(), []
    for number, waveform in enumerate((first, second)):
        if number:
            join.pause(pause_s)
        for start in range(0, waveform.size, block):
            heard += join.add(waveform[start : start + block])
    return np.concatenate([*heard, *join.end()])


@pytest.mark.parametrize("block", [240, 100_000], ids=["piece-by-piece", "whole"])
@pytest.mark.parametrize("quiet_s", [0.0, 0.1, 0.5, 1.5])
def test_the_silence_between_two_parts_is_the_pause_whatever_their_own(quiet_s, block):
    heard = joined(take(0.1, quiet_s), take(quiet_s / 2, 0.2), pause_s=1.0, block=block)
    loud = np.flatnonzero(heard)
    assert np.diff(loud).max() - 1 == SAMPLE_RATE_HZ
    assert loud.size == 4_800
    assert (loud[0], heard.size - loud[-1] - 1) == (2_400, 4_800)


def test_a_pause_before_the_first_part_is_heard_before_it():
    join = TimedJoin()
    join.pause(0.5)
    heard = np.concatenate([*join.add(take(0.1, 0)), *join.end()])
    assert np.flatnonzero(heard)[0] == SAMPLE_RATE_HZ // 2


def test_a_silent_part_makes_the_pauses_around_it_one():
    join = TimedJoin()
    heard = [*join.add(take(0, 0))]
    join.pause(0.5)
    heard += join.add(np.zeros(2_400, np.float32))
    join.pause(0.5)
    heard += join.add(take(0, 0))
    assert np.diff(np.flatnonzero(np.concatenate(heard))).max() - 1 == SAMPLE_RATE_HZ
