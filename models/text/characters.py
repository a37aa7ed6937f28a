"""Characters that cannot be seen, cannot be said, or stand for others; and the plain form of one. Pure functions."""

from __future__ import annotations

import functools
import re
import unicodedata

GAP = "\ue000"  # stands for what was left out, until the space around it is put right

# Scripts whose letters these two join, part or separate: there they are spelling, elsewhere they tear words.
_JOINING = "\u0590-\u109f\u1780-\u18af"
INVISIBLE = re.compile(
    f"(?<![{_JOINING}])[\u200b-\u200d]|[\u200b-\u200d](?![{_JOINING}])"
    "|[\u00ad\u034f\u061c\u0640\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\u0334-\u0338\u20d0-\u20f0]"  # strokes through letters, and the frames of keycaps
    r"|(?<=[\u0300-\u036f]{2})[\u0300-\u036f]+"  # heaps of accents
)

# Compatibility forms of letters, digits and signs; full-width punctuation is ordinary where it is used.
FOLDED = re.compile(
    "[\u24b6-\u24e9\U0001f130-\U0001f149\U0001f150-\U0001f189]+"  # a word in circles or squares
    "|[\uff10-\uff19]+(?:[，．][\uff10-\uff19]+)+"
    "|[\u0080-\u009f\u00a0\u0132\u0133\u0149\u017f\u01c4-\u01cc\u01f1-\u01f3\u1680\u2000-\u200a\u2011\u202f\u205f\u2800"
    "\u2100-\u2105\u2109-\u2115\u2118-\u2121\u2124\u2128\u212a-\u213b\u2145-\u2149\u2160-\u217f\u2460-\u24ff"
    "\u2776-\u2793\u3000\u3200-\u33ff\ufb00-\ufb4f\ufb50-\ufd3d\ufd40-\ufdff\ufe10-\ufe19\ufe30-\ufe6f\ufe70-\ufefc"
    "\uff02-\uff07\uff0a\uff0b\uff10-\uff19\uff1c-\uff1e\uff20-\uff3a\uff3c\uff3e-\uff5a\uff5c\uff65-\uff9f"
    "\uffa1-\uffdc\uffe0-\uffe6\U0001d400-\U0001d7ff\U0001ee00-\U0001eeff\U0001f100-\U0001f189"
    "\u1d00-\u1d22\u0262\u026a\u0274\u0280\u028f\u0299\u029c\u029f\ua730\ua731]"
)

# Pictures, ornaments and rules. Music's accidentals, digits in circles and arrows are said, and stay.
UNSPOKEN = re.compile(
    "[\u00b6\u2020\u2021\u2042\u204e\u2051\u203b\u231a\u231b\u23cf\u23e9-\u23fa\u2500-\u266c\u2670-\u2775\u2794-\u27bf"
    "\u2b00-\u2bff\ue001-\uf8ff\ufffc\ufffd\U0001d100-\U0001d1ff\U0001f000-\U0001f0ff\U0001f18a-\U0001faff"
    "\U0001fb00-\U0001fbef\U000f0000-\U0010ffff]"
)

_SMALL_CAPITAL = "LATIN LETTER SMALL CAPITAL "


def plain_form(match: re.Match[str]) -> str:
    """The plain form of what `FOLDED` has found in a text."""
    found, text = match[0], match.string
    if found == "\u3000":  # the space of scripts that are written wide: theirs between two of them, or at an edge
        beside = text[max(0, match.start() - 1) : match.start()] + text[match.end() : match.end() + 1]
        return (
            found
            if all(is_wide(_plain(character)[:1] or " ") or character in "\n\u3000" for character in beside)
            else " "
        )
    plain = "".join(map(_plain, found))
    return f"{GAP}{plain}{GAP}" if _is_enclosed(found) else plain


@functools.lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    point = ord(character)
    if 0x80 <= point <= 0x9F:  # what Windows has there, in a text that was read as Latin-1
        return bytes([point]).decode("cp1252", "ignore")
    if point == 0x2800:
        return " "
    if 0x1F150 <= point <= 0x1F189:  # white letters in black circles and squares have no mapping of their own
        return chr(ord("A") + (point - 0x1F150) % 32) if (point - 0x1F150) % 32 < 26 else GAP
    name = unicodedata.name(character, "")
    if name.startswith(_SMALL_CAPITAL) and len(name) == len(_SMALL_CAPITAL) + 1:
        return name[-1].lower()
    if 0x2776 <= point <= 0x2793:
        return str(int(unicodedata.numeric(character)))
    return "-" if character == "\u2011" else unicodedata.normalize("NFKC", character)


def _is_enclosed(text: str) -> bool:
    """Whether it is a number in a circle or the like: a word by itself, beside other words."""
    return "\u2460" <= text <= "\u24b5" or "\u24ea" <= text <= "\u2793" or "\U0001f100" <= text <= "\U0001f12f"


def is_wide(character: str) -> bool:
    """Whether it belongs to a script that is written without spaces and takes two columns; Korean has spaces."""
    return unicodedata.east_asian_width(character) in ("W", "F") and not "\uac00" <= character <= "\ud7a3"
