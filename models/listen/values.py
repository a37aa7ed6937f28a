"""Values that the runner and the process that listens exchange: takes, and what is heard in them and when.

They cross a pipe (`models/processes/wire.py`), and change only by addition.
"""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True, kw_only=True)
class WordsTimed:
    """The answer: words in order, none where nothing is heard."""

    id: str
    words: tuple[TimedWord, ...]
