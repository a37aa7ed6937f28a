"""A job to which the disk refuses something keeps no other from its work."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
import soundfile

from registry.jobs.values import OPEN_STATUSES
from tests.runner.worker import bench as bench_module
from tests.runner.worker.bench import MODEL, design, lock, speak
from tests.runner.worker.test_finisher_trouble import BadSectors, details

RELOCK = f'kind = "relock"\nvoice = "elena"\nmodel = "{MODEL}"\n'
EXPORT = 'kind = "export"\nvoice = "elena"\n'


@pytest.fixture
def cast(bench):
    """An instance with one locked voice."""
    bench.drop("d.toml", design(candidates=1), age_s=9)
    bench.drop("l.toml", lock(job="d"), age_s=8)
    bench.run()
    bench.worker.in_flight._prompts.clear()
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
    cast.worker.drops.tick(cast.now_s)
    folder = cast.instance.outbox / "a"
    folder.write_text("in the way")
    assert others_go_on(cast, "a")
    folder.unlink()
    cast.tick(20)
    assert cast.status("a") == "done"


def test_a_format_that_this_machine_cannot_write_fails_its_job_at_once(bench, monkeypatch):
    sound_file = soundfile.SoundFile

    def without_mp3(*args, **more):
        if more.get("format") == "MP3":
            raise soundfile.LibsndfileError(1)
        return sound_file(*args, **more)

    monkeypatch.setattr(soundfile, "SoundFile", without_mp3)
    monkeypatch.setattr(soundfile, "check_format", lambda name, *_: name != "MP3")
    bench.drop("a.toml", speak("One.", format="mp3"))
    bench.drop("other.toml", speak("Two."))
    bench.run()
    assert bench.status("other") == "done"
    error = bench.receipt("a")["error"]
    assert (error["code"], "mp3" in error["message"]) == ("invalid-input", True)
    assert not [work for work in bench.engine.submitted if work.text == "One."]


@pytest.mark.parametrize("half", ['"\\udfff"', "1e999", "[1e999]"])
def test_a_key_that_is_half_a_character_is_answered_like_any_other_mistake(bench, half):
    job = '{"kind": "synthesize", "voice": "ryan", "text": "x", "metadata": {"\\ud800": HALF}}'
    bench.drop("a.json", job.replace("HALF", half))
    bench.run()
    assert bench.status("a") == "rejected"


def test_a_job_that_another_version_recorded_otherwise_fails_and_says_so(bench):
    bench.drop("a.toml", speak("One."))
    bench.worker.look_at_inbox()
    bench.worker.drops.tick(bench.now_s)
    with bench.context.database.write() as session:
        session.execute_many("UPDATE job SET spec_json = replace(spec_json, 'lines', 'rows')", [()])
    bench.drop("other.toml", speak("Two."))
    bench.run()
    assert bench.status("other") == "done"
    assert bench.receipt("a")["error"]["code"] == "recorded-otherwise"
    assert "again" in bench.receipt("a")["error"]["hint"]


def test_old_takes_that_cannot_be_removed_keep_nobody_from_working(make_bench, monkeypatch):
    bench = make_bench(takes_max_bytes=1)
    bench.drop("a.toml", speak("One."))
    bench.run()
    unlink = Path.unlink

    def refuse(path, **more):
        if path.parent.parent == bench.instance.takes_dir:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(path, **more)

    monkeypatch.setattr(Path, "unlink", refuse)
    bench.now_s += 100
    bench.tick()
    assert bench.worker.pause.error is None


def test_a_job_that_was_sent_back_does_not_wait_for_a_clock_that_was_set_back(bench, monkeypatch):
    bench.drop("a.toml", speak("One."))
    bench.worker.look_at_inbox()
    bench.worker.drops.tick(bench.now_s)
    folder = bench.instance.outbox / "a"
    folder.write_text("in the way")
    bench.tick(4)
    folder.unlink()
    monkeypatch.setattr(bench_module, "START_S", bench_module.START_S - 86_400)
    bench.tick(10)
    assert bench.status("a") == "done"


def test_a_job_whose_text_is_gone_fails_and_says_so(bench):
    bench.tick()  # a start copies again what is missing
    (bench.instance.inbox / "words.txt").write_text("One.")
    bench.drop("a.toml", 'kind = "synthesize"\nvoice = "ryan"\ntext_file = "words.txt"\n')
    bench.worker.look_at_inbox()
    bench.worker.drops.tick(bench.now_s)
    shutil.rmtree(bench.worker.drops.scanner.folder_of(details(bench, "a").job.claim_id))
    bench.drop("other.toml", speak("Two."))
    bench.tick(6)
    assert bench.status("other") == "done"
    assert bench.receipt("a")["error"]["code"] == "attachment-missing"
