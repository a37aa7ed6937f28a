"""The lines of a job in order → one track with their pauses, and captions from the true durations. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.protocol import SAMPLE_RATE_HZ, Waveform

SILENCE_BLOCK = np.zeros(SAMPLE_RATE_HZ, np.float32)


@dataclass(frozen=True, kw_only=True)
class TrackLine:
    """One line of the track."""

    text: str
    samples: int
    pause_samples: int  # silence after it


@dataclass(frozen=True, kw_only=True)
class Cue:
    """A caption and when it is spoken, in seconds from the start of the track."""

    text: str
    start_s: float
    end_s: float


def pause_samples(pause_s: float) -> int:
    """Whole samples of a pause."""
    return round(pause_s * SAMPLE_RATE_HZ)


def total_samples(lines: Iterable[TrackLine]) -> int:
    """Length of the whole track."""
    return sum(line.samples + line.pause_samples for line in lines)


def waveforms(lines: Sequence[TrackLine], *, load: Callable[[int], Iterable[Waveform]]) -> Iterator[Waveform]:
    """The track's sound, piece by piece; `load(i)` gives that of line `i`, in parts `(S,)`."""
    for number, line in enumerate(lines):
        if line.samples:
            yield from load(number)
        rest = line.pause_samples
        while rest > 0:
            yield SILENCE_BLOCK[:rest]
            rest -= SILENCE_BLOCK.size


def cues(lines: Iterable[TrackLine]) -> Iterator[Cue]:
    """A caption for every line that is spoken, over the time in which it is."""
    position = 0
    for line in lines:
        end = position + line.samples
        if line.samples:
            yield Cue(text=line.text, start_s=position / SAMPLE_RATE_HZ, end_s=end / SAMPLE_RATE_HZ)
        position = end + line.pause_samples


def srt(captions: Iterable[Cue]) -> str:
    """SubRip text."""
    parts = (
        f"{number}\n{timestamp(cue.start_s, mark=',')} --> {timestamp(cue.end_s, mark=',')}\n{_caption(cue.text)}\n"
        for number, cue in enumerate(captions, start=1)
    )
    return "\n".join(parts)


def vtt(captions: Iterable[Cue]) -> str:
    """WebVTT text."""
    parts = (
        f"{timestamp(cue.start_s, mark='.')} --> {timestamp(cue.end_s, mark='.')}\n{_escaped(_caption(cue.text))}\n"
        for cue in captions
    )
    return "\n".join(["WEBVTT\n", *parts])


def timestamp(seconds: float, *, mark: str) -> str:
    """`00:01:02,345`; `mark` comes before the milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{mark}{milliseconds % 1000:03d}"


def _caption(text: str) -> str:
    """A blank line would end the caption, and `-->` would begin another."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip()).replace("-->", "→")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
