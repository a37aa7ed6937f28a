"""Sound in blocks → the same, turned down smoothly wherever its true peak would pass a ceiling.

The gain begins to fall 40 ms before a peak and has risen again 40 ms after it, so that no syllable is cut; sound below
the ceiling passes unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from models.audio.sound import Samples
from models.audio.true_peak import REACH, envelope

WINDOW_S = 0.02  # to either side: of the gains that are wanted, and again of those that are smoothed
MOST_OVERSHOOT = 3.0  # a curve through samples rises to no more of their height
CHUNK_SAMPLES = 1 << 16
MARGIN = 10 ** (-0.02 / 20)  # the gain changes a little between samples, too

Floats = npt.NDArray[np.float64]


def limited(blocks: Iterable[Samples], *, sample_rate_hz: int, ceiling_db: float) -> Iterator[npt.NDArray[np.float32]]:
    """Blocks `(n, C)` of any size → blocks whose true peaks stay below `ceiling_db`; as many samples in all."""
    half = max(2, round(WINDOW_S * sample_rate_hz) // 2 * 2)
    context = 2 * half + REACH
    ceiling = 10 ** (ceiling_db / 20) * MARGIN
    held: npt.NDArray[np.float32] | None = None
    for block in blocks:
        if held is None:
            held = np.zeros((context, block.shape[1]), np.float32)  # before the beginning
        held = np.concatenate([held, block.astype(np.float32, copy=False)])
        while len(held) >= CHUNK_SAMPLES + 2 * context:
            yield _limited(held[: CHUNK_SAMPLES + 2 * context], half, ceiling)
            held = held[CHUNK_SAMPLES:]
    if held is not None and len(held) > context:
        ended = np.concatenate([held, np.zeros((context, held.shape[1]), np.float32)])
        yield _limited(ended, half, ceiling)


def _limited(samples: npt.NDArray[np.float32], half: int, ceiling: float) -> npt.NDArray[np.float32]:
    """The inner part of samples that have `2 * half + REACH` more at both ends."""
    context = 2 * half + REACH
    inner = samples[context : len(samples) - context]
    if np.abs(samples).max() * MOST_OVERSHOOT <= ceiling:
        return inner
    peaks = envelope(samples)
    if peaks.max() <= ceiling:
        return inner
    wanted = ceiling / np.maximum(peaks.astype(np.float64), ceiling)
    least = _sliding_least(wanted, half)  # of all gains that are wanted within the window
    gain = _smoothed(least, half)
    return (inner * gain[:, None]).astype(np.float32)


def _sliding_least(values: Floats, half: int) -> Floats:
    """The least value within `half` to either side, for all places that have so many."""
    size, width, least = 2 * half + 1, 1, values
    while width * 2 <= size:
        least = np.minimum(least[:-width], least[width:])
        width *= 2
    rest = size - width
    return np.minimum(least[: least.size - rest], least[rest:]) if rest else least


def _smoothed(values: Floats, half: int) -> Floats:
    """Mean within `half` to either side, weighted as a triangle, for all places that have so many."""
    return _mean(_mean(values, half + 1), half + 1)


def _mean(values: Floats, width: int) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    mean: Floats = (sums[width:] - sums[:-width]) / width
    return mean
