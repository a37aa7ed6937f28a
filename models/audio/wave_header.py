"""The bytes of an audio file → the same with the lengths that are there; and what a file is that is no audio.

A recorder that crashed, a stream or an upload that broke off leave lengths in a RIFF header that are not so. Pure
functions.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

RIFF_FORMS = (b"RIFF", b"RF64")
FORM_BYTES, CHUNK_BYTES = 12, 8
NEEDED = (b"fmt ", b"data")
MOST_CHUNKS = 1_000  # looked at: a recorder writes a handful
PLACEHOLDERS = frozenset({0, 4088, 4096})  # of writers that fill in the length when they close the file
UNKNOWN_FROM = 0x7FFF_0000  # streams write the largest number that they have

# First bytes, where they are, and what the file is then.
_KINDS: Sequence[tuple[int, bytes, str]] = (
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"version https://git-lfs", "a Git LFS pointer, and not the file itself"),
)
_HTML = re.compile(rb"\s*<(!doctype|html|head|body)", re.IGNORECASE)


def with_true_lengths(content: bytes) -> tuple[bytes, int | None]:
    """A WAV file whose data chunk says how much there is, and the share of a hundred that is missing, if it was cut.

    Other files, and headers that do not lie, come back as they are.
    """
    if content[:4] not in RIFF_FORMS or content[8:FORM_BYTES] != b"WAVE":
        return content, None
    at = FORM_BYTES
    while at + CHUNK_BYTES <= len(content):
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        begin = at + CHUNK_BYTES
        if name == b"data":
            return _with_data(content, begin, size)
        at = begin + size + size % 2
    return content, None


def with_usual_chunks(content: bytes) -> bytes:
    """A WAV file of a format and a data chunk, where libsndfile would not find them.

    Some writers put the data first, or leave out the byte that follows a chunk of odd length. Other files come back as
    they are.
    """
    if content[:4] != b"RIFF" or content[8:FORM_BYTES] != b"WAVE":
        return content
    found: dict[bytes, tuple[int, int]] = {}
    at, is_padded, order = FORM_BYTES, True, b""
    for _ in range(MOST_CHUNKS):
        if at + CHUNK_BYTES > len(content) or len(found) == len(NEEDED):
            break
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        if name in NEEDED and name not in found:
            found[name] = (at, size)
            order += name
        end = at + CHUNK_BYTES + size
        at = end + size % 2
        if size % 2 and not _chunk_follows(content, at) and _is_chunk_name(content[end : end + 4]):
            at, is_padded = end, False
    if len(found) < len(NEEDED) or (is_padded and order == b"fmt data"):
        return content
    format_at, format_bytes = found[b"fmt "]
    data_at, data_bytes = found[b"data"]
    data_end = data_at + CHUNK_BYTES + data_bytes
    format_end = format_at + CHUNK_BYTES + format_bytes
    chunks = content[format_at:format_end] + bytes(format_bytes % 2) + content[data_at:data_end]
    return b"RIFF" + struct.pack("<I", min(len(chunks) + 4, 0xFFFF_FFFF)) + b"WAVE" + chunks


def _with_data(content: bytes, begin: int, announced: int) -> tuple[bytes, int | None]:
    held = len(content) - begin
    is_placeholder = announced in PLACEHOLDERS or announced >= UNKNOWN_FROM
    if announced == held or (content[:4] == b"RF64" and is_placeholder) or held <= 0:
        return content, None
    if announced < held and not (is_placeholder and not _chunk_follows(content, begin + announced)):
        return content, None
    fixed = struct.pack("<I", min(held, 0xFFFF_FFFF))
    total = struct.pack("<I", min(len(content) - 8, 0xFFFF_FFFF))
    mended = b"".join((content[:4], total, content[8 : begin - 4], fixed, content[begin:]))
    return mended, None if is_placeholder else round(100 * (1 - held / announced))


def _chunk_follows(content: bytes, at: int) -> bool:
    """Whether a chunk with a plausible name and length begins there, as after a data chunk that is empty indeed."""
    if len(content) < at + CHUNK_BYTES or not _is_chunk_name(content[at : at + 4]):
        return False
    size = struct.unpack_from("<I", content, at + 4)[0]
    return bool(at + CHUNK_BYTES + size <= len(content))


def _is_chunk_name(name: bytes) -> bool:
    return re.fullmatch(rb"[A-Za-z][A-Za-z0-9_ ]{3}", name) is not None


def kind_of(content: bytes) -> tuple[str | None, str]:
    """Kind of a file that cannot be read as audio, or None; and what to do."""
    hint = "Give WAV, FLAC, MP3, OGG or AIFF."
    if not content:
        return "an empty file", hint
    for at, first, kind in _KINDS:
        if content[at : at + len(first)] == first:
            return kind, hint
    if _HTML.match(content[:200]):
        return "an HTML page (a failed download?)", f"Download the recording again. {hint}"
    if not content.strip(b"\0"):
        return "a file of zero bytes alone (a failed copy?)", f"Copy the recording again. {hint}"
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") and _is_utf16(content[: 2 * 500]):
        return "a text file", hint
    head = content[:1000]
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head) and not content.startswith(RIFF_FORMS):
        return "a text file", hint
    return None, hint


def _is_utf16(content: bytes) -> bool:
    try:
        return all(letter.isprintable() or letter.isspace() for letter in content.decode("utf-16"))
    except UnicodeDecodeError:
        return False
