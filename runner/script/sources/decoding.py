"""The bytes of a text source → its text and the encoding it had, or how to convert it. Pure.

UTF-8, and UTF-16 with its mark, are read. Windows-1252 is read only when nothing else can be meant: other code pages
use the same bytes for other letters, and a wrong guess would change the text.
"""

from __future__ import annotations

import re

from models.text.text_file import text_of
from registry.errors import InvalidInput
from runner.script.errors import SourceRefused

MAX_TEXT_BYTES = 16 << 20  # thirty times a long novel
_MARKS = ((b"\xff\xfe\x00\x00", ""), (b"\x00\x00\xfe\xff", ""), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_LETTERS = frozenset("àâäáåæçèéêëíîïñóôöøœùúûüßÀÂÄÁÅÆÇÈÉÊËÍÎÏÑÓÔÖØŒÙÚÛÜ")
_MARKS_OF_PUNCTUATION = frozenset("“”‘’„‚«»‹›–—…€°§©£¡¿\u00a0·ªº")
_PORTUGUESE = frozenset("ãõÃÕ")
_LETTERS_IN_A_ROW = re.compile(rb"[\xc0-\xff]{3}")  # as Cyrillic and Greek words are; no word of the west has them


def source_text(content: bytes, *, name: str) -> tuple[str, str]:
    """The text of a source, its lines ending in a newline, and its encoding. Raises SourceRefused."""
    if len(content) > MAX_TEXT_BYTES:
        raise SourceRefused(
            f"{name} has {len(content):,} bytes; a text of at most {MAX_TEXT_BYTES:,} is read.",
            hint="Cut it into volumes, each a file of its own.",
        )
    text, encoding = _decoded(content, name)
    try:
        return text_of(text.encode("utf-8", "surrogatepass"), name=name), encoding
    except InvalidInput as error:
        raise SourceRefused(error.message, hint=error.hint) from None


def _decoded(content: bytes, name: str) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if content.startswith(mark) and encoding:
            try:
                return content[len(mark) :].decode(encoding), "utf-16"
            except UnicodeDecodeError as error:
                where = f"byte {error.start + 1 + len(mark)}"
                raise SourceRefused(
                    f"{name} is UTF-16 up to a place that is not ({where}).", hint="Bring it again, whole."
                ) from None
    try:
        return content.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        if (text := _windows_1252(content)) is not None:
            return text, "windows-1252"
    try:
        text_of(content, name=name)
    except InvalidInput as error:
        raise SourceRefused(error.message, hint=error.hint) from None
    raise AssertionError(f"{name} is text after all")  # text_of reads nothing that the above does not


def _windows_1252(content: bytes) -> str | None:
    """The text, when it can be nothing else: letters of the west in their words, and marks of punctuation."""
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    beyond = {character for character in text if character > "\x7f"}
    letters = beyond - _MARKS_OF_PUNCTUATION
    known = _LETTERS if letters & frozenset("ûÛ") else _LETTERS | _PORTUGUESE  # õ with û is Hungarian, of another page
    if letters - known or _LETTERS_IN_A_ROW.search(content):
        return None
    return text
