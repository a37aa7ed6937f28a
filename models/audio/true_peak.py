"""Samples → how far the curve through them rises, also between two of them, as BS.1770 measures true peaks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.audio.sound import Samples

PHASES = 4  # points to a sample
TAPS = 32  # samples that each point between two is computed from
REACH = TAPS // 2  # samples that a point depends on, to either side

Peaks = npt.NDArray[np.float32]


def _interpolators() -> list[npt.NDArray[np.float32]]:
    """Weights of the samples around each point between two, in the order of `np.convolve`."""
    at = np.arange(-REACH + 1, REACH + 1)
    found = []
    for phase in range(1, PHASES):
        distance = at - phase / PHASES
        weights = np.sinc(distance) * np.kaiser(2 * TAPS + 1, 8.0)[np.rint((distance / REACH + 1) * TAPS).astype(int)]
        found.append((weights / weights.sum())[::-1].astype(np.float32))
    return found


_INTERPOLATORS = _interpolators()


def envelope(samples: Samples) -> Peaks:
    """The largest absolute value at each sample and between it and its neighbours, `(n, C)` -> `(n - 2 * REACH,)`.

    `REACH` samples at both ends only serve the others.
    """
    inner = len(samples) - 2 * REACH
    peaks: Peaks = np.abs(samples[REACH : REACH + inner]).max(axis=1).astype(np.float32)
    for channel in np.ascontiguousarray(samples.T, np.float32):
        for weights in _INTERPOLATORS:
            between = np.abs(np.convolve(channel, weights, "valid"))  # of gaps; the first is before the first sample
            np.maximum(peaks, between[:inner], out=peaks)
            np.maximum(peaks, between[1 : inner + 1], out=peaks)
    return peaks


class TruePeakMeter:
    """The true peak of sound that comes in blocks `(n, C)`."""

    def __init__(self, channels: int) -> None:
        self._before = np.zeros((2 * REACH, channels), np.float32)
        self._peak = 0.0

    def add(self, block: Samples) -> None:
        """Go on with finite samples."""
        joined = np.concatenate([self._before, block])
        self._before = joined[len(joined) - 2 * REACH :]
        if len(joined) > 2 * REACH:
            self._peak = max(self._peak, float(envelope(joined).max()))

    def peak(self) -> float:
        """The largest absolute value, also after the last sample."""
        ended = np.concatenate([self._before, np.zeros((2 * REACH, self._before.shape[1]), np.float32)])
        return max(self._peak, float(envelope(ended).max()))
