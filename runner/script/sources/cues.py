"""The name above a speech → the part's name, and the key by which two names are one part. Pure."""

from __future__ import annotations

import re
import unicodedata

_EXTENSIONS = re.compile(r"(?:(?<!\s)\s*\([^()]*\))+\s*$")
MAX_CUE = 200
_QUOTES = str.maketrans("’‘ʼ＇", "''''")


def cue_name(cue: str) -> str:
    """The name without extensions, such as (V.O.), and with single spaces; the cue itself when nothing else is left."""
    bare = " ".join((_EXTENSIONS.sub("", cue) if len(cue) <= MAX_CUE else cue).split())
    return bare or " ".join(cue.split())


def part_key(name: str) -> str:
    """Equal for two ways of writing one part's name."""
    plain = unicodedata.normalize("NFKC", cue_name(name)).translate(_QUOTES)
    return unicodedata.normalize("NFKC", " ".join(plain.split()).casefold())


def slug_of(name: str) -> str:
    """The part's name as it can be in the names of jobs and voices: `MAN #1` → `man-1`."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", cue_name(name)).casefold())
    return re.sub(r"[^\w-]+", "-", folded).strip("-") or "part"
