"""A screenplay of Final Draft (FDX) → its document. Pure.

Every styled run of a paragraph is read, and both columns of a dual dialogue, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from runner.script.document import Document, DocumentBuilder
from runner.script.errors import SourceRefused
from runner.script.sources.cues import cue_name
from runner.script.sources.title_page import TitlePage
from runner.script.sources.xml_events import Begin, End, Event, xml_events

_BY_WORDS = ("by", "written by", "screenplay by", "story by", "teleplay by", "von", "de", "par")
_SKIPPED = frozenset({"ScriptNote", "SceneProperties", "Summary", "HeaderAndFooter", "SmartType", "Cast"})
_KNOWN = frozenset({"Action", "General", "Shot", "New Act", "End of Act", "Centered", "Cast List"})


@dataclass
class _Paragraph:
    type: str
    line: int
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.parts).split())


def read_fdx(content: bytes, *, name: str) -> Document:
    """The document of a screenplay. Raises SourceRefused."""
    events = xml_events(content, name=name)
    first = events[0] if events else None
    if not isinstance(first, Begin) or first.name != "FinalDraft":
        raise SourceRefused(
            f"{name} is no screenplay of Final Draft: its outermost tag is not FinalDraft.",
            hint="Say what it is by `format`.",
        )
    body, front = _paragraphs(events)
    reader = _Reader()
    for paragraph in body:
        reader.read(paragraph)
    reader.end_speech()
    page = _title_page(front)
    return reader.builder.document("fdx", title=page.title, author=page.author)


def _paragraphs(events: Iterable[Event]) -> tuple[list[_Paragraph], list[_Paragraph]]:
    """Paragraphs of the script, and of the title page, in the order in which they begin."""
    body: list[_Paragraph] = []
    front: list[_Paragraph] = []
    path: list[str] = []
    open_ones: list[_Paragraph] = []
    skipping = 0
    for event in events:
        if isinstance(event, Begin):
            path.append(event.name)
            skipping += event.name in _SKIPPED
            if event.name == "Paragraph" and not skipping and "Content" in path:
                paragraph = _Paragraph(event.attributes.get("Type", "Action"), event.line)
                (front if "TitlePage" in path else body).append(paragraph)
                open_ones.append(paragraph)
        elif isinstance(event, End):
            path.pop()
            skipping -= event.name in _SKIPPED
            if event.name == "Paragraph" and not skipping and "Content" in path:
                open_ones.pop()
        elif path and path[-1] == "Text" and open_ones and not skipping:
            open_ones[-1].parts.append(event.text)
    return body, front


class _Reader:
    def __init__(self) -> None:
        self.builder = DocumentBuilder()
        self._speaker: str | None = None
        self._directions: list[str] = []

    def read(self, paragraph: _Paragraph) -> None:
        """Add a paragraph by its type."""
        text, place = paragraph.text, f"line {paragraph.line}"
        if not text:
            return
        match paragraph.type:
            case "Scene Heading":
                self.end_speech()
                self.builder.chapter(text)
                self.builder.line("heading", text, place=place)
            case "Character":
                self.end_speech()
                self._speaker = cue_name(text)
            case "Parenthetical":
                bare = text[1:-1] if text.startswith("(") and text.endswith(")") else text
                self._directions.append(bare)
            case "Dialogue" | "Lyrics" | "Singing":
                self._read_speech("dialogue" if paragraph.type == "Dialogue" else "lyric", text, place)
            case "Transition":
                self.end_speech()
                self.builder.line("transition", text, place=place)
            case other:
                self.end_speech()
                if other not in _KNOWN:
                    self.builder.warn(f"Paragraphs of the type {other!r} are read as action.")
                self.builder.line("action", text, place=place)

    def _read_speech(self, kind: str, text: str, place: str) -> None:
        direction, self._directions = "; ".join(self._directions), []
        if kind == "lyric":
            self.builder.line("lyric", text, place=place, speaker=self._speaker, direction=direction, rule="cue")
        elif self._speaker is None:
            self.builder.warn(f"Dialogue without a character above it goes to the narrator, first at {place}.")
            self.builder.line("action", text, place=place)
        else:
            self.builder.line("dialogue", text, place=place, speaker=self._speaker, direction=direction, rule="cue")

    def end_speech(self) -> None:
        """Nobody speaks what follows."""
        self._speaker, self._directions = None, []


def _title_page(paragraphs: Iterable[_Paragraph]) -> TitlePage:
    page = TitlePage()
    texts = [paragraph.text for paragraph in paragraphs if paragraph.text]
    if texts:
        page.add("title", texts[0])
    for above, below in pairwise(texts):
        if above.casefold().rstrip(":") in _BY_WORDS:
            page.add("author", below)
    return page
