"""Tags, cover and chapters → the ID3v2.4 tag that an MP3 file begins with. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from models.languages import three_letter_code
from runner.master.cover import Cover
from runner.master.file_tags import Chapter, FileTags

UTF8, FRONT_COVER = b"\x03", 3
NO_OFFSET = 0xFFFFFFFF
MOST_CHAPTERS = 255  # that a table of contents in a tag can name


def id3_tag(tags: FileTags, *, cover: Cover | None, chapters: Sequence[Chapter]) -> bytes:
    """The tag; `chapters` are those within the file."""
    frames = [
        _text("TIT2", tags.title),
        _text("TALB", tags.album),
        _text("TPE1", tags.author),
        _text("TPE2", tags.author),
        _text("TCOM", tags.narrator),
        _text("TCON", tags.genre),
        _text("TDRC", tags.year),
        _text("TRCK", f"{tags.track}/{tags.tracks}" if tags.tracks > 1 else ""),
        _text("TLAN", three_letter_code(tags.language) if tags.language else ""),
        _comment(tags),
        _picture(cover),
    ]
    if 1 < len(chapters) <= MOST_CHAPTERS:
        frames += [_contents(len(chapters)), *(_chapter(index, chapter) for index, chapter in enumerate(chapters))]
    body = b"".join(frames)
    return b"ID3\x04\x00\x00" + _synchsafe(len(body)) + body


def _synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def _frame(name: str, content: bytes) -> bytes:
    return name.encode() + _synchsafe(len(content)) + b"\x00\x00" + content


def _text(name: str, text: str) -> bytes:
    return _frame(name, UTF8 + text.encode()) if text else b""


def _comment(tags: FileTags) -> bytes:
    if not tags.description:
        return b""
    language = three_letter_code(tags.language) if tags.language else "und"
    return _frame("COMM", UTF8 + language.encode() + b"\x00" + tags.description.encode())


def _picture(cover: Cover | None) -> bytes:
    if cover is None:
        return b""
    return _frame("APIC", UTF8 + cover.media_type.encode() + b"\x00" + bytes([FRONT_COVER]) + b"\x00" + cover.content)


def _contents(count: int) -> bytes:
    """Ordered table of contents, at the top."""
    names = b"".join(f"ch{index}".encode() + b"\x00" for index in range(count))
    return _frame("CTOC", b"toc\x00" + bytes([0b11, count]) + names)


def _chapter(index: int, chapter: Chapter) -> bytes:
    times = struct.pack(">IIII", round(chapter.start_s * 1000), round(chapter.end_s * 1000), NO_OFFSET, NO_OFFSET)
    return _frame("CHAP", f"ch{index}".encode() + b"\x00" + times + _text("TIT2", chapter.title))
