"""A recording → how much its level changes, in the part of the spectrum where that changes most. Pure.

Speech comes and goes, and one vowel differs from the next; noise, hum and the sound of a crowd keep their level in
every band. benchmarks/bench_recordings.py measures both.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from models.protocol import SAMPLE_RATE_HZ, Waveform

LEAST_CHANGE_DB = 5.0  # below it there is no speech
CLEAR_CHANGE_DB = 12.0  # below it, it may be something else
BAND_EDGES_HZ = (200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
HOP_SAMPLES, WINDOW_HOPS, SMOOTHED_HOPS = SAMPLE_RATE_HZ // 50, 2, 3
BLOCK_HOPS = 256  # of windows that are transformed together
ACTIVE_DB = 25.0
LEAST_SHARE = 0.02  # of the loudest band's power: a band with less holds clicks and traces of the others
LEAST_POWER = 1e-5  # of all power: below it, the sound is outside the bands
FADE_SAMPLES = SAMPLE_RATE_HZ // 10
Matrix = npt.NDArray[np.float64]


def level_change_db(mono: Waveform) -> float:
    """The level that a band of `(S,)` has a tenth of the time, above the one that it has for three quarters of it.

    Of the band where that is largest, over the time when anything is to be heard. 8 dB and more in speech, also
    whispered, shouted or half drowned in noise; 4 and less in noise and hum. 0 if nothing is there.
    """
    fade = np.minimum(1.0, np.arange(mono.size) / FADE_SAMPLES)  # an edge is a click, which is in every band
    sound = (mono - mono.mean(dtype=np.float64)) * fade * fade[::-1] if mono.size else np.zeros(0)
    bands, everything = _powers(sound)
    if len(bands) < SMOOTHED_HOPS or bands.sum() <= LEAST_POWER * everything:
        return 0.0
    sums = np.cumsum(np.vstack([np.zeros(bands.shape[1]), bands]), axis=0)
    levels = np.maximum(sums[SMOOTHED_HOPS:] - sums[:-SMOOTHED_HOPS], 1e-30)
    means = levels.mean(axis=0)
    heard = means > LEAST_SHARE * means.max()
    whole = (levels[:, heard] / means[heard]).sum(axis=1)  # each band counts alike
    active = levels[:, heard][whole > whole.max() * 10 ** (-ACTIVE_DB / 10)]
    decibels = 10 * np.log10(active)
    return float((np.percentile(decibels, 90, axis=0) - np.percentile(decibels, 25, axis=0)).max())


def _powers(sound: Matrix) -> tuple[Matrix, float]:
    """Power of each band in windows of 40 ms, 20 ms apart, `(T, B)`; and of everything."""
    size = WINDOW_HOPS * HOP_SAMPLES
    if sound.size < size:
        return np.zeros((0, len(BAND_EDGES_HZ) - 1)), 0.0
    windows = np.lib.stride_tricks.sliding_window_view(sound, size)[::HOP_SAMPLES]
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    edges = np.searchsorted(frequencies, BAND_EDGES_HZ)
    found, everything = [], 0.0
    for start in range(0, len(windows), BLOCK_HOPS):
        power = np.square(np.abs(np.fft.rfft(windows[start : start + BLOCK_HOPS] * np.hanning(size), axis=1)))
        everything += float(power.sum())
        found.append(np.stack([power[:, low:high].sum(axis=1) for low, high in itertools.pairwise(edges)], 1))
    return np.concatenate(found), everything
