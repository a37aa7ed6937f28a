"""Schema step 2 as plain SQL: jobs, lines, attempts, dependencies, events and requests. Released: never changed."""

from __future__ import annotations

LEDGER = (
    """
    CREATE TABLE job (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        folded TEXT NOT NULL UNIQUE,
        stem TEXT NOT NULL,
        suffix INTEGER NOT NULL,
        key TEXT,
        kind TEXT NOT NULL,
        status TEXT NOT NULL,
        outcome TEXT,
        content_sha256 TEXT NOT NULL,
        spec_json TEXT NOT NULL,
        claim_id TEXT,
        dropped_name TEXT NOT NULL,
        priority INTEGER NOT NULL DEFAULT 0,
        model TEXT,
        makes_voice TEXT,
        plan_json TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        not_before_s REAL NOT NULL DEFAULT 0,
        claimed_s REAL NOT NULL,
        started_s REAL,
        finished_s REAL,
        error_code TEXT,
        error_message TEXT,
        error_hint TEXT,
        warnings_json TEXT NOT NULL DEFAULT '[]',
        facts_json TEXT NOT NULL DEFAULT '{}'
    )
    """,
    "CREATE UNIQUE INDEX job_by_key ON job (key) WHERE key IS NOT NULL",
    "CREATE UNIQUE INDEX job_by_claim ON job (claim_id) WHERE claim_id IS NOT NULL",
    "CREATE INDEX job_by_stem ON job (stem, suffix)",
    "CREATE INDEX job_ready ON job (status, priority DESC, id)",
    "CREATE INDEX job_ready_by_model ON job (status, priority, model, id)",
    "CREATE INDEX job_making ON job (makes_voice, id) WHERE makes_voice IS NOT NULL",
    "CREATE INDEX job_finished ON job (finished_s) WHERE finished_s IS NOT NULL",
    """
    CREATE TABLE line (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        position INTEGER NOT NULL CHECK (position >= 1),
        key TEXT,
        file TEXT NOT NULL,
        status TEXT NOT NULL,
        model TEXT NOT NULL,
        request_json TEXT NOT NULL,
        seed INTEGER NOT NULL,
        take_key TEXT,
        strikes INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        result_json TEXT,
        error_code TEXT,
        error_message TEXT,
        error_hint TEXT,
        UNIQUE (job_id, position)
    )
    """,
    "CREATE INDEX line_by_state ON line (job_id, status, model, position)",
    "CREATE INDEX line_by_take ON line (take_key) WHERE take_key IS NOT NULL",
    """
    CREATE TABLE attempt (
        id INTEGER PRIMARY KEY,
        line_id INTEGER NOT NULL REFERENCES line (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        seed INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        detail_json TEXT NOT NULL,
        finished_s REAL NOT NULL
    )
    """,
    "CREATE INDEX attempt_by_line ON attempt (line_id, number)",
    """
    CREATE TABLE dependency (
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        needs_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        required INTEGER NOT NULL,
        PRIMARY KEY (job_id, needs_id)
    )
    """,
    "CREATE INDEX dependency_by_need ON dependency (needs_id)",
    """
    CREATE TABLE voice_need (
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        folded TEXT NOT NULL,
        reference TEXT NOT NULL,
        PRIMARY KEY (job_id, folded, reference)
    )
    """,
    "CREATE INDEX voice_need_by_voice ON voice_need (folded)",
    """
    CREATE TABLE job_event (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        at_s REAL NOT NULL,
        kind TEXT NOT NULL,
        message TEXT NOT NULL
    )
    """,
    "CREATE INDEX job_event_by_job ON job_event (job_id, id)",
    """
    CREATE TABLE job_request (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        request TEXT NOT NULL,
        at_s REAL NOT NULL
    )
    """,
    "CREATE INDEX job_request_by_job ON job_request (job_id)",
)
