"""A voice file's bytes → versions in the registry.

`read_voice_file` touches nothing. `store` writes the bytes, `add_versions` the rows; a voice that is here already is
found by its digest and not added twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from models.errors import InvalidClonePrompt
from models.voices.outetts_profile import profile_in
from models.voices.swift_prompt import other_kind
from models.voices.vox import read_prompt, read_vox
from registry.errors import NotFound
from registry.storage.object_store import ObjectStore
from registry.storage.session import Session
from registry.voices.errors import VoiceNotFound
from registry.voices.lookup import living_versions, resolve
from registry.voices.names import CURRENT
from registry.voices.values import NewVersion, Version
from registry.voices.version_rows import digest_of
from registry.voices.versions import add_version, set_alias
from runner.exchange.voice_file_names import PROFILE_SUFFIX, PROMPT_SUFFIXES, VOX_SUFFIX, prompt_stem
from runner.exchange.voice_import import Decode, VoiceImport, VoiceMapping, decoded
from runner.names import printable_name


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Versions of the file as they are in the registry now."""

    chosen: Version
    versions: tuple[Version, ...]
    added: int
    warnings: tuple[str, ...] = ()


def read_voice_file(
    content: bytes,
    *,
    file_name: str,
    voice: str | None = None,
    consent: str | None = None,
    transcript: str | None = None,
    decode: Decode = decoded,
) -> VoiceImport:
    """The voice in these bytes: a `.vox` file, a clone prompt of the Swift tools, or a speaker profile of OuteTTS.

    `voice` renames it, `consent` and `transcript` add what the file does not say, `decode` reads recordings. Raises
    VoxRefused, VoxInvalid, InvalidClonePrompt or NothingToSpeakWith.
    """
    mapping = VoiceMapping(file_name=file_name, voice=voice, consent=consent, transcript=transcript, decode=decode)
    if content.startswith(b"PK") or file_name.lower().endswith(VOX_SUFFIX):
        return mapping.from_vox(read_vox(content))
    if file_name.lower().endswith(PROFILE_SUFFIX):
        return mapping.from_profile(profile_in(content), name=prompt_stem(file_name))
    is_named_prompt = file_name.lower().endswith(PROMPT_SUFFIXES)
    if not is_named_prompt and content[4:5] != b"{" and other_kind(content) is None:
        hint = f"Voice files end in {VOX_SUFFIX}, {PROMPT_SUFFIXES[0]} or {PROFILE_SUFFIX} (OuteTTS)."
        raise InvalidClonePrompt(f"{printable_name(file_name)} is neither a voice file nor a clone prompt.", hint=hint)
    return mapping.from_prompt(read_prompt(content, key=prompt_stem(file_name), entry={}))


def store(objects: ObjectStore, found: VoiceImport) -> None:
    """Put every byte of the voice into the store; nothing refers to them yet."""
    for sha256, content in found.objects.items():
        assert objects.put(content) == sha256


def add_versions(
    session: Session, found: VoiceImport, *, now_s: float, set_current: bool = True, made_by_job: str | None = None
) -> Imported:
    """Add what is not here yet, in one transaction with the caller's other changes; `store` came first."""
    here = _living_by_digest(session, found.voice)
    versions: list[Version] = []
    added = 0
    for item in found.versions:
        version = here.get(digest_of(item.content))
        if version is None or _brings_consent(item.content, version):
            parent = versions[item.parent_position - 1].number if item.parent_position else None
            key = f"import:{hashlib.sha256(repr((made_by_job, now_s, len(versions))).encode()).hexdigest()}"
            content = replace(item.content, parent=parent, made_by_job=made_by_job, idempotency_key=key)
            version = add_version(session, content, now_s=now_s, set_current=False)
            here[version.digest] = version
            added += 1
        versions.append(version)
        for alias in item.aliases:
            set_alias(session, version.name, alias, now_s=now_s, why="imported")
    chosen = versions[found.chosen]
    if set_current and not _is_current(session, chosen):
        set_alias(session, chosen.name, CURRENT, now_s=now_s, why="imported")
    return Imported(chosen=chosen, versions=tuple(versions), added=added, warnings=found.warnings)


def _brings_consent(new: NewVersion, version: Version) -> bool:
    """Whether a consent that the version lacks comes along; a version never changes, so it becomes another one."""
    return version.consent == "unknown" and new.consent != "unknown"


def _living_by_digest(session: Session, voice: str) -> dict[str, Version]:
    try:
        return {version.digest: version for version in living_versions(session, voice)}
    except VoiceNotFound:
        return {}


def _is_current(session: Session, version: Version) -> bool:
    try:
        return resolve(session, version.voice).id == version.id
    except NotFound:
        return False
