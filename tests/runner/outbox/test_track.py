"""Tracks and captions."""

from __future__ import annotations

import numpy as np
import pytest

from models.protocol import SAMPLE_RATE_HZ
from runner.outbox.track import TrackLine, cues, pause_samples, srt, timestamp, total_samples, vtt, waveforms

LINES = [
    TrackLine(text="Hello.", samples=24_000, pause_samples=pause_samples(0.4)),
    TrackLine(text="Two\n\nlines --> & <b>", samples=12_000, pause_samples=0),
]


def test_a_track_is_its_lines_and_their_pauses_in_order():
    sound = np.concatenate(list(waveforms(LINES, load=lambda i: [np.full(LINES[i].samples, i + 1, np.float32)])))
    assert sound.size == total_samples(LINES) == 24_000 + 9_600 + 12_000
    assert (sound[:24_000] == 1).all()
    assert (sound[24_000:33_600] == 0).all()
    assert (sound[33_600:] == 2).all()


def test_a_long_pause_is_as_long_as_it_was_asked_for():
    line = TrackLine(text="x", samples=0, pause_samples=pause_samples(2.5))
    parts = waveforms([line], load=lambda _: [np.zeros(0, np.float32)])
    assert sum(part.size for part in parts) == 2.5 * SAMPLE_RATE_HZ


def test_captions_stand_while_their_line_is_spoken():
    assert [(cue.start_s, cue.end_s) for cue in cues(LINES)] == [(0, 1), (1.4, 1.9)]


def test_srt_and_vtt_cannot_be_broken_by_the_text():
    assert srt(cues(LINES)) == (
        "1\n00:00:00,000 --> 00:00:01,000\nHello.\n\n2\n00:00:01,400 --> 00:00:01,900\nTwo\nlines → & <b>\n"
    )
    assert vtt(cues(LINES)).endswith("\n\n00:00:01.400 --> 00:00:01.900\nTwo\nlines → &amp; &lt;b&gt;\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00,000"), (3_599.9996, "01:00:00,000"), (400_000, "111:06:40,000")]
)
def test_timestamps_carry_over(seconds, text):
    assert timestamp(seconds, mark=",") == text
