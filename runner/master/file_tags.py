"""A book's tags and a file's place in it → the tags of that file; and its name. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from runner.master.request import Tags

GENRE = "Audiobook"
MAX_NAME_BYTES = 180
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\ud800-\udfff\ufffe\uffff]+')
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A chapter and where it is within a file."""

    title: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class FileTags:
    """Tags of one file; "" for what there is not."""

    title: str
    album: str
    author: str
    narrator: str
    year: str
    genre: str
    description: str
    language: str
    track: int = 1
    tracks: int = 1


def file_tags(tags: Tags, *, title: str, track: int = 1, tracks: int = 1) -> FileTags:
    """Tags of the file with this title; the book's title is that of the album."""
    return FileTags(
        title=clean(title),
        album=clean(tags.title),
        author=clean(tags.author),
        narrator=clean(tags.narrator),
        year=clean(tags.year),
        genre=clean(tags.genre) or GENRE,
        description=clean(tags.description),
        language=tags.language,
        track=track,
        tracks=tracks,
    )


def clean(text: str) -> str:
    """Text without characters that no tag can hold."""
    return _CONTROLS.sub("", unicodedata.normalize("NFC", text)).strip()


def file_name(title: str, extension: str, *, track: int | None = None, tracks: int = 1) -> str:
    """`NN - TITLE.ext`, or `TITLE.ext`: a name that every system takes."""
    safe = _UNSAFE.sub(" ", unicodedata.normalize("NFC", title))
    safe = " ".join(safe.split()).strip(". ").encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip(". ")
    safe = safe or "Untitled"
    number = "" if track is None else f"{track:0{max(2, len(str(tracks)))}d} - "
    return f"{number}{safe}.{extension}"
