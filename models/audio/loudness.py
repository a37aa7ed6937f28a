"""Sound of any rate and number of channels, block by block → its loudness in LUFS, as ITU-R BS.1770-4 measures it.

K-weighted, in blocks of 400 ms, gated. The weighting's impulse response has died away after a tenth of a second, so
that it is applied to spectra, a block at a time.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from models.audio.sound import Samples
from models.protocol import SAMPLE_RATE_HZ, Waveform

STEP_S, STEPS_PER_BLOCK = 0.1, 4
RESPONSE_S = 0.12  # of the weighting: 140 dB down
OFFSET_LUFS = -0.691  # so that a sine of 997 Hz at full scale has -3.01 LUFS
SILENT_LUFS, BELOW_MEAN_LU = -70.0, 10.0
FFT_SAMPLES = 1 << 15
REFERENCE_HZ = 48_000  # the rate for which the recommendation gives its filters
# The two filters of the recommendation, as frequency, quality and gain: the head's effect, and little bass.
SHELF_HZ, SHELF_Q, SHELF_DB = 1_681.974450955533, 0.7071752369554196, 3.999843853973347
PASS_HZ, PASS_Q = 38.13547087602444, 0.5003270373238773
# Left, right, centre, low-frequency effects, and two surround channels, in the order of WAV files.
SURROUND_WEIGHTS = {5: (1.0, 1.0, 1.0, 1.41, 1.41), 6: (1.0, 1.0, 1.0, 0.0, 1.41, 1.41)}

Floats = npt.NDArray[np.float64]


def loudness_lufs(waveform: Waveform) -> float | None:
    """Integrated loudness of mono samples `(S,)` at 24 kHz; None when they are silent, or shorter than a block."""
    meter = LoudnessMeter(SAMPLE_RATE_HZ, channels=1)
    meter.add(waveform[:, None])
    return meter.integrated_lufs()


class LoudnessMeter:
    """Measures sound that comes in blocks `(n, C)`; keeps one number for every tenth of a second."""

    def __init__(self, sample_rate_hz: int, *, channels: int) -> None:
        self._step = round(STEP_S * sample_rate_hz)
        response = _weighting_response(sample_rate_hz)
        self._spectrum = _spectrum(sample_rate_hz)
        self._weights = np.array(SURROUND_WEIGHTS.get(channels, (1.0,) * channels))
        self._before = np.zeros((response.size - 1, channels))  # input that the next block's filter reaches
        self._rest = np.zeros(0)  # weighted power of samples that do not fill a step
        self._powers: list[Floats] = []

    def add(self, block: Samples) -> None:
        """Go on with samples `(n, C)`, which must be finite."""
        size = FFT_SAMPLES - self._before.shape[0]
        for start in range(0, len(block), size):
            self._add_steps(self._weighted_power(block[start : start + size]))

    def _weighted_power(self, block: Samples) -> Floats:
        """Power of each sample behind both filters, of all channels together `(n,)`."""
        reach = len(self._before)
        joined = np.concatenate([self._before, block])
        self._before = joined[len(joined) - reach :]
        spectra = np.fft.rfft(joined, FFT_SAMPLES, axis=0) * self._spectrum[:, None]
        filtered = np.fft.irfft(spectra, FFT_SAMPLES, axis=0)[reach : len(joined)]
        power: Floats = np.square(filtered) @ self._weights
        return power

    def _add_steps(self, power: Floats) -> None:
        power = np.concatenate([self._rest, power])
        whole = power.size // self._step * self._step
        self._powers.append(power[:whole].reshape(-1, self._step).mean(axis=1))
        self._rest = power[whole:]

    def integrated_lufs(self) -> float | None:
        """Loudness of everything so far; None when it is silent, or shorter than a block."""
        steps = np.concatenate(self._powers) if self._powers else np.zeros(0)
        if steps.size < STEPS_PER_BLOCK:
            return None
        blocks = np.lib.stride_tricks.sliding_window_view(steps, STEPS_PER_BLOCK).mean(axis=1)
        audible = blocks[blocks > _power(SILENT_LUFS)]
        if not audible.size:
            return None
        gate = _power(_lufs(float(audible.mean())) - BELOW_MEAN_LU)
        return _lufs(float(audible[audible > gate].mean()))


def _lufs(power: float) -> float:
    return OFFSET_LUFS + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET_LUFS) / 10))


@functools.cache
def _weighting_response(sample_rate_hz: int) -> Floats:
    """Impulse response of both filters."""
    size = 4 * sample_rate_hz  # so that its end does not reach round to its beginning
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    spectrum = np.ones(z.size, np.complex128)
    for b, a in (_shelf(sample_rate_hz), _high_pass(sample_rate_hz)):
        spectrum *= np.polyval(b[::-1], z) / np.polyval(a[::-1], z)
    return np.fft.irfft(spectrum, size)[: round(RESPONSE_S * sample_rate_hz)]


@functools.cache
def _spectrum(sample_rate_hz: int) -> npt.NDArray[np.complex128]:
    return np.fft.rfft(_weighting_response(sample_rate_hz), FFT_SAMPLES)


def _shelf(sample_rate_hz: int) -> tuple[list[float], list[float]]:
    """Numerator and denominator of the high shelf, by powers of 1/z."""
    k, high = math.tan(math.pi * SHELF_HZ / sample_rate_hz), 10 ** (SHELF_DB / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / SHELF_Q + k * k
    b = [high + band * k / SHELF_Q + k * k, 2 * (k * k - high), high - band * k / SHELF_Q + k * k]
    return [value / a0 for value in b], [1.0, 2 * (k * k - 1) / a0, (1 - k / SHELF_Q + k * k) / a0]


def _high_pass(sample_rate_hz: int) -> tuple[list[float], list[float]]:
    k, a0 = _pass_terms(sample_rate_hz)
    gain = _pass_terms(REFERENCE_HZ)[1] / a0  # the recommendation's own numerator is 1, -2, 1 at 48 kHz
    return [gain, -2 * gain, gain], [1.0, 2 * (k * k - 1) / a0, (1 - k / PASS_Q + k * k) / a0]


def _pass_terms(sample_rate_hz: int) -> tuple[float, float]:
    k = math.tan(math.pi * PASS_HZ / sample_rate_hz)
    return k, 1 + k / PASS_Q + k * k
