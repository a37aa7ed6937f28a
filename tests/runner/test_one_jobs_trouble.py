"""What the disk refuses to one job keeps no other from its work."""

from __future__ import annotations

import shutil

import pytest

from registry.job_values import OPEN_STATUSES
from tests.runner.bench import MODEL, design, lock, speak
from tests.runner.test_ending_trouble import BadSectors, details

RELOCK = f'kind = "relock"\nvoice = "elena"\nmodel = "{MODEL}"\n'
EXPORT = 'kind = "export"\nvoice = "elena"\n'


@pytest.fixture
def cast(bench):
    """An instance with one locked voice."""
    bench.drop("d.toml", design(candidates=1), age_s=9)
    bench.drop("l.toml", lock(job="d"), age_s=8)
    bench.run()
    bench.worker.floor._prompts.clear()
    return bench


def others_go_on(bench, name):
    """Whether another job is done while this one is not."""
    bench.drop("other.toml", speak("Two."))
    bench.tick(6)
    return bench.status("other") == "done" and details(bench, name).job.status in OPEN_STATUSES


@pytest.mark.parametrize("job", [lock(job="d"), RELOCK, EXPORT, speak("One.", voice="elena")], ids="lrex")
def test_a_job_whose_voice_cannot_be_read_waits_and_then_goes_on(cast, monkeypatch, job):
    with monkeypatch.context() as patch:
        BadSectors(patch, cast.instance.objects_dir)
        cast.drop("a.toml", job)
        assert others_go_on(cast, "a")
    cast.tick(20)
    assert cast.status("a") == "done"
    assert "Input/output error" in cast.receipt("a")["warnings"][0]


@pytest.mark.parametrize("job", [RELOCK, EXPORT], ids=["relock", "export"])
def test_a_job_without_lines_whose_folder_is_in_the_way_waits_and_then_goes_on(cast, job):
    cast.drop("a.toml", job)
    cast.worker.look_at_inbox()
    cast.worker._take_drops(cast.now_s)
    folder = cast.instance.outbox / "a"
    folder.write_text("in the way")
    assert others_go_on(cast, "a")
    folder.unlink()
    cast.tick(20)
    assert cast.status("a") == "done"


def test_a_job_whose_text_is_gone_fails_and_says_so(bench):
    (bench.instance.inbox / "words.txt").write_text("One.")
    bench.drop("a.toml", 'kind = "synthesize"\nvoice = "ryan"\ntext_file = "words.txt"\n')
    bench.worker.look_at_inbox()
    bench.worker._take_drops(bench.now_s)
    shutil.rmtree(bench.worker.intake.folder_of(details(bench, "a").job.claim_id))
    bench.drop("other.toml", speak("Two."))
    bench.tick(6)
    assert bench.status("other") == "done"
    assert bench.receipt("a")["error"]["code"] == "attachment-missing"
