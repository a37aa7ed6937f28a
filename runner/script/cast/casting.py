"""Parts, and everything that was said about their voices → the voice of each of them. Pure.

In this order: the job's [voices]; a cast file; a voice of that name which exists; a new one. Parts with few lines
share new voices, one for each gender.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from registry.voices.names import name_key
from runner.script.cast.parts import Part, crowd_warnings, nearest_parts, part_named
from runner.script.cast.profile import Profile
from runner.script.sources.cues import part_key, slug_of

MAX_VOICE_NAME = 64
Wish = TypeVar("Wish", str, int)


@dataclass(frozen=True, kw_only=True)
class CastMember:
    """A part and its voice."""

    part: Part
    voice: str  # a reference: a name, name@2, preset:ryan
    is_new: bool = False  # nothing has locked it yet
    shares: str = ""  # the part whose new voice it is
    candidate: int | None = None  # of its design, that somebody chose
    profile: Profile | None = None


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """Voices and candidates that people gave, by part name."""

    voices: Mapping[str, str] = field(default_factory=dict)  # of the job file
    cast_voices: Mapping[str, str] = field(default_factory=dict)  # of a cast file
    candidates: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cast:
    """Every part with its voice, and what should be known about it."""

    members: tuple[CastMember, ...]
    warnings: tuple[str, ...] = ()

    def voice_of(self, speaker: str) -> str | None:
        """The voice of a speaker; None for one that is no part."""
        return self._voices.get(part_key(speaker))

    @functools.cached_property
    def _voices(self) -> dict[str, str]:
        return {key: member.voice for member in self.members for key in member.part.keys}


def voice_name(book: str, slug: str) -> str:
    """The name of a part's voice: `<book>.<slug>`, cut where it is too long, and then told apart by a digest."""
    name = f"{slug_of(book)}.{slug}"
    if len(name) <= MAX_VOICE_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: MAX_VOICE_NAME - 9]}-{digest}"


def cast_of(
    parts: Sequence[Part],
    profiles: Mapping[str, Profile],
    *,
    book: str,
    wishes: Wishes,
    existing: Collection[str],
    share_below: int,
) -> Cast:
    """The voice of every part. `profiles` are by slug, `existing` the keys of voices that the registry has."""
    warnings = [*crowd_warnings(parts), *_unmatched(parts, wishes.voices)]
    given = {**_by_slug(parts, wishes.cast_voices), **_by_slug(parts, wishes.voices)}
    candidates = _by_slug(parts, wishes.candidates)
    owners: dict[str, Part] = {}  # gender -> the small part whose voice the others share
    members = []
    for part in parts:
        own = voice_name(book, part.slug)
        profile = profiles.get(part.slug)
        if part.slug in given:
            members.append(CastMember(part=part, voice=str(given[part.slug]), profile=profile))
        else:
            is_small = part.lines < share_below
            is_kept = name_key(own) in existing and part.slug not in candidates
            gender = profile.gender if profile else "unknown"
            owner = owners.setdefault(gender, part) if is_small else part
            if is_kept or part.slug in candidates:
                owner = part
            members.append(
                CastMember(
                    part=part,
                    voice=voice_name(book, owner.slug),
                    is_new=owner is part and not is_kept,
                    shares="" if owner is part else owner.name,
                    candidate=candidates.get(part.slug),
                    profile=profile,
                )
            )
    return Cast(tuple(members), tuple(warnings))


def _by_slug(parts: Sequence[Part], wishes: Mapping[str, Wish]) -> dict[str, Wish]:
    found = ((part_named(parts, name), wish) for name, wish in wishes.items())
    return {part.slug: wish for part, wish in found if part is not None}


def _unmatched(parts: Sequence[Part], voices: Mapping[str, str]) -> list[str]:
    warnings = []
    for name in voices:
        if part_named(parts, name) is None:
            near = nearest_parts(parts, name)
            guess = f"; did you mean {near[0].upper()}?" if near else "."
            warnings.append(f"[voices] names {name!r}, and no part has that name{guess}")
    return warnings
