"""Takes of the parts of a text, sample by sample as they are made → one take with silence between them.

A voice is silent at the ends of what it says, for as long as it pleases: that counts as part of the pause, so that
nothing is heard for exactly as long as was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.protocol import SAMPLE_RATE_HZ, Waveform

QUIET = 0.004  # below it, samples at the ends of a take are silence


class TimedJoin:
    """Follows the parts of one text, in order."""

    def __init__(self) -> None:
        self._pause: int | None = None  # samples of silence that are due before the next sound
        self._before: list[Waveform] = []  # quiet samples that came last, before that pause
        self._after: list[Waveform] = []  # and after it

    def pause(self, pause_s: float) -> None:
        """The next part is to be heard after so much silence, from the last sound on."""
        if self._pause is not None:  # the part between two pauses was silent
            self._before += self._after
            self._after = []
        self._pause = (self._pause or 0) + round(pause_s * SAMPLE_RATE_HZ)

    def add(self, waveform: Waveform) -> Iterator[Waveform]:
        """Samples to be heard now, of the next samples `(S,)` of a part."""
        loud = np.flatnonzero(np.abs(waveform) >= QUIET)
        held = self._before if self._pause is None else self._after
        if not loud.size:
            held.append(waveform)
            return
        first, last = int(loud[0]), int(loud[-1]) + 1
        held.append(waveform[:first])
        yield from self._silence()
        yield waveform[first:last]
        self._before.append(waveform[last:])

    def end(self) -> Iterator[Waveform]:
        """Samples that were held back."""
        yield from self._silence()

    def _silence(self) -> Iterator[Waveform]:
        """The quiet samples so far, with silence in their midst or without some of them, as the pause needs it."""
        before, after = _joined(self._before), _joined(self._after)
        if self._pause is not None:
            spare = before.size + after.size - self._pause
            if spare > 0:
                kept = self._pause * before.size // (before.size + after.size)
                before, after = before[:kept], after[after.size - (self._pause - kept) :]
            else:
                before = np.concatenate([before, np.zeros(-spare, np.float32)])
        self._pause, self._before, self._after = None, [], []
        yield from (part for part in (before, after) if part.size)


def _joined(parts: list[Waveform]) -> Waveform:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
