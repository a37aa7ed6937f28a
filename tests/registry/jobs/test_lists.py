"""Questions about the ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.jobs import jobs
from registry.jobs.lists import find_drop, list_jobs, mark, open_jobs, prunable, show_job
from registry.jobs.requests import resume
from registry.jobs.values import JobStatus, NewJob, NewLine
from tests.registry.making import REQUEST_JSON

NEW = NewJob(
    stem="hello", dropped_name="hello.toml", kind="synthesize", content_sha256="0" * 64, spec_json="{}", claimed_s=100
)
LINES = [NewLine(position=n, file=f"line-{n}.wav", model="draft", request_json=REQUEST_JSON, seed=n) for n in (1, 2)]


def add(db, **changes):
    with db.write() as session:
        return jobs.add(session, replace(NEW, **changes))


def end(db, job_id, outcome="done"):
    with db.write() as session:
        jobs.set_outcome(session, job_id, outcome, now_s=300)
        jobs.close(session, [job_id])


def test_the_latest_jobs_come_first(db):
    for _ in range(5):
        add(db)
    with db.read() as snapshot:
        found = list_jobs(snapshot, limit=3)
    assert [listed.job.name for listed in found] == ["hello-5", "hello-4", "hello-3"]


def test_a_list_tells_lines_and_what_a_job_waits_for(db):
    need = add(db)
    add(db, status=JobStatus.WAITING, dependencies={need.id: True})
    with db.write() as session:
        jobs.start(session, jobs.get(session, need.id), plan={}, model="draft", lines=LINES, now_s=150)
    with db.read() as snapshot:
        waiting, running = list_jobs(snapshot)
    assert waiting.waits_for == ("hello",)
    assert running.lines.waiting == 2
    assert running.job.status == "running"


def test_a_list_can_be_of_some_statuses_only(db):
    end(db, add(db).id, "failed")
    add(db)
    with db.read() as snapshot:
        assert [listed.job.name for listed in list_jobs(snapshot, statuses=["failed"])] == ["hello"]
        assert open_jobs(snapshot) == 1


def test_a_job_is_shown_with_its_lines_and_events_and_a_misspelt_name_is_guessed(db):
    job = add(db)
    with db.write() as session:
        jobs.start(session, jobs.get(session, job.id), plan={}, model="draft", lines=LINES, now_s=150)
        jobs.add_event(session, job.id, kind="claimed", message="It came.", at_s=1)
    with db.read() as snapshot:
        details = show_job(snapshot, "HELLO")
        assert [line.file for line in details.lines] == ["line-1.wav", "line-2.wav"]
        assert details.events[0].message == "It came."
        with pytest.raises(jobs.JobNotFound, match="hello"):
            show_job(snapshot, "helo")


def test_a_drop_is_found_by_its_name_or_by_the_id_it_resumed_whatever_the_clock_says(db):
    with db.read() as snapshot:
        before = mark(snapshot, key="ep1")
    job = add(db, key="ep1")
    with db.read() as snapshot:
        after = mark(snapshot, key="ep1")
        assert find_drop(snapshot, "hello.toml", key=None, since=before).id == job.id
        assert find_drop(snapshot, "hello.toml", key="ep1", since=after) is None
    add(db, parent_id=job.id, role="chapter:1")
    with db.read() as snapshot:
        assert find_drop(snapshot, "hello.toml", key=None, since=before).id == job.id
    with db.write() as session:
        resume(session, job.id, claim_id="c2", facts={}, now_s=-500)
    with db.read() as snapshot:
        assert find_drop(snapshot, "hello.toml", key="ep1", since=after).id == job.id
        assert find_drop(snapshot, "hello.toml", key=None, since=after) is None
        assert find_drop(snapshot, "other.toml", key="ep1", since=before) is None


def test_ended_jobs_can_be_pruned_once_they_are_old(db):
    ended, opened = add(db), add(db)
    end(db, ended.id)
    with db.read() as snapshot:
        assert [job.id for job in prunable(snapshot, older_than_s=301)] == [ended.id]
        assert prunable(snapshot, older_than_s=299) == []
    with db.write() as session:
        assert jobs.forget(session, ended.id)
        assert not jobs.forget(session, opened.id)
    assert add(db).name == "hello"
