"""A checked new version → the columns that store it; a row → the value that leaves the registry."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from registry.storage.digests import as_floats, canonical_json, sha256_of_json, voice_digest
from registry.storage.session import Row
from registry.voices.names import name_key
from registry.voices.values import ModelFacts, NewVersion, Version

RECORD_FORM = "voicejobs-record-1"


def digest_of(content: NewVersion | Version) -> str:
    """The digest that this content has; a stored version whose digest differs has been tampered with."""
    return voice_digest(
        engine=content.model.engine,
        model_fingerprint=content.model.model_fingerprint,
        quantization=content.model.quantization,
        prompt_sha256=content.prompt_sha256,
        reference_sha256=content.reference_sha256,
        transcript=content.transcript,
        description=content.description,
        language=content.language,
        seed=content.seed,
        sampling=content.sampling,
        pronunciations=content.pronunciations,
    )


def record_sha256_of(content: NewVersion | Version, *, number: int) -> str:
    """Hash that binds consent and origin to one version: the digest, equal in every registry, leaves them out."""
    return sha256_of_json(
        {
            "form": RECORD_FORM,
            "voice": name_key(content.voice),
            "number": number,
            "digest": digest_of(content),
            "consent": content.consent,
            "origin": content.origin,
            "made_by_job": content.made_by_job,
            "character": content.character,
            "metadata": dict(content.metadata),
            "provenance": dict(content.provenance),
        }
    )


def columns_of(new: NewVersion) -> dict[str, Any]:
    """Columns of a new version's own content. Raises InvalidInput for what JSON or UTF-8 cannot hold."""
    return {
        "digest": digest_of(new),
        "idempotency_key": idempotency_key(new),
        "origin": new.origin,
        "made_by_job": new.made_by_job,
        **model_columns(new.model),
        "prompt_object": new.prompt_sha256,
        "prompt_sha256": new.prompt_sha256,
        "prompt_facts_json": canonical_json(dict(new.prompt_facts)),
        "speaker_embedding": packed(new.speaker_embedding),
        "reference_object": new.reference_sha256,
        "reference_sha256": new.reference_sha256,
        "reference_duration_s": new.reference_duration_s,
        "audition_object": new.audition_sha256,
        "transcript": new.transcript,
        "description": new.description,
        "language": new.language,
        "seed": new.seed,
        "sampling_json": canonical_json(as_floats(new.sampling)),
        "consent": new.consent,
        "character_json": optional_json(new.character),
        "metadata_json": canonical_json(dict(new.metadata)),
        "provenance_json": canonical_json(dict(new.provenance)),
        "pronunciations_json": canonical_json(dict(new.pronunciations)),
    }


def idempotency_key(new: NewVersion) -> str | None:
    """Key under which a repeated insert is the same one; None: there is none."""
    return new.idempotency_key or new.made_by_job


def version_from(row: Row, *, attachments: Mapping[str, str]) -> Version:
    """The value of one row, which also brings `voice_name` and `parent_number`."""
    return Version(
        id=row["id"],
        voice=row["voice_name"],
        number=row["number"],
        digest=row["digest"],
        origin=row["origin"],
        created_s=row["created_s"],
        made_by_job=row["made_by_job"],
        parent=row["parent_number"],
        model=model_from(row),
        prompt_sha256=row["prompt_sha256"],
        prompt_facts=json.loads(row["prompt_facts_json"]),
        speaker_embedding=unpacked(row["speaker_embedding"]),
        reference_sha256=row["reference_sha256"],
        reference_duration_s=row["reference_duration_s"],
        audition_sha256=row["audition_object"],
        attachments=attachments,
        transcript=row["transcript"],
        description=row["description"],
        language=row["language"],
        seed=row["seed"],
        sampling=json.loads(row["sampling_json"]),
        consent=row["consent"],
        character=json.loads(row["character_json"] or "null"),
        metadata=json.loads(row["metadata_json"]),
        provenance=json.loads(row["provenance_json"]),
        pronunciations=json.loads(row["pronunciations_json"]),
        deleted_s=row["deleted_s"],
        deleted_why=row["deleted_why"],
        purged_s=row["purged_s"],
    )


def model_columns(facts: ModelFacts) -> dict[str, Any]:
    """The columns that say what rendered or locked something."""
    return {
        "engine": facts.engine,
        "engine_version": facts.engine_version,
        "render_version": facts.render_version,
        "model": facts.model,
        "model_revision": facts.model_revision,
        "model_fingerprint": facts.model_fingerprint,
        "quantization": facts.quantization,
        "software_json": canonical_json(dict(facts.software)),
    }


def model_from(row: Row) -> ModelFacts:
    """Model facts out of the columns that `model_columns` gave."""
    return ModelFacts(
        engine=row["engine"],
        engine_version=row["engine_version"],
        render_version=row["render_version"],
        model=row["model"],
        model_revision=row["model_revision"],
        model_fingerprint=row["model_fingerprint"],
        quantization=row["quantization"],
        software=json.loads(row["software_json"]),
    )


def optional_json(value: Mapping[str, Any] | None) -> str | None:
    """Canonical JSON, or None for None."""
    return None if value is None else canonical_json(dict(value))


def packed(embedding: Sequence[float] | None) -> bytes | None:
    """Little-endian float32 bytes of an embedding `(D,)`."""
    return None if embedding is None else struct.pack(f"<{len(embedding)}f", *(float(value) for value in embedding))


def unpacked(content: bytes | None) -> tuple[float, ...] | None:
    """Embedding `(D,)` out of the bytes that `packed` gave."""
    return None if content is None else struct.unpack(f"<{len(content) // 4}f", content)
