"""The lines of a job in order → one track with their pauses. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.protocol import SAMPLE_RATE_HZ, Waveform

SILENCE_BLOCK = np.zeros(SAMPLE_RATE_HZ, np.float32)


@dataclass(frozen=True, kw_only=True)
class TrackLine:
    """One line of the track."""

    number: int  # of the line in its job, from 1
    text: str
    samples: int
    pause_samples: int  # silence after it


def pause_samples(pause_s: float) -> int:
    """Whole samples of a pause."""
    return round(pause_s * SAMPLE_RATE_HZ)


def total_samples(lines: Iterable[TrackLine]) -> int:
    """Length of the whole track."""
    return sum(line.samples + line.pause_samples for line in lines)


def waveforms(lines: Sequence[TrackLine], *, load: Callable[[int], Iterable[Waveform]]) -> Iterator[Waveform]:
    """The track's sound, piece by piece; `load(i)` gives that of line `i`, in parts `(S,)`."""
    for number, line in enumerate(lines):
        if line.samples:
            yield from load(number)
        rest = line.pause_samples
        while rest > 0:
            yield SILENCE_BLOCK[:rest]
            rest -= SILENCE_BLOCK.size
