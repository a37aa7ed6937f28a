"""`gc`: what nothing needs goes, and nothing else."""

import os
import time

import pytest

from registry.errors import NotFound, RegistryLost
from registry.upkeep.gc import gc
from registry.voices.candidates import add_candidate, find_candidates
from registry.voices.errors import VersionNotFound
from registry.voices.lookup import history, resolve
from registry.voices.tombstones import remove_version, restore_version
from registry.voices.versions import add_version
from tests.registry.making import a_candidate, a_version, sha256, take_facts

DAY_S = 86_400.0
NOW_S = time.time() + 100 * DAY_S  # every file that a test writes is old by then


def lock(db, objects, *, now_s=0.0, prompt=b"prompt", **changes):
    stored = {
        "prompt_sha256": objects.put(prompt),
        "reference_sha256": objects.put(b"reference"),
        "audition_sha256": None,
        "attachments": {"portrait": objects.put(b"portrait")},
    }
    with db.write() as session:
        return add_version(session, a_version(**{**stored, **changes}), now_s=now_s)


def remove(db, name, *, now_s):
    with db.write() as session:
        remove_version(session, name, now_s=now_s)


def collect(db, objects, takes, **options):
    return gc(db, objects, takes.audio, **{"now_s": NOW_S, **options})


def test_what_a_version_or_candidate_refers_to_is_never_removed(db, objects, takes):
    lock(db, objects)
    with db.write() as session:
        kept = a_candidate(audio_sha256=objects.put(b"audio"), design_state_sha256=objects.put(b"state"))
        add_candidate(session, "job", 1, kept, now_s=NOW_S - DAY_S)
    assert collect(db, objects, takes).removed_objects == 0
    assert len(list(objects)) == 5


def test_old_bytes_that_nothing_refers_to_are_removed(db, objects, takes):
    lock(db, objects)
    objects.put(b"nobody needs this")
    report = collect(db, objects, takes)
    assert (report.removed_objects, report.freed_bytes) == (1, 17)


def test_young_bytes_may_belong_to_a_job_on_the_way_and_stay(db, objects, takes):
    lock(db, objects)
    young = objects.put(b"soon to be committed")
    assert collect(db, objects, takes, now_s=time.time() + 60, grace_s=0).removed_objects == 0
    assert young in objects


def test_a_removed_version_is_purged_after_its_grace_period_and_not_before(db, objects, takes):
    lock(db, objects, prompt=b"one")
    lock(db, objects, prompt=b"two")
    remove(db, "elena@1", now_s=NOW_S - 3 * DAY_S)
    assert collect(db, objects, takes, grace_s=4 * DAY_S).purged_versions == ()
    report = collect(db, objects, takes, grace_s=2 * DAY_S)
    assert report.purged_versions == ("elena@1",)
    assert (report.removed_objects, report.freed_bytes) == (1, 3)  # the recording is the other version's too
    with db.read() as snapshot:
        assert resolve(snapshot, "elena@2").attachments
        assert [version.purged_s for version in history(snapshot, "elena")] == [None, NOW_S]


def test_a_purged_version_cannot_come_back(db, objects, takes):
    lock(db, objects)
    remove(db, "elena@1", now_s=0.0)
    collect(db, objects, takes)
    with db.write() as session:
        with pytest.raises(NotFound, match="backup"):
            restore_version(session, "elena@1", now_s=NOW_S)
        with pytest.raises(VersionNotFound, match="permanently removed"):
            resolve(session, "elena@1")


def test_a_dry_run_says_the_same_and_changes_nothing(db, objects, takes):
    lock(db, objects)
    lock(db, objects, prompt=b"second")
    remove(db, "elena@1", now_s=0.0)
    takes.audio.put(b"orphan")
    dry = collect(db, objects, takes, dry_run=True)
    assert len(list(objects)) == 4
    with db.write() as session:
        restore_version(session, "elena@1", now_s=1.0)
        remove_version(session, "elena@1", now_s=0.0)
    real = collect(db, objects, takes)
    assert dry.dry_run
    assert not real.dry_run
    assert (dry.purged_versions, dry.removed_objects, dry.removed_takes, dry.freed_bytes) == (
        real.purged_versions,
        real.removed_objects,
        real.removed_takes,
        real.freed_bytes,
    )


def test_candidates_are_kept_for_30_days_and_longer_while_a_job_needs_them(db, objects, takes):
    with db.write() as session:
        for name, age_days in (("young", 29), ("old", 31), ("needed", 31)):
            content = a_candidate(audio_sha256=objects.put(name.encode()), design_state_sha256=None)
            add_candidate(session, name, 1, content, now_s=NOW_S - age_days * DAY_S)
    assert collect(db, objects, takes, needed_jobs={"needed"}).forgotten_candidates == 1
    with db.read() as snapshot:
        assert [len(find_candidates(snapshot, name)) for name in ("young", "old", "needed")] == [1, 0, 1]
    assert sha256("old") not in objects
    assert sha256("needed") in objects


def test_half_written_files_of_killed_processes_are_removed_in_time(db, objects, takes):
    lock(db, objects)
    stray = objects.path(objects.put(b"x")).with_name(".half.123.tmp")
    stray.write_bytes(b"half")
    assert collect(db, objects, takes).removed_strays == 1
    assert not stray.exists()


def test_half_written_files_beside_the_database_are_removed_too(db, objects, takes):
    lock(db, objects)
    stray, foreign = (db.path.with_name(name) for name in (".registry.id.12.34.tmp", ".notes.tmp"))
    for path in (stray, foreign):
        path.write_bytes(b"half")
    assert collect(db, objects, takes, dry_run=True).removed_strays == 1
    assert stray.exists()
    assert collect(db, objects, takes).removed_strays == 1
    assert [stray.exists(), foreign.exists()] == [False, True]


def test_audio_of_takes_stays_as_long_as_its_take(db, objects, takes):
    audio = takes.audio.put(b"audio")
    takes.audio.put(b"orphan")
    with db.write() as session:
        takes.add(session, sha256("key"), audio, take_facts(), now_s=1.0)
    assert collect(db, objects, takes).removed_takes == 1
    assert audio in takes.audio


def test_any_column_named_object_keeps_its_bytes(db, objects, takes):
    lock(db, objects)
    kept = objects.put(b"something of a later table")
    with db.write() as session:
        session.rows("CREATE TABLE later (id INTEGER PRIMARY KEY, notes_object TEXT)")
        session.rows("INSERT INTO later (notes_object) VALUES (?)", (kept,))
    assert collect(db, objects, takes).removed_objects == 0


def test_bytes_put_again_while_gc_runs_are_kept(db, objects, takes):
    lock(db, objects)
    sha = objects.put(b"needed again")
    os.utime(objects.path(sha), (0, 0))
    objects.put(b"needed again")  # a job stores them again, and commits after gc has read the references
    assert collect(db, objects, takes, now_s=time.time(), grace_s=0).removed_objects == 0


def test_gc_stops_where_the_registry_shrank_to_nothing(db, objects, takes):
    kept = objects.put(b"a prompt of the database that was here")
    with pytest.raises(RegistryLost, match="holds 1 recordings and prompts"):
        collect(db, objects, takes)
    assert kept in objects
