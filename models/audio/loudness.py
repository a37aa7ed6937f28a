"""A recording → its loudness in LUFS, as ITU-R BS.1770-4 measures it: K-weighted, in blocks of 400 ms, gated."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from models.protocol import SAMPLE_RATE_HZ, Waveform

BLOCK_S, STEP_S = 0.4, 0.1
OFFSET_LUFS = -0.691  # so that a sine of 997 Hz at full scale has -3.01 LUFS
SILENT_LUFS, BELOW_MEAN_LU = -70.0, 10.0
# The two filters of the recommendation, as frequency, quality and gain: the head's effect, and little bass.
SHELF_HZ, SHELF_Q, SHELF_DB = 1_681.974450955533, 0.7071752369554196, 3.999843853973347
PASS_HZ, PASS_Q = 38.13547087602444, 0.5003270373238773

Floats = npt.NDArray[np.float64]


def loudness_lufs(waveform: Waveform) -> float | None:
    """Integrated loudness of mono samples `(S,)` at 24 kHz; None when they are silent, or shorter than a block."""
    block, step = round(BLOCK_S * SAMPLE_RATE_HZ), round(STEP_S * SAMPLE_RATE_HZ)
    if waveform.size < block:
        return None
    power = np.concatenate(([0.0], np.cumsum(_weighted(waveform) ** 2)))
    starts = np.arange(0, waveform.size - block + 1, step)
    blocks = (power[starts + block] - power[starts]) / block
    audible = blocks[blocks > _power(SILENT_LUFS)]
    if not audible.size:
        return None
    gate = _power(_lufs(float(audible.mean())) - BELOW_MEAN_LU)
    return _lufs(float(audible[audible > gate].mean()))


def _lufs(power: float) -> float:
    return OFFSET_LUFS + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET_LUFS) / 10))


def _weighted(waveform: Waveform) -> Floats:
    """Samples behind both filters, whose response is applied to the spectrum."""
    size = waveform.size + SAMPLE_RATE_HZ  # behind its end, so that the end does not reach its beginning
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    spectrum = np.fft.rfft(waveform, size)
    for b, a in (_shelf(), _high_pass()):
        spectrum *= np.polyval(b[::-1], z) / np.polyval(a[::-1], z)
    return np.fft.irfft(spectrum, size)[: waveform.size]


def _shelf() -> tuple[list[float], list[float]]:
    """Numerator and denominator of the high shelf, by powers of 1/z."""
    k, high = math.tan(math.pi * SHELF_HZ / SAMPLE_RATE_HZ), 10 ** (SHELF_DB / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / SHELF_Q + k * k
    b = [high + band * k / SHELF_Q + k * k, 2 * (k * k - high), high - band * k / SHELF_Q + k * k]
    return [value / a0 for value in b], [1.0, 2 * (k * k - 1) / a0, (1 - k / SHELF_Q + k * k) / a0]


def _high_pass() -> tuple[list[float], list[float]]:
    k = math.tan(math.pi * PASS_HZ / SAMPLE_RATE_HZ)
    a0 = 1 + k / PASS_Q + k * k
    return [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / a0, (1 - k / PASS_Q + k * k) / a0]
