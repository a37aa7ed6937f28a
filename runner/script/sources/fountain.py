"""A screenplay in Fountain (fountain.io) → its document. Pure; one pass over the lines.

Notes and boneyards are taken out first, each replaced by a mark that no text can hold, so that every line keeps its
number, and a line of which nothing is left is not mistaken for a blank one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.script.document import Document, DocumentBuilder
from runner.script.sources.cues import cue_name
from runner.script.sources.title_page import TitlePage

_TAKEN_OUT = "\0"
_TITLE_KEY = re.compile(r"([A-Za-z][A-Za-z ]{0,40}):[ \t]*(.*)")
_TITLE_KEYS_TEXT = "title credit author authors source notes draft date contact copyright revision format font"
_TITLE_KEYS = frozenset({*_TITLE_KEYS_TEXT.split(), "draft date", "contact info"})
_HEADING = re.compile(r"(?:INT|EXT|EST|INT\.?/EXT|EXT\.?/INT|I/E)(?:\.|[ \t])", re.IGNORECASE)
_SCENE_NUMBER = re.compile(r"(?<![ \t])[ \t]*#[^#\n]{1,20}#[ \t]*$")
_PAGE_BREAK = re.compile(r"={3,}[ \t]*")
_TRANSITION = re.compile(r"[^a-zß-öø-ÿ]{0,200}TO:[ \t]*")
_NO_CUE = re.compile(r"(?:FADE|CUT|DISSOLVE|SMASH|MATCH|WIPE)\b.*[:.]")
_EXTENSIONS = re.compile(r"(?:(?<![ \t])[ \t]*\([^()]*\))+[ \t]*$")
_MAX_CUE = 200
_EMPHASIS = (
    re.compile(r"(?<!\\)(\*{1,3})(?=[^\s*])([^*\n]{1,2000}?)(?<=[^\s*\\])\1"),
    re.compile(r"(?<![\w\\])(_)(?=[^\s_])([^_\n]{1,2000}?)(?<=[^\s\\])\1(?!\w)"),
)
_ESCAPED = re.compile(r"\\([*_\\])")


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str  # without white space at its end; "" is a blank line
    is_space: bool = False  # two spaces or more: blank, but within a dialogue


def read_fountain(text: str) -> Document:
    """The document of a screenplay."""
    reader = _Reader(list(_lines(text)))
    reader.read()
    return reader.builder.document(
        "fountain", title=reader.title_page.title, author=reader.title_page.author, language=reader.title_page.language
    )


# ---- lines ---------------------------------------------------------------------------------------------------------


def _lines(text: str) -> Iterator[_Line]:
    for number, line in enumerate(_without_notes(_without_boneyard(text)).split("\n"), start=1):
        kept = line.replace(_TAKEN_OUT, "")
        if kept.strip() or _TAKEN_OUT not in line:
            yield _Line(number, kept.expandtabs(4).rstrip(), is_space=not kept.strip() and len(kept) > 1)


def _removed(text: str) -> str:
    return _TAKEN_OUT + text.count("\n") * f"\n{_TAKEN_OUT}"


def _without_boneyard(text: str) -> str:
    return _without(text, "/*", "*/")


def _without_notes(text: str) -> str:
    return _without(text, "[[", "]]", stop="\n\n")


def _without(text: str, begin: str, end: str, *, stop: str | None = None) -> str:
    """The text without what is between the two marks; a mark that is never closed is text."""
    parts, here = [], 0
    while (start := text.find(begin, here)) >= 0:
        limit = text.find(stop, start) if stop is not None else -1
        limit = len(text) if limit < 0 else limit
        close = text.find(end, start + 2, limit)
        if close < 0:  # nor is any other one closed before the limit
            parts.append(text[here:limit])
            here = limit
            continue
        parts += text[here:start], _removed(text[start : close + 2])
        here = close + 2
    return "".join((*parts, text[here:]))


# ---- elements ------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, lines: list[_Line]) -> None:
        self._lines = lines
        self._at = 0
        self.builder = DocumentBuilder()
        self.title_page = TitlePage()

    def read(self) -> None:
        self._read_title_page()
        while (line := self._line()) is not None:
            if not line.text:
                self._at += 1
            else:
                self._read_element(line)

    def _line(self, ahead: int = 0) -> _Line | None:
        return self._lines[self._at + ahead] if self._at + ahead < len(self._lines) else None

    def _is_blank(self, ahead: int) -> bool:
        at = self._at + ahead
        return not 0 <= at < len(self._lines) or not self._lines[at].text

    def _read_title_page(self) -> None:
        while self._at < len(self._lines) and not self._lines[self._at].text:
            self._at += 1
        end = self._at
        while end < len(self._lines) and self._lines[end].text:
            end += 1
        block = self._lines[self._at : end]
        if not _is_title_page([line.text for line in block]):
            return
        key = ""
        for line in block:
            if (found := _TITLE_KEY.fullmatch(line.text)) is not None:
                key = found[1].strip().casefold()
                self.title_page.add(key, _plain(found[2]))
            else:
                self.title_page.add(key, _plain(line.text.strip()))
        self._at = end

    def _read_element(self, line: _Line) -> None:
        text, place = line.text.strip(), f"line {line.number}"
        if text.startswith("!"):
            self._read_action(text[1:])
        elif _PAGE_BREAK.fullmatch(text) or text[0] in "=#":
            self._at += 1
        elif text.startswith("~"):
            self.builder.line("lyric", _plain(text[1:]), place=place)
            self._at += 1
        elif text.startswith(">"):
            centred = text.endswith("<") and len(text) > 1
            inside = _plain(text[1:-1] if centred else text[1:])
            self.builder.line("action" if centred else "transition", inside, place=place)
            self._at += 1
        elif self._is_heading(text):
            self._read_heading(text.removeprefix("."), place)
        elif self._is_blank(-1) and (name := self._cue(text)) is not None:
            self._at += 1
            self._read_dialogue(name)
        elif self._is_blank(-1) and self._is_blank(1) and _TRANSITION.fullmatch(text):
            self.builder.line("transition", _plain(text), place=place)
            self._at += 1
        else:
            self._read_action(text)

    def _is_heading(self, text: str) -> bool:
        if text.startswith("."):
            return len(text) > 1 and text[1].isalnum()
        return self._is_blank(-1) and _HEADING.match(text) is not None

    def _read_heading(self, text: str, place: str) -> None:
        title = _plain(_SCENE_NUMBER.sub("", text))
        self.builder.chapter(title)
        self.builder.line("heading", title, place=place)
        self._at += 1

    def _cue(self, text: str) -> str | None:
        """The name in a cue; None for a line that is none."""
        if self._is_blank(1) or len(text) > _MAX_CUE:
            return None
        is_forced = text.startswith("@")
        bare = text.lstrip("@").rstrip("^ \t")
        name = _EXTENSIONS.sub("", bare).strip()
        if is_forced:
            return _plain(name) or None
        is_upper = any(map(str.isupper, name)) and not any(map(str.islower, name))
        if not is_upper or _TRANSITION.fullmatch(text) or _NO_CUE.fullmatch(text):
            return None
        return _plain(name)

    def _read_action(self, text: str) -> None:
        line = self._lines[self._at]
        parts = [text]
        self._at += 1
        while (following := self._line()) is not None and following.text:
            bare = following.text.strip()
            if bare[0] in "!~>=#" or self._is_heading(bare):
                break
            parts.append(bare)
            self._at += 1
        self.builder.line("action", _plain(" ".join(parts)), place=f"line {line.number}")

    def _read_dialogue(self, cue: str) -> None:
        speaker, speech = cue_name(cue), _Speech(self.builder, cue_name(cue))
        assert speaker
        while (line := self._line()) is not None and (line.text or line.is_space):
            text = line.text.strip()
            if not text:
                speech.end()
            elif text.startswith("("):
                text = self._whole_parenthetical(text)
                if text.endswith(")"):
                    speech.direct(_plain(text[1:-1]))
                else:
                    speech.add("dialogue", _plain(text), line.number)
            elif text.startswith("~"):
                speech.end()
                speech.add("lyric", _plain(text[1:]), line.number)
                speech.end(keep_direction=True)
            else:
                speech.add("dialogue", _plain(text), line.number)
            self._at += 1
        speech.end()

    def _whole_parenthetical(self, text: str) -> str:
        """A parenthetical over several lines as one; the reader is then at its last line."""
        ahead, parts = 0, [text]
        while ")" not in parts[-1]:
            ahead += 1
            following = self._line(ahead)
            if following is None or not following.text:
                return text
            parts.append(following.text.strip())
        if not parts[-1].endswith(")"):
            return text
        self._at += ahead
        return " ".join(parts)


class _Speech:
    """The lines below one cue."""

    def __init__(self, builder: DocumentBuilder, speaker: str) -> None:
        self._builder, self._speaker = builder, speaker
        self._directions: list[str] = []
        self._parts: list[str] = []
        self._kind, self._number = "dialogue", 0

    def direct(self, direction: str) -> None:
        """Note how the next words are spoken."""
        self.end()
        self._directions.append(direction)

    def add(self, kind: str, text: str, number: int) -> None:
        """One more line of the source."""
        if not self._parts:
            self._kind, self._number = kind, number
        self._parts.append(text)

    def end(self, *, keep_direction: bool = False) -> None:
        """Whatever follows is a line of its own."""
        if not self._parts:
            return
        self._builder.line(
            "lyric" if self._kind == "lyric" else "dialogue",
            " ".join(self._parts),
            place=f"line {self._number}",
            speaker=self._speaker,
            direction="; ".join(self._directions),
            rule="cue",
        )
        self._parts = []
        if not keep_direction:
            self._directions = []


def _is_title_page(lines: Sequence[str]) -> bool:
    """Whether a first paragraph is keys and values: it begins with a key, and one of them is a known one."""
    keys = [found[1].strip().casefold() if (found := _TITLE_KEY.fullmatch(line)) else "" for line in lines]
    values_are_indented = all(key or line[:1] in " \t" for key, line in zip(keys, lines, strict=True))
    return keys[:1] != [""] and not _TITLE_KEYS.isdisjoint(keys) and (values_are_indented or keys[0] in _TITLE_KEYS)


def _plain(text: str) -> str:
    """The text without emphasis."""
    kept = _ESCAPED.sub(lambda match: chr(0xE100 + ord(match[1])), text)
    for pattern in _EMPHASIS:
        for _ in range(3):  # one within another
            if kept == (kept := pattern.sub(r"\2", kept)):
                break
    kept = re.sub("[\ue12a\ue15f\ue15c]", lambda match: chr(ord(match[0]) - 0xE100), kept)
    return " ".join(kept.split())
