"""A source as one value: its chapters, and its lines with speaker, kind, direction and place. Frozen, and pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from models.text.sentences import split_text
from runner.jobfile.specs import Narrate, SourceFormat

Kind = Literal["heading", "action", "dialogue", "lyric", "narration", "transition"]

MAX_LINES = 200_000
MAX_LINE_CHARACTERS = 2_000  # a longer one is cut after a sentence
SCENE_BREAK = "* * *"  # of a rule that has no characters of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class ScriptLine:
    """One line of a source. `speaker` None is the narrator; `place` says where it is in the source."""

    kind: Kind
    text: str
    chapter: int  # index of its chapter, from 1
    speaker: str | None = None
    direction: str | None = None  # the text of its parenthetical
    rule: str = ""  # by which the speaker was found
    confidence: float = 1.0
    place: str = ""
    start_s: float | None = None  # of captions
    end_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A chapter of a book, or a scene; the title of what comes before the first is empty."""

    index: int
    title: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """Everything that was read from a source."""

    format: SourceFormat
    encoding: str = "utf-8"
    title: str = ""
    author: str = ""
    language: str = ""  # as the source says it; empty when it does not
    chapters: tuple[Chapter, ...] = ()
    lines: tuple[ScriptLine, ...] = ()
    warnings: tuple[str, ...] = ()
    cover: bytes | None = field(default=None, repr=False)

    @property
    def is_screenplay(self) -> bool:
        """Whether its cues say who speaks."""
        return self.format in ("fountain", "fdx")

    @property
    def is_prose(self) -> bool:
        """Whether who speaks has to be found in the text."""
        return not self.is_screenplay and not self.has_times

    @property
    def has_times(self) -> bool:
        """Whether its lines have times."""
        return self.format in ("srt", "vtt")


def is_spoken(line: ScriptLine, *, narrate: Narrate, is_screenplay: bool) -> bool:
    """Whether somebody speaks this line; of a book every line but what is no part of the text."""
    if line.kind == "transition":
        return False
    if line.speaker is not None or not is_screenplay:
        return True
    if line.kind == "heading":
        return narrate == "all"
    return narrate != "none"


def within_length(line: ScriptLine) -> Sequence[ScriptLine]:
    """The line, or several that together have its text where it is longer than a line may be."""
    if len(line.text) <= MAX_LINE_CHARACTERS:
        return (line,)
    pieces = split_text(line.text, language="auto", max_characters=MAX_LINE_CHARACTERS, max_words=MAX_LINE_CHARACTERS)
    return [replace(line, text=piece) for piece in pieces]


class DocumentBuilder:
    """Collects chapters and lines in the order of the source."""

    def __init__(self) -> None:
        self._titles: list[str] = []
        self._lines: list[ScriptLine] = []
        self.warnings: list[str] = []

    def chapter(self, title: str) -> None:
        """The lines that follow are in a new chapter."""
        self._titles.append(" ".join(title.split()))

    def line(
        self,
        kind: Kind,
        text: str,
        *,
        place: str,
        speaker: str | None = None,
        direction: str | None = None,
        rule: str = "",
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> None:
        """Add a line, unless there is nothing in it."""
        if not text.strip():
            return
        if not self._titles:
            self._titles.append("")
        line = ScriptLine(
            kind=kind,
            text=text.strip(),
            chapter=len(self._titles),
            speaker=speaker,
            direction=direction or None,
            rule=rule,
            place=place,
            start_s=start_s,
            end_s=end_s,
        )
        self._lines += within_length(line)

    def warn(self, warning: str) -> None:
        """Note something that the person should know, once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def __len__(self) -> int:
        return len(self._lines)

    def document(self, source: SourceFormat, /, **facts: object) -> Document:
        """Everything so far; chapters without a line are left out."""
        used = sorted({line.chapter for line in self._lines})
        numbers = {old: new for new, old in enumerate(used, start=1)}
        return Document(
            format=source,
            chapters=tuple(Chapter(index=numbers[old], title=self._titles[old - 1]) for old in used),
            lines=tuple(replace(line, chapter=numbers[line.chapter]) for line in self._lines),
            warnings=tuple(self.warnings),
            **facts,  # type: ignore[arg-type]
        )
