"""A PDF that holds text → its document: running heads, page numbers and line ends are taken out. Pure."""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Sequence

import pypdf
from pypdf.errors import PdfReadError, PyPdfError

from models.text.spoken_form import has_word
from runner.script.document import Document
from runner.script.errors import SourceRefused
from runner.script.sources.plain_text import read_plain_text

MAX_PAGES = 5_000
MAX_CHARACTERS = 16 << 20
EDGE_LINES = 2  # at the head and the foot of a page, among which running heads are looked for
REPEATED = 3  # pages with an equal line there: it is no part of the text
_PAGE_NUMBER = re.compile(r"[-–—\[( ]*(?:page|seite|p\.|s\.)?[ ]*(?:\d{1,4}|[ivxlc]{1,7})[-–—\]) .]*", re.IGNORECASE)

logging.getLogger("pypdf").setLevel(logging.ERROR)


def read_pdf(content: bytes, *, name: str) -> Document:
    """The document of a PDF. Raises SourceRefused: it is protected, broken, or pictures of pages."""
    try:
        reader = pypdf.PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise SourceRefused(f"{name} is protected by a password.", hint="Save it without one.")
        pages = _pages(reader, name)
        title, author = _facts(reader)
    except SourceRefused:
        raise
    except (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OSError) as error:
        kind = "damaged" if isinstance(error, PdfReadError) else "not readable"
        raise SourceRefused(
            f"{name} is {kind}: {error}.", hint="Save it again from the program that made it."
        ) from None
    if not any(has_word(line) for page in pages for line in page):
        raise SourceRefused(
            f"{name} holds no text: its {len(pages)} pages are pictures.",
            hint="Have a program for text recognition (OCR) read it first.",
        )
    text = "\n".join(line for page in _without_edges(pages) for line in page)
    document = read_plain_text(text)
    return Document(
        format="pdf",
        title=title,
        author=author,
        chapters=document.chapters,
        lines=document.lines,
        warnings=("A PDF does not say where its paragraphs end; check how it was read.",),
    )


def _pages(reader: pypdf.PdfReader, name: str) -> list[list[str]]:
    if len(reader.pages) > MAX_PAGES:
        raise SourceRefused(f"{name} has {len(reader.pages):,} pages; at most {MAX_PAGES:,} are read.")
    pages, characters = [], 0
    for page in reader.pages:
        text = page.extract_text()
        characters += len(text)
        if characters > MAX_CHARACTERS:
            raise SourceRefused(f"{name} holds more than {MAX_CHARACTERS:,} characters.")
        pages.append([line.rstrip() for line in re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text).split("\n")])
    return pages


def _facts(reader: pypdf.PdfReader) -> tuple[str, str]:
    found = reader.metadata
    return (str(found.title or "").strip(), str(found.author or "").strip()) if found else ("", "")


def _without_edges(pages: Sequence[Sequence[str]]) -> list[list[str]]:
    """The pages without running heads and page numbers."""
    trimmed = [_trimmed(page) for page in pages]
    edges = Counter(
        key for page in trimmed for key in {_key(line) for line in (*page[:EDGE_LINES], *page[-EDGE_LINES:])}
    )
    repeated = {key for key, count in edges.items() if key and count >= min(REPEATED, max(2, len(pages) - 1))}
    return [_without_edge(page, repeated) for page in trimmed]


def _trimmed(page: Sequence[str]) -> list[str]:
    said = [number for number, line in enumerate(page) if line.strip()]
    return list(page[said[0] : said[-1] + 1]) if said else []


def _key(line: str) -> str:
    """Equal for the running heads of two pages, whatever their numbers."""
    return re.sub(r"\d+", "#", " ".join(line.split())).casefold()


def _without_edge(page: list[str], repeated: set[str]) -> list[str]:
    for at_end in (False, True):
        for _ in range(EDGE_LINES):
            if len(page) > 1 and _is_edge(page[-1 if at_end else 0], repeated):
                page = _trimmed(page[:-1] if at_end else page[1:])
    return page


def _is_edge(line: str, repeated: set[str]) -> bool:
    bare = " ".join(line.split())
    return _PAGE_NUMBER.fullmatch(bare) is not None or _key(line) in repeated
