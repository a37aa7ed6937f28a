"""A FLAC file from libsndfile, tags and a cover → the same sound behind a header that holds them. Touches the disk."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import BinaryIO

from models.languages import language_code
from runner.master.cover import Cover
from runner.master.file_tags import FileTags

STREAM_INFO, PADDING, COMMENTS, PICTURE = 0, 1, 4, 6
FRONT_COVER, COLOUR_BITS = 3, 24
LAST = 0x80
VENDOR = b"voicejobs"


def write_tagged(plain: Path, target: Path, tags: FileTags, *, cover: Cover | None) -> None:
    """Copy the FLAC file `plain` to `target`, with tags. Raises OSError."""
    with plain.open("rb") as source, target.open("wb") as file:
        blocks = [(kind, content) for kind, content in _blocks(source) if kind not in (COMMENTS, PADDING)]
        blocks.append((COMMENTS, _comments(tags)))
        if cover is not None:
            blocks.append((PICTURE, _picture(cover)))
        file.write(b"fLaC")
        for index, (kind, content) in enumerate(blocks):
            is_last = LAST if index == len(blocks) - 1 else 0
            file.write(bytes([kind | is_last]) + len(content).to_bytes(3, "big") + content)
        shutil.copyfileobj(source, file, 1 << 20)


def _blocks(source: BinaryIO) -> list[tuple[int, bytes]]:
    """The metadata of a FLAC file, which is read up to its sound."""
    assert source.read(4) == b"fLaC", "libsndfile wrote it"
    found = []
    while True:
        head = source.read(4)
        found.append((head[0] & 0x7F, source.read(int.from_bytes(head[1:], "big"))))
        if head[0] & LAST:
            return found


def _comments(tags: FileTags) -> bytes:
    fields = {
        "TITLE": tags.title,
        "ALBUM": tags.album,
        "ARTIST": tags.author,
        "ALBUMARTIST": tags.author,
        "COMPOSER": tags.narrator,
        "PERFORMER": tags.narrator,
        "GENRE": tags.genre,
        "DATE": tags.year,
        "DESCRIPTION": tags.description,
        "LANGUAGE": language_code(tags.language) if tags.language else "",
        "TRACKNUMBER": str(tags.track) if tags.tracks > 1 else "",
        "TRACKTOTAL": str(tags.tracks) if tags.tracks > 1 else "",
    }
    entries = [f"{key}={value}".encode() for key, value in fields.items() if value]
    parts = [_counted(VENDOR), struct.pack("<I", len(entries)), *map(_counted, entries)]
    return b"".join(parts)


def _counted(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def _picture(cover: Cover) -> bytes:
    kind = cover.media_type.encode()
    head = struct.pack(">II", FRONT_COVER, len(kind)) + kind + struct.pack(">I", 0)
    form = struct.pack(">IIIII", cover.width, cover.height, COLOUR_BITS, 0, len(cover.content))
    return head + form + cover.content
