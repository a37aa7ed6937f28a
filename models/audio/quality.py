"""A take's waveform and the text it should speak → figures, and the gates it failed.

Pure functions; no model is needed. A gate's name is stored with the take and printed in the receipt:
empty, not-finite, silent (none of which is usable), clipped, too-short, too-long, length-cap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.languages import AUTO
from models.protocol import SAMPLE_RATE_HZ
from models.text.spoken_time import SpokenTime, spoken_time

UNUSABLE = frozenset({"empty", "not-finite", "silent"})
ESTIMATED = ("too-short", "too-long")
GATES = ("empty", "not-finite", "silent", "clipped", "too-short", "too-long", "length-cap")

SILENT_PEAK = 0.01
SILENT_RMS = 0.003  # of the loudest 100 ms
WINDOW_SAMPLES = SAMPLE_RATE_HZ // 10
BLOCK_SAMPLES = 200 * WINDOW_SAMPLES
CLIPPED_AT = 0.999
CLIPPED_SHARE = 0.005


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Measurements of the gates, and the names of those that failed."""

    duration_s: float
    peak: float
    loudest_rms: float  # of the loudest 100 ms
    clipped_share: float
    expected: SpokenTime
    failed: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()  # gates that only an estimate would close, of an engine that says it but one way

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def usable(self) -> bool:
        """Whether a take is speech at all, if not good speech."""
        return UNUSABLE.isdisjoint(self.failed)

    def badness(self) -> tuple[bool, int, float]:
        """Key that sorts takes of one text from best to worst, by what was measured."""
        return (not self.usable, len(self.failed), self.clipped_share)

    def figures(self) -> Mapping[str, Any]:
        """The numbers for a receipt, rounded."""
        return {
            "peak": round(self.peak, 4),
            "loudest_rms": round(self.loudest_rms, 4),
            "clipped_share": round(self.clipped_share, 5),
            "expected_s": round(self.expected.expected_s, 2),
            "expected_low_s": round(self.expected.low_s, 2),
            "expected_high_s": round(self.expected.high_s, 2),
        }

    def warnings(self) -> tuple[str, ...]:
        """A sentence on a length that the text does not explain."""
        if not self.doubts:
            return ()
        low_s, high_s = self.expected.low_s, self.expected.high_s
        return (f"It lasts {self.duration_s:.1f} s; {low_s:.1f} to {high_s:.1f} s were expected of its text.",)


def measure(
    waveform: npt.NDArray[np.floating[Any]],
    *,
    text: str,
    language: str = AUTO,
    finish_reason: str = "eos",
    is_seeded: bool = True,
) -> Quality:
    """Quality of a take `(S,)` at 24 kHz, by every gate.

    Where no seed would make another take, a length that was only estimated is doubted, and not judged.
    """
    expected = spoken_time(text, language)
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
        "too-short": waveform.size > 0 and duration_s < expected.shortest_s,
        "too-long": duration_s > expected.longest_s,
        "length-cap": finish_reason == "length",
    }
    doubts = () if is_seeded else tuple(gate for gate in ESTIMATED if found[gate])
    return Quality(
        duration_s=duration_s,
        peak=peak,
        loudest_rms=loudest,
        clipped_share=clipped,
        expected=expected,
        failed=tuple(gate for gate in GATES if found[gate] and gate not in doubts),
        doubts=doubts,
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
