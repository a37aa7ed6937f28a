"""A text that arrives in pieces → its sentences, each as soon as it is complete. Pure."""

from __future__ import annotations

import re

from models.languages import AUTO
from models.text.sentences import sentences, split_text

LONGEST_CHARACTERS = 1_000  # of a sentence without end
MAY_END = re.compile(r"[.!?…。！？।\n]")
MARK_AT_END = re.compile(r"(?:[!?…。！？।]|(?<!\d)\.|\.\s)[\"'”’»)\]」』）]*\s*\Z")
PARAGRAPH_AT_END = re.compile(r"\S\s*\n[^\S\n]*\n\s*\Z")
ANY_NAME = "Xerxes"  # no word that begins sentences: `Dr. Xerxes` is not cut


class SentenceBuffer:
    """The part of a text that is not yet a whole sentence."""

    def __init__(self, language: str = AUTO) -> None:
        self._language = language
        self._rest = ""

    def add(self, text: str) -> list[str]:
        """Sentences that are complete because another has begun behind them."""
        self._rest += text
        if len(self._rest) > LONGEST_CHARACTERS:
            return self._all_but_last(
                split_text(self._rest, language=self._language, max_characters=LONGEST_CHARACTERS)
            )
        if not MAY_END.search(self._rest) or self._rest.count('"') % 2:  # within a quotation nothing ends yet
            return []
        return self._all_but_last(self._found(self._rest))

    @property
    def may_be_complete(self) -> bool:
        """Whether the text so far ends like a sentence or a paragraph."""
        return bool(MARK_AT_END.search(self._rest) or PARAGRAPH_AT_END.search(self._rest))

    def pause(self) -> list[str]:
        """The sentence that is complete if nothing follows for a moment; its full stop is not that of `Dr.`"""
        if PARAGRAPH_AT_END.search(self._rest):
            return self.end()
        is_complete = self.may_be_complete and self._found(f"{self._rest.rstrip()} {ANY_NAME}")[-1] == ANY_NAME
        return self.end() if is_complete else []

    def end(self) -> list[str]:
        """Whatever is left."""
        rest, self._rest = self._rest, ""
        return self._found(rest)

    def _found(self, text: str) -> list[str]:
        return sentences(text, language=self._language)

    def _all_but_last(self, found: list[str]) -> list[str]:
        if len(found) < 2:
            return []
        self._rest = self._rest[self._rest.rindex(found[-1]) :]
        return found[:-1]
