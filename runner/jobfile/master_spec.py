"""Keys of a master, which job files of the kind `master` and the table `[master]` of a script have in common."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from models.languages import canonical_language
from runner import names

MAX_CHAPTERS = 2_000
MAX_TAG_CHARACTERS = 500
MAX_DESCRIPTION_CHARACTERS = 10_000


def _tag(text: str) -> str:
    for index, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
            raise ValueError(f"it holds the control character {character!r} at position {index + 1}")
    return text


TagText = Annotated[str, Field(max_length=MAX_TAG_CHARACTERS), pydantic.AfterValidator(_tag)]
LongTagText = Annotated[str, Field(max_length=MAX_DESCRIPTION_CHARACTERS), pydantic.AfterValidator(_tag)]
TagLanguage = Annotated[str, Field(max_length=100), pydantic.AfterValidator(canonical_language)]
Year = Annotated[int, Field(ge=0, le=9_999)] | Annotated[str, Field(max_length=30), pydantic.AfterValidator(_tag)]
MasterFormat = Literal["m4b", "mp3", "flac", "wav"]
PresetName = Literal["acx", "ebu", "podcast", "audiobook", "none"]


class TagsTable(pydantic.BaseModel):
    """Tags of finished files; what is not given is taken from the book, where it says so."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    title: TagText | None = None
    author: TagText | None = None
    narrator: TagText | None = None
    year: Year | None = None
    genre: TagText | None = None
    description: LongTagText | None = None
    language: TagLanguage | None = None


class MasterTable(pydantic.BaseModel):
    """How finished files are made."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    preset: PresetName = Field("audiobook", description="Levels: acx, ebu, podcast, audiobook, or none.")
    formats: list[MasterFormat] = Field(
        default_factory=list, max_length=4, description="m4b, mp3, flac, wav; by default what the preset is for."
    )
    split: Literal["chapters", "none"] | None = Field(
        None, description="A file for each chapter, or one; m4b is always one. By default as the preset has it."
    )
    cover: Annotated[str, pydantic.AfterValidator(names.relative_path)] | None = Field(
        None, description="A JPEG or PNG, or an EPUB that has a cover, beside the job file."
    )
    tags: TagsTable = Field(default_factory=TagsTable, description="What the files say about the book.")
    room_tone: bool = Field(False, description="A faint hiss of -72 dB instead of digital silence.")
