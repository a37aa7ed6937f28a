"""Samples → the median pitch of a voice whose pitch is roughly known.

The draft engine listens to itself with it: eSpeak's intonation moves the median with the text, and a falling sentence
must not move a woman's voice into the men's register.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FRAME_S = 0.045
MOST_FRAMES = 80  # spread over the whole line: enough for a median, and quick
FEWEST_VOICED_FRAMES = 8
VOICED_LIKENESS = 0.6
FIRST_PEAK_SHARE = 0.9  # the first lag that is nearly the best: a multiple of the period is as alike as the period
LOUD_SHARE = 0.5


def median_pitch_hz(samples: npt.NDArray[Any], rate_hz: int, *, near_hz: float) -> float | None:
    """The median pitch of mono `samples` `(S,)`, sought within an octave and a half around `near_hz`.

    None when too little of it is voiced, as in a whisper.
    """
    shortest, longest = int(rate_hz / (1.8 * near_hz)), int(rate_hz * 1.8 / near_hz)
    frame = int(FRAME_S * rate_hz)
    stretches = _stretches(samples, frame + longest)  # (frames, frame + longest)
    if stretches is None:
        return None
    likeness = _likeness(stretches, frame)[:, shortest : longest + 1]  # (frames, lags)
    best = likeness.max(axis=1)
    voiced = best > VOICED_LIKENESS
    if np.count_nonzero(voiced) < FEWEST_VOICED_FRAMES:
        return None
    likeness, best = likeness[voiced], best[voiced]
    inner = likeness[:, 1:-1]
    is_peak = (inner >= likeness[:, :-2]) & (inner > likeness[:, 2:]) & (inner > FIRST_PEAK_SHARE * best[:, None])
    lags = shortest + 1 + np.argmax(is_peak, axis=1)[is_peak.any(axis=1)]
    return float(np.median(rate_hz / lags)) if lags.size else None


def _stretches(samples: npt.NDArray[Any], size: int) -> npt.NDArray[np.float32] | None:
    """Loud pieces `(frames, size)`, spread evenly; None when there are none."""
    if samples.size < size:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)
    hop = max(1, int(0.01 * size), windows.shape[0] // (2 * MOST_FRAMES))
    pieces = windows[::hop].astype(np.float32)
    power = np.mean(pieces**2, axis=1)
    loud = pieces[power > LOUD_SHARE**2 * np.mean(np.square(samples, dtype=np.float32))]
    if loud.shape[0] == 0:
        return None
    kept: npt.NDArray[np.float32] = loud[:: -(-loud.shape[0] // MOST_FRAMES)]
    return kept


def _likeness(stretches: npt.NDArray[np.float32], frame: int) -> npt.NDArray[np.float32]:
    """Likeness of each stretch's first `frame` samples to those a lag later: `(frames, lags)`, at most 1."""
    size = 1 << (stretches.shape[1] - 1).bit_length()
    heads = np.fft.rfft(stretches[:, :frame], size)
    products = np.fft.irfft(np.conj(heads) * np.fft.rfft(stretches, size), size)
    lags = stretches.shape[1] - frame + 1
    sums = np.cumsum(np.pad(stretches**2, ((0, 0), (1, 0))), axis=1)
    energies = sums[:, frame:] - sums[:, :-frame]  # (frames, lags)
    return (products[:, :lags] / np.sqrt(energies * energies[:, :1] + 1e-9)).astype(np.float32)
