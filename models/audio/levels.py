"""Sound block by block → all its levels: loudness, RMS, peaks, noise floor, and the silence before and after it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.audio.loudness import LoudnessMeter
from models.audio.silences import STEPS_PER_SECOND, heard_in
from models.audio.sound import Samples
from models.audio.true_peak import TruePeakMeter

LEAST_DB = -120.0  # of digital silence
LEAST_PAUSE_S, PAUSE_EDGE_S = 0.5, 0.1  # the beginning and the end of a pause are the echo of speech

Powers = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Levels of a whole recording; all decibels are of full scale, and not below -120."""

    frames: int
    rms_db: float
    peak_db: float
    true_peak_db: float
    integrated_lufs: float | None  # None when it is silent
    noise_floor_db: float  # of the loudest pause
    head_s: float
    tail_s: float

    @property
    def is_silent(self) -> bool:
        return self.integrated_lufs is None


class LevelMeter:
    """Measures sound that comes in blocks `(n, C)`; keeps one number for every hundredth of a second."""

    def __init__(self, sample_rate_hz: int, *, channels: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._step = max(1, round(sample_rate_hz / STEPS_PER_SECOND))
        self._loudness = LoudnessMeter(sample_rate_hz, channels=channels)
        self._true_peak = TruePeakMeter(channels)
        self._frames, self._power, self._peak = 0, 0.0, 0.0
        self._rest = np.zeros(0)
        self._steps: list[Powers] = []

    def add(self, block: Samples) -> None:
        """Go on with finite samples."""
        if not len(block):
            return
        self._loudness.add(block)
        self._true_peak.add(block)
        self._frames += len(block)
        self._peak = max(self._peak, float(np.abs(block).max()))
        powers = np.einsum("nc,nc->n", block, block, dtype=np.float64) / block.shape[1]
        self._power += float(powers.sum())
        powers = np.concatenate([self._rest, powers])
        whole = powers.size // self._step * self._step
        self._steps.append(powers[:whole].reshape(-1, self._step).mean(axis=1).astype(np.float32))
        self._rest = powers[whole:]

    def levels(self) -> Levels:
        """Levels of everything so far."""
        steps = np.concatenate(self._steps) if self._steps else np.zeros(0, np.float32)
        if self._rest.size:
            steps = np.append(steps, np.float32(self._rest.mean()))
        duration_s = self._frames / self._sample_rate_hz
        heard = heard_in(10 * np.log10(np.maximum(steps, np.float32(1e-12))))
        where = np.flatnonzero(heard)
        step_s = self._step / self._sample_rate_hz
        head_s = float(where[0]) * step_s if where.size else duration_s
        tail_s = max(0.0, duration_s - (float(where[-1]) + 1) * step_s) if where.size else 0.0
        return Levels(
            frames=self._frames,
            rms_db=_decibels(self._power / max(1, self._frames), of_power=True),
            peak_db=_decibels(self._peak),
            true_peak_db=_decibels(max(self._peak, self._true_peak.peak())),
            integrated_lufs=self._loudness.integrated_lufs(),
            noise_floor_db=_decibels(_noise_power(steps, heard), of_power=True),
            head_s=head_s,
            tail_s=tail_s,
        )


def _decibels(value: float, *, of_power: bool = False) -> float:
    return max(LEAST_DB, (10 if of_power else 20) * math.log10(max(value, 1e-30)))


def _noise_power(steps: Powers, heard: npt.NDArray[np.bool_]) -> float:
    """Mean power of the quietest half second of the loudest pause, or of everything where there is no pause."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], heard, [True]]).astype(np.int8)))
    edge, shortest = round(PAUSE_EDGE_S * STEPS_PER_SECOND), round(LEAST_PAUSE_S * STEPS_PER_SECOND)
    pauses = [
        _quietest(steps[start + edge : end - edge])
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if end - start >= shortest
    ]
    return max(pauses) if pauses else _quietest(steps)


def _quietest(steps: Powers) -> float:
    window = min(round(LEAST_PAUSE_S * STEPS_PER_SECOND), steps.size)
    if not window:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(steps, dtype=np.float64)])
    return float(((sums[window:] - sums[:-window]) / window).min())
