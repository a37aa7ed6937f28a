"""The bytes of an audio file → the same with the lengths that are there; and what a file is that is no audio.

A recorder that crashed, a stream or an upload that broke off leave lengths in a RIFF header that are not so. Pure
functions.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

RIFF_FORMS = (b"RIFF", b"RF64")
FORM_BYTES, CHUNK_BYTES = 12, 8
NEEDED = (b"fmt ", b"data")
MOST_CHUNKS = 1_000  # looked at: a recorder writes a handful
PLACEHOLDERS = frozenset({0, 4088, 4096})  # of writers that fill in the length when they close the file
UNKNOWN_FROM = 0x7FFF_0000  # streams write the largest number that they have
FORMAT_BYTES, LONGEST_FORMAT_BYTES = 16, 4_096  # of a format chunk; a few coders add tables to it
HEADER_BYTES = FORM_BYTES + CHUNK_BYTES + FORMAT_BYTES + CHUNK_BYTES
UNCOMPRESSED = (1, 3, 0xFFFE)  # formats whose frames are channels times bits

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


class WaveFault(ValueError):
    """A fault of a WAV file, in words that follow its name."""


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


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    at: int
    announced: int  # bytes of its body


def with_usual_chunks(content: bytes) -> bytes:
    """A WAV file of one format and one data chunk, where libsndfile would not find them.

    Some writers put the data first, repeat a chunk, or leave out the byte that follows a chunk of odd length. Other
    files come back as they are. Raises WaveFault for a file that cannot be meant.
    """
    if content[:4] not in RIFF_FORMS or content[8:FORM_BYTES] != b"WAVE":
        return content
    chunks, is_padded, is_known = _chunks_of(content)
    formats = [chunk for chunk in chunks if chunk.name == b"fmt "]
    sounds = [chunk for chunk in chunks if chunk.name == b"data"]
    full = [chunk for chunk in sounds if not _is_empty(content, chunk)] or sounds[:1]
    if not is_known and not (formats and full):
        return content  # whoever reads it says what is wrong
    _check_chunks(content, formats, full)
    order = [chunk.name for chunk in chunks if chunk.name in NEEDED]
    if content[:4] != b"RIFF" or (is_padded and order == [b"fmt ", b"data"]):
        return content
    (sound, *_), format_body = full, _body(content, formats[0])
    head = b"fmt " + struct.pack("<I", len(format_body)) + format_body + bytes(len(format_body) % 2)
    data = content[sound.at : sound.at + CHUNK_BYTES + sound.announced]
    return b"RIFF" + struct.pack("<I", min(len(head) + len(data) + 4, 0xFFFF_FFFF)) + b"WAVE" + head + data


def _chunks_of(content: bytes) -> tuple[list[_Chunk], bool, bool]:
    """The chunks of a file in order, whether each of odd length is followed by a byte, and whether these are all."""
    found: list[_Chunk] = []
    at, is_padded = FORM_BYTES, True
    while at + CHUNK_BYTES <= len(content) and len(found) < MOST_CHUNKS:
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return found, is_padded, False  # whatever it is, it is no chunk
        found.append(_Chunk(name, at, size))
        end = at + CHUNK_BYTES + size
        at = end + size % 2
        if size % 2 and not _chunk_follows(content, at) and _is_chunk_name(content[end : end + 4]):
            at, is_padded = end, False
    return found, is_padded, len(found) < MOST_CHUNKS


def _is_empty(content: bytes, chunk: _Chunk) -> bool:
    """Whether a chunk holds nothing, and its length was not just never filled in."""
    begin = chunk.at + CHUNK_BYTES
    return chunk.announced == 0 and (begin >= len(content) or _chunk_follows(content, begin))


def _body(content: bytes, chunk: _Chunk) -> bytes:
    return content[chunk.at + CHUNK_BYTES : chunk.at + CHUNK_BYTES + chunk.announced]


def _check_chunks(content: bytes, formats: Sequence[_Chunk], sounds: Sequence[_Chunk]) -> None:
    """Raise WaveFault for chunks that are missing, too many, too short, or contradict themselves."""
    if not formats and not sounds:
        raise WaveFault("ends within its header" if len(content) < HEADER_BYTES else "has neither format nor sound")
    if not formats:
        raise WaveFault("has no fmt chunk, which says how its samples are stored")
    bodies = [_body(content, chunk) for chunk in formats]
    if len(bodies[0]) < min(FORMAT_BYTES, formats[0].announced):
        raise WaveFault(f"ends within its fmt chunk, which announces {formats[0].announced:,} bytes")
    if len(bodies[0]) < FORMAT_BYTES:
        raise WaveFault(f"has a fmt chunk of {len(bodies[0])} bytes, where {FORMAT_BYTES} are needed")
    if formats[0].announced > LONGEST_FORMAT_BYTES:
        raise WaveFault(f"has a fmt chunk that announces {formats[0].announced:,} bytes")
    if len({body[:FORMAT_BYTES] for body in bodies}) > 1:
        raise WaveFault(f"has {len(bodies)} fmt chunks that contradict each other")
    if not sounds:
        raise WaveFault("has no data chunk: it holds no samples")
    if len(sounds) > 1:
        raise WaveFault(f"has {len(sounds)} data chunks with sound, where one can be meant")
    code, channels, _, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", bodies[0])
    if not channels:
        raise WaveFault("says that it has 0 channels")
    if code in UNCOMPRESSED and frame_bytes and frame_bytes != channels * -(-bits // 8):
        frames = f"{channels} {'channel' if channels == 1 else 'channels'} of {bits} bits"
        raise WaveFault(f"contradicts itself: {frame_bytes} bytes a frame, for {frames}")


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
    if len(content) < FORM_BYTES and (content[:4] in RIFF_FORMS or b"RIFF".startswith(content)):
        return "a WAV file that ends within its header", f"Copy the recording again. {hint}"
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
