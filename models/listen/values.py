"""Values that the runner and the process that listens exchange: takes, and what is heard in them and when.

They cross a pipe (`models/processes/wire.py`), and change only by addition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.protocol import Waveform

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a model may write any byte, and people's terminals obey some


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedWord:
    """A word as it is written, where it begins in its text, and when it is spoken in a take."""

    text: str
    place: int
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class TimeWords:
    """Runner → listening process: when is each word of this text spoken?"""

    id: str
    path: str  # of an audio file
    text: str
    spoken: str = ""  # how it was read, where that is otherwise
    language: str = "auto"
    aligner: str = ""  # with its folder; "" = eSpeak NG's reading


@dataclass(frozen=True, kw_only=True)
class WordsTimed:
    """The answer: words in order, none where nothing is heard."""

    id: str
    words: tuple[TimedWord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardWord:
    """A word that a recogniser heard, when, and how sure it is (0 … 1)."""

    text: str
    start_s: float
    end_s: float
    confidence: float


def readable(text: str) -> str:
    """Text that a model wrote, without what no person reads."""
    return _CONTROL.sub("", text).strip()


@dataclass(frozen=True, kw_only=True)
class Hear:
    """Runner → listening process: what is said in these samples?"""

    id: str
    waveform: Waveform
    recogniser: str  # a name of `models.listen.recognisers`; "" = hear no words
    language: str = "auto"
    expected: str = ""  # the text that should be said; "" = compare with nothing
    rates: bool = False  # also rate how it sounds, where that is installed
    finds_end: bool = False  # also look whether more is said after the expected text


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The answer: words in order, and how far they are from the expected text, where there is one."""

    id: str
    words: tuple[HeardWord, ...]
    recogniser: str  # with its version
    distance: float | None = None  # differing phonemes over expected ones
    worst: Mapping[str, Any] | None = None  # {expected, heard, start_s, end_s}, where most differs
    passes: bool = True
    duration_s: float = 0.0
    language: str = "auto"  # of the words
    noise: Mapping[str, float] | None = None  # {speech, background, overall}, 1 to 5
    text_end_s: float | None = None  # when the expected text has ended, where more is said after it

    @property
    def transcript(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def confidence(self) -> float:
        """How sure the recogniser is of its words altogether, 0 … 1."""
        return round(sum(word.confidence for word in self.words) / len(self.words), 3) if self.words else 0.0
