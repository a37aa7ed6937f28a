"""24 kHz waveform -> log mel spectrogram, as the speaker encoder was trained on.

Computed by NumPy, in float64 up to the logarithm: it is done once for each voice, and rounding shows in the spectrum of
near silence. Mirrors `mel_spectrogram` in Qwen3-TTS `modeling_qwen3_tts.py`, and the Slaney
filterbank that librosa makes for it.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

N_FFT = 1024
HOP_SAMPLES = 256
PADDING_SAMPLES = (N_FFT - HOP_SAMPLES) // 2  # mirrored at both ends
MAGNITUDE_FLOOR = 1e-9  # added to the power, under the root
LOG_FLOOR = 1e-5

# The Slaney scale: linear up to 1000 Hz, then logarithmic with 27 steps for each factor of 6.4.
LINEAR_HZ_PER_MEL = 200.0 / 3
LOG_FROM_HZ = 1000.0
LOG_FROM_MEL = LOG_FROM_HZ / LINEAR_HZ_PER_MEL
LOG_STEP = math.log(6.4) / 27.0


def log_mel(
    waveform: npt.NDArray[np.float32], *, mel_bins: int = 128, sample_rate_hz: int = 24_000
) -> npt.NDArray[np.float32]:
    """Mono `(S,)` -> `(frames, mel_bins)`. The waveform must be longer than `PADDING_SAMPLES`."""
    padded = np.pad(waveform.astype(np.float64), PADDING_SAMPLES, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP_SAMPLES]
    spectra = np.concatenate([_magnitudes(part) for part in _pieces(frames)])
    mel = spectra @ mel_filters(mel_bins, sample_rate_hz).T
    return np.asarray(np.log(np.maximum(mel, LOG_FLOOR)), np.float32)


def _pieces(frames: npt.NDArray[np.float64], step: int = 1024) -> list[npt.NDArray[np.float64]]:
    return [frames[start : start + step] for start in range(0, len(frames), step)]


def _magnitudes(frames: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    periodic_hann = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(N_FFT) / N_FFT)
    spectrum = np.fft.rfft(frames * periodic_hann, axis=1)
    return np.sqrt(np.square(spectrum.real) + np.square(spectrum.imag) + MAGNITUDE_FLOOR)


@functools.lru_cache(maxsize=4)
def mel_filters(mel_bins: int, sample_rate_hz: int) -> npt.NDArray[np.float64]:
    """Triangular filters of equal area, `(mel_bins, N_FFT / 2 + 1)`, from 0 Hz to half the sample rate."""
    bins_hz = np.linspace(0, sample_rate_hz / 2, N_FFT // 2 + 1)
    edges_hz = mel_to_hz(np.linspace(0, hz_to_mel(sample_rate_hz / 2), mel_bins + 2))
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising = (bins_hz - low) / (centre - low)
    falling = (high - bins_hz) / (high - centre)
    filters: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * (2.0 / (high - low))
    # librosa keeps its filters in float32; so do the official spectrograms
    return filters.astype(np.float32).astype(np.float64)


def hz_to_mel(hz: float) -> float:
    if hz < LOG_FROM_HZ:
        return hz / LINEAR_HZ_PER_MEL
    return LOG_FROM_MEL + math.log(hz / LOG_FROM_HZ) / LOG_STEP


def mel_to_hz(mel: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    logarithmic = LOG_FROM_HZ * np.exp(LOG_STEP * (mel - LOG_FROM_MEL))
    return np.where(mel < LOG_FROM_MEL, mel * LINEAR_HZ_PER_MEL, logarithmic)
