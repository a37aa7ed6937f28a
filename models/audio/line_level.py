"""A line's sound and the loudness that is wanted → the factor that brings it there, as far as its peak allows. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from models.audio.loudness import STEP_S, STEPS_PER_BLOCK, LoudnessMeter
from models.protocol import SAMPLE_RATE_HZ, Waveform

HIGHEST_PEAK = 10 ** (-1 / 20)  # to which a quiet sound may be raised
LEAST_SAMPLES = round((STEPS_PER_BLOCK + 1) * STEP_S * SAMPLE_RATE_HZ)


@dataclass(frozen=True, kw_only=True)
class LineLevel:
    """Factor that brings a sound to a loudness, and by how much its peak keeps it below."""

    gain: float = 1.0
    short_by_db: float = 0.0


def line_level(sound: Iterable[Waveform], *, target_lufs: float) -> LineLevel:
    """Level of a sound in parts `(S,)` at 24 kHz. Silence stays as it is; what is shorter than a block is repeated."""
    meter = LoudnessMeter(SAMPLE_RATE_HZ, channels=1)
    peak, samples = 0.0, 0
    for part in sound:
        if not part.size:
            continue
        peak, samples = max(peak, float(np.abs(part).max())), samples + part.size
        if samples < LEAST_SAMPLES:
            part = np.tile(part, -(-LEAST_SAMPLES // part.size))
            samples += part.size
        meter.add(part[:, None])
    measured = meter.integrated_lufs()
    if measured is None:
        return LineLevel()
    wanted, most = 10 ** ((target_lufs - measured) / 20), max(1.0, HIGHEST_PEAK / peak)
    if wanted <= most:
        return LineLevel(gain=wanted)
    return LineLevel(gain=most, short_by_db=20 * math.log10(wanted / most))
