"""Values that describe a master: what it is made of, and how; also as JSON for the process that makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Split = Literal["chapters", "none"]


@dataclass(frozen=True)
class Piece:
    """A stored take, or a pause where there is no path; and the pause after it."""

    path: str
    voice: str
    pause_samples: int


@dataclass(frozen=True, kw_only=True)
class ChapterSource:
    """A chapter: pieces that were spoken, or a file."""

    title: str
    pieces: Sequence[Piece] = ()
    file: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tags:
    """Texts that are written into the files; "" for what nobody gave."""

    title: str = ""
    author: str = ""
    narrator: str = ""
    year: str = ""
    genre: str = ""
    description: str = ""
    language: str = ""  # as its canonical English name


@dataclass(frozen=True, kw_only=True)
class MasterRequest:
    """Everything that the process needs; its paths are absolute."""

    folder: str  # where the finished files go
    runner: int  # process id of who waits for them
    preset: str
    formats: Sequence[str]
    split: Split
    chapters: Sequence[ChapterSource]
    tags: Tags = field(default_factory=Tags)
    cover: str | None = None  # an image, or an EPUB that has one
    room_tone: bool = False

    def to_json(self) -> dict[str, Any]:
        """Value that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> MasterRequest:
        """Value that `to_json` wrote."""
        chapters = [
            ChapterSource(title=each["title"], pieces=[Piece(**piece) for piece in each["pieces"]], file=each["file"])
            for each in plain["chapters"]
        ]
        return cls(**{**plain, "chapters": chapters, "tags": Tags(**plain["tags"])})
