"""A take's waveform and the text it should speak → figures, and the gates it failed.

Pure functions; no model is needed. A gate's name is stored with the take and printed in the receipt:
empty, not-finite, silent (none of which is usable), clipped, too-short, too-long, length-cap, long-silence, runs-on,
click, dissimilar, misheard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.audio.clicks import click_at_s
from models.audio.silences import Silences, silences_of
from models.audio.sound import Sound, blocks_of
from models.audio.speech_detector import SpeechEnd
from models.languages import AUTO
from models.protocol import SAMPLE_RATE_HZ
from models.text.spoken_time import SpokenTime, spoken_time

UNUSABLE = frozenset({"empty", "not-finite", "silent"})
ESTIMATED = ("too-short", "too-long", "long-silence", "runs-on", "click")
HEARD_OTHERWISE = "misheard"  # a recogniser's verdict, which is added to what was measured
OTHER_VOICE = "dissimilar"  # from its lock, by the model's own speaker encoder
GATES = (
    *("empty", "not-finite", "silent", "clipped", "too-short", "too-long", "length-cap", "long-silence", "runs-on"),
    "click",
    OTHER_VOICE,
    HEARD_OTHERWISE,
)

SILENT_PEAK = 0.01
SILENT_RMS = 0.003  # of the loudest 100 ms
WINDOW_SAMPLES = SAMPLE_RATE_HZ // 10
BLOCK_SAMPLES = 200 * WINDOW_SAMPLES
CLIPPED_AT = 0.999
CLIPPED_SHARE = 0.005
# Longest silence between two sounds, by the strongest mark in the text; as long again at either end, and 2 s at most.
LONGEST_PAUSES_S = ((re.compile(r"\n\s*\n|\.\.\.|…|[—–]"), 3.0), (re.compile(r"[.!?。！？।؟\n]\s*\S"), 2.2))
LONGEST_GAP_S, LONGEST_AT_ENDS_S = 1.4, 2.0
PAUSE_GROWTH, MOST_GROWTH_S = 0.03, 2.0  # of the expected time: a long line may pause for longer
LONGEST_TAIL_S = 1.0  # of noise after the speech, or of a tone
DOUBTFUL, DOUBTFUL_S = 1.6, 1.0  # times the expected time, and so much more
RUNS_ON = 2.0  # the same, where more is spoken after a pause
LOOKED_AT_S = 12.0  # of a doubtful take's end
LONGEST_COMPARED_S = 120.0  # of takes that are compared with another reading of their text


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Measurements of the gates, and the names of those that failed."""

    duration_s: float
    peak: float
    loudest_rms: float  # of the loudest 100 ms
    clipped_share: float
    expected: SpokenTime
    silences: Silences = field(default_factory=Silences)
    click_at_s: float | None = None
    similarity: float | None = None  # cosine of its speaker embedding with its lock's, where the model has an encoder
    usual_similarity: float | None = None  # takes of this voice are at least so similar
    noise: Mapping[str, float] | None = None  # {speech, background, overall}, of a candidate that was rated
    heard: Mapping[str, Any] | None = None  # {transcript, distance, worst, recogniser}, where a recogniser heard it
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
            "leading_silence_s": round(self.silences.leading_s, 2),
            "trailing_silence_s": round(self.silences.trailing_s, 2),
            "longest_silence_s": round(self.silences.longest_s, 2),
            **({"click_at_s": round(self.click_at_s, 3)} if self.click_at_s is not None else {}),
            "similarity": None if self.similarity is None else round(self.similarity, 4),
            **({"noise": dict(self.noise)} if self.noise is not None else {}),
            **({"heard": self.heard} if self.heard is not None else {}),
        }

    def warnings(self) -> tuple[str, ...]:
        """Sentences on a length or a silence that the text does not explain."""
        return tuple(self._doubts())

    @property
    def may_run_on(self) -> bool:
        """Whether a pause comes so late that the text may have been read by then, and more be said after it."""
        pause_s, silences = self.silences.last_pause_at_s, self.silences
        if not self.passed or self.doubts or pause_s is None or self.duration_s > LONGEST_COMPARED_S:
            return False
        return pause_s - silences.leading_s > self.expected.low_s

    def with_more_said(self, *, is_seeded: bool) -> Quality:
        """The same after more was found to be said than its text."""
        if is_seeded:
            return replace(self, failed=(*self.failed, "runs-on"))
        return replace(self, doubts=(*self.doubts, "runs-on"))

    def with_verdict(self, heard: Mapping[str, Any], *, passes: bool, is_seeded: bool) -> Quality:
        """The same with what a recogniser heard, and its verdict."""
        verdict = () if passes else (HEARD_OTHERWISE,)
        if is_seeded:
            return replace(self, heard=heard, failed=(*self.failed, *verdict))
        return replace(self, heard=heard, doubts=(*self.doubts, *verdict))

    def with_similarity(self, similarity: float, *, least: float, usual: float | None, is_seeded: bool) -> Quality:
        """The same with how alike the take and its lock sound; a take below `least` fails, one below `usual` is odd."""
        compared = replace(self, similarity=similarity, usual_similarity=usual)
        if similarity >= least:
            return compared
        if is_seeded:
            return replace(compared, failed=(*self.failed, OTHER_VOICE))
        return replace(compared, doubts=(*self.doubts, OTHER_VOICE))

    @property
    def is_unlike(self) -> bool:
        """Whether the take sounds less like its lock than takes of this voice do."""
        return self.similarity is not None and self.similarity < (self.usual_similarity or -1.0)

    def _doubts(self) -> Iterator[str]:
        if self.is_unlike:
            yield (
                f"It sounds less like its voice than usual: similarity {self.similarity:.2f}, "
                f"where {self.usual_similarity:.2f} or more was expected."
            )
        low_s, high_s, silences = self.expected.low_s, self.expected.high_s, self.silences
        if not {"too-short", "too-long"}.isdisjoint(self.doubts):
            yield f"It lasts {self.duration_s:.1f} s; {low_s:.1f} to {high_s:.1f} s were expected of its text."
        if "runs-on" in self.doubts:
            yield f"Sound goes on after its text: it lasts {self.duration_s:.1f} s."
        if self.click_at_s is not None and "click" in self.doubts:
            yield f"It clicks at {self.click_at_s:.2f} s."
        if HEARD_OTHERWISE in self.doubts and self.heard is not None:
            worst = self.heard["worst"]
            yield (
                f"Instead of {worst['expected']!r}, {worst['heard']!r} is heard"
                f" from {worst['start_s']:.1f} to {worst['end_s']:.1f} s."
            )
        if "long-silence" in self.doubts:
            longest_s, at_s = max(
                (silences.leading_s, 0.0),
                (silences.longest_s, silences.longest_at_s),
                (silences.trailing_s, self.duration_s - silences.trailing_s),
            )
            yield f"It is silent for {longest_s:.1f} s from {at_s:.1f} s on."


def measure(
    waveform: Sound,
    *,
    text: str,
    language: str = AUTO,
    finish_reason: str = "eos",
    is_seeded: bool = True,
    speech_end: SpeechEnd | None = None,
    pauses_s: Sequence[float] = (),
) -> Quality:
    """Quality of a take `(S,)` at 24 kHz, by every gate; `pauses_s` were asked for within it.

    Where no seed would make another take, what follows from an estimate is doubted, and not judged. `speech_end` tells
    speech from noise in doubtful takes; without it only noise of one level is known.
    """
    expected = spoken_time(text, language).with_silence(sum(pauses_s))
    duration_s = waveform.size / SAMPLE_RATE_HZ
    finite = all(bool(np.isfinite(block).all()) for block in blocks_of(waveform, BLOCK_SAMPLES))
    magnitudes = map(np.abs, blocks_of(waveform, BLOCK_SAMPLES, stop=waveform.size if finite else 0))
    figures = [(float(block.max()), int((block >= CLIPPED_AT).sum())) for block in magnitudes]
    peak = max((peak for peak, _ in figures), default=0.0)
    clipped = sum(count for _, count in figures) / max(1, waveform.size)
    loudest = loudest_rms(waveform) if finite else 0.0
    is_silent = waveform.size > 0 and finite and (peak < SILENT_PEAK or loudest < SILENT_RMS)
    silences = silences_of(waveform) if finite and not is_silent else Silences()
    click = click_at_s(waveform) if finite and not is_silent else None
    found = {
        "empty": waveform.size == 0,
        "not-finite": not finite,
        "silent": is_silent,
        "clipped": clipped > CLIPPED_SHARE,
        "too-short": waveform.size > 0 and duration_s < expected.shortest_s,
        "too-long": duration_s > expected.longest_s,
        "length-cap": finish_reason == "length",
        "long-silence": _is_silent_for_long(silences, text, expected, max(pauses_s, default=0.0)),
        "runs-on": finite and not is_silent and _runs_on(waveform, silences, expected, speech_end),
        "click": click is not None,
    }
    doubts = () if is_seeded else tuple(gate for gate in ESTIMATED if found[gate])
    return Quality(
        duration_s=duration_s,
        peak=peak,
        loudest_rms=loudest,
        clipped_share=clipped,
        expected=expected,
        silences=silences,
        click_at_s=click,
        failed=tuple(gate for gate in GATES if found.get(gate) and gate not in doubts),
        doubts=doubts,
    )


def _is_silent_for_long(silences: Silences, text: str, expected: SpokenTime, longest_pause_s: float) -> bool:
    growth_s = min(MOST_GROWTH_S, PAUSE_GROWTH * (expected.expected_s - expected.silent_s)) + longest_pause_s
    gap_s = next((longest_s for marks, longest_s in LONGEST_PAUSES_S if marks.search(text.strip())), LONGEST_GAP_S)
    at_ends_s = max(silences.leading_s, silences.trailing_s)
    return silences.longest_s > gap_s + growth_s or at_ends_s > LONGEST_AT_ENDS_S + growth_s


def _runs_on(waveform: Sound, silences: Silences, expected: SpokenTime, speech_end: SpeechEnd | None) -> bool:
    """Whether noise follows the speech, or more speech than the text explains follows a pause."""
    end_s = waveform.size / SAMPLE_RATE_HZ - silences.trailing_s
    sound_s = end_s - silences.leading_s
    is_tail_flat = LONGEST_TAIL_S < silences.flat_tail_s < sound_s - LONGEST_TAIL_S / 5
    if not is_tail_flat and sound_s < DOUBTFUL * expected.expected_s + DOUBTFUL_S:
        return False
    pause_s = -1.0 if silences.last_pause_at_s is None else silences.last_pause_at_s - silences.leading_s
    goes_on = sound_s > RUNS_ON * expected.expected_s + DOUBTFUL_S and pause_s > expected.low_s
    if speech_end is None:
        return is_tail_flat or goes_on
    start_s = max(0.0, end_s - LOOKED_AT_S)
    last = waveform[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)].astype(np.float32)
    spoken_s = start_s + speech_end(last)
    return (
        goes_on or 0 < spoken_s < end_s - LONGEST_TAIL_S
    )  # where it hears no speech at all, it does not know the voice


def loudest_rms(waveform: Sound) -> float:
    """Root mean square of the loudest 100 ms of `(S,)`; 0 for nothing."""
    if waveform.size == 0:
        return 0.0
    if waveform.size < WINDOW_SAMPLES:
        return float(np.sqrt(np.mean(np.square(waveform[:], dtype=np.float64))))
    return max(
        map(_loudest_window, blocks_of(waveform, BLOCK_SAMPLES, stop=waveform.size // WINDOW_SAMPLES * WINDOW_SAMPLES))
    )


def _loudest_window(block: npt.NDArray[np.floating[Any]]) -> float:
    """Root mean square of the loudest window of `(n * WINDOW_SAMPLES,)`."""
    squares = np.square(block.reshape(-1, WINDOW_SAMPLES), dtype=np.float64)
    return float(np.sqrt(np.mean(squares, axis=1)).max())
