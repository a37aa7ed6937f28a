"""A voice in the registry → the bytes of its `.vox` file, the same bytes in every registry that holds the voice.

The file carries the version that was asked for, every other living version of the voice, their records, and whatever
came along when the voice was imported. Prompts that the Swift tools can use are put where they look for them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.engine_kinds import MLX_AUDIO
from models.errors import InvalidClonePrompt, UnsupportedRequest
from models.languages import AUTO, language_code
from models.store.catalog import entry_named
from models.store.manifest import utc_text
from models.voices.clone_prompt import ClonePrompt
from models.voices.recorded_prompt import PROFILED_PROMPT, recorded_prompt
from models.voices.swift_prompt import FORMAT as SWIFT_FORMAT
from models.voices.swift_prompt import MODEL_SIZES, from_clone_prompt
from models.voices.vox import ENGINE, write_vox
from models.voices.vox_archive import MAX_ARCHIVE_BYTES
from models.voices.vox_manifest import (
    CONSENTS_TO_SHARE,
    Manifest,
    errors_in,
    parse_manifest,
)
from models.voices.vox_records import FORM, PROVIDER
from registry.errors import Conflict
from registry.storage.object_store import ObjectStore
from registry.storage.session import Session
from registry.voices.lookup import aliases, living_versions, resolve
from registry.voices.names import CURRENT
from registry.voices.values import Version
from runner.exchange.manifest_words import describe, is_listed, method_of
from runner.exchange.version_record import BASE, MANIFEST_ATTACHMENT, VOX, own_attachments, record_of
from runner.exchange.voice_file_names import PROFILE_SUFFIX

PROFILE_FILE = "outetts/speaker.json"
_EXTENSIONS = ((b"fLaC", "flac"), (b"RIFF", "wav"))


class ConsentMissing(Conflict):
    """Consent of the person whose voice was cloned is missing, so the voice may not leave."""

    code = "consent-missing"

    def __init__(self, version: Version) -> None:
        hint = 'Lock it again with consent = "self" or "granted", if that is so.'
        if version.reference_sha256 is None:  # it came as a bare prompt: there is nothing here to lock it from
            hint = (
                f"Import its file again: `voicejobs voices import FILE --voice {version.voice} --consent self`, "
                "or granted, if that is so."
            )
        super().__init__(
            f"{version.name} was cloned from a recording, and its consent is {version.consent!r}.", hint=hint
        )


@dataclass(frozen=True, kw_only=True)
class ExportedVoice:
    """A voice, ready to be written to a file."""

    version: Version
    content: bytes
    file_name: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Slot:
    """Place of a version's prompt in the embeddings map, where the Swift tools find it."""

    key: str
    entry: Mapping[str, Any]
    content: bytes

    @property
    def file(self) -> str:
        return str(self.entry["file"])


@dataclass
class _Parts:
    """Manifest and files of the archive that is being put together."""

    objects: ObjectStore
    manifest: Manifest
    files: dict[str, bytes] = field(default_factory=dict)

    def put(self, path: str, sha256: str) -> str:
        self.files[path] = self.objects.read(sha256)
        return path


def export_voice(session: Session, objects: ObjectStore, reference: str) -> ExportedVoice:
    """The `.vox` file of a voice. Raises ConsentMissing, and as `resolve` does."""
    chosen = _shareable(session, reference)
    living = list(living_versions(session, chosen.voice))[::-1]  # the oldest first
    versions = [version for version in living if may_be_shared(version)]
    held_back = [version.name for version in living if not may_be_shared(version)]
    warnings = [f"{name} stays here: it was cloned without known consent." for name in held_back]
    parts = _base(objects, chosen, versions)
    slots = _slots(objects, chosen, versions)
    if (profile := _profile(objects, chosen)) is not None:
        parts.files[PROFILE_FILE] = json.dumps(profile, ensure_ascii=False).encode()
        parts.manifest["extensions"] = {**parts.manifest.get("extensions", {}), "outetts": {"profile": PROFILE_FILE}}
    pointing = {alias.name: alias.number for alias in aliases(session, chosen.voice)}
    _add_versions(parts, chosen, versions, slots=slots, pointing=pointing)
    describe(parts.manifest, chosen, versions, paths=parts.files)
    if errors := errors_in(parts.manifest):
        raise Conflict(f"The voice cannot be written as a .vox file: {'; '.join(errors)}.")
    content = write_vox(parts.manifest, parts.files)
    if len(content) > MAX_ARCHIVE_BYTES:
        raise Conflict(f"The voice file would have {len(content)} bytes, more than any voicejobs reads.")
    return ExportedVoice(version=chosen, content=content, file_name=f"{chosen.voice}.vox", warnings=tuple(warnings))


def export_prompt(session: Session, objects: ObjectStore, reference: str) -> ExportedVoice:
    """The clone prompt of a version as the Swift tools read it; imported ones byte for byte as they came."""
    version = _shareable(session, reference)
    content = _swift_bytes(objects, version)
    if content is None:
        raise UnsupportedRequest(f"{version.name} has no clone prompt that the Swift tools could read.")
    return ExportedVoice(version=version, content=content, file_name=f"{version.voice}.cloneprompt")


def export_profile(session: Session, objects: ObjectStore, reference: str) -> ExportedVoice:
    """The speaker profile of a version, for OuteTTS. Raises ConsentMissing, or UnsupportedRequest without one."""
    version = _shareable(session, reference)
    profile = _profile(objects, version)
    if profile is None:
        raise UnsupportedRequest(
            f"{version.name} has no speaker profile of OuteTTS.",
            hint=f"`voicejobs voices relock {version.name} --model outetts` makes a version with one.",
        )
    content = json.dumps(profile, ensure_ascii=False).encode()
    return ExportedVoice(version=version, content=content, file_name=f"{version.voice}{PROFILE_SUFFIX}")


def _profile(objects: ObjectStore, version: Version) -> Mapping[str, Any] | None:
    own = version.prompt_sha256 if version.model.engine == MLX_AUDIO.name else None
    prompt = version.attachments.get(PROFILED_PROMPT, own)
    return None if prompt is None else recorded_prompt(objects.read(prompt)).profile


def _shareable(session: Session, reference: str) -> Version:
    """The version that is meant. Raises ConsentMissing, and as `resolve` does."""
    version = resolve(session, reference)
    if not may_be_shared(version):
        raise ConsentMissing(version)
    return version


def may_be_shared(version: Version) -> bool:
    """Whether the consent rules let this version out."""
    return method_of(version) != "cloned" or version.consent in CONSENTS_TO_SHARE


def _in_order(chosen: Version, versions: Sequence[Version]) -> list[Version]:
    """The chosen version, then the newest first: the first gets a place that only one can have."""
    return [chosen, *(version for version in reversed(versions) if version.id != chosen.id)]


def _base(objects: ObjectStore, chosen: Version, versions: Sequence[Version]) -> _Parts:
    """The rest of the file that the voice came in; a bare manifest for a voice of our own."""
    for version in _in_order(chosen, versions):
        if MANIFEST_ATTACHMENT not in version.attachments:
            continue
        parts = _Parts(objects, parse_manifest(objects.read(version.attachments[MANIFEST_ATTACHMENT])))
        for name, sha256 in version.attachments.items():
            if name.startswith(BASE) and name != MANIFEST_ATTACHMENT:
                parts.put(name.removeprefix(BASE), sha256)
        return parts
    first = versions[0]
    return _Parts(objects, {"id": _identity(first), "created": utc_text(first.created_s), "voice": {}})


def _identity(first: Version) -> str:
    """A UUID of version 4 in form, the same whenever the voice is exported."""
    digits = hashlib.sha256(f"{first.voice}\n{first.digest}\n{first.created_s}".encode()).hexdigest()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


# ---- prompts ---------------------------------------------------------------------------------------------------


def _slots(objects: ObjectStore, chosen: Version, versions: Sequence[Version]) -> dict[int, _Slot]:
    """Slots by id of the version: one for each model size and language."""
    slots: dict[int, _Slot] = {}
    taken: dict[str, str] = {}  # file -> language of the prompt there
    for version in _in_order(chosen, versions):
        content = _swift_bytes(objects, version)
        if content is None:
            continue
        kept = version.provenance.get(VOX, {}).get("slot")
        slot = _Slot(kept["key"], kept["entry"], content) if kept else _new_slot(version, content, taken)
        if slot is not None and slot.file not in taken:
            slots[version.id] = slot
            taken[slot.file] = version.language
    return slots


def _swift_bytes(objects: ObjectStore, version: Version) -> bytes | None:
    """The prompt in the Swift tools' layout; None when it has none."""
    if version.model.engine != ENGINE:
        return None
    content = objects.read(version.prompt_sha256)
    if version.prompt_facts.get("format") == SWIFT_FORMAT:
        return content
    try:
        prompt = from_clone_prompt(ClonePrompt.from_bytes(content))
    except InvalidClonePrompt:
        return None  # of another engine that calls itself so; its own bytes travel anyway
    return prompt.to_bytes() if prompt else None


def _new_slot(version: Version, content: bytes, taken: Mapping[str, str]) -> _Slot | None:
    """The language-less place of the model size, or, once that is taken by another language, one of its own."""
    size = _size_name(version)
    entry = {"engine": ENGINE, "format": "bin", "model": _repository(version.model.model)}
    file = f"embeddings/{ENGINE}/{size}/clone-prompt.bin"
    if file not in taken:
        return _Slot(f"{ENGINE}-{size}-clone-prompt", {**entry, "file": file}, content)
    if version.language in (AUTO, taken[file]):
        return None
    code = language_code(version.language)
    file = f"embeddings/{ENGINE}/{size}/{code}/clone-prompt.bin"
    return _Slot(f"{ENGINE}-{size}-{code}-clone-prompt", {**entry, "file": file, "language": code}, content)


def _size_name(version: Version) -> str:
    known = MODEL_SIZES.get(int(version.prompt_facts.get("embedding_size") or 0))
    return known or re.sub(r"[^a-z0-9.]+", "-", version.model.model.rpartition("/")[2].lower()).strip("-.") or "model"


def _repository(model: str) -> str:
    entry = entry_named(model)
    return entry.id if entry else model


# ---- records ---------------------------------------------------------------------------------------------------


def _add_versions(
    parts: _Parts,
    chosen: Version,
    versions: Sequence[Version],
    *,
    slots: Mapping[int, _Slot],
    pointing: Mapping[str, int],
) -> None:
    position_of = {version.number: position for position, version in enumerate(versions, start=1)}
    records = [_record(parts, version, slots.get(version.id), position_of) for version in versions]
    carried: dict[str, Any] = {"form": FORM, "chosen": position_of[chosen.number], "versions": records}
    others = {name: position_of[at] for name, at in pointing.items() if at in position_of and name != CURRENT}
    if others:
        carried["aliases"] = others
    parts.manifest["extensions"] = {**parts.manifest.get("extensions", {}), PROVIDER: carried}
    embeddings = {
        **parts.manifest.pop("embeddings", {}),
        **{slot.key: dict(slot.entry) for slot in slots.values()},
    }
    if embeddings:
        parts.manifest["embeddings"] = embeddings


def _record(parts: _Parts, version: Version, slot: _Slot | None, position_of: Mapping[int, int]) -> dict[str, Any]:
    record = record_of(version)
    where: dict[str, str] = {"prompt": f"{PROVIDER}/prompts/{version.prompt_sha256[:16]}.bin"}
    if slot is not None:
        parts.files[slot.file] = slot.content
        record["slot"] = {
            "key": slot.key,
            "entry": dict(slot.entry),
            "sha256": hashlib.sha256(slot.content).hexdigest(),
        }
        if record["slot"]["sha256"] == version.prompt_sha256:
            where["prompt"] = slot.file
    if where["prompt"] not in parts.files:
        parts.put(where["prompt"], version.prompt_sha256)
    if version.reference_sha256:
        where["reference"] = _put_sound(parts, _reference_folder(version), version.reference_sha256)
    if version.audition_sha256:
        where["audition"] = _put_sound(parts, f"{PROVIDER}/auditions", version.audition_sha256)
    for name, sha256 in own_attachments(version).items():
        where[f"attachment:{name}"] = parts.put(f"{PROVIDER}/attachments/{sha256[:16]}.bin", sha256)
    if version.parent is not None and version.parent in position_of:
        record["parent"] = position_of[version.parent]
    return {**record, "objects": where}


def _put_sound(parts: _Parts, folder: str, sha256: str) -> str:
    content = parts.objects.read(sha256)
    extension = next((name for start, name in _EXTENSIONS if content.startswith(start)), "bin")
    path = f"{folder}/{sha256[:16]}.{extension}"
    parts.files[path] = content
    return path


def _reference_folder(version: Version) -> str:
    return "reference" if is_listed(version) else f"{PROVIDER}/recordings"
