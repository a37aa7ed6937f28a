"""A paragraph → what is said in it and what is told, by the marks of many languages. Pure.

Marks that are apostrophes, too, open a quote only in a text that has no other marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.text.characters import is_wide

_DOUBLE: tuple[tuple[str, str], ...] = (
    ("„", "“”"), ("«", "»"), ("»", "«»"), ("“", "”"), ("「", "」"), ("『", "』"), ("\"", "\""),
)  # fmt: skip
_SINGLE: tuple[tuple[str, str], ...] = (("‚", "‘’"), ("‹", "›"), ("›", "‹"), ("‘", "’"), ("'", "'"))
_DASH = re.compile(r"[—–―][ \u00a0]?(?=\S)|-[ \u00a0](?=\S)")
_ASIDE = re.compile(r"[ \u00a0]?[—–―][ \u00a0]?|[ \u00a0]-[ \u00a0]")
_END_OF_ASIDE = re.compile(r"[ \u00a0]?[—–―-][.,;:!?…]*")
_ENDS_SPEECH = frozenset(".,!?…—–-;:。、！？")
_LONGEST_MENTION = 4  # words: a title, or a word that the narrator holds at arm's length


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a paragraph, with its marks; together the pieces are the paragraph."""

    text: str
    is_said: bool
    continues: bool = False  # the quote of the paragraph before, reopened


def styles_of(paragraphs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The marks that this text speaks with: (opening, what may close it)."""
    double = [style for style in _DOUBLE if _count(paragraphs, style)]
    if double:
        counts = {style: _count(paragraphs, style) for style in double}
        most = max(counts.values())
        kept = tuple(style for style in double if counts[style] * 20 >= most)
        return tuple(style for style in kept if style[0] != "»" or _opens(paragraphs, style))
    single = {style: _count(paragraphs, style) for style in _SINGLE}
    best = max(single, key=lambda style: single[style])
    return (best,) if single[best] > 1 else ()


def speaks_by_dashes(paragraphs: Sequence[str], *, styles: Sequence[tuple[str, str]]) -> bool:
    """Whether a dash at the head of a paragraph means that somebody speaks."""
    dashed = sum(_DASH.match(paragraph) is not None for paragraph in paragraphs)
    quoted = sum(any(paragraph.startswith(opening) for opening, _ in styles) for paragraph in paragraphs)
    return dashed >= 2 and dashed > quoted


def _count(paragraphs: Sequence[str], style: tuple[str, str]) -> int:
    opening, closing = style
    return sum(_first_opening(paragraph, (style,)) is not None and any(c in paragraph for c in closing)
               for paragraph in paragraphs if opening in paragraph)  # fmt: skip


def _opens(paragraphs: Sequence[str], style: tuple[str, str]) -> bool:
    """Whether »…« is meant, and not the end of «…»: more paragraphs begin with it than with the other."""
    with_it = sum(paragraph.startswith(style[0]) for paragraph in paragraphs)
    with_other = sum(paragraph.startswith("«") for paragraph in paragraphs)
    return with_it > with_other


def _first_opening(text: str, styles: Sequence[tuple[str, str]], start: int = 0) -> tuple[int, str] | None:
    """(place, what may close it) of the next mark that opens a quote."""
    found: tuple[int, str] | None = None
    for opening, closing in styles:
        at = start
        while (at := text.find(opening, at)) >= 0:
            before, after = text[at - 1 : at], text[at + 1 : at + 2]
            is_word_before = before.isalnum() and opening not in "「『"
            is_open = after.strip() != "" or (opening == "«" and len(text) > at + 2)  # French has a space there
            if is_open and not is_word_before and (found is None or at < found[0]):
                found = at, closing
                break
            at += 1
    return found


def _closing(text: str, start: int, closing: str) -> int:
    """The place after the mark that closes a quote; -1 where none does."""
    for at in range(start, len(text)):
        if text[at] not in closing:
            continue
        following, before = text[at + 1 : at + 2], text[at - 1]
        is_apostrophe = closing[-1] in "’'" and (following.isalnum() or (before.isalnum() and len(closing) == 1))
        if not is_apostrophe and not (closing == '"' and following.isalnum()):
            return at + 1
    return -1


def segments(paragraph: str, *, styles: Sequence[tuple[str, str]], dashes: bool, open_quote: bool) -> list[Segment]:
    """The pieces of a paragraph. `open_quote` says that the quote of the one before was not closed."""
    if dashes and (dash := _DASH.match(paragraph)) is not None:
        return _dashed(paragraph, dash.end())
    found: list[Segment] = []
    here, is_first = 0, True
    while (opening := _first_opening(paragraph, styles, here)) is not None:
        start, closing = opening
        end = _closing(paragraph, start + 1, closing)
        end = len(paragraph) if end < 0 else end
        if _is_mention(paragraph, start, end):
            here = _append(found, paragraph[here:end], end)
            continue
        _append(found, paragraph[here:start], start)
        continues = open_quote and is_first and start == 0
        found.append(Segment(paragraph[start:end], is_said=True, continues=continues))
        here, is_first = end, False
    _append(found, paragraph[here:], here)
    return found


def _append(found: list[Segment], text: str, here: int) -> int:
    """Add told text to the pieces, to the last one if that is told, too."""
    if text:
        if found and not found[-1].is_said:
            found[-1] = Segment(found[-1].text + text, is_said=False)
        else:
            found.append(Segment(text, is_said=False))
    return here


def is_left_open(paragraph: str, *, styles: Sequence[tuple[str, str]]) -> bool:
    """Whether the last quote of a paragraph is not closed in it."""
    here = 0
    while (opening := _first_opening(paragraph, styles, here)) is not None:
        end = _closing(paragraph, opening[0] + 1, opening[1])
        if end < 0:
            return True
        here = end
    return False


def _is_mention(paragraph: str, start: int, end: int) -> bool:
    """Whether the marks are around a word that nobody says: a title, an epithet."""
    inside = paragraph[start + 1 : end - 1]
    if not any(map(str.isalnum, inside)):
        return True
    before, after = paragraph[:start].rstrip(), paragraph[end:].lstrip()
    words = sum(map(is_wide, inside)) / 2 or len(inside.split())  # a word of two characters, where none are parted
    if words > _LONGEST_MENTION or not before or inside.rstrip()[-1:] in _ENDS_SPEECH or before[-1] in ".!?…:,;—–":
        return False
    return not after.startswith(",")


def _dashed(paragraph: str, start: int) -> list[Segment]:
    """The pieces of a paragraph that begins with a dash: another dash begins and ends what the narrator adds."""
    pieces = [paragraph[:start]]
    here = start
    for aside in _ASIDE.finditer(paragraph, start):
        pieces[-1] += paragraph[here : aside.start()]
        pieces.append(aside[0])
        here = aside.end()
    pieces[-1] += paragraph[here:]
    return list(_alternating(pieces))


def _alternating(pieces: Sequence[str]) -> Iterator[Segment]:
    """Said and told by turns; a piece between dashes is told when it begins in small letters, as what is added does."""
    is_said = True
    text = pieces[0]
    for piece in pieces[1:]:
        begins_small = piece.lstrip(" \u00a0—–―-")[:1].islower()
        if begins_small or not is_said:
            end = _END_OF_ASIDE.match(piece) if not is_said else None
            yield Segment(text + (end[0] if end else ""), is_said=is_said)
            text, is_said = piece[end.end() :] if end else piece, not is_said
        else:
            text += piece
    if text:
        yield Segment(text, is_said=is_said)
