"""The name that a voice has in a file → the name under which it can live here."""

from __future__ import annotations

import re
import unicodedata

from runner.names import new_voice_name

LONGEST = 64


def voice_name_from(text: str) -> str:
    """A display name as a voice name: `Wise Mentor` → `Wise-Mentor`. Raises ValueError for a preset's name, or none."""
    name = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", text)).strip("-")[:LONGEST]
    return new_voice_name(name)
