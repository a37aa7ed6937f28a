"""The schema's history: numbered steps, each applied once and whole. A released step never changes; append one.

A step is plain SQL, not the classes of `registry/storage/tables.py`: those say what the newest tables of voices look
like, and a test holds the two together. `docs/registry.md` says how to add one.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from registry.storage.ledger_schema import LEDGER


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step, from schema `number - 1` to `number`."""

    number: int
    name: str
    statements: tuple[str, ...]


VOICES_AND_TAKES = (
    """
    CREATE TABLE voice (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        folded TEXT NOT NULL UNIQUE,
        last_number INTEGER NOT NULL DEFAULT 0,
        created_s REAL NOT NULL
    )
    """,
    """
    CREATE TABLE version (
        id INTEGER PRIMARY KEY,
        voice_id INTEGER NOT NULL REFERENCES voice (id),
        number INTEGER NOT NULL CHECK (number >= 1),
        digest TEXT NOT NULL,
        idempotency_key TEXT,
        origin TEXT NOT NULL,
        made_by_job TEXT,
        parent_id INTEGER REFERENCES version (id),
        created_s REAL NOT NULL,
        engine TEXT NOT NULL,
        engine_version TEXT NOT NULL,
        render_version TEXT NOT NULL,
        model TEXT NOT NULL,
        model_revision TEXT,
        model_fingerprint TEXT NOT NULL,
        quantization TEXT,
        software_json TEXT NOT NULL,
        prompt_object TEXT,
        prompt_sha256 TEXT NOT NULL,
        prompt_facts_json TEXT NOT NULL,
        speaker_embedding BLOB,
        reference_object TEXT,
        reference_sha256 TEXT,
        reference_duration_s REAL,
        audition_object TEXT,
        transcript TEXT NOT NULL,
        description TEXT,
        language TEXT NOT NULL,
        seed INTEGER,
        sampling_json TEXT NOT NULL,
        consent TEXT NOT NULL,
        character_json TEXT,
        metadata_json TEXT NOT NULL,
        provenance_json TEXT NOT NULL,
        pronunciations_json TEXT NOT NULL,
        deleted_s REAL,
        deleted_why TEXT,
        purged_s REAL,
        UNIQUE (voice_id, number),
        UNIQUE (voice_id, idempotency_key)
    )
    """,
    "CREATE INDEX version_alive ON version (voice_id, number) WHERE deleted_s IS NULL",
    "CREATE INDEX version_by_digest ON version (digest)",
    "CREATE INDEX version_by_parent ON version (parent_id)",
    "CREATE INDEX version_deleted ON version (deleted_s) WHERE deleted_s IS NOT NULL",
    """
    CREATE TRIGGER version_is_immutable BEFORE UPDATE OF
        id, voice_id, number, digest, idempotency_key, origin, made_by_job, parent_id, created_s, engine,
        engine_version, render_version, model, model_revision, model_fingerprint, quantization, software_json,
        prompt_sha256, prompt_facts_json, speaker_embedding, reference_sha256, reference_duration_s, transcript,
        description, language, seed, sampling_json, consent, character_json, metadata_json, provenance_json,
        pronunciations_json
    ON version BEGIN SELECT RAISE(ABORT, 'a version never changes'); END
    """,
    """
    CREATE TRIGGER version_keeps_its_objects BEFORE UPDATE OF prompt_object, reference_object, audition_object
    ON version WHEN OLD.deleted_s IS NULL
        OR coalesce(NEW.prompt_object, NEW.reference_object, NEW.audition_object) IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'only a removed version is purged, and of everything'); END
    """,
    """
    CREATE TRIGGER version_stays BEFORE DELETE ON version
    BEGIN SELECT RAISE(ABORT, 'a version is removed by a tombstone'); END
    """,
    """
    CREATE TABLE version_attachment (
        version_id INTEGER NOT NULL REFERENCES version (id),
        name TEXT NOT NULL,
        attachment_object TEXT NOT NULL,
        PRIMARY KEY (version_id, name)
    )
    """,
    """
    CREATE TABLE alias (
        voice_id INTEGER NOT NULL REFERENCES voice (id),
        folded TEXT NOT NULL,
        name TEXT NOT NULL,
        version_id INTEGER NOT NULL REFERENCES version (id),
        moved_s REAL NOT NULL,
        PRIMARY KEY (voice_id, folded)
    )
    """,
    "CREATE INDEX alias_by_version ON alias (version_id)",
    """
    CREATE TABLE alias_move (
        id INTEGER PRIMARY KEY,
        voice_id INTEGER NOT NULL REFERENCES voice (id),
        name TEXT NOT NULL,
        from_number INTEGER,
        to_number INTEGER,
        moved_s REAL NOT NULL,
        why TEXT NOT NULL
    )
    """,
    "CREATE INDEX alias_move_by_voice ON alias_move (voice_id, id)",
    """
    CREATE TABLE candidate (
        id INTEGER PRIMARY KEY,
        job_name TEXT NOT NULL,
        ordinal INTEGER NOT NULL CHECK (ordinal >= 1),
        created_s REAL NOT NULL,
        audio_object TEXT NOT NULL,
        design_state_object TEXT,
        transcript TEXT NOT NULL,
        description TEXT NOT NULL,
        language TEXT NOT NULL,
        seed INTEGER NOT NULL,
        sampling_json TEXT NOT NULL,
        engine TEXT NOT NULL,
        engine_version TEXT NOT NULL,
        render_version TEXT NOT NULL,
        model TEXT NOT NULL,
        model_revision TEXT,
        model_fingerprint TEXT NOT NULL,
        quantization TEXT,
        software_json TEXT NOT NULL,
        frames INTEGER NOT NULL,
        duration_s REAL NOT NULL,
        quality_json TEXT NOT NULL,
        character_json TEXT,
        UNIQUE (job_name, ordinal)
    )
    """,
    "CREATE INDEX candidate_by_age ON candidate (created_s)",
    """
    CREATE TABLE take (
        key TEXT PRIMARY KEY,
        audio_sha256 TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        created_s REAL NOT NULL,
        last_used_s REAL NOT NULL,
        requested_seed INTEGER NOT NULL,
        accepted_seed INTEGER NOT NULL,
        finish_reason TEXT NOT NULL,
        frames INTEGER NOT NULL,
        duration_s REAL NOT NULL,
        render_s REAL NOT NULL,
        attempts INTEGER NOT NULL,
        failed_gates_json TEXT NOT NULL,
        quality_json TEXT NOT NULL,
        engine_json TEXT NOT NULL
    )
    """,
    "CREATE INDEX take_by_use ON take (last_used_s)",
    "CREATE INDEX take_by_audio ON take (audio_sha256)",
)

IDENTITY = (
    "CREATE TABLE registry (id TEXT NOT NULL CHECK (length(id) = 32))",
    "INSERT INTO registry (id) VALUES (lower(hex(randomblob(16))))",
    "ALTER TABLE version ADD COLUMN record_sha256 TEXT",
    """
    CREATE TRIGGER version_record_is_immutable BEFORE UPDATE OF record_sha256
    ON version BEGIN SELECT RAISE(ABORT, 'a version never changes'); END
    """,
)

SCRIPTS = (
    "ALTER TABLE job ADD COLUMN parent_id INTEGER",
    "ALTER TABLE job ADD COLUMN role TEXT",
    "CREATE INDEX job_by_parent ON job (parent_id, id) WHERE parent_id IS NOT NULL",
)

LIVE = (
    "ALTER TABLE job ADD COLUMN live INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX job_live ON job (id) WHERE live = 1",
    """
    CREATE TABLE live_drop (
        name TEXT NOT NULL,
        content_sha256 TEXT NOT NULL,
        at_s REAL NOT NULL,
        PRIMARY KEY (name, content_sha256)
    )
    """,
)

HOOKS = (
    """
    CREATE TABLE hook_delivery (
        id INTEGER PRIMARY KEY,
        hook TEXT NOT NULL,
        webhook_id TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL,
        at_s REAL NOT NULL,
        data BLOB,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_s REAL NOT NULL,
        error TEXT,
        given_up_s REAL
    )
    """,
    "CREATE INDEX hook_delivery_due ON hook_delivery (hook, next_s) WHERE given_up_s IS NULL",
)

# Views for other programs: their columns never change; what is to be told besides comes in a view _v2.
VIEWS = (
    """
    CREATE VIEW voices_v1 AS
    SELECT
        voice.name AS voice,
        version.number AS version,
        voice.name || '@' || version.number AS name,
        'sha256:' || version.digest AS digest,
        version.id IN (
            SELECT alias.version_id FROM alias WHERE alias.voice_id = voice.id AND alias.folded = 'current'
        ) AS is_current,
        version.origin AS origin,
        version.consent AS consent,
        version.engine AS engine,
        version.model AS model,
        version.language AS language,
        version.description AS description,
        version.transcript AS transcript,
        version.reference_duration_s AS reference_duration_s,
        version.made_by_job AS job,
        strftime('%Y-%m-%dT%H:%M:%fZ', version.created_s, 'unixepoch') AS created_at,
        strftime('%Y-%m-%dT%H:%M:%fZ', version.deleted_s, 'unixepoch') AS removed_at
    FROM version JOIN voice ON voice.id = version.voice_id
    """,
    """
    CREATE VIEW jobs_v1 AS
    SELECT
        job.name AS job,
        job.key AS id,
        job.kind AS kind,
        job.status AS status,
        job.priority AS priority,
        job.model AS model,
        strftime('%Y-%m-%dT%H:%M:%fZ', job.claimed_s, 'unixepoch') AS claimed_at,
        strftime('%Y-%m-%dT%H:%M:%fZ', job.started_s, 'unixepoch') AS started_at,
        strftime('%Y-%m-%dT%H:%M:%fZ', job.finished_s, 'unixepoch') AS finished_at,
        (SELECT count(*) FROM line WHERE line.job_id = job.id) AS lines,
        (SELECT count(*) FROM line WHERE line.job_id = job.id AND line.status = 'published') AS lines_done,
        (SELECT count(*) FROM line WHERE line.job_id = job.id AND line.status = 'failed') AS lines_failed,
        (SELECT total(json_extract(line.result_json, '$.duration_s')) FROM line WHERE line.job_id = job.id) AS audio_s,
        job.error_code AS error_code,
        job.error_message AS error_message,
        json_array_length(job.warnings_json) AS warnings
    FROM job
    """,
)

MIGRATIONS: tuple[Migration, ...] = (
    Migration(number=1, name="voices, candidates and takes", statements=VOICES_AND_TAKES),
    Migration(number=2, name="jobs, lines and attempts", statements=LEDGER),
    Migration(number=3, name="an id, and a hash of a version's record", statements=IDENTITY),
    Migration(number=4, name="jobs that belong to a script", statements=SCRIPTS),
    Migration(number=5, name="jobs that somebody listens to", statements=LIVE),
    Migration(number=6, name="notices to receivers outside", statements=HOOKS),
    Migration(number=7, name="views for other programs", statements=VIEWS),
)


@functools.cache
def tables_of(number: int) -> frozenset[str]:
    """Names of all tables that a database of a released schema has."""
    statements = [text for migration in MIGRATIONS[:number] for text in migration.statements]
    return frozenset(found[1] for text in statements if (found := re.match(r"\s*CREATE TABLE (\w+)", text)))
