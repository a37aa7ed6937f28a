"""The registry's front: one call, one transaction."""

import json

import pytest

from registry.errors import InvalidInput
from registry.jobs import jobs
from registry.jobs.values import NewJob
from registry.registry import open_registry
from registry.voices.candidates import add_candidate, find_candidates
from registry.voices.errors import VersionInUse
from registry.voices.versions import add_version
from tests.registry.making import a_candidate, a_version, sha256, take_facts


@pytest.fixture
def registry(tmp_path):
    with open_registry(tmp_path / "state") as opened:
        yield opened


def lock(registry, **changes):
    with registry.db.write() as session:
        return add_version(session, a_version(**changes), now_s=1.0)


def enqueue(registry, **changes):
    plain = {
        "stem": "night",
        "dropped_name": "night.toml",
        "kind": "synthesize",
        "content_sha256": sha256("job"),
        "spec_json": "{}",
        "claimed_s": 1.0,
    }
    with registry.db.write() as session:
        return jobs.add(session, NewJob(**{**plain, **changes}))


def test_what_one_process_locks_another_lists_shows_and_compares(registry, tmp_path):
    lock(registry)
    lock(registry, transcript="Other words.")
    with open_registry(tmp_path / "state") as other:
        assert [voice.name for voice in other.voices()] == ["elena"]
        assert other.show("elena").number == 2
        assert [version.number for version in other.history("elena")] == [2, 1]
        assert {change.field for change in other.diff("elena@1", "elena@2").changes} == {"digest", "transcript"}


def test_aliases_are_set_listed_removed_and_logged(registry):
    lock(registry)
    registry.set_alias("elena@1", "soft", now_s=2.0)
    assert [alias.name for alias in registry.aliases("elena")] == ["current", "soft"]
    registry.remove_alias("elena", "soft", now_s=3.0)
    assert [move.to_number for move in registry.alias_log("elena")] == [None, 1, 1]


def test_a_version_that_an_unfinished_job_names_is_not_removed(registry):
    lock(registry)
    lock(registry)
    job = enqueue(registry, voices=(("elena", "Elena@1"),))
    with pytest.raises(VersionInUse, match="night"):
        registry.remove("elena@1", now_s=2.0)
    with pytest.raises(VersionInUse, match="night"):
        registry.remove_voice("elena", now_s=2.0)
    with registry.db.write() as session:
        jobs.set_outcome(session, job.id, "done", now_s=3.0)
        jobs.close(session, [job.id])
    assert registry.remove("elena@1", now_s=4.0).deleted_s == 4.0
    assert registry.restore_version("elena@1", now_s=5.0).deleted_s is None


def test_candidates_that_a_waiting_lock_names_outlive_their_30_days(registry):
    audio = registry.objects.put(b"candidate")
    with registry.db.write() as session:
        add_candidate(session, "design-1", 1, a_candidate(audio_sha256=audio, design_state_sha256=None), now_s=0.0)
    spec = json.dumps({"kind": "lock", "voice": "elena", "from": {"job": "design-1", "candidate": 1}})
    enqueue(registry, kind="lock", spec_json=spec)
    assert registry.gc(now_s=1e10).forgotten_candidates == 0
    assert audio in registry.objects


def test_a_design_job_starts_without_the_candidates_of_a_pruned_one_of_its_name(registry):
    content = a_candidate(design_state_sha256=None)
    with registry.db.write() as session:
        for job_name in ("elena-design", "marcus-design"):
            add_candidate(session, job_name, 4, content, now_s=0.0)
    assert enqueue(registry, kind="design", stem="elena-design").name == "elena-design"
    with registry.db.read() as snapshot:
        assert find_candidates(snapshot, "elena-design") == []
        assert len(find_candidates(snapshot, "marcus-design")) == 1


def test_takes_of_unfinished_jobs_are_not_evicted(registry):
    for name in ("open", "other"):
        audio = registry.takes.audio.put(name.encode())
        with registry.db.write() as session:
            registry.takes.add(session, sha256(name), audio, take_facts(), now_s=1.0)
    job = enqueue(registry)
    with registry.db.write() as session:
        question = "INSERT INTO line (job_id, position, file, status, model, request_json, seed, take_key) VALUES"
        session.rows(f"{question} (?, 1, 'f', 'taken', 'm', '{{}}', 1, ?)", (job.id, sha256("open")))
    with registry.db.read() as snapshot:
        pinned = jobs.open_take_keys(snapshot)
    assert registry.takes.evict(registry.db, max_bytes=0, pinned=pinned, now_s=1e10).takes == 1
    assert registry.gc(now_s=1e10).removed_takes == 0
    with registry.db.write() as session:
        assert registry.takes.find(session, sha256("open"), now_s=2.0)


def test_a_registry_is_made_where_there_was_none(tmp_path):
    with open_registry(tmp_path / "deep" / "state") as registry:
        assert registry.voices() == []
        assert registry.fsck().sound
    assert (tmp_path / "deep" / "state" / "registry.sqlite").exists()


@pytest.mark.parametrize("sampling", [{"temperature": "hot"}, {"temperature": None}, {"top_k": 10**400}], ids=str)
def test_sampling_settings_that_are_no_numbers_are_refused(registry, sampling):
    with pytest.raises(InvalidInput):
        lock(registry, sampling=sampling)
