"""What a registry knows of a voice's versions ↔ the part of a `.vox` manifest that carries it elsewhere.

It stands under `extensions.voicejobs`. A record taken from a file is kept with the version and written again as it
was, so that a voice can travel on without changing. JSON null appears nowhere in it: Swift readers fail on that.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any

from models.errors import VoxInvalid
from models.text.pronunciation import checked_table
from registry.storage.digests import canonical_json
from registry.voices.values import ModelFacts, NewVersion, Version
from registry.voices.version_rows import packed, unpacked

PROVIDER = "voicejobs"
FORM = 1
VOX = "vox"  # the key of a version's provenance under which its file's own facts are kept
BASE = "vox/"  # attachments under this prefix are the rest of the file that a version came in
MANIFEST_ATTACHMENT = BASE + "manifest.json"

_PLAIN = (
    "origin", "created_s", "made_by_job", "prompt_sha256", "reference_sha256", "reference_duration_s",
    "audition_sha256", "transcript", "description", "language", "seed", "sampling", "consent", "pronunciations",
)  # fmt: skip
_MODEL = (
    "engine", "engine_version", "render_version", "model", "model_fingerprint", "model_revision", "quantization",
)  # fmt: skip
_TEXTS = ("digest", "origin", "prompt_sha256", "transcript", "language", "consent", *_MODEL[:5])
_OPTIONAL_TEXTS = (
    "made_by_job", "reference_sha256", "audition_sha256", "description", "model_revision", "quantization", "details",
)  # fmt: skip
_TABLES = ("sampling", "pronunciations", "attachments", "slot", "objects")


def record_of(version: Version) -> dict[str, Any]:
    """Everything about a version but its number, its parent's and where its files lie."""
    kept = version.provenance.get(VOX, {}).get("record")
    if kept is not None:
        return dict(kept)
    details = {
        "character": version.character,
        "metadata": version.metadata,
        "prompt_facts": version.prompt_facts,
        "provenance": version.provenance,
        "software": version.model.software,
    }
    values = {
        "digest": f"sha256:{version.digest}",
        **{name: getattr(version, name) for name in _PLAIN},
        **{name: getattr(version.model, name) for name in _MODEL},
        "attachments": own_attachments(version),
        "details": canonical_json(details),  # one text: what a person put into metadata may hold a null
        "speaker_embedding": _encoded(version.speaker_embedding),
    }
    return {name: value for name, value in values.items() if value is not None}


def without_file(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A version's provenance without the facts of the voice file that it came in."""
    return {name: value for name, value in provenance.items() if name != VOX}


def own_attachments(version: Version) -> dict[str, str]:
    """What is kept with a version, without the rest of the file that it came in."""
    return {name: sha256 for name, sha256 in version.attachments.items() if not name.startswith(BASE)}


def version_from_record(
    raw: Mapping[str, Any], *, voice: str, vox: Mapping[str, Any], attachments: Mapping[str, str]
) -> NewVersion:
    """A record as a version to be added. `vox` is kept in its provenance, `attachments` beside its own.

    Raises VoxInvalid.
    """
    record = checked_record(raw)
    details = _details(record)
    model: dict[str, Any] = {name: record.get(name) for name in _MODEL}
    plain: dict[str, Any] = {
        name: record.get(name) for name in _PLAIN if name not in ("origin", "created_s", "made_by_job")
    }
    provenance = details.get("provenance", {})
    earlier = provenance[VOX] if isinstance(provenance.get(VOX), dict) else {}
    try:
        plain["pronunciations"] = checked_table(plain["pronunciations"])
        return NewVersion(
            voice=voice,
            model=ModelFacts(**model, software=details.get("software", {})),
            **plain,
            origin="import",
            prompt_facts=details.get("prompt_facts", {}),
            speaker_embedding=_decoded(record.get("speaker_embedding")),
            attachments={**record.get("attachments", {}), **attachments},
            character=details.get("character"),
            metadata=details.get("metadata", {}),
            provenance={**provenance, VOX: {**earlier, **vox}},
        )
    except (ValueError, TypeError) as error:
        raise VoxInvalid([f"a version record cannot be used: {error}"]) from None


def checked_record(raw: object) -> dict[str, Any]:
    """A record with the types that we rely on. Raises VoxInvalid."""
    if not isinstance(raw, dict):
        raise VoxInvalid(["a version record is not an object"])
    wrong = [
        *(name for name in _TEXTS if not isinstance(raw.get(name), str)),
        *(name for name in _OPTIONAL_TEXTS if not isinstance(raw.get(name, ""), str)),
        *(name for name in _TABLES if not isinstance(raw.get(name, {}), dict)),
        *(name for name in ("created_s", "reference_duration_s") if not _is_number(raw.get(name, 0))),
        *(name for name in ("seed", "parent") if name in raw and type(raw[name]) is not int),
        *(name for name in ("sampling",) if not all(map(_is_number, dict(raw.get(name) or {}).values()))),
        *(
            name
            for name in ("pronunciations", "attachments", "objects")
            if isinstance(raw.get(name), dict) and not all(isinstance(value, str) for value in raw[name].values())
        ),
    ]
    if wrong:
        raise VoxInvalid([f"a version record has no usable {', '.join(wrong)}"])
    return {"sampling": {}, "pronunciations": {}, "attachments": {}, "objects": {}, **raw}


def _details(record: Mapping[str, Any]) -> dict[str, Any]:
    try:
        details = json.loads(record.get("details", "{}"))
    except (ValueError, RecursionError):
        details = None
    tables = ("metadata", "prompt_facts", "provenance", "software")
    if not isinstance(details, dict) or not all(isinstance(details.get(name, {}), dict) for name in tables):
        raise VoxInvalid(["a version record has no usable details"])
    return details


def without_nulls(value: Any) -> Any:
    """A JSON value whose objects have no null members."""
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    return [without_nulls(member) for member in value] if isinstance(value, list) else value


def _encoded(embedding: tuple[float, ...] | None) -> str | None:
    """`(D,)` -> little-endian float32 as base64."""
    content = packed(embedding)
    return None if content is None else base64.b64encode(content).decode()


def _decoded(text: object) -> tuple[float, ...] | None:
    try:
        return None if text is None else unpacked(base64.b64decode(str(text), validate=True))
    except (ValueError, struct.error):
        raise VoxInvalid(["a version record has no usable speaker_embedding"]) from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
