"""A text as it was written → its spoken form: what is read aloud, without what cannot be seen or said. Pure functions.

A text that is clean already is its own spoken form, character for character: takes are found again by it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from models.text.characters import FOLDED, GAP, INVISIBLE, UNSPOKEN, is_wide, plain_form

APOSTROPHES = "'’‘‛ʼ＇`´′"
_STRAY_APOSTROPHE = re.compile(r"(?<=[^\W\d_])[`´′](?=[^\W\d_])|[\u02bc\u201b\uff07]")
_LINE_BREAK = re.compile("[\u0085\u2028\v]")

# Runs of marks: nobody reads them. Three or fewer are ordinary, and dots may be four: an ellipsis and a stop.
_DOTS = re.compile(r"[.…‥․·•∙⋯・･](?:[ \t]?[.…‥․·•∙⋯・･]){4,}")
_CRIES = re.compile(r"[!?！？](?:[ \t]?[!?！？]){3,}")
_ARROWS = re.compile(r"(?<![\w!<=~-])<?[-=~]{2,}>|<[-=~]{2,}(?!\w)")
_DASHES = re.compile(r"[-‐‒–—―−](?:[ \t]?[-‐‒–—―−]){3,}")
_RULES = re.compile(r"([*#=_~^|+\\/<>※§¤¬¦])(?:[ \t]*\1){2,}")
_MIXED_RULES = re.compile(r"[*#=_~^|+\\/<>•·\-–—](?:[ \t]?[*#=_~^|+\\/<>•·\-–—:]){3,}[ \t]?[*#=_~^|+\\/<>•·\-–—]")
_REPEATED = re.compile(r"([!-\-/:-@\[-`{-~¡-¿‘-‧‹›、。〈-】，；：])(?:[ \t]?\1){3,}")
_KEPT_ONCE = frozenset(",;:'\"()[]{}«»“”‘’‚„‹›¡¿、。〈〉《》「」『』【】，；：")
_ANY_MARKS = re.compile(r"(?:[\W_][ \t]?){2}[\W_]")

# A word cut at the end of a line. Where its parts are words of their own, the hyphen belongs to it.
_PLAIN_WORD = re.compile(r"[A-Za-z0-9]")
MUCH = 2_000
MOST_ROUNDS = 5
_HYPHENATED = re.compile(r"(?<!\w)\w+-\w+")  # looked for at the beginning of words alone: else a long one takes long
_SOFT_BREAK = re.compile("\u00ad[ \\t]*\\r?\\n[ \\t]*")
_LINE_END_HYPHEN = re.compile(r"((?<![^\W\d_])[^\W\d_]+|(?<!\d)\d+)[-‐\u00ad][ \t]*\r?\n[ \t]*(\w+)")
_FIRST_PARTS_TEXT = """
    self well ill half all cross ex non anti twenty thirty forty fifty sixty seventy eighty ninety one two three
    four five six seven eight nine ten
"""
_FIRST_PARTS = frozenset(_FIRST_PARTS_TEXT.split())
_GAPS = re.compile(f"(?<![ \t])([ \t]*)(?:{GAP}[ \t]*)+")
_NO_SPACE_BEFORE = frozenset(",.;:!?…)]}»”’")


def spoken_form(text: str, *, kept: Collection[str] = ()) -> str:
    """`text` as it is read aloud; `kept` are characters that somebody has said how to speak."""
    stays = frozenset(kept)
    spoken = _cleaned(text, stays)
    if spoken == text:
        return text
    for _ in range(MOST_ROUNDS):  # what was left out may have parted what is now a run, or a word
        before, spoken = spoken, _cleaned(spoken, stays)
        if spoken == before:
            break
    return spoken.strip()


def _cleaned(text: str, kept: frozenset[str]) -> str:
    spoken = text if text.isascii() else _folded(text, kept)
    if "\n" in spoken:
        spoken = without_line_end_hyphens(spoken, hyphenated_words(spoken))
    if _ANY_MARKS.search(spoken):
        spoken = _without_runs(spoken)
    if GAP in spoken:
        spoken = re.sub(r"\n{3,}", "\n\n", _GAPS.sub(_closed, spoken))
    return _without_empty_lines(spoken) if "\n" in spoken else spoken


def has_word(text: str) -> bool:
    """Whether there is anything to say in a spoken form: a letter or a digit, of any script."""
    return any(unicodedata.category(match[0]) != "Lm" for match in re.finditer(r"[^\W_]", text))


def speaks(text: str) -> bool:
    """Whether a text as it was written holds a word; one that does not is a pause."""
    if _PLAIN_WORD.search(text):  # nothing that is cleaned
        return True
    return has_word(spoken_form(text[:MUCH])) or (len(text) > MUCH and has_word(spoken_form(text)))


def hyphenated_words(text: str) -> frozenset[str]:
    """The words of a text that are written with a hyphen, within a line."""
    return frozenset(_HYPHENATED.findall(text))


def without_line_end_hyphens(text: str, hyphenated: Collection[str]) -> str:
    """Words that were cut at the end of a line, whole again; those that are `hyphenated` anyhow keep the hyphen."""
    return _LINE_END_HYPHEN.sub(lambda match: _joined(match, hyphenated), text)


def _folded(text: str, kept: frozenset[str]) -> str:
    """Composed letters in their plain forms; a gap in place of what cannot be said."""
    text = _LINE_BREAK.sub("\n", text).replace("\u2029", "\n\n")
    text = INVISIBLE.sub("", _SOFT_BREAK.sub("", text))
    text = FOLDED.sub(lambda match: match[0] if match[0] in kept else plain_form(match), text)
    text = UNSPOKEN.sub(lambda match: match[0] if match[0] in kept else GAP, text)
    text = _STRAY_APOSTROPHE.sub("'", text)
    return unicodedata.normalize("NFC", text)


def _joined(match: re.Match[str], hyphenated: Collection[str]) -> str:
    """Both parts of a word that was cut at a line's end, with its hyphen where the word has one."""
    first, second = match.groups()
    if match[0][len(first)] == "\u00ad":
        return f"{first}{second}"
    is_cut = second[0].islower() and first[-1].isalpha() and first.casefold() not in _FIRST_PARTS
    return f"{first}{second}" if is_cut and f"{first}-{second}" not in hyphenated else f"{first}-{second}"


def _without_runs(text: str) -> str:
    text = _ARROWS.sub(GAP, _DOTS.sub(_ellipsis, text))
    text = _CRIES.sub(lambda match: match[0].replace(" ", "").replace("\t", "")[:3], text)
    text = _MIXED_RULES.sub(lambda match: match[0] if _DASHES.fullmatch(match[0]) else GAP, text)
    text = _DASHES.sub(_dash, text)
    text = _RULES.sub(GAP, text)
    return _REPEATED.sub(lambda match: match[1] if match[1] in _KEPT_ONCE else GAP, text)


def _ellipsis(match: re.Match[str]) -> str:
    """One ellipsis, apart from a word that follows."""
    return "… " if match.string[match.end() : match.end() + 1].isalnum() else "…"


def _dash(match: re.Match[str]) -> str:
    """One dash between two words; nothing at the edge of a line, where it is a rule or a blank to fill in."""
    before, after = match.string[: match.start()].rstrip(" \t"), match.string[match.end() :].lstrip(" \t")
    return "—" if before and after and before[-1] != "\n" and after[0] not in "\r\n" else GAP


def _closed(match: re.Match[str]) -> str:
    """The space that stays where something was left out."""
    text, start, end = match.string, match.start(), match.end()
    if start == 0 or end == len(text) or text[start - 1] == "\n" or text[end] in "\r\n":
        return ""
    before, after = text[start - 1], text[end]
    if any(character in " \t" for character in match[0]):
        return "" if after in _NO_SPACE_BEFORE else " "
    return " " if before.isalnum() and after.isalnum() and not (is_wide(before) or is_wide(after)) else ""


def _without_empty_lines(text: str) -> str:
    """Lines without a word become blank ones, as between paragraphs, unless there is no word in any."""
    lines = text.split("\n")
    is_said = [not line.strip() or has_word(line) for line in lines]
    if all(is_said) or not has_word(text):
        return text
    kept = "\n".join(line if said else "" for line, said in zip(lines, is_said, strict=True))
    return re.sub(r"\n{3,}", "\n\n", kept).strip("\n")
