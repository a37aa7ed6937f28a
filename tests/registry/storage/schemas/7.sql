BEGIN TRANSACTION;
CREATE TABLE alias (
        voice_id INTEGER NOT NULL REFERENCES voice (id),
        folded TEXT NOT NULL,
        name TEXT NOT NULL,
        version_id INTEGER NOT NULL REFERENCES version (id),
        moved_s REAL NOT NULL,
        PRIMARY KEY (voice_id, folded)
    );
INSERT INTO "alias" VALUES(1,'current','current',2,2.0);
INSERT INTO "alias" VALUES(1,'soft','soft',1,3.0);
CREATE TABLE alias_move (
        id INTEGER PRIMARY KEY,
        voice_id INTEGER NOT NULL REFERENCES voice (id),
        name TEXT NOT NULL,
        from_number INTEGER,
        to_number INTEGER,
        moved_s REAL NOT NULL,
        why TEXT NOT NULL
    );
INSERT INTO "alias_move" VALUES(1,1,'current',NULL,1,1.0,'lock by job lock-1');
INSERT INTO "alias_move" VALUES(2,1,'current',1,2,2.0,'relock');
INSERT INTO "alias_move" VALUES(3,1,'soft',NULL,1,3.0,'set by hand');
CREATE TABLE attempt (
        id INTEGER PRIMARY KEY,
        line_id INTEGER NOT NULL REFERENCES line (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        seed INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        detail_json TEXT NOT NULL,
        finished_s REAL NOT NULL
    );
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
    );
INSERT INTO "candidate" VALUES(1,'design-1',1,4.0,'dda18a0e21ae47c53b4309434cbc02ae8bf764fa83a6defbb719431242722aa7','4ba69735ca53765ed6a709edb56c6ea236b7193a3b29a6b390c346f0f4340e4e','Hello.','A warm voice.','english',3,'{"temperature":0.7}','draft','1','draft-1','draft','main','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',NULL,'{"voicejobs":"0.1.0"}',40,3.2,'{"peak":0.8}','{"name":"Elena"}');
CREATE TABLE dependency (
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        needs_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        required INTEGER NOT NULL,
        PRIMARY KEY (job_id, needs_id)
    );
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
    );
INSERT INTO "hook_delivery" VALUES(1,'abc','msg_1','job.done',7.0,X'789CABAE0500017500F9',0,7.0,NULL,NULL);
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
    , parent_id INTEGER, role TEXT, live INTEGER NOT NULL DEFAULT 0);
INSERT INTO "job" VALUES(1,'night','night','night',1,'night-7','synthesize','queued',NULL,'5e8c9902207afaeb7120430c585a445f21e92932081d64bc99f80e4925bcb002','{}',NULL,'night.toml',0,NULL,NULL,NULL,0,0.0,6.0,NULL,NULL,NULL,NULL,NULL,'[]','{}',NULL,NULL,0);
CREATE TABLE job_event (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        at_s REAL NOT NULL,
        kind TEXT NOT NULL,
        message TEXT NOT NULL
    );
INSERT INTO "job_event" VALUES(1,1,6.0,'claimed','from the inbox');
CREATE TABLE job_request (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        request TEXT NOT NULL,
        at_s REAL NOT NULL
    );
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
    );
CREATE TABLE live_drop (
        name TEXT NOT NULL,
        content_sha256 TEXT NOT NULL,
        at_s REAL NOT NULL,
        PRIMARY KEY (name, content_sha256)
    );
CREATE TABLE registry (id TEXT NOT NULL CHECK (length(id) = 32));
INSERT INTO "registry" VALUES('3105d3cec0b78b18dbbd32c370c73501');
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
    );
INSERT INTO "take" VALUES('2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683','6ed8919ce20490a5e3ad8630a4fab69475297abd07db73918dd5f36fcfaeb11b',5,5.0,5.0,1,2,'eos',10,0.8,0.1,2,'["too-long"]','{"peak":0.5}','{"batch":4}');
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
        purged_s REAL, record_sha256 TEXT,
        UNIQUE (voice_id, number),
        UNIQUE (voice_id, idempotency_key)
    );
INSERT INTO "version" VALUES(1,1,1,'7946f49137fb76925fc087134f93236e83491856c701b4188d307c67706d560f','lock-1','lock','lock-1',NULL,1.0,'draft','1','draft-1','draft','main','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',NULL,'{"voicejobs":"0.1.0"}','cf07194ee232eb531e15f690000d19846dea69cf05504782658afcfacb9228a2','cf07194ee232eb531e15f690000d19846dea69cf05504782658afcfacb9228a2','{"embedding_size":3,"frames":69}',X'0000003F000080BE0000803F','52367a6622b19f08825e915fad80c542ad4f4c34dbcebad9f5007994b3e39208','52367a6622b19f08825e915fad80c542ad4f4c34dbcebad9f5007994b3e39208',5.5,'e20e11ab0e02cc49cedc887a4f84a78561d045d99f8da3ba6e77d2330647ea90','That quick beige fox jumped.','A warm female voice, 30s.','english',7,'{"temperature":0.9,"top_k":50.0}','self','{"name":"Elena","traits":["warm"]}','{"scene":3}','{"method":"designed"}','{"Nguyen":"Win"}',NULL,NULL,NULL,'b81b795d61f26c89a3622fcf7e58efae2e91eee0eb028eab51e8b74d86409345');
INSERT INTO "version" VALUES(2,1,2,'8b46024e1aeee3e9f7fef7baadb1e90eb955775451500bda32c4f0c58a987ee5',NULL,'relock',NULL,1,2.0,'draft','1','draft-1','draft','main','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',NULL,'{"voicejobs":"0.1.0"}','cf07194ee232eb531e15f690000d19846dea69cf05504782658afcfacb9228a2','cf07194ee232eb531e15f690000d19846dea69cf05504782658afcfacb9228a2','{"embedding_size":3,"frames":69}',X'0000003F000080BE0000803F','52367a6622b19f08825e915fad80c542ad4f4c34dbcebad9f5007994b3e39208','52367a6622b19f08825e915fad80c542ad4f4c34dbcebad9f5007994b3e39208',5.5,'e20e11ab0e02cc49cedc887a4f84a78561d045d99f8da3ba6e77d2330647ea90','Other words.','A warm female voice, 30s.','english',7,'{"temperature":0.9,"top_k":50.0}','self','{"name":"Elena","traits":["warm"]}','{"scene":3}','{"method":"designed"}','{"Nguyen":"Win"}',NULL,NULL,NULL,'adec02d3bd7bb8d9fcc4119e754ef5870d4c0dc19618b22169ac1fe3cbf31e4f');
CREATE TABLE version_attachment (
        version_id INTEGER NOT NULL REFERENCES version (id),
        name TEXT NOT NULL,
        attachment_object TEXT NOT NULL,
        PRIMARY KEY (version_id, name)
    );
INSERT INTO "version_attachment" VALUES(1,'assets/portrait.png','51c5a8296a032ce7b3014e66000c20d0d759d2e910873f28fa6107ab012bf887');
INSERT INTO "version_attachment" VALUES(2,'assets/portrait.png','51c5a8296a032ce7b3014e66000c20d0d759d2e910873f28fa6107ab012bf887');
CREATE TABLE voice (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        folded TEXT NOT NULL UNIQUE,
        last_number INTEGER NOT NULL DEFAULT 0,
        created_s REAL NOT NULL
    );
INSERT INTO "voice" VALUES(1,'elena','elena',2,1.0);
CREATE TABLE voice_need (
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        folded TEXT NOT NULL,
        reference TEXT NOT NULL,
        PRIMARY KEY (job_id, folded, reference)
    );
INSERT INTO "voice_need" VALUES(1,'elena','elena@1');
CREATE INDEX version_alive ON version (voice_id, number) WHERE deleted_s IS NULL;
CREATE INDEX version_by_digest ON version (digest);
CREATE INDEX version_by_parent ON version (parent_id);
CREATE INDEX version_deleted ON version (deleted_s) WHERE deleted_s IS NOT NULL;
CREATE TRIGGER version_is_immutable BEFORE UPDATE OF
        id, voice_id, number, digest, idempotency_key, origin, made_by_job, parent_id, created_s, engine,
        engine_version, render_version, model, model_revision, model_fingerprint, quantization, software_json,
        prompt_sha256, prompt_facts_json, speaker_embedding, reference_sha256, reference_duration_s, transcript,
        description, language, seed, sampling_json, consent, character_json, metadata_json, provenance_json,
        pronunciations_json
    ON version BEGIN SELECT RAISE(ABORT, 'a version never changes'); END;
CREATE TRIGGER version_keeps_its_objects BEFORE UPDATE OF prompt_object, reference_object, audition_object
    ON version WHEN OLD.deleted_s IS NULL
        OR coalesce(NEW.prompt_object, NEW.reference_object, NEW.audition_object) IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'only a removed version is purged, and of everything'); END;
CREATE TRIGGER version_stays BEFORE DELETE ON version
    BEGIN SELECT RAISE(ABORT, 'a version is removed by a tombstone'); END;
CREATE INDEX alias_by_version ON alias (version_id);
CREATE INDEX alias_move_by_voice ON alias_move (voice_id, id);
CREATE INDEX candidate_by_age ON candidate (created_s);
CREATE INDEX take_by_use ON take (last_used_s);
CREATE INDEX take_by_audio ON take (audio_sha256);
CREATE UNIQUE INDEX job_by_key ON job (key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX job_by_claim ON job (claim_id) WHERE claim_id IS NOT NULL;
CREATE INDEX job_by_stem ON job (stem, suffix);
CREATE INDEX job_ready ON job (status, priority DESC, id);
CREATE INDEX job_ready_by_model ON job (status, priority, model, id);
CREATE INDEX job_making ON job (makes_voice, id) WHERE makes_voice IS NOT NULL;
CREATE INDEX job_finished ON job (finished_s) WHERE finished_s IS NOT NULL;
CREATE INDEX line_by_state ON line (job_id, status, model, position);
CREATE INDEX line_by_take ON line (take_key) WHERE take_key IS NOT NULL;
CREATE INDEX attempt_by_line ON attempt (line_id, number);
CREATE INDEX dependency_by_need ON dependency (needs_id);
CREATE INDEX voice_need_by_voice ON voice_need (folded);
CREATE INDEX job_event_by_job ON job_event (job_id, id);
CREATE INDEX job_request_by_job ON job_request (job_id);
CREATE TRIGGER version_record_is_immutable BEFORE UPDATE OF record_sha256
    ON version BEGIN SELECT RAISE(ABORT, 'a version never changes'); END;
CREATE INDEX job_by_parent ON job (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX job_live ON job (id) WHERE live = 1;
CREATE INDEX hook_delivery_due ON hook_delivery (hook, next_s) WHERE given_up_s IS NULL;
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
    FROM version JOIN voice ON voice.id = version.voice_id;
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
    FROM job;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('job',1);
COMMIT;
