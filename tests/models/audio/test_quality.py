"""The gates every take passes."""

from __future__ import annotations

import numpy as np
import pytest

from models.audio.quality import measure
from models.protocol import SAMPLE_RATE_HZ

TEXT = "I won't let you down, whatever they say."


def tone(duration_s: float, *, amplitude: float = 0.3) -> np.ndarray:
    seconds = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (amplitude * np.sin(2 * np.pi * 180 * seconds)).astype(np.float32)


def with_nan() -> np.ndarray:
    waveform = tone(2.5)
    waveform[100] = np.nan
    return waveform


@pytest.mark.parametrize(
    ("waveform", "finish_reason", "failed"),
    [
        (tone(2.5), "eos", ()),
        (tone(0), "eos", ("empty",)),
        (with_nan(), "eos", ("not-finite",)),
        (tone(2.5, amplitude=0.0005), "eos", ("silent",)),
        (np.clip(tone(2.5, amplitude=3), -1, 1), "eos", ("clipped",)),
        (tone(0.1), "eos", ("too-short",)),
        (tone(60), "eos", ("too-long",)),
        (tone(2.5), "length", ("length-cap",)),
    ],
    ids=["good", "empty", "nan", "silent", "clipped", "short", "long", "cap"],
)
def test_a_take_fails_the_gate_that_names_what_is_wrong_with_it(waveform, finish_reason, failed):
    assert measure(waveform, text=TEXT, finish_reason=finish_reason).failed == failed


def test_a_capped_take_is_better_than_silence_and_worse_than_a_good_one():
    silent, capped = measure(tone(2, amplitude=0), text=TEXT), measure(tone(2), text=TEXT, finish_reason="length")
    good = measure(tone(2), text=TEXT)
    assert good.badness() < capped.badness() < silent.badness()
    assert capped.usable
    assert not silent.usable


def test_where_no_seed_makes_another_take_a_length_is_doubted_and_not_judged():
    long = measure(tone(60), text=TEXT, is_seeded=False)
    assert (long.failed, long.doubts) == ((), ("too-long",))
    assert "60.0 s" in long.warnings()[0]
    assert measure(tone(60), text=TEXT, is_seeded=False, finish_reason="length").failed == ("length-cap",)


def test_what_was_measured_orders_takes_and_not_what_was_estimated():
    first, second = measure(tone(2.0), text=TEXT), measure(tone(4.0), text=TEXT)
    assert first.badness() == second.badness()
    loud = np.clip(tone(2.0, amplitude=3), -1, 1)
    assert measure(loud, text=TEXT).badness() > measure(tone(60), text=TEXT).badness()[:2]


def test_pauses_that_were_asked_for_are_no_fault_and_others_are():
    take = np.concatenate([tone(1.2), np.zeros(8 * SAMPLE_RATE_HZ, np.float32), tone(0.9)])
    assert measure(take, text=TEXT, pauses_s=[8.0]).failed == ()
    assert "long-silence" in measure(take, text=TEXT, pauses_s=[1.0]).failed
    assert measure(tone(2.5), text=TEXT, pauses_s=[8.0]).failed == ("too-short",)
