"""HTML or XHTML → its paragraphs and headings as blocks, without what nobody reads aloud. Pure.

XHTML is read as XML; what is no XML is read as a browser would. Only tags that break a line part words.
"""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from runner.script.document import SCENE_BREAK
from runner.script.errors import SourceRefused
from runner.script.sources.xml_events import MAX_DEPTH, Begin, End, Event, NotWellFormed, Text, xml_events

_BLOCKS_TEXT = """
    p div li ul ol dl dt dd tr table caption thead tbody tfoot section article header footer main aside nav address
    blockquote h1 h2 h3 h4 h5 h6 figure figcaption pre body hgroup details summary form fieldset center hr
"""
_BLOCKS = frozenset(_BLOCKS_TEXT.split())
_SILENT_TEXT = """
    script style head template noscript iframe object svg math rt rp audio video canvas select textarea button
    datalist nav
"""
_SILENT = frozenset(_SILENT_TEXT.split())
_NO_CLOSE = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
_NOT_READ_TEXT = """
    footnote footnotes endnote endnotes rearnote rearnotes note noteref backlink pagebreak page-list toc index landmarks
    loi lot loa lov
"""
_NOT_READ = frozenset(_NOT_READ_TEXT.split())
_ROLES = frozenset(
    f"doc-{role}" for role in ("footnote", "endnote", "endnotes", "noteref", "backlink", "pagebreak", "pagelist",
                               "toc", "index")
)  # fmt: skip
_BREAK = "\0"  # within a paragraph; no text of a page can hold it
_CELLS = frozenset({"td", "th"})
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_XML_ENTITIES = frozenset({"amp", "lt", "gt", "quot", "apos"})
_DECLARED = re.compile(rb"\A\s*<\?xml[^>]*encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A paragraph, a heading (`level` 1 to 6), an item or a row; with the ids of tags that begin in or before it."""

    text: str
    level: int = 0
    ids: frozenset[str] = frozenset()
    line: int = 0  # in the file, where it is known


@dataclass
class Page:
    """Everything that one file says."""

    blocks: list[Block] = field(default_factory=list)
    title: str = ""
    author: str = ""
    language: str = ""
    left_out: set[str] = field(default_factory=set)  # kinds of what was not read


def read_page(content: bytes, *, name: str) -> Page:
    """The blocks of an (X)HTML file. Raises SourceRefused."""
    try:
        events = xml_events(_without_entities(content), name=name)
    except NotWellFormed:
        events = list(html_events(content, name=name))
    reader = _Reader()
    for event in events:
        reader.read(event)
    reader.end_block()
    return reader.page


def _without_entities(content: bytes) -> bytes:
    """The file with the named characters of HTML, which XML does not know, as themselves."""
    declared = _DECLARED.match(content[:400])
    encoding = declared[1].decode() if declared else "utf-8"
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else encoding)
    except (UnicodeDecodeError, LookupError):
        return content
    text = _ENTITY.sub(_named, re.sub(r"\A\s*(?:\ufeff)?\s*<\?xml[^>]*\?>", "", text))
    return b'<?xml version="1.0" encoding="utf-8"?>' + text.removeprefix("\ufeff").encode("utf-8", "replace")


def _named(match: re.Match[str]) -> str:
    if match[1] in _XML_ENTITIES:
        return match[0]
    return html.entities.html5.get(f"{match[1]};", match[0])


def html_events(content: bytes, *, name: str) -> Iterator[Event]:
    """The tags and texts of a file as a browser sees them. Raises SourceRefused when it is nested too deeply."""
    node = LexborHTMLParser(_selfclosed(content)).root
    depth = 0
    while node is not None:
        if node.is_text_node:
            yield Text(node.text_content or "")
        elif node.is_element_node:
            yield Begin(node.tag or "", {key: value or "" for key, value in node.attributes.items()}, 0)
            if node.child is not None:
                node, depth = node.child, depth + 1
                if depth > MAX_DEPTH:
                    raise SourceRefused(f"{name} is nested more than {MAX_DEPTH} tags deep.")
                continue
            yield End(node.tag or "")
        above: LexborNode | None = node
        while above is not None and above.next is None:
            above, depth = above.parent, depth - 1
            if above is not None and above.is_element_node:
                yield End(above.tag or "")
        node = above.next if above is not None else None


_SELF_CLOSED = re.compile(rb"<(title|script|style|textarea|a|i|b|em|span|p|div)((?:\s[^<>]{0,500})?)/>", re.IGNORECASE)


def _selfclosed(content: bytes) -> bytes:
    """XHTML's `<title/>` as HTML can read it: else the rest of the file would be the title."""
    return _SELF_CLOSED.sub(rb"<\1\2></\1>", content)


class _Reader:
    def __init__(self) -> None:
        self.page = Page()
        self._open: list[tuple[str, bool]] = []  # tags, and whether nothing in them is read
        self._silent = 0
        self._parts: list[str] = []
        self._ids: set[str] = set()
        self._level = 0
        self._line = 0
        self._title: list[str] | None = None

    def read(self, event: Event) -> None:
        """One tag or text."""
        if isinstance(event, Text):
            self._text(event.text)
        elif isinstance(event, Begin):
            self._begin(event.name.casefold(), event)
        else:
            self._end(event.name.casefold())

    def _text(self, text: str) -> None:
        if self._title is not None:
            self._title.append(text)
        if not self._silent:
            self._parts.append(text.replace(_BREAK, " "))

    def _begin(self, tag: str, event: Begin) -> None:
        attributes = event.attributes
        reason = _reason_unread(tag, attributes)
        self._facts(tag, attributes)
        is_read = not self._silent and reason is None
        if is_read and tag in _BLOCKS:
            self.end_block()
        elif reason not in (None, "") and not self._silent:
            self.page.left_out.add(reason or "")
        if (own_id := attributes.get("id") or attributes.get("name")) and tag != "meta":
            self._ids.add(own_id)
        if is_read:
            self._begin_read(tag, event)
        if tag in _NO_CLOSE:
            self._open.append((tag, False))  # XML closes it; HTML does so in its events, too
            return
        self._open.append((tag, reason is not None))
        self._silent += reason is not None

    def _begin_read(self, tag: str, event: Begin) -> None:
        if tag == "br":
            self._parts.append(_BREAK)
        elif tag in _CELLS and self._has_words():
            said = "".join(self._parts).rstrip()
            self._parts = [said, "; " if said[-1:].isalnum() else " "]
        elif tag in _BLOCKS:
            self._level = _HEADINGS.get(tag, self._level)
            self._line = event.line
            if tag == "hr":
                self._parts.append(SCENE_BREAK)
                self.end_block()

    def _facts(self, tag: str, attributes: object) -> None:
        assert hasattr(attributes, "get")
        if tag == "html":
            self.page.language = attributes.get("lang") or attributes.get("xml:lang") or self.page.language
        elif tag == "meta" and (attributes.get("name") or "").casefold() == "author":
            self.page.author = attributes.get("content") or ""
        elif tag == "title" and not self.page.title:
            self._title = []

    def _end(self, tag: str) -> None:
        if tag == "title" and self._title is not None:
            self.page.title, self._title = " ".join("".join(self._title).split()), None
        if self._open:
            _, was_silent = self._open.pop()
            self._silent -= was_silent
        if tag in _BLOCKS and not self._silent:
            self.end_block()
            if tag in _HEADINGS:
                self._level = 0

    def _has_words(self) -> bool:
        return any(part.strip() for part in self._parts)

    def end_block(self) -> None:
        """Make the paragraph so far a block."""
        lines = "".join(self._parts).split(_BREAK)
        text = "\n".join(filter(None, (" ".join(line.split()) for line in lines)))
        self._parts = []
        if text:
            self.page.blocks.append(Block(text=text, level=self._level, ids=frozenset(self._ids), line=self._line))
            self._ids = set()


def _reason_unread(tag: str, attributes: object) -> str | None:
    """A word for what is not read aloud, "" for what has no words; None for what is read."""
    assert hasattr(attributes, "get")
    kinds = (attributes.get("epub:type") or attributes.get("type") or "").casefold().split()
    has_kind = "epub:type" in attributes or tag in ("aside", "section", "a", "span", "nav", "div")  # type: ignore[operator]
    if has_kind and (found := next((kind for kind in kinds if kind in _NOT_READ), None)):
        return found
    roles = (attributes.get("role") or "").casefold().split()
    if found := next((role for role in roles if role in _ROLES), None):
        return found.removeprefix("doc-")
    is_hidden = attributes.get("aria-hidden") == "true" or "hidden" in attributes  # type: ignore[operator]
    return "" if tag in _SILENT or is_hidden else None
