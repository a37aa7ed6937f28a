"""A text and a table of respellings → the text that is spoken. Pure functions.

Whole words only, in any case, the longest entry first; no entry changes what another has written.
Words are looked up one after another, so that the time does not depend on the size of the table.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from models.text.spoken_form import APOSTROPHES, spoken_form
from registry.errors import InvalidInput

MAX_ENTRIES = 10_000
MAX_CHARACTERS = 200

# Scripts without spaces between words: an entry is found anywhere among their characters.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u115f\u1780-\u17ff\u2e80-\u303e\u3041-\u4dbf\u4e00-\ua4cf\ua960-\ua97c"
    "\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\U00016fe0-\U00018cff\U0001b000-\U0001b2ff"
    "\U00020000-\U0003fffd"
)
_SAME = str.maketrans({**dict.fromkeys(APOSTROPHES, "'"), "‐": "-", "‑": "-"})


class Respellings:
    """A table, ready to be looked up; of one `beneath` it, the entries that it does not have itself."""

    def __init__(self, table: Mapping[str, str], *, beneath: Respellings | None = None) -> None:
        self._beneath = beneath if beneath else None
        # Marks and pictures that the tables say how to speak.
        self.characters = frozenset(character for word in table for character in word if not character.isalnum())
        self.characters |= self._beneath.characters if self._beneath else frozenset()
        self._entries: dict[str, Any] = {}  # token -> the entries that go on from there; "" -> the respelling
        for word, spoken in table.items():
            node = self._entries
            for token in _tokens(spoken_form(word.strip(), kept=self.characters)):
                node = node.setdefault(_folded(token), {})
            node[""] = spoken

    def __bool__(self) -> bool:
        return bool(self._entries or self._beneath)

    def spoken(self, text: str) -> str:
        """The spoken form of a text as it was written, with every entry in place of the words it stands for."""
        return self.respelled(spoken_form(text, kept=self.characters))

    def respelled(self, text: str) -> str:
        """`text` with its entries in place; itself, where it has none."""
        if not self:
            return text
        tokens = _tokens(text)
        folded = [_folded(token) for token in tokens]
        parts: list[str] = []
        here, touched = 0, False
        while here < len(tokens):
            length, spoken = self._entry_at(folded, here)
            if length:
                touched = True
                after = tokens[here + length] if here + length < len(tokens) else ""
                parts.append(_apart(parts[-1] if parts else "", spoken, after))
            else:
                parts.append(tokens[here])
            here += length or 1
        return "".join(parts) if touched else text

    def _entry_at(self, folded: list[str], here: int) -> tuple[int, str]:
        """How many tokens the longest entry takes that stands here, and how it is spoken; 0 where none does."""
        found = self._beneath._entry_at(folded, here) if self._beneath else (0, "")
        node: dict[str, Any] | None = self._entries
        end = here
        while end < len(folded) and node and (node := node.get(folded[end])):
            end += 1
            if "" in node and end - here >= found[0] and folded[end : end + 2] != ["'", "t"]:  # no "can" in "can't"
                found = (end - here, node[""])
        return found


def respelled(text: str, table: Mapping[str, str]) -> str:
    """`text` with the words in `table` replaced by their respellings."""
    return Respellings(table).respelled(text) if table else text


def checked_table(table: Mapping[str, object]) -> dict[str, str]:
    """A table that a person wrote, checked. Raises InvalidInput, naming the entry that cannot be used."""
    if len(table) > MAX_ENTRIES:
        raise InvalidInput(f"The pronunciations hold {len(table)} entries; at most {MAX_ENTRIES} are read.")
    seen: dict[str, str] = {}
    for word, spoken in table.items():
        if not isinstance(spoken, str) or not spoken.strip() or not word.strip():
            raise InvalidInput(f"The pronunciation of {word!r} is {spoken!r}; a word and a respelling are expected.")
        if max(len(word), len(spoken)) > MAX_CHARACTERS:
            raise InvalidInput(f"The pronunciation of {word[:40]!r}… is longer than {MAX_CHARACTERS} characters.")
        other = seen.setdefault(_key(word), word)
        if other != word and table[other] != spoken:
            raise InvalidInput(f"The pronunciations name {word!r} and {other!r}, which are one word.")
    return {word: str(spoken) for word, spoken in table.items()}


@functools.cache
def _token_pattern() -> re.Pattern[str]:
    """A word with its accents and vowel signs, a character of a script without spaces, white space, or a mark."""
    accents = "".join(
        re.escape(chr(point)) for point in range(0x300, 0x1F000) if unicodedata.category(chr(point)) in ("Mn", "Mc")
    )
    return re.compile(rf"\s+|[{_UNSPACED}]|(?:(?![{_UNSPACED}])[\w{accents}])+|.", re.DOTALL)


def _tokens(text: str) -> list[str]:
    return _token_pattern().findall(text)


def _folded(token: str) -> str:
    """Equal for whatever counts as the same word, space or mark."""
    if token.isascii():
        return " " if token.isspace() else token.casefold()
    return " " if token.isspace() else unicodedata.normalize("NFC", token).translate(_SAME).casefold()


def _key(word: str) -> str:
    return "".join(map(_folded, _tokens(word.strip())))


def _apart(before: str, spoken: str, after: str) -> str:
    """A respelling that does not run into the words beside it, as in "Dr.Nguyen"."""
    left = " " if _is_spaced(before[-1:]) and _is_spaced(spoken[:1]) else ""
    right = " " if _is_spaced(spoken[-1:]) and _is_spaced(after[:1]) else ""
    return f"{left}{spoken}{right}"


def _is_spaced(character: str) -> bool:
    return character.isalnum() and re.match(f"[{_UNSPACED}]", character) is None
