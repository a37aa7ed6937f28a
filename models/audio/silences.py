"""A take's waveform → where it is silent, and where sound goes on that does not change, as noise does. Pure functions.

All by levels of 10 ms: a few thousandths of a second of processor time for a minute of sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.audio.sound import Samples, Sound, blocks_of
from models.protocol import SAMPLE_RATE_HZ

STEPS_PER_SECOND = 100
STEP_SAMPLES = SAMPLE_RATE_HZ // STEPS_PER_SECOND
BLOCK_SAMPLES = 2_000 * STEP_SAMPLES
BELOW_SPEECH_DB = 38.0  # of the level that a twentieth of the steps exceed
ABOVE_ROOM_DB, LEAST_BELOW_DB = 6.0, 24.0  # a recorded room hums and hisses: the same of the quietest tenth
QUIETEST_DB = -65.0
CLICK_STEPS = 3  # shorter sounds between silences are none
FLAT_STEPS, FLAT_DB = 10, 4.5  # speech does not keep the level of its tenths of a second for long
PAUSE_STEPS = 25
LOOKED_AT_SAMPLES = (2 * SAMPLE_RATE_HZ, 60 * SAMPLE_RATE_HZ)  # of the end: in nearly all takes two seconds tell

Levels = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Silences:
    """Silences of a take in seconds; of one that is silent throughout, everything is leading."""

    leading_s: float = 0.0
    trailing_s: float = 0.0
    longest_s: float = 0.0  # between two sounds
    longest_at_s: float = 0.0
    flat_tail_s: float = 0.0  # sound of one level, before the trailing silence
    last_pause_at_s: float | None = None  # of at least 0.25 s, between two sounds

    def sound_s(self, duration_s: float) -> float:
        """From the first sound to the end of the last."""
        return max(0.0, duration_s - self.leading_s - self.trailing_s)


def silences_of(waveform: Sound) -> Silences:
    """Silences of finite samples `(S,)` at 24 kHz."""
    steps = np.flatnonzero(heard_steps(waveform))
    if not steps.size:
        return Silences(leading_s=waveform.size / SAMPLE_RATE_HZ)
    first, last = int(steps[0]), int(steps[-1]) + 1
    gaps = np.diff(steps) - 1  # silent steps after each heard one
    at = int(gaps.argmax()) if gaps.size else 0
    pauses = np.flatnonzero(gaps >= PAUSE_STEPS)
    return Silences(
        leading_s=first / STEPS_PER_SECOND,
        trailing_s=max(0.0, waveform.size / SAMPLE_RATE_HZ - last / STEPS_PER_SECOND),
        longest_s=float(gaps[at]) / STEPS_PER_SECOND if gaps.size else 0.0,
        longest_at_s=(int(steps[at]) + 1) / STEPS_PER_SECOND,
        flat_tail_s=_flat_tail_steps(waveform, first * STEP_SAMPLES, last * STEP_SAMPLES) / STEPS_PER_SECOND,
        last_pause_at_s=(int(steps[pauses[-1]]) + 1) / STEPS_PER_SECOND if pauses.size else None,
    )


def heard_steps(waveform: Sound) -> npt.NDArray[np.bool_]:
    """Whether each whole 10 ms of finite samples `(S,)` at 24 kHz is more than silence."""
    return heard_in(levels_db(waveform))


def heard_in(levels: Levels) -> npt.NDArray[np.bool_]:
    """Whether each 10 ms of these levels is more than silence."""
    return _without_clicks(levels > _silence_db(levels))


def levels_db(waveform: Sound) -> Levels:
    """Level of each whole 10 ms, in dB of full scale; not below -120."""
    whole = waveform.size // STEP_SAMPLES * STEP_SAMPLES
    levels: Levels = 10 * np.log10(np.maximum(_powers_of(blocks_of(waveform, BLOCK_SAMPLES, stop=whole)), 1e-12))
    return levels


def _powers_of(blocks: Iterable[Samples]) -> Levels:
    steps = (block.reshape(-1, STEP_SAMPLES) for block in blocks)
    powers = [np.einsum("ns,ns->n", block, block, dtype=np.float64) for block in steps]
    return (np.concatenate(powers) if len(powers) != 1 else powers[0]) / STEP_SAMPLES if powers else np.zeros(0)


def _silence_db(levels: Levels) -> float:
    """The level below which a take is silent, from how loud its speech is, and its room."""
    sounding = levels[levels > QUIETEST_DB]
    if not sounding.size:
        return QUIETEST_DB
    sounding.sort()
    room_db, speech_db = _percentile(sounding, 10), _percentile(sounding, 95)
    return float(
        max(QUIETEST_DB, speech_db - BELOW_SPEECH_DB, min(room_db + ABOVE_ROOM_DB, speech_db - LEAST_BELOW_DB))
    )


def _percentile(ordered: Levels, percent: float) -> float:
    """As `np.percentile`, of sorted levels, in a tenth of its time."""
    below, share = divmod((ordered.size - 1) * percent / 100, 1)
    low, high = ordered[int(below)], ordered[min(int(below) + 1, ordered.size - 1)]
    return float(low + (high - low) * share)


def _without_clicks(heard: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], heard, [False]]).astype(np.int8)))
    kept: npt.NDArray[np.bool_] = heard.copy()
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start < CLICK_STEPS:
            kept[start:end] = False
    return kept


def _differences(waveform: Sound, start: int, stop: int) -> Iterator[Samples]:
    """Differences of samples that follow one another, the last one's to silence."""
    for at in range(start, stop, BLOCK_SAMPLES):
        end = min(at + BLOCK_SAMPLES, stop)
        differences = -waveform[at:end]
        following = waveform[at + 1 : min(end + 1, stop)]
        differences[: following.size] += following
        yield differences


def _flat_tail_steps(waveform: Sound, start: int, stop: int) -> int:
    """How many of the last steps before `stop` keep one level; speech rises and falls with its syllables.

    By differences of samples: noise whose power is in its lowest tones seems to rise and fall otherwise.
    """
    for looked_at in LOOKED_AT_SAMPLES:
        first = max(start, stop - looked_at)
        flat = _flat_steps(_powers_of(_differences(waveform, first, stop)))
        if first == start or flat < (stop - first) // STEP_SAMPLES - FLAT_STEPS:
            break
    return flat


def _flat_steps(powers: Levels) -> int:
    if powers.size < 2 * FLAT_STEPS:
        return 0
    sums = np.concatenate([[0.0], np.cumsum(np.maximum(powers, 1e-12))])
    smooth = 10 * np.log10(np.maximum(sums[FLAT_STEPS:] - sums[:-FLAT_STEPS], 1e-12) / FLAT_STEPS)[::-1]
    smooth = smooth[FLAT_STEPS // 2 :]  # the last tenth of a second may fade out
    spread = np.maximum.accumulate(smooth) - np.minimum.accumulate(smooth)
    flat = int(np.searchsorted(spread, FLAT_DB))
    return flat + FLAT_STEPS if flat >= FLAT_STEPS else 0
