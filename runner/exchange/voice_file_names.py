"""The name of a voice file, and that of the voice in it → the name that the voice gets here."""

from __future__ import annotations

import re
import unicodedata
from typing import BinaryIO

from models.errors import VoxRefused
from models.voices.vox_archive import read_manifest
from models.voices.vox_manifest import parse_manifest
from runner.names import new_voice_name

LONGEST = 64
VOX_SUFFIX = ".vox"
PROMPT_SUFFIXES = (".cloneprompt", ".bin")
PROFILE_SUFFIX = ".json"  # of a speaker profile of OuteTTS


def voice_name_from(text: str) -> str:
    """A display name as a voice name: `Wise Mentor` → `Wise-Mentor`. Raises ValueError for a preset's name, or none."""
    name = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", text)).strip("-")[:LONGEST]
    return new_voice_name(name)


def voice_in(file: BinaryIO, *, file_name: str) -> str | None:
    """The name under which an import will add the voice of a file, without reading more of it than the name.

    None when it cannot be read: the import says why.
    """
    try:
        is_vox = file_name.lower().endswith(VOX_SUFFIX) or file.read(2) == b"PK"
        name = _name_in_manifest(file) if is_vox else prompt_stem(file_name)
        return voice_name_from(name) if isinstance(name, str) else None
    except (VoxRefused, ValueError):
        return None


def _name_in_manifest(file: BinaryIO) -> object:
    voice = parse_manifest(read_manifest(file)).get("voice")
    return voice.get("name") if isinstance(voice, dict) else None


def prompt_stem(file_name: str) -> str:
    """Name of a bare clone prompt, which holds none itself."""
    return file_name.rpartition("/")[2].rpartition(".")[0] or file_name
