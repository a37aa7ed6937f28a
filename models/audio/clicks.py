"""A take's waveform → where it clicks: a few samples far above the sound around them. Pure functions.

Measured on the second difference of the samples, in which a click is tall and voiced speech is low, by steps of 1 ms.
The burst of a consonant is no click, since sound of its own kind follows it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.audio.sound import Samples, Sound, blocks_of
from models.protocol import SAMPLE_RATE_HZ

STEP_SAMPLES = SAMPLE_RATE_HZ // 1_000
BLOCK_SAMPLES = 20_000 * STEP_SAMPLES
AROUND_STEPS, BETWEEN_STEPS = 10, 2  # of sound on either side, and those next to the click, which it reaches into
LOUDER = 40.0  # times the sound around it; speech reaches 27
QUIETEST = 0.0025  # second difference of the sound around it: below that, everything would be a click
Levels = npt.NDArray[np.float64]


def click_at_s(waveform: Sound) -> float | None:
    """Time of the most prominent click in finite samples `(S,)` at 24 kHz; None where there is none."""
    found = [
        (prominence, at / SAMPLE_RATE_HZ + place_s)
        for at, block in zip(range(0, waveform.size, BLOCK_SAMPLES), blocks_of(waveform, BLOCK_SAMPLES), strict=True)
        for prominence, place_s in [_most_prominent(block)]
    ]
    prominence, place_s = max(found, default=(0.0, 0.0))
    return place_s if prominence >= LOUDER else None


def _most_prominent(block: Samples) -> tuple[float, float]:
    """How many times louder than the sound around it the most prominent 1 ms of a block is, and when it is, in s."""
    steps = (block.size - 2) // STEP_SAMPLES
    if steps <= BETWEEN_STEPS:
        return 0.0, 0.0
    differences = np.diff(block[: steps * STEP_SAMPLES + 2], 2).reshape(steps, STEP_SAMPLES)
    tallest = np.maximum(differences.max(axis=1), -differences.min(axis=1))
    energy = np.concatenate(([0.0], np.cumsum(np.einsum("ij,ij->i", differences, differences), dtype=np.float64)))
    each = np.arange(steps)
    before = _mean(energy, each - BETWEEN_STEPS - AROUND_STEPS + 1, each - BETWEEN_STEPS + 1)
    after = _mean(energy, each + BETWEEN_STEPS, each + BETWEEN_STEPS + AROUND_STEPS)
    prominence = tallest / np.sqrt(np.maximum(np.maximum(before, after), QUIETEST**2))
    most = int(prominence.argmax())
    return float(prominence[most]), most * STEP_SAMPLES / SAMPLE_RATE_HZ


def _mean(energy: Levels, start: npt.NDArray[np.intp], stop: npt.NDArray[np.intp]) -> Levels:
    """Mean square of the steps from `start` to `stop`, as far as there are any."""
    start, stop = (np.clip(edge, 0, energy.size - 1) for edge in (start, stop))
    return np.asarray((energy[stop] - energy[start]) / (np.maximum(stop - start, 1) * STEP_SAMPLES))
