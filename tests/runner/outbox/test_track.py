"""Tracks."""

from __future__ import annotations

import numpy as np

from models.protocol import SAMPLE_RATE_HZ
from runner.outbox.track import TrackLine, pause_samples, total_samples, waveforms

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
