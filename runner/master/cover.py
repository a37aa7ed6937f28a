"""The file of a cover → the picture with its kind and size: a JPEG, a PNG, or an EPUB that has one. Reads a file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from registry.errors import VoiceJobsError, storage_error
from runner.master.errors import CoverRefused
from runner.script.sources.archive import MAX_ARCHIVE_BYTES
from runner.script.sources.read import read_source

MAX_COVER_BYTES = 8_000_000  # players load it whole
MOST_PIXELS = 10_000  # in a row or column
PNG, JPEG, ZIP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"PK\x03\x04"
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # of the markers C0 to CF, these begin no picture


@dataclass(frozen=True, kw_only=True)
class Cover:
    """A picture; its bytes are written as they are."""

    content: bytes
    media_type: str
    width: int
    height: int


def read_cover(path: Path) -> Cover:
    """The picture of a file. Raises CoverRefused or StorageError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_ARCHIVE_BYTES + 1)
    except OSError as error:
        raise storage_error(error, f"reading {path.name}") from error
    if content.startswith(ZIP):
        content = _of_epub(content, path.name)
    if len(content) > MAX_COVER_BYTES:
        limit = f"at most {MAX_COVER_BYTES:,} are used"
        raise CoverRefused(f"The cover {path.name} has {len(content):,} bytes; {limit}.", hint="Make it smaller.")
    size = _png_size(content) if content.startswith(PNG) else _jpeg_size(content)
    if size is None or not all(0 < pixels <= MOST_PIXELS for pixels in size):
        raise CoverRefused(f"The cover {path.name} is no JPEG or PNG image that can be read.", hint="Convert it.")
    media_type = "image/png" if content.startswith(PNG) else "image/jpeg"
    return Cover(content=content, media_type=media_type, width=size[0], height=size[1])


def _of_epub(content: bytes, name: str) -> bytes:
    try:
        cover = read_source(content, name=name, wanted="epub").cover
    except VoiceJobsError as error:
        raise CoverRefused(f"{name} is no image, and no EPUB that can be read: {error.message}") from error
    if cover is None:
        raise CoverRefused(f"The EPUB {name} has no cover that can be used.", hint="Give a JPEG or PNG as `cover`.")
    return cover


def _png_size(content: bytes) -> tuple[int, int] | None:
    if content[12:16] != b"IHDR" or len(content) < 33 or b"IEND" not in content[-16:]:
        return None
    return struct.unpack(">II", content[16:24])


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Size in the header of the picture's frame; None when there is none."""
    at = 2
    while content.startswith(JPEG) and at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return width, height
        if marker in (0xD9, 0xDA):
            return None
        at += 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    return None
