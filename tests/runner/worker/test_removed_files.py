"""Files of a job that somebody removed from the outbox: made again, from takes, before it ends or when asked."""

from __future__ import annotations

import shutil

import pytest

from registry.jobs.requests import add_request
from tests.runner.worker.bench import design, lock, speak

TEXTS = [f"Line {number}." for number in range(6)]


def files_named(receipt):
    return {line["file"] for line in receipt["lines"]} | {receipt["track"]["file"]}


@pytest.mark.parametrize("what", ["outbox", "outbox/book", "outbox/book/line-1.wav"])
def test_what_was_removed_while_the_job_ran_is_published_again(bench, what):
    bench.engine.answers_per_tick = 1
    bench.drop("book.toml", speak(*TEXTS))
    while not (bench.instance.outbox / "book" / "line-3.wav").exists():
        bench.tick()
    kept = (bench.instance.outbox / "book" / "line-1.wav").read_bytes()
    place = bench.instance.root / what
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    bench.engine.answers_per_tick = None
    bench.run()
    receipt = bench.receipt("book")
    assert receipt["status"] == "done"
    assert files_named(receipt) <= set(bench.files("book"))
    assert (bench.instance.outbox / "book" / "line-1.wav").read_bytes() == kept
    assert any("published again" in warning for warning in receipt["warnings"])
    assert len(bench.engine.submitted) == len(TEXTS)


def retry(bench, name):
    with bench.context.database.write() as session:
        add_request(session, name, "retry", now_s=bench.now_s, lacks_files=True)
    bench.run()


@pytest.mark.parametrize("job", [speak(*TEXTS), design("vera")], ids=["synthesize", "design"])
def test_a_done_job_whose_files_are_gone_makes_them_again_without_the_engine(bench, job):
    bench.drop("book.toml", job)
    bench.run()
    before, spoken = bench.receipt("book"), len(bench.engine.submitted)
    shutil.rmtree(bench.instance.outbox / "book")
    retry(bench, "book")
    after = bench.receipt("book")
    assert after["status"] == "done"
    assert [line["sha256"] for line in after["lines"]] == [line["sha256"] for line in before["lines"]]
    assert {line["file"] for line in after["lines"]} <= set(bench.files("book"))
    assert len(bench.engine.submitted) == spoken


def test_no_version_is_made_again(bench):
    bench.drop("elena-design.toml", design(), age_s=9)
    bench.drop("elena-lock.toml", lock(), age_s=8)
    bench.run()
    with bench.context.database.write() as session, pytest.raises(Exception, match="is done"):
        add_request(session, "elena-lock", "retry", now_s=bench.now_s, lacks_files=True)
