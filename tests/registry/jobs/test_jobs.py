"""The ledger of jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.jobs import dependencies, jobs
from registry.jobs.ready import ready_jobs
from registry.jobs.requests import JobFinished, JobNotRetryable, add_request, open_requests
from registry.jobs.values import CANCEL, RETRY, JobError, JobStatus, NewJob, NewLine
from registry.storage.database import Database
from tests.registry.making import REQUEST_JSON

NEW = NewJob(
    stem="hello", dropped_name="hello.toml", kind="synthesize", content_sha256="0" * 64, spec_json="{}", claimed_s=100
)
LINES = [NewLine(position=n, file=f"line-{n}.wav", model="draft", request_json=REQUEST_JSON, seed=n) for n in (1, 2)]
NOBODY = JobError(code="gone", message="It is gone.")


def add(db: Database, **changes: object) -> jobs.Job:
    taken = changes.pop("taken", frozenset())
    with db.write() as session:
        return jobs.add(session, replace(NEW, **changes), taken=taken)


def ready(db: Database, **changes: object) -> list[int]:
    wanted = {"now_s": 200, "overdue_before_s": 0, "model": None, "limit": 10} | changes
    with db.read() as session:
        return [job.id for job in ready_jobs(session, **wanted)]


def finish(db: Database, job_id: int, outcome: str) -> list[dependencies.Settled]:
    with db.write() as session:
        jobs.set_outcome(session, job_id, outcome, now_s=300)
        jobs.close(session, [job_id])
        return dependencies.settle(session, [job_id])


def test_names_are_unused_in_the_ledger_and_on_disk_whatever_their_case(db):
    names = [add(db, stem=stem, taken={"hello-3"}).name for stem in ("hello", "Hello", "HELLO", "hello-2")]
    assert names == ["hello", "Hello-2", "HELLO-4", "hello-2-2"]


def test_decomposed_and_composed_letters_are_one_name(db):
    assert add(db, stem="zoe\u0308").name != add(db, stem="zo\u00eb").name
    with db.read() as session:
        assert jobs.by_name(session, "ZO\u00cb").id == 1


def test_the_highest_priority_goes_first_and_overdue_jobs_are_offered_too(db):
    late, urgent = add(db, priority=-5, claimed_s=1), add(db, priority=7)
    usual = add(db)
    assert ready(db)[:2] == [urgent.id, usual.id]
    assert late.id in ready(db, limit=1, overdue_before_s=50)


def test_a_delayed_job_waits_for_its_time_but_not_for_a_clock_that_was_set_back(db):
    job = add(db)
    for not_before_s, expected in ((250, []), (1e9, [job.id])):
        with db.write() as session:
            jobs.requeue(session, job.id, not_before_s=not_before_s)
        assert ready(db) == expected


def test_what_runs_when_a_runner_starts_is_queued_again_at_once(db):
    job = add(db)
    with db.write() as session:
        jobs.start(session, jobs.get(session, job.id), plan={}, model="draft", lines=LINES, now_s=150)
        assert jobs.recover_unowned(session) == 1
    assert ready(db) == [job.id]


def test_a_plan_is_made_once_and_kept_over_retries(db):
    job = add(db)
    for plan in ({"elena": 1}, {"elena": 2}):
        with db.write() as session:
            jobs.start(session, jobs.get(session, job.id), plan=plan, model="draft", lines=LINES, now_s=150)
    with db.read() as session:
        assert session.rows("SELECT plan_json FROM job") == [{"plan_json": '{"elena":1}'}]
        assert jobs.get(session, job.id).attempts == 2


def test_a_job_that_waits_is_queued_when_the_last_of_its_needs_is_done(db):
    first, second = add(db), add(db)
    waiting = add(db, status=JobStatus.WAITING, dependencies={first.id: True, second.id: True})
    assert finish(db, first.id, "done") == []
    assert finish(db, second.id, "partial") == [dependencies.Settled(job_id=waiting.id)]
    assert ready(db) == [waiting.id]


@pytest.mark.parametrize(("required", "lost"), [(True, "hello"), (False, None)])
def test_a_failed_need_is_told_unless_only_its_order_mattered(db, required, lost):
    need = add(db)
    waiting = add(db, status=JobStatus.WAITING, dependencies={need.id: required})
    assert finish(db, need.id, "failed") == [dependencies.Settled(job_id=waiting.id, failed_need=lost)]


def test_what_waits_for_a_job_by_way_of_others_needs_it(db):
    first, other = add(db), add(db)
    between = add(db, status=JobStatus.WAITING, dependencies={first.id: False})
    last = add(db, status=JobStatus.WAITING, dependencies={between.id: True})
    with db.read() as session:
        assert dependencies.needs_job(session, [last.id], first.id)
        assert not dependencies.needs_job(session, [last.id, first.id], other.id)
        assert not dependencies.needs_job(session, [], first.id)


def test_a_retry_of_a_job_asks_for_the_lost_ones_it_needs_once(db):
    first = add(db)
    between = add(db, status=JobStatus.WAITING, dependencies={first.id: True})
    last = add(db, status=JobStatus.WAITING, dependencies={between.id: True, add(db).id: False})
    for job in (first, between, last):
        finish(db, job.id, "failed")
    with db.write() as session:
        assert [job.id for job in dependencies.lost_needs(session, last.id)] == [first.id, between.id]
        add_request(session, last.name, RETRY, now_s=1)
        assert [request.job_id for request in open_requests(session)] == [first.id, between.id, last.id]
        assert dependencies.lost_needs(session, last.id) == []


def test_an_answer_stays_unpublished_until_it_is_closed(db):
    job = add(db, outcome=JobStatus.REJECTED, error=NOBODY)
    with db.write() as session:
        assert [found.id for found in jobs.unpublished(session)] == [job.id]
        jobs.close(session, [job.id])
    with db.read() as session:
        assert jobs.unpublished(session) == []
        assert jobs.get(session, job.id).status == JobStatus.REJECTED


def test_only_open_jobs_are_cancelled_and_only_unfinished_ones_retried(db):
    job = add(db)
    with db.write() as session, pytest.raises(JobNotRetryable):
        add_request(session, "hello", RETRY, now_s=1)
    finish(db, job.id, "failed")
    with db.write() as session, pytest.raises(JobFinished):
        add_request(session, "hello", CANCEL, now_s=1)
    with db.write() as session:
        add_request(session, "HELLO", RETRY, now_s=1)
        assert [request.request for request in open_requests(session)] == [RETRY]


def test_one_job_at_a_time_holds_an_id(db):
    add(db, key="ep1")
    add(db, outcome=JobStatus.REJECTED)
    with db.read() as session:
        held = jobs.by_key(session, "ep1")
    assert held is not None
    assert held.id == 1


def test_a_job_that_is_to_be_tried_again_can_be_cancelled(db):
    job = add(db)
    finish(db, job.id, "cancelled")
    with db.write() as session:
        with pytest.raises(JobFinished):
            add_request(session, job.name, CANCEL, now_s=2.0)
        add_request(session, job.name, RETRY, now_s=2.0)
        add_request(session, job.name, CANCEL, now_s=3.0)
        assert [request.request for request in open_requests(session)] == [RETRY, CANCEL]
