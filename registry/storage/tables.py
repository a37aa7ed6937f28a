"""Tables of the voice registry as SQLModel classes, their one description; rows of these never leave `registry/`.

Removal, `gc`, `fsck` and backups go through them. Whatever a runner does and a quick command asks is hot and goes in
plain SQL (`lookup`, `versions`, `candidates` and `takes`): SQLModel takes a third of a second to import, and 30 MB.
Tests compare the classes with the migrated file, and with the columns that the plain SQL fills. A `table=True` class
accepts anything, so rows are built from checked values only. Jobs and lines have no classes: all of theirs is hot.
"""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class VoiceRow(SQLModel, table=True):
    __tablename__ = "voice"

    id: int | None = Field(default=None, primary_key=True)
    name: str
    folded: str = Field(unique=True)  # NFC + casefold: what names are compared by
    last_number: int = 0  # never goes down, so that no number is ever given twice
    created_s: float


class VersionRow(SQLModel, table=True):
    __tablename__ = "version"

    id: int | None = Field(default=None, primary_key=True)
    voice_id: int = Field(foreign_key="voice.id")
    number: int
    digest: str
    idempotency_key: str | None = None
    origin: str
    made_by_job: str | None = None
    parent_id: int | None = Field(default=None, foreign_key="version.id")
    created_s: float
    engine: str
    engine_version: str
    render_version: str
    model: str
    model_revision: str | None = None
    model_fingerprint: str
    quantization: str | None = None
    software_json: str
    prompt_object: str | None  # None once purged; the digest below stays
    prompt_sha256: str
    prompt_facts_json: str
    speaker_embedding: bytes | None = None  # little-endian float32
    reference_object: str | None = None
    reference_sha256: str | None = None
    reference_duration_s: float | None = None
    audition_object: str | None = None
    transcript: str
    description: str | None = None
    language: str
    seed: int | None = None
    sampling_json: str
    consent: str
    character_json: str | None = None
    metadata_json: str
    provenance_json: str
    pronunciations_json: str
    deleted_s: float | None = None
    deleted_why: str | None = None
    purged_s: float | None = None
    record_sha256: str | None = None  # of what the digest leaves out; None in versions made before there was one


class VersionAttachmentRow(SQLModel, table=True):
    __tablename__ = "version_attachment"

    version_id: int = Field(primary_key=True, foreign_key="version.id")
    name: str = Field(primary_key=True)
    attachment_object: str


class AliasRow(SQLModel, table=True):
    __tablename__ = "alias"

    voice_id: int = Field(primary_key=True, foreign_key="voice.id")
    folded: str = Field(primary_key=True)
    name: str
    version_id: int = Field(foreign_key="version.id")
    moved_s: float


class AliasMoveRow(SQLModel, table=True):
    __tablename__ = "alias_move"

    id: int | None = Field(default=None, primary_key=True)
    voice_id: int = Field(foreign_key="voice.id")
    name: str
    from_number: int | None = None
    to_number: int | None = None
    moved_s: float
    why: str


class CandidateRow(SQLModel, table=True):
    __tablename__ = "candidate"

    id: int | None = Field(default=None, primary_key=True)
    job_name: str
    ordinal: int
    created_s: float
    audio_object: str
    design_state_object: str | None = None
    transcript: str
    description: str
    language: str
    seed: int
    sampling_json: str
    engine: str
    engine_version: str
    render_version: str
    model: str
    model_revision: str | None = None
    model_fingerprint: str
    quantization: str | None = None
    software_json: str
    frames: int
    duration_s: float
    quality_json: str
    character_json: str | None = None


class TakeRow(SQLModel, table=True):
    __tablename__ = "take"

    key: str = Field(primary_key=True)
    audio_sha256: str
    size_bytes: int
    created_s: float
    last_used_s: float
    requested_seed: int
    accepted_seed: int
    finish_reason: str
    frames: int
    duration_s: float
    render_s: float
    attempts: int
    failed_gates_json: str
    quality_json: str
    engine_json: str
