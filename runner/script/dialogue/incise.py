"""A French speech → what is said, and the words of the narrator that stand in it between commas: `, dit-il,`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.script.dialogue.quotes import Segment
from runner.script.dialogue.subjects import Token, tag_after, tokens_of
from runner.script.dialogue.words import SpeechWords

_OPENS = frozenset(",?!…")
_GOES_ON = frozenset(
    ["en", "d'", "avec", "sans", "tout", "et", "à", "dans", "sur", "pour", "comme", "puis", "après", "mais",
     "les", "la", "le", "l'", "toujours", "un"]
)  # fmt: skip


def without_incises(piece: Segment, words: SpeechWords) -> Iterator[Segment]:
    """The pieces of a speech. Together they are its text."""
    here = 0
    while (span := _incise(piece.text, here, words)) is not None:
        start, end = span
        yield Segment(piece.text[here:start], is_said=True, continues=piece.continues and here == 0)
        yield Segment(piece.text[start:end], is_said=False)
        here = end
    if piece.text[here:]:
        yield Segment(piece.text[here:], is_said=True, continues=piece.continues and here == 0)


def _incise(text: str, start: int, words: SpeechWords) -> tuple[int, int] | None:
    tokens = tokens_of(text)
    for at, token in enumerate(tokens):
        if token.start < start or token.text not in _OPENS or at + 1 >= len(tokens):
            continue
        following = tokens[at + 1]
        if not following.text[0].islower() or not any(each.low in words.verbs for each in tokens[at + 1 : at + 4]):
            continue
        rest = text[following.start :]
        if tag_after(rest, words) is not None and _begins_with_verb(tokens[at + 1 : at + 4], words):
            return following.start, following.start + _length(rest, tokens[at + 1 :], following.start)
    return None


def _begins_with_verb(tokens: list[Token], words: SpeechWords) -> bool:
    """Whether the verb comes before its subject, as in every incise: `me dit Anna`, not `Anna dit`."""
    for token in tokens:
        if token.low in words.verbs:
            return True
        if token.low not in ("lui", "me", "se", "leur", "nous", "m'", "s'"):
            return False
    return False


def _length(rest: str, tokens: list[Token], offset: int) -> int:
    """Characters of the narrator's words: to the comma after the tag, or after what the tag goes on with."""
    has_gone_on = False
    for at, token in enumerate(tokens):
        if token.is_word or token.text == "-":
            continue
        goes_on = token.text == "," and at + 1 < len(tokens) and tokens[at + 1].low in _GOES_ON
        if goes_on and not has_gone_on:
            has_gone_on = True
            continue
        end = token.start - offset
        while end < len(rest) and rest[end] in ".,!?…:; \u00a0":
            end += 1
        return end
    return len(re.sub(r"[\s\u00a0]*»\s*$", "", rest))
