"""A long sound → pieces of some seconds, cut where it is quietest. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.protocol import SAMPLE_RATE_HZ, Waveform

QUIET_STEP_S = 0.1


def quiet_cut(waveform: Waveform, longest_s: float) -> int:
    """Number of samples of the first piece, which is at least half as long as `longest_s`; all, where that fits."""
    longest, step = round(longest_s * SAMPLE_RATE_HZ), round(QUIET_STEP_S * SAMPLE_RATE_HZ)
    if waveform.size <= longest:
        return waveform.size
    late = waveform[longest // 2 : longest]
    windows = late[: late.size // step * step].reshape(-1, step)
    return longest // 2 + int(np.square(windows).mean(axis=1).argmin()) * step + step // 2


def pieces(waveform: Waveform, longest_s: float) -> Iterator[tuple[float, Waveform]]:
    """The sound in pieces, and when each begins in seconds."""
    start = 0
    while start < waveform.size:
        end = start + quiet_cut(waveform[start:], longest_s)
        yield start / SAMPLE_RATE_HZ, waveform[start:end]
        start = end
