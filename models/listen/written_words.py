"""A text as it was written → its words with their places, and the places they have in the text as spoken. Pure."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from models.text.characters import is_wide

_TOKEN = re.compile(r"\S+")
_MUCH_CHANGED = 20_000  # words of both texts, above which only equal beginnings and ends are looked for


@dataclass(frozen=True, slots=True)
class WrittenWord:
    """A word with the marks that stand against it, and where it is in its text."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def written_words(text: str) -> list[WrittenWord]:
    """The words of a text, by its spaces; scripts that write none between words give one word a character."""
    words: list[WrittenWord] = []
    for match in _TOKEN.finditer(text):
        words += _parts(match[0], match.start())
    return words


def _parts(token: str, start: int) -> list[WrittenWord]:
    if token.isascii() or not any(map(is_wide, token)):
        return [WrittenWord(token, start)] if any(map(str.isalnum, token)) else []
    parts: list[WrittenWord] = []
    part, part_start = "", start
    for index, character in enumerate(token):
        begins = _is_said(character) and (_stands_alone(character) or _ends_alone(part))
        if begins and any(map(_is_said, part)):
            parts.append(WrittenWord(part, part_start))
            part, part_start = "", start + index
        part += character
    if any(map(_is_said, part)):
        parts.append(WrittenWord(part, part_start))
    elif parts:
        last = parts.pop()
        parts.append(WrittenWord(last.text + part, last.start))
    return parts


def _is_said(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN"


def _stands_alone(character: str) -> bool:
    return is_wide(character) and _is_said(character)  # Han and kana


def _ends_alone(part: str) -> bool:
    said = [character for character in part if _is_said(character)]
    return bool(said) and _stands_alone(said[-1])


def places_in(spoken: str, words: Sequence[WrittenWord], text: str) -> list[int]:
    """Index in the spoken text at which each word of the written one begins; words that were left out have that of
    the word after them."""
    if spoken == text:
        return [word.start for word in words]
    said = written_words(spoken)
    ours, theirs = [word.text for word in words], [word.text for word in said]
    starts = [*(word.start for word in said), len(spoken)]
    places = [len(spoken)] * len(words)
    for _, left, left_end, right, right_end in _changes(ours, theirs):
        count = max(1, left_end - left)
        for index in range(left, left_end):
            places[index] = starts[right + (right_end - right) * (index - left) // count]
    return places


def _changes(ours: list[str], theirs: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    if len(ours) + len(theirs) > _MUCH_CHANGED:
        return [("replace", 0, len(ours), 0, len(theirs))]
    return difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
