"""The bytes of a text file → its text, or why it is none: the place, what is wrong there, and how to mend it. Pure."""

from __future__ import annotations

import re
import shlex
import unicodedata

from models.text.spoken_form import speaks
from registry.errors import InvalidInput

_NO_TEXT = {
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive (a .docx, .odt or .epub is one)",
    b"\xd0\xcf\x11\xe0": "an old Word document",
    b"{\\rtf": "an RTF document",
    b"\x1f\x8b": "a gzip archive",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"RIFF": "a recording",
    b"ID3": "a recording",
    b"OggS": "a recording",
    b"fLaC": "a recording",
}
_MARKED = (  # the longer mark first: UTF-32 begins as UTF-16 does
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_AT_THE_END = b" \t\n\r\f\v\0\x1a"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_CONTROL_NAMES = {"\0": "NUL", "\a": "BEL", "\b": "backspace", "\x1a": "Ctrl-Z", "\x1b": "ESC", "\x7f": "DEL"}


def text_of(content: bytes, *, name: str) -> str:
    """The text of a file, its lines ending in a newline. Raises InvalidInput when there is nothing to speak in it."""
    for mark, what in _NO_TEXT.items():
        if content.startswith(mark):
            raise InvalidInput(f"{name} is {what}, no text.", hint="Save it as plain text, in UTF-8.")
    text = _decoded(_without_end_marks(content), name)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n").replace("\v", "\n")
    if found := _CONTROL.search(text):
        raise _control_character(text, found, name)
    if not text.strip():
        raise InvalidInput(f"{name} holds no text to speak.")
    if not speaks(text):
        raise InvalidInput(f"{name} holds no word to speak: no letter and no digit.")
    return text


def _without_end_marks(content: bytes) -> bytes:
    """The bytes without the Ctrl-Z and NULs with which old systems end a text."""
    kept = content.rstrip(_AT_THE_END)
    end = content[len(kept) :]
    return kept + b"\n" if b"\x1a" in end or b"\0" in end else content


def _control_character(text: str, found: re.Match[str], name: str) -> InvalidInput:
    line = text.count("\n", 0, found.start()) + 1
    column = found.start() - text.rfind("\n", 0, found.start())
    kind = _CONTROL_NAMES.get(found[0], f"U+{ord(found[0]):04X}")
    mended = f"LC_ALL=C tr -d '\\000-\\010\\016-\\037\\177' < {shlex.quote(name)} > fixed.txt"
    message = f"{name}, line {line}, column {column}: the control character {kind} cannot be spoken."
    return InvalidInput(message, hint=f"Remove it: `{mended}`")


def _decoded(content: bytes, name: str) -> str:
    for mark, encoding in _MARKED:
        if content.startswith(mark):
            raise InvalidInput(f"{name} is {encoding}, not UTF-8.", hint=_conversion(encoding, name))
    if content.count(0) > len(content) // 8:
        raise InvalidInput(
            f"{name} is not UTF-8: every eighth byte of it is a NUL, or more. It may be UTF-16, or no text at all.",
            hint=_conversion("UTF-16LE", name),
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _undecodable(content, error, name) from None


def _undecodable(content: bytes, error: UnicodeDecodeError, name: str) -> InvalidInput:
    line = content.count(b"\n", 0, error.start) + 1
    column = error.start - content.rfind(b"\n", 0, error.start)
    place = f"byte {error.start + 1}: line {line}, byte {column} of the line, 0x{content[error.start]:02x}"
    is_mostly_utf_8 = any(character > "\x7f" for character in content[: error.start].decode("utf-8", "ignore"))
    if is_mostly_utf_8 and error.end >= len(content) and error.reason == "unexpected end of data":
        hint = "It may have been cut off: bring it again, whole."
        return InvalidInput(f"{name} ends in the middle of a character ({place}).", hint=hint)
    if is_mostly_utf_8:
        hint = (
            f"Correct that place, or leave such bytes out: `iconv -c -f UTF-8 -t UTF-8 {shlex.quote(name)} > fixed.txt`"
        )
        return InvalidInput(f"{name} is UTF-8 up to a place that is not ({place}).", hint=hint)
    encoding = _likely_encoding(content)
    message = f"{name} is not UTF-8 ({place})."
    if encoding is None:
        return InvalidInput(message, hint=f"{_conversion('ENCODING', name)}, with the encoding that it has.")
    return InvalidInput(f"{message} It looks like {encoding}.", hint=_conversion(encoding, name))


def _conversion(encoding: str, name: str) -> str:
    return f"Convert it: `iconv -f {encoding} -t UTF-8 {shlex.quote(name)} > utf-8.txt`"


def _likely_encoding(content: bytes) -> str | None:
    """The encoding that makes most of the bytes beyond ASCII into letters as a language has them; None: no idea."""
    sample = content[:100_000]
    guesses = {name: _plausible(sample, name) for name in ("SHIFT_JIS", "EUC-KR", "GB18030", "WINDOWS-1251", "KOI8-R")}
    best = max(guesses, key=lambda name: guesses[name])
    if guesses[best] > 0.8 and sum(byte > 0x7F for byte in sample) > 0.4 * len(b"".join(sample.split())):
        return best
    return "WINDOWS-1252" if _plausible(sample, "WINDOWS-1252") > 0.9 else None


def _plausible(content: bytes, encoding: str) -> float:
    """The share of the characters beyond ASCII that stand where its own language would have them."""
    try:
        found = [character for character in content.decode(encoding) if character > "\x7f"]
    except UnicodeDecodeError:
        return 0.0
    good = {
        "SHIFT_JIS": lambda c: "\u3000" <= c <= "\u30ff" or 2 * ("\u4e00" <= c <= "\u9fff") / 3,
        "EUC-KR": lambda c: "\uac00" <= c <= "\ud7a3",
        "GB18030": lambda c: 0.9 * ("\u4e00" <= c <= "\u9fff" or c in "，。、：；？！“”‘’《》（）\u3000"),
        "WINDOWS-1251": lambda c: 0.99 * ("а" <= c <= "я" or c in "ё«»—–") or 0.5 * ("А" <= c <= "Я"),
        "KOI8-R": lambda c: "а" <= c <= "я" or 0.5 * ("А" <= c <= "Я"),
        "WINDOWS-1252": lambda c: unicodedata.category(c)[0] != "C",
    }[encoding]
    return sum(map(float, map(good, found))) / max(1, len(found))
