"""A text of any length → pieces that a voice can speak in one go.

Sentence ends come from `sentencex`, which knows the abbreviations and the quotation habits of some 250 languages.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import sentencex

from models.languages import AUTO, language_code
from models.text.characters import is_wide

End = Literal["text", "paragraph", "sentence", "clause", "word"]

MAX_WORDS = 200
PAUSES_S: dict[End, float] = {"text": 0.0, "paragraph": 0.55, "sentence": 0.25, "clause": 0.12, "word": 0.0}
CLAUSE_MARK = re.compile(r"(?<=[,;:—–،؛)\]»”])\s+|(?<=[、，；：])\s*")  # "1,000" is no place to breathe
SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]*\s|[。！？।]+[”’」』）]*")
BLOCK_CHARACTERS = 4_000
PARAGRAPH_BREAK = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Piece:
    """Part of a text, and the kind of end it has: that decides the pause before the next part."""

    text: str
    end: End

    @property
    def pause_after_s(self) -> float:
        return PAUSES_S[self.end]


def split_text(text: str, *, language: str, max_characters: int, max_words: int = MAX_WORDS) -> list[str]:
    """The pieces of `text` in order, each within both limits; no sentence is cut in two unless it exceeds them."""
    pieces = split_pieces(text, language=language, max_characters=max_characters, max_words=max_words)
    return [piece.text for piece in pieces]


def split_pieces(text: str, *, language: str, max_characters: int, max_words: int = MAX_WORDS) -> list[Piece]:
    """Like `split_text`, with the kind of end of each piece. Only white space between pieces is lost."""
    limits = _Limits(max(1, max_characters), max(1, max_words))
    atoms = [atom for sentence in _sentences(text, language) for atom in _atoms(sentence, limits)]
    pieces: list[Piece] = []
    packing = _Packing(limits)
    for atom in atoms:
        # A voice runs on from one sentence to the next, but not over a paragraph, nor over a forced cut.
        if pieces and pieces[-1].end == "sentence" and packing.add(atom.text):
            pieces[-1] = Piece(packing.text, atom.end)
        else:
            pieces.append(atom)
            packing.begin(atom.text)
    if pieces:
        pieces[-1] = Piece(pieces[-1].text, "text")
    return pieces


def sentences(text: str, *, language: str) -> list[str]:
    """Sentences of a text in order, without the white space around them."""
    return [sentence.text for sentence in _sentences(text, language)]


@dataclass(frozen=True)
class _Limits:
    characters: int
    words: int

    def allow(self, text: str) -> bool:
        return len(text) <= self.characters and len(text.split()) <= self.words


class _Packing:
    """Parts joined one after another, within limits, each counted once."""

    def __init__(self, limits: _Limits) -> None:
        self.text, self._words, self._limits = "", 0, limits

    def begin(self, part: str) -> None:
        """Start again with this part, whatever its length."""
        self.text, self._words = part, len(part.split())

    def add(self, part: str) -> bool:
        """Append a part; False, and nothing happens, when it does not fit."""
        glue = _glue(self.text, part) if self.text else ""
        words = self._words + len(part.split()) - (self.text != "" and glue == "")  # two become one without a space
        if len(self.text) + len(glue) + len(part) > self._limits.characters or words > self._limits.words:
            return False
        self.text, self._words = f"{self.text}{glue}{part}", words
        return True


def _sentences(text: str, language: str) -> Iterator[Piece]:
    """Sentences as the splitter sees them, white space trimmed; the last of a paragraph says so."""
    paragraphs = [part for part in PARAGRAPH_BREAK.split(text) if part.strip()]
    for paragraph in paragraphs:
        code = _splitter_code(paragraph, language)
        found = [part.strip() for block in _blocks(paragraph) for part in sentencex.segment(code, block)]
        sentences = [sentence for sentence in found if sentence]
        for sentence in sentences[:-1]:
            yield Piece(sentence, "sentence")
        yield Piece(sentences[-1], "paragraph")


def _blocks(paragraph: str) -> Iterator[str]:
    """A paragraph in parts that the splitter reads in a moment: its time grows with their square."""
    here = 0
    while len(paragraph) - here > BLOCK_CHARACTERS:
        block = paragraph[here : here + BLOCK_CHARACTERS]
        ends = [match.end() for match in SENTENCE_END.finditer(block)] or [block.rfind(" ") + 1]
        length = ends[-1] or BLOCK_CHARACTERS
        yield block[:length]
        here += length
    yield paragraph[here:]


def _splitter_code(text: str, language: str) -> str:
    """Code of the splitting rules: the language's own; without one, those of the script."""
    if language != AUTO:
        return language_code(language)
    if any("\u3040" <= character <= "\u30ff" for character in text):
        return "ja"
    return "zh" if any(is_wide(character) for character in text) else "en"


def _atoms(sentence: Piece, limits: _Limits) -> Iterator[Piece]:
    """The sentence itself if it fits, or its clauses, or its words, or as many characters as fit."""
    if limits.allow(sentence.text):
        yield sentence
        return
    clauses = [part for part in CLAUSE_MARK.split(sentence.text) if part.strip()]
    groups = list(_packed(clauses, limits, end="clause"))
    yield from groups[:-1]
    yield Piece(groups[-1].text, sentence.end)


def _packed(parts: list[str], limits: _Limits, *, end: End) -> Iterator[Piece]:
    """Neighbouring parts joined while they fit; a part that never fits is cut further."""
    packing = _Packing(limits)
    for part in parts:
        if packing.add(part):
            continue
        if packing.text:
            yield Piece(packing.text, end)
        *whole, rest = [part] if limits.allow(part) else _cut(part, limits)
        yield from (Piece(text, "word") for text in whole)
        packing.begin(rest)
    yield Piece(packing.text, end)


def _cut(text: str, limits: _Limits) -> list[str]:
    words = text.split()
    if len(words) > 1:
        return [piece.text for piece in _packed(words, limits, end="word")]
    cuts = []
    while len(text) > limits.characters:
        at = limits.characters
        while at > 1 and unicodedata.combining(text[at]):
            at -= 1  # an accent stays with its letter
        cuts.append(text[:at])
        text = text[at:]
    return [*cuts, text]


def _glue(left: str, right: str) -> str:
    """A space, except between characters of scripts that are written without."""
    return "" if is_wide(left[-1]) and is_wide(right[0]) else " "
