"""`extensions.voicejobs` of a `.vox` manifest → the versions of a voice that another voicejobs put there, checked.

A record holds everything that a registry knows of a version, under the registry's names, and the paths of its bytes in
the archive. JSON null appears nowhere in it: Swift readers fail on that.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import VoxInvalid
from models.voices.vox_manifest import CONSENTS, entry_errors, shown, strict_json

PROVIDER = "voicejobs"
FORM = 1
MAX_VERSIONS = 1_000
MAX_REASONS = 20
WHOLE_LIMIT = 1 << 63  # SQLite's integers
CONTENT_KEYS = (
    "prompt_sha256", "reference_sha256", "reference_duration_s", "audition_sha256", "transcript", "description",
    "language", "seed", "sampling", "consent", "pronunciations",
)  # fmt: skip
MODEL_KEYS = (
    "engine", "engine_version", "render_version", "model", "model_fingerprint", "model_revision", "quantization",
)  # fmt: skip
DETAIL_KEYS = ("metadata", "prompt_facts", "provenance", "software")
_OF_THE_FILE = ("objects", "slot", "parent")  # each file states its own
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class VersionRecord:
    """One version of a voice, with its bytes."""

    kept: Mapping[str, Any]  # the record itself, without what each file states anew
    content: Mapping[str, Any]  # all of CONTENT_KEYS, None where the record is silent
    model: Mapping[str, Any]  # all of MODEL_KEYS
    details: Mapping[str, Any]  # tables under all of DETAIL_KEYS, and `character`: a table or None
    speaker_embedding: tuple[float, ...] | None  # (D,)
    attachments: Mapping[str, str]  # name -> SHA-256
    objects: tuple[bytes, ...]  # prompt, recordings and attachments
    paths: tuple[str, ...]  # entries of the archive that belong to this version
    slot: Mapping[str, Any] | None  # key and entry of its prompt in the embeddings map, unless that was replaced
    parent: int | None  # position in the file, from 1


@dataclass(frozen=True, kw_only=True)
class VoiceRecords:
    """The versions of a voice, oldest first."""

    versions: tuple[VersionRecord, ...]
    chosen: int  # position of the version that was exported, from 1
    aliases: Mapping[str, int]  # name -> position


def read_records(raw: Any, files: Mapping[str, bytes], *, embeddings: Mapping[str, Any]) -> VoiceRecords:
    """Records of a manifest that has these `embeddings`. Raises VoxInvalid, also when bytes are absent or changed."""
    if not isinstance(raw, dict) or raw.get("form") != FORM:
        raise invalid_records("is of a form that this voicejobs does not read")
    versions, aliases = raw.get("versions"), raw.get("aliases", {})
    if not isinstance(versions, list) or not 0 < len(versions) <= MAX_VERSIONS:
        raise invalid_records("has no usable versions")
    if not _is_position(raw.get("chosen"), len(versions)):
        raise invalid_records("names no version as the chosen one")
    if not isinstance(aliases, dict) or not all(_is_position(at, len(versions)) for at in aliases.values()):
        raise invalid_records("has aliases that point nowhere")
    checked = [_version(record, index, files=files, embeddings=embeddings) for index, record in enumerate(versions)]
    return VoiceRecords(versions=tuple(checked), chosen=raw["chosen"], aliases=aliases)


def invalid_records(reason: str) -> VoxInvalid:
    """The error for records that cannot be used."""
    return VoxInvalid([f"extensions.{PROVIDER} {reason}"])


def _version(raw: Any, index: int, *, files: Mapping[str, bytes], embeddings: Mapping[str, Any]) -> VersionRecord:
    where = f"extensions.{PROVIDER}.versions[{index}]"
    _refuse(_record_errors(raw, where, index))
    record = {"sampling": {}, "pronunciations": {}, "attachments": {}, "objects": {}, **raw}
    details = {"character": None, **{key: {} for key in DETAIL_KEYS}, **_unpacked_details(record, where)}
    _refuse(_detail_errors(details, f"{where}.details"))
    wanted = [(name, record["objects"].get(name, ""), sha256) for name, sha256 in _digests_in(record)]
    _refuse(_object_errors(wanted, where, files))
    return VersionRecord(
        kept={key: value for key, value in raw.items() if key not in _OF_THE_FILE},
        content={key: record.get(key) for key in CONTENT_KEYS},
        model={key: record.get(key) for key in MODEL_KEYS},
        details=details,
        speaker_embedding=_unpacked_embedding(record.get("speaker_embedding")),
        attachments=record["attachments"],
        objects=tuple(files[path] for _, path, _ in wanted),
        paths=tuple(record["objects"].values()),
        slot=_slot_still_there(record.get("slot"), files, embeddings),
        parent=record.get("parent"),
    )


def _refuse(errors: Iterable[str]) -> None:
    if found := list(itertools.islice(errors, MAX_REASONS)):
        raise VoxInvalid(found)


# ---- types and values ----------------------------------------------------------------------------------------------


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < WHOLE_LIMIT


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_position(value: Any, last: int) -> bool:
    return type(value) is int and 1 <= value <= last


def _is_embedding(value: object) -> bool:
    try:
        return isinstance(value, str) and all(map(math.isfinite, _unpacked_embedding(value) or ()))
    except (ValueError, struct.error):
        return False


def _is_table_of(holds: Callable[[Any], bool], value: object) -> bool:
    return isinstance(value, dict) and all(map(holds, value.values()))


_Check = tuple[Callable[[Any], bool], str]
_TEXT: _Check = (_is_text, "text")
_SHA: _Check = (_is_sha256, "a SHA-256")
_NUMBER: _Check = (_is_number, "a number")
_TEXTS: _Check = (lambda value: _is_table_of(_is_text, value), "a table of texts")
_REQUIRED: dict[str, _Check] = {
    "digest": (lambda value: _is_text(value) and _is_sha256(value.removeprefix("sha256:")), "a digest"),
    "prompt_sha256": _SHA,
    "consent": (lambda value: value in CONSENTS, f"one of {', '.join(CONSENTS)}"),
    **dict.fromkeys(("origin", "transcript", "language", *MODEL_KEYS[:5]), _TEXT),
}
_OPTIONAL: dict[str, _Check] = {
    **dict.fromkeys(("made_by_job", "description", "model_revision", "quantization", "details"), _TEXT),
    **dict.fromkeys(("reference_sha256", "audition_sha256"), _SHA),
    **dict.fromkeys(("created_s", "reference_duration_s"), _NUMBER),
    **dict.fromkeys(("pronunciations", "objects"), _TEXTS),
    "seed": (lambda value: type(value) is int and _is_number(value), "a whole number of at most 63 bits"),
    "sampling": (lambda value: _is_table_of(_is_number, value), "a table of numbers"),
    "attachments": (lambda value: _is_table_of(_is_sha256, value), "a table of SHA-256s"),
    "speaker_embedding": (_is_embedding, "the base64 of float32 numbers"),
}


def _record_errors(raw: Any, where: str, index: int) -> Iterator[str]:
    if not isinstance(raw, dict):
        yield f"{where} is not an object"
        return
    for key, (holds, words) in {**_REQUIRED, **_OPTIONAL}.items():
        if (key in raw or key in _REQUIRED) and not holds(raw.get(key)):
            yield f"{where}.{key} is {shown(raw.get(key))}, not {words}"
    if "parent" in raw and not _is_position(raw["parent"], index):
        yield f"{where}.parent is {shown(raw['parent'])}, not the position of an earlier version"
    if "slot" in raw:
        yield from _slot_errors(raw["slot"], f"{where}.slot")


def _slot_errors(slot: Any, where: str) -> Iterator[str]:
    if not isinstance(slot, dict) or not _is_text(slot.get("key")):
        yield f"{where} has no key"
    else:
        yield from entry_errors(slot.get("entry"), f"{where}.entry")


def _detail_errors(details: Mapping[str, Any], where: str) -> Iterator[str]:
    """Errors in those facts that something here reads; the others may be anything."""
    if wrong := [name for name in DETAIL_KEYS if not isinstance(details[name], dict)]:
        yield from (f"{where}.{name} is {shown(details[name])}, not an object" for name in wrong)
        return
    size, came = details["prompt_facts"].get("embedding_size"), details["provenance"].get("vox", {})
    if not _is_character(details["character"]):
        yield f"{where}.character is {shown(details['character'])}, not a character"
    if size is not None and not _is_number(size):
        yield f"{where}.prompt_facts.embedding_size is {shown(size)}, not a number"
    if not _is_table_of(_is_text, details["software"]):
        yield f"{where}.software is {shown(details['software'])}, not a table of texts"
    if not isinstance(came, dict):
        yield f"{where}.provenance.vox is {shown(came)}, not an object"
    elif "slot" in came:
        yield from _slot_errors(came["slot"], f"{where}.provenance.vox.slot")


def _is_character(value: Any) -> bool:
    if not isinstance(value, dict):
        return value is None
    traits = value.get("voice_traits", [])
    return isinstance(traits, list) and all(map(_is_text, [*traits, value.get("gender", "")]))


def _unpacked_details(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Facts that a record holds as one text, since metadata that a person wrote may hold a null."""
    try:
        details = strict_json(record.get("details", "{}"))
    except (ValueError, RecursionError):
        details = None
    if not isinstance(details, dict):
        raise VoxInvalid([f"{where}.details is no JSON object"])
    return details


def _unpacked_embedding(text: str | None) -> tuple[float, ...] | None:
    """`(D,)` from the base64 of little-endian float32. Raises ValueError or struct.error."""
    if text is None:
        return None
    content = base64.b64decode(text, validate=True)
    return struct.unpack(f"<{len(content) // 4}f", content)


# ---- bytes ---------------------------------------------------------------------------------------------------------


def _digests_in(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Parts of a version under their names in `objects` of its record, with the SHA-256 of each."""
    for name in ("prompt", "reference", "audition"):
        if f"{name}_sha256" in record:
            yield name, record[f"{name}_sha256"]
    for name, sha256 in record["attachments"].items():
        yield f"attachment:{name}", sha256


def _object_errors(wanted: Iterable[tuple[str, str, str]], where: str, files: Mapping[str, bytes]) -> Iterator[str]:
    for name, path, sha256 in wanted:
        if path not in files:
            yield f"{where}: its {name[:60]} is absent from the file"
        elif hashlib.sha256(files[path]).hexdigest() != sha256:
            yield f"{where}: its {name[:60]} was changed: {shown(path)}"


def _slot_still_there(slot: Any, files: Mapping[str, bytes], embeddings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Key and entry under which the Swift tools find a version; None once something else is there."""
    entry = embeddings.get(slot["key"]) if slot else None
    if entry is None or entry["file"] != slot["entry"]["file"] or entry["file"] not in files:
        return None
    is_same = hashlib.sha256(files[entry["file"]]).hexdigest() == slot.get("sha256")
    return {"key": slot["key"], "entry": slot["entry"]} if is_same else None
