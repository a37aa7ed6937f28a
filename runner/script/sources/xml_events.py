"""The bytes of an XML file → its tags and texts, one after the other, with line numbers. Pure.

Entities of a document's own, which can grow without bound or name files, are refused; so are deep nests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from runner.script.errors import SourceRefused

MAX_DEPTH = 256
MAX_EVENTS = 6_000_000


@dataclass(frozen=True, slots=True)
class Begin:
    """A tag that opens; its name is without prefix or namespace."""

    name: str
    attributes: Mapping[str, str]
    line: int


@dataclass(frozen=True, slots=True)
class End:
    """A tag that closes."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """The text between two tags, or a part of it."""

    text: str


Event = Begin | End | Text


class NotWellFormed(SourceRefused):
    """XML that breaks its rules: the message says where."""


@dataclass
class _Events:
    found: list[Event] = field(default_factory=list)
    depth: int = 0


def xml_events(content: bytes, *, name: str, keep_prefixes: bool = False) -> list[Event]:
    """All tags and texts. Raises NotWellFormed, and SourceRefused for what could do harm."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    events = _Events()

    def local(tag: str) -> str:
        return tag if keep_prefixes else tag.rpartition(":")[2]

    def begin(tag: str, attributes: dict[str, str]) -> None:
        events.depth += 1
        if events.depth > MAX_DEPTH or len(events.found) > MAX_EVENTS:
            raise SourceRefused(f"{name}, line {parser.CurrentLineNumber}: it is nested too deeply, or too large.")
        events.found.append(Begin(local(tag), attributes, parser.CurrentLineNumber))

    def end(tag: str) -> None:
        events.depth -= 1
        events.found.append(End(local(tag)))

    def refuse(*_: object) -> None:
        raise SourceRefused(
            f"{name}, line {parser.CurrentLineNumber}: it defines entities of its own, which are not read.",
            hint="Export it again from the program that made it.",
        )

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = lambda text: events.found.append(Text(text))
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise NotWellFormed(
            f"{name}, line {error.lineno}, column {error.offset + 1}: it is no well-formed XML ({reason}).",
            hint="Export it again from the program that made it.",
        ) from None
    except (ValueError, LookupError) as error:  # of an encoding that Python does not know
        if isinstance(error, SourceRefused):
            raise
        raise NotWellFormed(f"{name}: {error}.", hint="Save it in UTF-8.") from None
    return events.found
