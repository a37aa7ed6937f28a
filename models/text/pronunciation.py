"""A text and a table of respellings → the text that is spoken. Pure functions.

Whole words only, in any case, the longest entry first; no entry changes what another has written.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping

from registry.errors import InvalidInput

MAX_ENTRIES = 10_000
MAX_CHARACTERS = 200


def respelled(text: str, table: Mapping[str, str]) -> str:
    """`text` with the words in `table` replaced by their respellings."""
    if not table:
        return text
    pattern, values = _compiled(tuple(table.items()))
    # Each entry is a group of its own, so that the match itself says which one it is, in any case and script.
    return pattern.sub(lambda match: values[(match.lastindex or 1) - 1], unicodedata.normalize("NFC", text))


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
        other = seen.setdefault(_folded(word), word)
        if other != word:
            raise InvalidInput(f"The pronunciations name {word!r} and {other!r}, which are one word.")
    return {word: str(spoken) for word, spoken in table.items()}


def merged(general: Mapping[str, str], special: Mapping[str, str]) -> dict[str, str]:
    """Both tables in one; where both have a word, in any case, the special one wins."""
    named = {_folded(word) for word in special}
    return {**{word: spoken for word, spoken in general.items() if _folded(word) not in named}, **special}


@functools.lru_cache(maxsize=64)
def _compiled(entries: tuple[tuple[str, str], ...]) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """Pattern with one group for each entry, and the respellings in the same order."""
    ordered = sorted(entries, key=lambda entry: (-len(entry[0]), entry[0]))
    words = [unicodedata.normalize("NFC", word.strip()) for word, _ in ordered]
    pattern = "|".join(f"({_before(word)}{re.escape(word)}{_after(word)})" for word in words)
    return re.compile(pattern, re.IGNORECASE), tuple(spoken for _, spoken in ordered)


def _before(word: str) -> str:
    """Condition before a word: no letter or digit; none in scripts without spaces."""
    return r"(?<!\w)" if _joins(word[0]) else ""


def _after(word: str) -> str:
    return r"(?!\w)" if _joins(word[-1]) else ""


def _joins(character: str) -> bool:
    is_letter = character.isalnum() or character == "_"
    return is_letter and unicodedata.east_asian_width(character) not in ("W", "F")


def _folded(word: str) -> str:
    return unicodedata.normalize("NFC", word.strip()).casefold()
