"""What a voice file would add to the registry, and what adding it has come to: values without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.errors import InvalidInput
from registry.voices.values import NewVersion, Version


class NothingToSpeakWith(InvalidInput):
    """The file holds neither a usable clone prompt nor a recording with known words."""

    code = "nothing-to-speak-with"


@dataclass(frozen=True, kw_only=True)
class NewVoiceVersion:
    """One version that a file would add."""

    content: NewVersion
    aliases: tuple[str, ...] = ()
    parent_position: int | None = None  # counted from 1 among the versions of the file
    digest: str | None = None  # what the file says its digest is


@dataclass(frozen=True, kw_only=True)
class LockNeeded:
    """No usable prompt came along, but a recording did: an engine has to make the prompt."""

    audio: bytes
    file: str
    transcript: str
    language: str
    description: str | None
    consent: str
    provenance: Mapping[str, Any]
    attachments: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class VoiceImport:
    """What a file would add: versions, oldest first, or a lock that an engine has to make."""

    voice: str
    versions: tuple[NewVoiceVersion, ...] = ()
    chosen: int = 0  # index of the version that `current` is to mean
    needs_lock: LockNeeded | None = None
    objects: Mapping[str, bytes] = field(default_factory=dict)  # by SHA-256
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import has come to."""

    chosen: Version
    versions: tuple[Version, ...]
    added: int
    warnings: tuple[str, ...] = ()
