"""A restored backup is data: its schema stays behind, and every value is checked again."""

import hashlib
import io
import json
import sqlite3
import tarfile
from contextlib import closing

import pytest

from registry.errors import DamagedData, InvalidInput, VoiceJobsError
from registry.jobs import jobs
from registry.jobs.values import NewJob
from registry.registry import open_registry
from registry.upkeep.restore import restore
from registry.voices.candidates import add_candidate
from registry.voices.versions import add_version
from tests.registry.making import REQUEST_JSON, a_candidate, a_version, sha256, take_facts

ADD_LINE = """
    INSERT INTO line (job_id, position, file, status, model, request_json, seed)
    VALUES (:job, 1, 'line-1.wav', 'waiting', 'draft', :request, 7)
"""


@pytest.fixture
def archive(tmp_path):
    """Backup of a registry with something in most tables."""
    with open_registry(tmp_path / "state") as registry:
        new = a_version(
            prompt_sha256=registry.objects.put(b"prompt"), reference_sha256=None, audition_sha256=None, attachments={}
        )
        candidate = a_candidate(audio_sha256=registry.objects.put(b"audio"), design_state_sha256=None)
        audio = registry.takes.audio.put(b"take")
        with registry.db.write() as session:
            add_version(session, new, now_s=1.0)
            add_candidate(session, "design-1", 1, candidate, now_s=1.0)
            registry.takes.add(session, sha256("key"), audio, take_facts(), now_s=1.0)
            drop = NewJob(
                stem="night",
                dropped_name="night.toml",
                kind="synthesize",
                content_sha256=sha256("job"),
                spec_json="{}",
                claimed_s=6.0,
            )
            job = jobs.add(session, drop)
            jobs.add_event(session, job.id, kind="claimed", message="from the inbox", at_s=6.0)
            session.rows(ADD_LINE, {"job": job.id, "request": REQUEST_JSON})
        registry.backup(tmp_path / "good.backup", now_s=50.0)
    return tmp_path / "good.backup"


def test_a_drop_that_could_not_be_read_is_restored_with_the_rest(tmp_path):
    with open_registry(tmp_path / "state") as registry:
        with registry.db.write() as session:
            drop = NewJob(
                stem="torn", dropped_name="torn.toml", kind="unknown", content_sha256="", spec_json="{}", claimed_s=6.0
            )
            jobs.add(session, drop)
        registry.backup(tmp_path / "good.backup", now_s=50.0)
    restore(tmp_path / "good.backup", tmp_path / "new", now_s=60.0)
    with open_registry(tmp_path / "new") as registry, registry.db.read() as session:
        assert jobs.by_name(session, "torn").content_sha256 == ""


def forged(archive, *statements):
    """The archive as somebody makes it who changes its database by SQL, and its manifest to fit."""
    with tarfile.open(archive) as old:
        contents = {member.name: old.extractfile(member).read() for member in old}
    path = archive.with_name("forged.sqlite")
    path.write_bytes(contents["registry.sqlite"])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    contents["registry.sqlite"] = path.read_bytes()
    manifest = json.loads(contents["manifest.json"])
    manifest["database_sha256"] = hashlib.sha256(contents["registry.sqlite"]).hexdigest()
    contents["manifest.json"] = json.dumps(manifest).encode()
    return packed(archive.with_name("forged.backup"), contents.items())


def packed(target, contents):
    with tarfile.open(target, "w") as new:
        for name, content in contents:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    return target


FORGERIES = {
    "a job's name leads out of the outbox": "UPDATE job SET name = '../../x', folded = '../../x'",
    "a job's name is absolute": "UPDATE job SET name = '/etc', folded = '/etc'",
    "a job's name is hidden": "UPDATE job SET name = '.ssh', folded = '.ssh'",
    "a job's name has a line break": "UPDATE job SET name = 'a' || char(10), folded = 'a' || char(10)",
    "a job's name is compared by another": "UPDATE job SET folded = 'other'",
    "a job's stem leads out": "UPDATE job SET stem = '../x'",
    "a dropped name is a path": "UPDATE job SET dropped_name = '../../.profile'",
    "a claim is a path": "UPDATE job SET claim_id = '../../..'",
    "a job's id is a path": "UPDATE job SET key = '../x'",
    "a status is none": "UPDATE job SET status = 'owned'",
    "an outcome is none": "UPDATE job SET outcome = 'owned'",
    "a kind is a text": "UPDATE job SET kind = char(27) || '[2J'",
    "a spec is no JSON": "UPDATE job SET spec_json = '{'",
    "a spec is a list": "UPDATE job SET spec_json = '[]'",
    "a spec is nested without end": "UPDATE job SET spec_json = replace(hex(zeroblob(50000)), '0', '[')",
    "warnings are no words": "UPDATE job SET warnings_json = '[{}]'",
    "a time is endless": "UPDATE job SET claimed_s = 9e999",
    "a time is a text": "UPDATE job SET claimed_s = 'soon'",
    "a priority is a text": "UPDATE job SET priority = 'high'",
    "a text is bytes": "UPDATE job SET dropped_name = x'ff00'",
    "a text is no UTF-8": "UPDATE job SET error_message = CAST(x'fffe' AS TEXT)",
    "a value is huge": "UPDATE job SET error_message = hex(zeroblob(40000000))",
    "a line's file leads out": "UPDATE line SET file = '../line.wav'",
    "a line's status is none": "UPDATE line SET status = 'spoken'",
    "a line's request lacks its voice": "UPDATE line SET request_json = '{}'",
    "a line belongs to no job": "UPDATE line SET job_id = 99",
    "a voice's name is a path": "UPDATE voice SET name = '../x', folded = '../x'",
    "an alias is a number": "UPDATE alias SET name = '2', folded = '2'",
    "a take's key is a path": "UPDATE take SET key = '../x'",
    "a take's audio is a path": "UPDATE take SET audio_sha256 = '../../x'",
    "a candidate's job is a path": "UPDATE candidate SET job_name = '../x'",
    "sampling is a list": "UPDATE candidate SET sampling_json = '[1]'",
    "sampling is words": """UPDATE candidate SET sampling_json = '{"seed": "x"}'""",
    "a number of lines is none": "UPDATE candidate SET frames = 1.5",
}


@pytest.mark.parametrize("statement", FORGERIES.values(), ids=FORGERIES)
def test_a_value_that_no_registry_holds_is_named_and_nothing_is_restored(archive, tmp_path, statement):
    with pytest.raises(DamagedData, match=r"The backup's|A value in the backup's"):
        restore(forged(archive, "PRAGMA ignore_check_constraints = ON", statement), tmp_path / "other", now_s=1.0)
    assert list((tmp_path / "other").iterdir()) == []


VERSIONS = {
    "a consent is changed to none": "UPDATE version SET consent = 'sure'",
    "an origin is none": "UPDATE version SET origin = 'found'",
    "a transcript is changed": "UPDATE version SET transcript = 'I owe you money.'",
    "an embedding is huge": "UPDATE version SET speaker_embedding = zeroblob(80000000)",
    "a consent is given afterwards": "UPDATE version SET consent = 'granted'",
}


@pytest.mark.parametrize("statement", VERSIONS.values(), ids=VERSIONS)
def test_a_version_that_was_changed_is_refused(archive, tmp_path, statement):
    with pytest.raises(VoiceJobsError, match="backup's"):
        restore(forged(archive, "DROP TRIGGER version_is_immutable", statement), tmp_path / "other", now_s=1.0)


SCHEMAS = {
    "a table is a view": ("ALTER TABLE take RENAME TO t", "CREATE VIEW take AS SELECT * FROM t"),
    "a column is computed": ("ALTER TABLE take ADD COLUMN extra AS (1)",),
    "a table is missing": ("DROP TABLE take",),
    "a table has columns of its own": ("ALTER TABLE take ADD COLUMN extra",),
}


@pytest.mark.parametrize("statements", SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_of_its_own_is_refused(archive, tmp_path, statements):
    with pytest.raises(DamagedData, match="table take"):
        restore(forged(archive, *statements), tmp_path / "other", now_s=1.0)


def test_triggers_views_and_further_tables_stay_behind(archive, tmp_path):
    swallow = "CREATE TRIGGER swallow BEFORE INSERT ON job BEGIN SELECT RAISE(IGNORE); END"
    target = forged(archive, swallow, "CREATE VIEW mine AS SELECT 1", "CREATE TABLE also (notes_object)")
    restore(target, tmp_path / "other", now_s=1.0)
    with open_registry(tmp_path / "other") as restored, restored.db.read() as snapshot:
        names = {row["name"] for row in snapshot.rows("SELECT name FROM sqlite_master")}
        assert not names & {"swallow", "mine", "also"}
        assert [version.name for version in restored.history("elena")] == ["elena@1"]
        assert jobs.by_name(snapshot, "night").dropped_name == "night.toml"


def test_numbers_of_jobs_are_not_given_again_after_a_restore(archive, tmp_path):
    restore(forged(archive, "UPDATE sqlite_sequence SET seq = 40 WHERE name = 'job'"), tmp_path / "other", now_s=1.0)
    with open_registry(tmp_path / "other") as restored, restored.db.read() as snapshot:
        assert snapshot.rows("SELECT seq FROM sqlite_sequence WHERE name = 'job'")[0]["seq"] == 40


MANIFESTS = [
    b"", b"[]", b"{}", b"null", b'{"format": 1}', b"[" * 90_000,
    b'{"format": 1, "schema": "3", "created_s": 1, "database_sha256": "x", "objects": 1, "takes": 1, "extras": {}, '
    b'"missing": []}',
    b'{"format": 1, "schema": 3, "created_s": 1e400, "database_sha256": "' + b"0" * 64 + b'", "objects": 1, '
    b'"takes": 1, "extras": {}, "missing": []}',
    b'{"format": 1, "schema": 3, "created_s": 1, "database_sha256": "' + b"0" * 64 + b'", "objects": 1, "takes": 1, '
    b'"extras": {"voicejobs.toml": 7}, "missing": [[]]}',
]  # fmt: skip


@pytest.mark.parametrize("content", MANIFESTS, ids=range(len(MANIFESTS)))
def test_a_manifest_of_wrong_types_is_refused(archive, tmp_path, content):
    target = packed(archive.with_name("x.backup"), [("registry.sqlite", b""), ("manifest.json", content)])
    with pytest.raises((DamagedData, InvalidInput)):
        restore(target, tmp_path / "other", now_s=1.0)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_devices_and_pipes_in_an_archive_are_refused(archive, tmp_path, kind):
    target = archive.with_name("x.backup")
    with tarfile.open(target, "w") as new:
        info = tarfile.TarInfo("registry.sqlite")
        info.type, info.linkname = kind, "/etc/passwd"
        new.addfile(info)
    with pytest.raises(InvalidInput, match="no backup of voicejobs"):
        restore(target, tmp_path / "other", now_s=1.0)


def test_a_sparse_member_cannot_become_larger_than_the_archive(archive, tmp_path):
    target = archive.with_name("x.backup")
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new:
        info = tarfile.TarInfo("registry.sqlite")
        info.pax_headers = {
            "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1",
            "GNU.sparse.size": str(1 << 45), "GNU.sparse.name": "registry.sqlite",
        }  # fmt: skip
        info.size = 1
        new.addfile(info, io.BytesIO(b"x"))
    with pytest.raises((InvalidInput, DamagedData)):
        restore(target, tmp_path / "other", now_s=1.0)


def test_a_header_of_gigabytes_is_not_read(archive, tmp_path):
    target = archive.with_name("x.backup")
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    with target.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 42)
    with pytest.raises((InvalidInput, DamagedData)):
        restore(target, tmp_path / "other", now_s=1.0)
