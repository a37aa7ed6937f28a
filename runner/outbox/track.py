"""The lines of a job in order → one track with their pauses. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

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
    lead_samples: int = 0  # silence before it


def pause_samples(pause_s: float) -> int:
    """Whole samples of a pause."""
    return round(pause_s * SAMPLE_RATE_HZ)


def total_samples(lines: Iterable[TrackLine]) -> int:
    """Length of the whole track."""
    return sum(line.lead_samples + line.samples + line.pause_samples for line in lines)


def placed(lines: Sequence[TrackLine], starts_s: Sequence[float | None]) -> tuple[list[TrackLine], dict[int, float]]:
    """Lines of which some have a place in the track, there; and by how many seconds others come too late, by number.

    A line with a place waits for it in silence, and the pause before it counts no more.
    """
    found: list[TrackLine] = []
    late_s: dict[int, float] = {}
    end = 0  # of the last sound
    for line, start_s in zip(lines, starts_s, strict=True):
        if start_s is not None:
            if found:
                found[-1] = replace(found[-1], pause_samples=0)
            lead = pause_samples(start_s) - end
            if lead < 0:
                late_s[line.number] = -lead / SAMPLE_RATE_HZ
            line = replace(line, lead_samples=max(0, lead))
        elif found:
            end += found[-1].pause_samples
        found.append(line)
        end += line.lead_samples + line.samples
    return found, late_s


def waveforms(lines: Sequence[TrackLine], *, load: Callable[[int], Iterable[Waveform]]) -> Iterator[Waveform]:
    """The track's sound, piece by piece; `load(i)` gives that of line `i`, in parts `(S,)`."""
    for number, line in enumerate(lines):
        yield from _silence(line.lead_samples)
        if line.samples:
            yield from load(number)
        yield from _silence(line.pause_samples)


def _silence(samples: int) -> Iterator[Waveform]:
    for start in range(0, samples, SILENCE_BLOCK.size):
        yield SILENCE_BLOCK[: samples - start]
