"""A take's waveform and the text it should speak → figures, and the gates it failed.

Pure functions; no model is needed. A gate's name is stored with the take and printed in the receipt:
empty, not-finite, silent (none of which is usable), clipped, too-short, too-long, length-cap.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.protocol import SAMPLE_RATE_HZ

UNUSABLE = frozenset({"empty", "not-finite", "silent"})
GATES = ("empty", "not-finite", "silent", "clipped", "too-short", "too-long", "length-cap")

SILENT_PEAK = 0.01
SILENT_RMS = 0.003  # of the loudest 100 ms
WINDOW_SAMPLES = SAMPLE_RATE_HZ // 10
BLOCK_SAMPLES = 200 * WINDOW_SAMPLES
CLIPPED_AT = 0.999
CLIPPED_SHARE = 0.005

# A text of expected length e may last from e * SHORTEST - SLACK_S to e * LONGEST + PAUSE_S: slow voices, whispering
# and acted pauses are legitimate; a tenth of the length or ten times as much are not.
SHORTEST = 0.25
SLACK_S = 0.3
LONGEST = 4.0
PAUSE_S = 4.0

LETTER_S = 0.06
IDEOGRAPH_S = 0.24
KANA_S = 0.15
HANGUL_S = 0.20
DIGIT_S = 0.35
SYMBOL_S = 0.30  # "%" and "€" are words
STOP_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Measurements of the gates, and the names of those that failed."""

    duration_s: float
    peak: float
    loudest_rms: float  # of the loudest 100 ms
    clipped_share: float
    expected_s: float
    failed: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def usable(self) -> bool:
        """Whether a take is speech at all, if not good speech."""
        return UNUSABLE.isdisjoint(self.failed)

    def badness(self) -> tuple[bool, int, float]:
        """Key that sorts takes of one text from best to worst."""
        return (not self.usable, len(self.failed), abs(self.duration_s - self.expected_s))

    def figures(self) -> Mapping[str, Any]:
        """The numbers for a receipt, rounded."""
        return {
            "peak": round(self.peak, 4),
            "loudest_rms": round(self.loudest_rms, 4),
            "clipped_share": round(self.clipped_share, 5),
            "expected_s": round(self.expected_s, 2),
        }


def measure(waveform: npt.NDArray[np.floating[Any]], *, text: str, finish_reason: str = "eos") -> Quality:
    """Quality of a take `(S,)` at 24 kHz, by every gate."""
    expected_s = expected_duration_s(text)
    duration_s = waveform.size / SAMPLE_RATE_HZ
    finite = all(bool(np.isfinite(block).all()) for block in _blocks(waveform))
    magnitudes = map(np.abs, _blocks(waveform if finite else waveform[:0]))
    figures = [(float(block.max()), int((block >= CLIPPED_AT).sum())) for block in magnitudes]
    peak = max((peak for peak, _ in figures), default=0.0)
    clipped = sum(count for _, count in figures) / max(1, waveform.size)
    loudest = loudest_rms(waveform) if finite else 0.0
    found = {
        "empty": waveform.size == 0,
        "not-finite": not finite,
        "silent": waveform.size > 0 and finite and (peak < SILENT_PEAK or loudest < SILENT_RMS),
        "clipped": clipped > CLIPPED_SHARE,
        "too-short": waveform.size > 0 and duration_s < expected_s * SHORTEST - SLACK_S,
        "too-long": duration_s > expected_s * LONGEST + PAUSE_S,
        "length-cap": finish_reason == "length",
    }
    return Quality(
        duration_s=duration_s,
        peak=peak,
        loudest_rms=loudest,
        clipped_share=clipped,
        expected_s=expected_s,
        failed=tuple(gate for gate in GATES if found[gate]),
    )


def loudest_rms(waveform: npt.NDArray[np.floating[Any]]) -> float:
    """Root mean square of the loudest 100 ms of `(S,)`; 0 for nothing."""
    if waveform.size == 0:
        return 0.0
    if waveform.size < WINDOW_SAMPLES:
        return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    return max(map(_loudest_window, _blocks(waveform[: waveform.size // WINDOW_SAMPLES * WINDOW_SAMPLES])))


def _loudest_window(block: npt.NDArray[np.floating[Any]]) -> float:
    """Root mean square of the loudest window of `(n * WINDOW_SAMPLES,)`."""
    squares = np.square(block.reshape(-1, WINDOW_SAMPLES), dtype=np.float64)
    return float(np.sqrt(np.mean(squares, axis=1)).max())


def _blocks(waveform: npt.NDArray[np.floating[Any]]) -> Iterator[npt.NDArray[np.floating[Any]]]:
    """The samples in blocks: figures of a line of half an hour must not take its memory several times."""
    for start in range(0, waveform.size, BLOCK_SAMPLES):
        yield waveform[start : start + BLOCK_SAMPLES]


def expected_duration_s(text: str) -> float:
    """Seconds that an unhurried voice takes for `text`: a rule of thumb by script, right within a factor of two."""
    return sum(_duration_of(character) for character in text)


def _duration_of(character: str) -> float:
    category = unicodedata.category(character)
    if category[0] == "L":
        return _letter_duration_s(ord(character))
    if category[0] == "N":
        return DIGIT_S
    if category[0] == "S":
        return SYMBOL_S
    return STOP_S if character in ".!?…:;。！？" else 0.0


def _letter_duration_s(point: int) -> float:
    if 0x3040 <= point <= 0x30FF:
        return KANA_S
    if 0x3400 <= point <= 0x9FFF or 0x20000 <= point <= 0x3FFFF or 0xF900 <= point <= 0xFAFF:
        return IDEOGRAPH_S
    if 0xAC00 <= point <= 0xD7AF:
        return HANGUL_S
    return LETTER_S
