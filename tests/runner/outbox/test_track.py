"""Tracks."""

from __future__ import annotations

import numpy as np
import pytest

from models.protocol import SAMPLE_RATE_HZ
from runner.outbox.captions import cues
from runner.outbox.track import TrackLine, pause_samples, placed, total_samples, waveforms

LINES = [
    TrackLine(number=1, text="Hello.", samples=24_000, pause_samples=pause_samples(0.4)),
    TrackLine(number=2, text="Two\n\nlines --> & <b>", samples=12_000, pause_samples=0),
]


def test_a_track_is_its_lines_and_their_pauses_in_order():
    sound = np.concatenate(list(waveforms(LINES, load=lambda i: [np.full(LINES[i].samples, i + 1, np.float32)])))
    assert sound.size == total_samples(LINES) == 24_000 + 9_600 + 12_000
    assert (sound[:24_000] == 1).all()
    assert (sound[24_000:33_600] == 0).all()
    assert (sound[33_600:] == 2).all()


def test_a_long_pause_is_as_long_as_it_was_asked_for():
    line = TrackLine(number=1, text="x", samples=0, pause_samples=pause_samples(2.5))
    parts = waveforms([line], load=lambda _: [np.zeros(0, np.float32)])
    assert sum(part.size for part in parts) == 2.5 * SAMPLE_RATE_HZ


# ---- lines that have a place ---------------------------------------------------------------------------------------


def line(number, seconds, pause_s=0.5):
    return TrackLine(number=number, text="x", samples=round(seconds * 24_000), pause_samples=pause_samples(pause_s))


def begins_s(lines):
    """Where each line begins."""
    found, position = [], 0
    for each in lines:
        position += each.lead_samples
        found.append(position / 24_000)
        position += each.samples + each.pause_samples
    return found


def test_a_line_with_a_place_waits_for_it_whatever_pause_is_before():
    lines, late_s = placed([line(1, 1), line(2, 1), line(3, 1)], [2.0, 3.2, 10.0])
    assert begins_s(lines) == [2.0, 3.2, 10.0] and late_s == {}
    assert sum(len(block) for block in waveforms(lines, load=lambda _: [np.zeros(24_000)])) == total_samples(lines)


def test_a_line_whose_place_is_taken_comes_as_soon_as_it_can_and_later_ones_are_in_their_places_again():
    lines, late_s = placed([line(1, 4), line(2, 1), line(3, 1)], [0.0, 3.0, 6.0])
    assert begins_s(lines) == [0.0, 4.0, 6.0] and late_s == {2: pytest.approx(1.0)}


def test_lines_without_a_place_follow_the_others_with_their_pauses():
    lines, late_s = placed([line(1, 1), line(2, 1), line(3, 1)], [None, 5.0, None])
    assert begins_s(lines) == [0.0, 5.0, 6.5] and late_s == {}


def test_captions_are_where_the_lines_are():
    lines, _ = placed([line(1, 1), line(2, 1)], [2.0, 4.0])
    assert [(cue.start_s, cue.end_s) for cue in cues(lines)] == [(2.0, 3.0), (4.0, 5.0)]
