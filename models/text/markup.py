"""A text, plain or in SSML, HTML or Markdown → the words in it, and the pauses it asks for. Pure functions.

A small set is understood, as `docs/jobs.md` lists it; what is left out is named. Whatever the input, nothing fails:
a tag that is never closed, or closed twice, is a tag all the same.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Markup = Literal["plain", "markdown", "html", "ssml"]

LONGEST_BREAK_S = 600.0
LONGEST_SHOWN = 20
STRENGTHS_S = {"none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.4, "strong": 0.8, "x-strong": 1.5}
_SUFFIXES: dict[str, Markup] = {
    "md": "markdown", "markdown": "markdown", "ssml": "ssml", "html": "html", "htm": "html", "xhtml": "html",
}  # fmt: skip

_BLOCKS_TEXT = """
    p div br hr li ul ol dl dt dd tr table section article header footer blockquote h1 h2 h3 h4 h5 h6 title
    figure pre speak paragraph
"""
_BLOCKS = frozenset(_BLOCKS_TEXT.split())
_SILENT_TEXT = """
    script style head template iframe noscript desc metadata lexicon meta rt rp
"""
_SILENT = frozenset(_SILENT_TEXT.split())
_TRANSPARENT_TEXT = """
    s sentence emphasis w token b i u em strong small span a code font center cite q abbr del ins sup sub html
    body nav main thead tbody td th figcaption ruby label speak p
"""
_TRANSPARENT = frozenset(_TRANSPARENT_TEXT.split())
# A pause in square brackets: [pause 2s], [pause: 500 ms], [pause], [short pause], [long pause].
_SPOKEN_PAUSE = (
    r"\[\s{0,9}(?:(?P<length>short|long)[ _-])?pause"
    r"(?:\s{0,9}[:=]?\s{0,9}(?P<number>\d{1,4}(?:[.,]\d{1,3})?)\s{0,9}(?P<unit>ms|s|secs?|seconds?))?\s{0,9}\]"
)
_LENGTHS = {"short": "weak", "": "medium", "long": "strong"}
_INLINE = re.compile(
    rf"(?:<break(?P<attributes>(?:\s[^<>]{{0,200}})?)/?>(?:\s{{0,9}}</break\s{{0,9}}>)?|{_SPOKEN_PAUSE})"
    r"(?P<marks>[,;:.!?…]{0,3})",
    re.IGNORECASE,
)
_MARKED_UP = re.compile(
    rf"{_SPOKEN_PAUSE}"
    r"|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)|<!\[CDATA\[(?P<cdata>.*?)(?:\]\]>|\Z)|<!DOCTYPE[^>]*>"
    r"|<(?P<close>/?)(?P<name>[A-Za-z][\w:.-]*)(?P<attributes>(?:\s(?:[^<>\"']|\"[^\"]*\"|'[^']*')*)?)/?>",
    re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"([\w:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'=<>`/]+))")
_TIME = re.compile(r"\+?(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})\s*(ms|s)")


@dataclass
class Words:
    """The spoken part of a marked-up text: pieces, each with the pause after it, and what was left out of them."""

    pieces: list[tuple[str, float]] = field(default_factory=list)
    lead_s: float = 0.0  # the pause before the first of them
    ignored: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All pieces as one text."""
        return " ".join(text for text, _ in self.pieces)

    @property
    def has_pauses_within(self) -> bool:
        """Whether something is silent before its end."""
        return len(self.pieces) > 1 or (self.lead_s > 0 and bool(self.pieces))

    @property
    def last_pause_s(self) -> float:
        """The pause at the end."""
        return self.pieces[-1][1] if self.pieces else 0.0

    def add(self, text: str, pause_s: float) -> None:
        """Append a piece, perhaps an empty one, and a pause."""
        if text:
            self.pieces.append((text, min(pause_s, LONGEST_BREAK_S)))
        elif self.pieces:
            last, before_s = self.pieces[-1]
            self.pieces[-1] = (last, min(before_s + pause_s, LONGEST_BREAK_S))
        else:
            self.lead_s = min(self.lead_s + pause_s, LONGEST_BREAK_S)

    def ignore(self, tag: str) -> None:
        """Note a tag that means nothing here."""
        if tag not in self.ignored:
            self.ignored.append(tag)


def markup_of(text: str, *, wanted: Markup | None = None, file_name: str = "") -> Markup:
    """The markup to read a text by: as somebody wants it, as the file is named, or as the whole text shows it."""
    if wanted is not None:
        return wanted
    if (by_name := _SUFFIXES.get(file_name.rpartition(".")[2].casefold())) is not None and "." in file_name:
        return by_name
    bare = re.sub(r"\A\s*(?:<\?xml[^>]*\?>\s*)?", "", text[:200])
    return "ssml" if re.match(r"<speak[\s>]", bare) and text.rstrip().endswith("</speak>") else "plain"


def words_in(text: str, *, wanted: Markup | None = None, file_name: str = "") -> Words:
    """The spoken part of a text; of a plain one without its pauses, unless it is `wanted` as it stands."""
    markup = markup_of(text, wanted=wanted, file_name=file_name)
    return words_and_pauses(text) if markup == "plain" and wanted is None else words_of(text, markup)


def words_of(text: str, markup: Markup) -> Words:
    """The spoken part of a text, read by its markup."""
    if markup == "plain":
        return Words([(text, 0.0)])
    return _without_tags(without_markdown(text) if markup == "markdown" else text, is_ssml=markup == "ssml")


def words_and_pauses(text: str) -> Words:
    """A plain text with its pauses: `<break time="2s"/>` and `[pause 2s]` are read, and nothing else."""
    words, here = Words(), 0
    for match in _INLINE.finditer(text) if "<" in text or "[" in text else ():
        before = text[here : match.start()].strip()
        words.add(f"{before}{match['marks']}" if before else "", _pause_s(match, words))
        here = match.end()
    words.add(text[here:].strip() if here else text, 0.0)
    return words


def _pause_s(match: re.Match[str], words: Words) -> float:
    """The length of a pause of `_INLINE` or `_MARKED_UP`, in square brackets or in a tag."""
    if match["attributes"] is None:
        number, is_ms = match["number"], (match["unit"] or "").casefold() == "ms"
        if number is None:
            return STRENGTHS_S[_LENGTHS[(match["length"] or "").casefold()]]
        return min(float(number.replace(",", ".")) / (1000 if is_ms else 1), LONGEST_BREAK_S)
    return _break_s(_attributes(match["attributes"]), words)


def _break_s(attributes: Mapping[str, str], words: Words) -> float:
    wanted = attributes.get("time", "").strip()
    if time := _TIME.fullmatch(wanted.casefold()):
        pause_s = float(time[1]) / (1000 if time[2] == "ms" else 1)
        if pause_s <= LONGEST_BREAK_S:
            return pause_s
    if wanted:
        words.ignore(f'<break time="{wanted[:LONGEST_SHOWN]}">')
        return LONGEST_BREAK_S if time else STRENGTHS_S["medium"]
    return STRENGTHS_S.get(attributes.get("strength", "medium").casefold(), STRENGTHS_S["medium"])


def _attributes(text: str) -> dict[str, str]:
    found = _ATTRIBUTE.findall(text)
    return {key.casefold(): html.unescape(double or single or bare) for key, double, single, bare in found}


# ---- tags ----------------------------------------------------------------------------------------------------------


class _Reader:
    """Follows the tags of a text."""

    def __init__(self) -> None:
        self.words = Words()
        self._part: list[str] = []
        self._silent: list[str] = []  # tags that are open, and whose content is not spoken
        self._spells = False

    def say(self, text: str) -> None:
        if not self._silent:
            said = html.unescape(text)
            self._part.append(" ".join(c for c in said if not c.isspace()) if self._spells else said)

    def tag(self, name: str, attributes: dict[str, str], *, closes: bool, empty: bool) -> None:
        name = name.casefold().rpartition(":")[2]
        if closes:
            self._close(name)
        elif name == "break":
            self.end(_break_s(attributes, self.words))
        elif name == "sub" and "alias" in attributes:
            self.say(html.escape(attributes["alias"]))
            self._silence(name, empty=empty)
        elif name == "say-as":
            self._spells = attributes.get("interpret-as", "") in ("characters", "spell-out", "verbatim")
        elif name in _SILENT:
            self._silence(name, empty=empty or name == "meta")
        elif name not in _TRANSPARENT | _BLOCKS:
            self.words.ignore(f"<{name}>")
        if name in _BLOCKS:
            self._part.append("\n\n")

    def _silence(self, name: str, *, empty: bool) -> None:
        if not empty:
            self._silent.append(name)

    def _close(self, name: str) -> None:
        if name in self._silent:
            del self._silent[self._silent.index(name) :]
        if name == "say-as":
            self._spells = False

    def end(self, pause_s: float) -> None:
        """The piece so far is a whole, and something is silent after it."""
        text = re.sub(r"\n\s*\n\s*", "\n\n", re.sub(r"[ \t\r\f\v]+", " ", "".join(self._part))).strip()
        text = re.sub(r" *\n *", "\n", text)
        self._part = []
        self.words.add(text, pause_s)


def _without_tags(text: str, *, is_ssml: bool) -> Words:
    reader, here = _Reader(), 0
    for match in _MARKED_UP.finditer(text):
        reader.say(_unwrapped(text[here : match.start()], is_ssml=is_ssml))
        here = match.end()
        if match[0].startswith("["):
            reader.end(_pause_s(match, reader.words))
        elif match["cdata"] is not None:
            reader.say(html.escape(match["cdata"]))
        elif match["name"] is not None:
            attributes = _attributes(match["attributes"] or "")
            reader.tag(match["name"], attributes, closes=match["close"] == "/", empty=match[0].endswith("/>"))
    reader.say(_unwrapped(text[here:], is_ssml=is_ssml))
    reader.end(0.0)
    return reader.words


def _unwrapped(text: str, *, is_ssml: bool) -> str:
    return re.sub(r"(?<!\s)\s*\n\s*", " ", text) if is_ssml else text


# ---- Markdown ------------------------------------------------------------------------------------------------------

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_LINES = (  # what stands at the beginning of a line
    (re.compile(r"^ {0,3}(?:```|~~~).*$", re.MULTILINE), ""),
    (re.compile(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$", re.MULTILINE), r"\n\1\n"),
    (re.compile(r"^(.+)\n {0,3}(?:={3,}|-{3,})[ \t]*$", re.MULTILINE), r"\n\1\n"),
    (re.compile(r"^ {0,3}(?:>[ \t]?)+", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*[-*+][ \t]+(?:\[[ xX]\][ \t]+)?(?=[^\s*-])", re.MULTILINE), "\n"),
    (re.compile(r"^ {0,3}\[[^\]\n]{1,200}\]:[ \t]+\S+.*$", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*(?:\|[ \t]*)?:?-{2,}:?(?:[ \t]*\|[ \t]*:?-{2,}:?)*[ \t]*(?:\|[ \t]*)?$", re.MULTILINE), "\n"),
    (re.compile(r"^[ \t]*\|(.*)\|[ \t]*$", re.MULTILINE), r"\n\1\n"),
)
_SPANS = (
    (re.compile(r"!\[[^\[\]\n]{0,500}\]\([^()\n]{0,1000}\)"), ""),
    (re.compile(r"\[([^\[\]\n]{1,500})\]\([^()\n]{0,1000}(?:\([^()\n]{0,500}\)[^()\n]{0,500})?\)"), r"\1"),
    (re.compile(r"\[\^[^\]\s]{1,40}\]:?"), ""),
    (re.compile(r"\[([^\[\]\n]{1,500})\]\[[^\[\]\n]{0,200}\]"), r"\1"),
    (re.compile(r"<(https?://[^\s<>]{1,500})>"), r"\1"),
    (re.compile(r"(`{1,3})([^`\n]{1,1000})\1"), r"\2"),
    (re.compile(r"(\*{1,3})(?=[^\s*])([^*\n]{1,1000}?)(?<=[^\s*])\1"), r"\2"),
    (re.compile(r"(?<!\w)(_{1,3})(?=[^\s_])([^_\n]{1,1000}?)(?<=[^\s_])\1(?!\w)"), r"\2"),
    (re.compile(r"~~(?=\S)([^~\n]{1,1000})~~"), r"\1"),
)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")


def without_markdown(text: str) -> str:
    """The text without the signs of Markdown; headings, items and rows are paragraphs of their own."""
    text = _FRONT_MATTER.sub("", text.replace("\r\n", "\n"))
    kept = _ESCAPED.sub(lambda match: chr(0xE100 + ord(match[1])), text)
    for pattern, plain in (*_LINES, *_SPANS):
        kept = pattern.sub(plain, kept)
    if "|" in kept and "|" in text:
        first, *cells = kept.split("|")
        kept = ", ".join([first.rstrip(" \t"), *(cell.strip(" \t") for cell in cells[:-1]), cells[-1].lstrip(" \t")])
    return re.sub("[\ue121-\ue17e]", lambda match: chr(ord(match[0]) - 0xE100), kept)
