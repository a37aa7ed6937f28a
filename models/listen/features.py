"""A waveform → what a voice says in it, 100 times a second: mel-frequency cepstra without the voice. Pure functions."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from models.protocol import Waveform

RATE_HZ = 16_000
STEP_SAMPLES, WINDOW_SAMPLES, FFT_SIZE = 160, 400, 512  # 10, 25 ms
STEPS_PER_SECOND = RATE_HZ // STEP_SAMPLES
MELS, CEPSTRA = 30, 11
LOWEST_HZ, HIGHEST_HZ = 100.0, 7_000.0
PREEMPHASIS = 0.97
BLOCK_STEPS = 4_000
FLOOR = 1e-8

Matrix = npt.NDArray[np.float32]


def cepstra(sound: Waveform) -> Matrix:
    """Cepstra without energy, and their changes, `(T, 20)`; `(S,)` at 16 kHz."""
    steps = max(0, (sound.size - WINDOW_SAMPLES) // STEP_SAMPLES + 1)
    found = [_block(sound, at, min(steps, at + BLOCK_STEPS)) for at in range(0, steps, BLOCK_STEPS)]
    static = np.concatenate(found) if found else np.zeros((0, CEPSTRA - 1), np.float32)
    padded = np.pad(static, ((2, 2), (0, 0)), mode="edge") if steps else np.zeros((4, CEPSTRA - 1), np.float32)
    delta = (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10
    return np.concatenate([static, delta], axis=1)


def _block(sound: Waveform, first: int, last: int) -> Matrix:
    samples = sound[first * STEP_SAMPLES : (last - 1) * STEP_SAMPLES + WINDOW_SAMPLES]
    emphasised = np.append(samples[:1], samples[1:] - np.float32(PREEMPHASIS) * samples[:-1])
    windows = np.lib.stride_tricks.sliding_window_view(emphasised, WINDOW_SAMPLES)[::STEP_SAMPLES]
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(WINDOW_SAMPLES).astype(np.float32), FFT_SIZE)) ** 2
    mels = np.log(spectrum.astype(np.float32) @ _mel_filters() + np.float32(FLOOR))
    found: Matrix = (mels @ _cosines()).astype(np.float32)
    return found


@functools.cache
def _mel_filters() -> Matrix:
    """Triangles `(bins, MELS)`."""

    def mel(hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(2595 * np.log10(1 + np.asarray(hz, np.float64) / 700), np.float64)

    edges = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), MELS + 2)
    at = mel(np.fft.rfftfreq(FFT_SIZE, 1 / RATE_HZ))[:, None]
    rising = (at - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - at) / (edges[2:] - edges[1:-1])
    filters: Matrix = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    return filters


@functools.cache
def _cosines() -> Matrix:
    """The discrete cosine transform `(MELS, CEPSTRA - 1)`, without its constant term."""
    order = np.arange(1, CEPSTRA)
    lifter = 1 + 11 * np.sin(np.pi * order / 22)  # so that the higher cepstra count
    angles = np.pi / MELS * (np.arange(MELS)[:, None] + 0.5) * order
    cosines: Matrix = (np.cos(angles) * lifter / MELS).astype(np.float32)
    return cosines


def standardised(found: Matrix, heard: npt.NDArray[np.bool_]) -> Matrix:
    """The features over their mean and spread where something is heard: what is left of them is not the voice's."""
    basis = found[heard] if heard.any() else found
    if not len(basis):
        return found
    scaled: Matrix = (found - basis.mean(axis=0)) / (basis.std(axis=0) + np.float32(1e-5))
    return scaled
