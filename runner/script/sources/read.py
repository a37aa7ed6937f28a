"""The bytes of a source and its name → its document, in whatever format it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from runner.jobfile.specs import SourceFormat
from runner.script.document import MAX_LINES, Document
from runner.script.errors import SourceRefused
from runner.script.sources.captions import read_captions
from runner.script.sources.decoding import source_text
from runner.script.sources.fdx import read_fdx
from runner.script.sources.formats import format_of
from runner.script.sources.fountain import read_fountain
from runner.script.sources.markdown import read_markdown
from runner.script.sources.pages import read_epub, read_html
from runner.script.sources.pdf import read_pdf
from runner.script.sources.plain_text import read_plain_text

_MAGIC = {b"%PDF-": "pdf", b"PK\x03\x04": "epub"}
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_-]{2,30})", re.IGNORECASE)
_LATIN = ("iso-8859-1", "latin1", "us-ascii", "ascii", "windows-1252", "cp1252")
_BINARY: dict[SourceFormat, Callable[..., Document]] = {"fdx": read_fdx, "epub": read_epub, "pdf": read_pdf}


def read_source(content: bytes, *, name: str, wanted: SourceFormat | None = None) -> Document:
    """The document of a source. Raises SourceRefused: the reason, the place where there is one, and what to do."""
    known = format_of(name, wanted=wanted)
    _refuse_other(content, name, known)
    document = _read(content, name, known)
    if not document.lines:
        raise SourceRefused(f"{name} holds no text to speak.")
    if len(document.lines) > MAX_LINES:
        raise SourceRefused(
            f"{name} has {len(document.lines):,} lines; at most {MAX_LINES:,} are spoken as one script.",
            hint="Cut it into volumes.",
        )
    return document


def _refuse_other(content: bytes, name: str, known: SourceFormat) -> None:
    is_really = next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), None)
    if is_really not in (None, known) or (is_really is None and known in ("pdf", "epub")):
        wanted = {"pdf": "a PDF", "epub": "an EPUB"}.get(known, known)
        what = {"pdf": "a PDF", "epub": "a ZIP archive, as an EPUB is", None: f"not {wanted}"}[is_really]
        raise SourceRefused(f"{name} is {what}, whatever its name says.", hint="Give its real kind by `format`.")


def _read(content: bytes, name: str, known: SourceFormat) -> Document:
    if (reader := _BINARY.get(known)) is not None:
        return reader(content, name=name)
    if known == "html":
        text, encoding = _html_text(content, name)
        return _with(read_html(text.encode("utf-8", "replace"), name=name), encoding)
    text, encoding = source_text(content, name=name)
    if known == "fountain":
        return _with(read_fountain(text), encoding)
    if known == "markdown":
        return _with(read_markdown(text, name=name), encoding)
    if known == "text":
        return _with(read_plain_text(text), encoding)
    return _with(read_captions(text, name=name, is_vtt=known == "vtt"), encoding)


def _with(document: Document, encoding: str) -> Document:
    return replace(document, encoding=encoding)


def _html_text(content: bytes, name: str) -> tuple[str, str]:
    """The text of a page, by the encoding that it declares, else as any other text."""
    declared = _CHARSET.search(content[:4096])
    encoding = declared[1].decode().casefold() if declared else ""
    if encoding and encoding not in ("utf-8", "utf8") and not content.startswith((b"\xef\xbb\xbf", b"\xff\xfe")):
        try:
            return content.decode("cp1252" if encoding in _LATIN else encoding), encoding
        except LookupError:
            pass
        except UnicodeDecodeError as error:
            raise SourceRefused(
                f"{name} says that it is {encoding}, and is not, from byte {error.start + 1} on.",
                hint="Save it in UTF-8.",
            ) from None
    return source_text(content, name=name)
