"""Words with pauses between them → one text to be spoken, and where in it something is silent. Pure functions.

An engine never sees the pauses: the engine process gives it the parts of the text, and joins what it says of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.text.markup import Words
from models.text.spoken_form import has_word

Pauses = tuple[tuple[int, float], ...]  # (characters of the text before it, seconds)


@dataclass(frozen=True, kw_only=True)
class TimedText:
    """A text to be spoken, "" where it holds no word, with the pauses in it and the one after it."""

    spoken: str
    pauses: Pauses = ()
    end_s: float = 0.0


def timed_text(words: Words, spoken_form: Callable[[str], str]) -> TimedText:
    """The pieces of `words` in their spoken form; a piece without a word lengthens the pause before it."""
    spoken, silent_s = "", words.lead_s
    pauses: list[tuple[int, float]] = []
    for text, pause_s in words.pieces:
        piece = spoken_form(text)
        if has_word(piece):
            before = f"{spoken} " if spoken else ""
            if silent_s:
                pauses.append((len(before), silent_s))
            spoken, silent_s = f"{before}{piece}", 0.0
        silent_s += pause_s
    return TimedText(spoken=spoken, pauses=tuple(pauses), end_s=silent_s)


def parts_of(text: str, pauses: Sequence[tuple[int, float]]) -> list[tuple[float, str]]:
    """(seconds of silence, what is said after them), in order."""
    starts = [0, *(at for at, _ in pauses if at)]
    silent_s = dict(pauses)
    ends = [*starts[1:], len(text)]
    return [(silent_s.get(at, 0.0), text[at:end].strip()) for at, end in zip(starts, ends, strict=True)]


def shown(text: str, pauses: Sequence[tuple[int, float]]) -> str:
    """The text with its pauses, as a person may write them."""
    if not pauses:
        return text
    said = (f"{f'[pause {pause_s:g}s] ' if pause_s else ''}{part}" for pause_s, part in parts_of(text, pauses))
    return " ".join(said)
