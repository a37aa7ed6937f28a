"""A recording as it came → what can be mended about it, mended: channels, offset, scale, silence at its ends.

Each function gives the sound and a sentence on what it did, or none. Pure functions; `mixed` says how channels are
brought together, from their second moments, so that no more than one channel is ever held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from models.protocol import SAMPLE_RATE_HZ, Waveform

Matrix = npt.NDArray[np.float64]

SILENT_CHANNEL = 1e-3  # of the loudest one's power
INVERTED, ALIKE = -0.5, 0.3  # correlation with the loudest channel
SURROUND_CHANNELS, CENTRE = (6, 8), 2  # L R C LFE …: speech is in the middle
LARGEST_OFFSET = 0.01
SCALED_PEAK = 0.98
WINDOW = SAMPLE_RATE_HZ // 50  # 20 ms
SILENCE_BELOW, SPEECH_ABOVE = 0.02, 0.15  # of the loudest window
LONGEST_SILENCE_S, KEPT_SILENCE_S, ADDED_SILENCE_S = 1.0, 0.3, 0.5


def mixed(blocks: Iterable[Waveform]) -> tuple[Waveform, tuple[str, ...]]:
    """The weight of each channel in the mix `(C,)`, from the sound in blocks `(n, C)`; equal where all is well."""
    count, sums, products = 0, np.zeros(1), np.zeros((1, 1))
    for block in blocks:
        values = block.astype(np.float64)
        count += len(values)
        sums = sums + values.sum(axis=0)
        products = products + values.T @ values
    covariance = products / max(1, count) - np.outer(sums, sums) / max(1, count) ** 2
    channels = len(covariance)
    even = np.full(channels, 1 / channels, np.float32)
    power = np.diag(covariance)
    if channels == 1 or not np.isfinite(covariance).all() or power.max() <= 1e-12:
        return even, ()
    weights = _weights(covariance, power)
    if (weights > 0).all():
        return even, ()
    return (weights / np.abs(weights).sum()).astype(np.float32), tuple(_said_of(weights))


def _weights(covariance: Matrix, power: Matrix) -> Matrix:
    channels, loudest = len(power), int(power.argmax())
    heard = power > SILENT_CHANNEL * power[loudest]
    if channels in SURROUND_CHANNELS and heard[CENTRE]:
        return np.asarray(np.eye(channels)[CENTRE], np.float64)
    alike = covariance[loudest] / np.sqrt(np.maximum(power * power[loudest], 1e-24))
    if channels > 2:
        heard &= np.abs(alike) > ALIKE
    return np.where(heard, np.where(alike < INVERTED, -1.0, 1.0), 0.0)


def _said_of(weights: Matrix) -> Iterator[str]:
    left_out = [str(at + 1) for at, weight in enumerate(weights) if weight == 0]
    turned = [str(at + 1) for at, weight in enumerate(weights) if weight < 0]
    if left_out:
        yield f"Of {len(weights)} channels, {', '.join(left_out)} did not have the voice; left out."
    if turned:
        yield f"Of {len(weights)} channels, {', '.join(turned)} had the voice upside down; turned over."


def without_offset(mono: Waveform) -> tuple[Waveform, float]:
    """The sound without a constant offset, and how large that was; 0 where there was none to speak of."""
    offset = float(mono.mean(dtype=np.float64)) if mono.size else 0.0
    if abs(offset) < LARGEST_OFFSET:
        return mono, 0.0
    return (mono - np.float32(offset)).astype(np.float32), offset


def within_full_scale(mono: Waveform) -> tuple[Waveform, tuple[str, ...]]:
    """The sound scaled down where it exceeds full scale, as a file of floats may."""
    peak = float(np.abs(mono).max(initial=0.0))
    if peak <= 1.0:
        return mono, ()
    scaled = mono * np.float32(SCALED_PEAK / peak)
    return scaled, (f"It peaked {20 * np.log10(peak):.1f} dB above full scale; scaled down.",)


def without_long_silence(mono: Waveform) -> tuple[Waveform, tuple[str, ...]]:
    """The sound without long silence before and after it."""
    levels = _levels(mono)
    heard = np.flatnonzero(levels > SILENCE_BELOW * levels.max(initial=0.0))
    if not heard.size:
        return mono, ()
    said, longest, kept = [], round(LONGEST_SILENCE_S * 50), round(KEPT_SILENCE_S * 50)
    first, last = int(heard[0]), int(heard[-1]) + 1
    after = len(levels) - last
    if after > longest:
        mono = mono[: (last + kept) * WINDOW]
        said.append(f"{after / 50:.1f} s of silence after the speech were cut off.")
    if first > longest:
        mono = mono[(first - kept) * WINDOW :]
        said.append(f"{first / 50:.1f} s of silence before the speech were cut off.")
    return mono, tuple(said)


def with_silent_end(mono: Waveform) -> tuple[Waveform, tuple[str, ...]]:
    """The sound with half a second of silence after it, where it ends in the middle of speech."""
    levels = _levels(mono)
    if levels[-2:].max(initial=0.0) <= SPEECH_ABOVE * levels.max(initial=0.0):
        return mono, ()
    silence = np.zeros(round(ADDED_SILENCE_S * SAMPLE_RATE_HZ), np.float32)
    return np.concatenate([mono, silence]), ("It ends in the middle of speech; half a second of silence was added.",)


def _levels(mono: Waveform) -> Matrix:
    """Root mean square of each 20 ms."""
    windows = mono[: mono.size // WINDOW * WINDOW].reshape(-1, WINDOW)
    levels: Matrix = np.sqrt(np.mean(np.square(windows, dtype=np.float64), axis=1))
    return levels
