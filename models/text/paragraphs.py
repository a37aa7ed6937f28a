"""The text of a file or a job → its paragraphs, whether blank lines or single newlines stand between them. Pure.

A single newline may end a paragraph, or only a line that was too long for somebody's page. Which of the two is a
matter of the whole text: lines that go on in the next one, in the middle of a sentence, were wrapped.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from models.text.characters import is_wide
from models.text.spoken_form import has_word, hyphenated_words, without_line_end_hyphens

NARROWEST_COLUMN = 16  # of a page: below it, lines of small letters are a list
PAIRS_LOOKED_AT = 5_000  # of lines: they show how the text is set
NARROWEST_PAGE = 40  # columns: shorter lines were not wrapped
CLEARLY_SHORT = 0.8  # of a page's width: what ends there, in wrapped text, ends on purpose
MUCH_TOO_SHORT = 0.6  # even where nothing ends, as in an address
_STOPS = frozenset(".!?…:;—–。！？：；؟۔।॥።։។")
_CLOSERS = "\"'”’»›)]}」』】）*_1234567890"
_LIST_ITEM = re.compile(r"(?:[-*+•–—]|\d{1,3}[.)])[ \t]+\S")


@dataclass(frozen=True, kw_only=True)
class Paragraphs:
    """Paragraphs of a text, in order."""

    texts: Sequence[str]
    is_wrapped: bool  # single newlines stand within its paragraphs


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the text, as far as it tells what its newline means."""

    text: str
    columns: int
    first_columns: int  # of what would have had to fit into the line above
    indent: int
    ends: bool  # as a sentence does
    goes_on: bool  # begins in the middle of one
    is_said: bool


def paragraphs(text: str) -> Paragraphs:
    """The paragraphs of a text, each in one line; one without a word, such as `* * *`, stands by itself."""
    blocks = list(_blocks(text))
    pairs = list(itertools.islice(_pairs(blocks), PAIRS_LOOKED_AT))
    width = max((above.columns for above, _ in pairs), default=0)
    wraps = sum(_goes_over(above, below, width) for above, below in pairs)
    is_wrapped = 2 * wraps >= len(pairs)
    found = [part for block in blocks for part in _parts(block, width, is_wrapped=is_wrapped)]
    hyphenated = hyphenated_words(text)
    return Paragraphs(texts=[_in_one_line(part, hyphenated) for part in found], is_wrapped=bool(pairs) and is_wrapped)


def _blocks(text: str) -> Iterator[list[str]]:
    """The lines between blank ones."""
    block: list[str] = []
    for line in [*re.split(r"\r\n|[\n\r\v\u0085\u2028]", text.replace("\u2029", "\n\n")), ""]:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []


def _pairs(blocks: Iterable[Sequence[str]]) -> Iterator[tuple[_Line, _Line]]:
    """Lines with a single newline between them."""
    for block in blocks:
        yield from itertools.pairwise(map(_line, block))


def _line(line: str) -> _Line:
    bare = line.strip()
    ending = bare.rstrip(_CLOSERS)
    first = bare[0] if bare[0].isalnum() else next((c for c in bare if c.isalnum()), "")
    return _Line(
        text=bare,
        columns=_columns(line.rstrip()),
        first_columns=2 if is_wide(bare[0]) else 1 + _columns(bare.split(None, 1)[0]),
        indent=_columns(line) - _columns(line.lstrip()),
        ends=ending[-1:] in _STOPS or (not ending and not has_word(bare)) or bare[-1] in "」』",
        goes_on=first.islower() and bare[0] not in "«“\"'‘„",
        is_said=(first.isascii() and first.isalnum()) or has_word(bare),
    )


def _columns(text: str) -> int:
    if text.isascii():
        return len(text.expandtabs(4))
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in ("W", "F"))
        for character in text
    )


def _goes_over(above: _Line, below: _Line, width: int) -> bool:
    """Whether this newline looks as if somebody's page had been too narrow."""
    if _LIST_ITEM.match(below.text) and not below.goes_on:
        return False
    is_full = above.columns >= NARROWEST_PAGE and above.columns + below.first_columns > width
    return _goes_on(above, below) or (is_full and not above.ends)


def _goes_on(above: _Line, below: _Line) -> bool:
    """Whether a line begins in the middle of a sentence, below one that is no item of a list."""
    is_cut = above.text[-1] in "-‐\u00ad"
    return below.goes_on and (is_cut or above.columns + below.first_columns > NARROWEST_COLUMN)


def _parts(block: Sequence[str], width: int, *, is_wrapped: bool) -> Iterator[list[str]]:
    """The lines of each paragraph in a block."""
    part = [block[0].strip()]
    for above, below in itertools.pairwise(map(_line, block)):
        if _ends_paragraph(above, below, width, is_wrapped=is_wrapped):
            yield part
            part = []
        part.append(below.text)
    yield part


def _ends_paragraph(above: _Line, below: _Line, width: int, *, is_wrapped: bool) -> bool:
    if not (above.is_said and below.is_said):
        return True
    if not is_wrapped:
        return above.ends or not _goes_on(above, below)
    if below.indent >= above.indent + 2 or (_LIST_ITEM.match(below.text) and above.columns < CLEARLY_SHORT * width):
        return True
    share = CLEARLY_SHORT if above.ends else MUCH_TOO_SHORT
    return not below.goes_on and above.columns + below.first_columns <= share * width


def _in_one_line(lines: Sequence[str], hyphenated: Collection[str]) -> str:
    joined = without_line_end_hyphens("\n".join(lines), hyphenated)
    joined = re.sub(r"(\S)\n(\S)", lambda match: f"{match[1]}{_glue(match[1], match[2])}{match[2]}", joined)
    return " ".join(joined.split())


def _glue(left: str, right: str) -> str:
    return "" if is_wide(left) and is_wide(right) else "\n"
