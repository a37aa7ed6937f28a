"""Masters from a dropped job to finished files: spoken jobs, recordings, waiting, cancelling, deaths on the way."""

from __future__ import annotations

import json

import pytest
import soundfile

from registry.jobs import jobs
from registry.jobs.requests import add_request
from registry.jobs.values import CANCEL, RETRY, JobStatus
from tests.patience import wait_until
from tests.runner.master.sounds import png_bytes, speech
from tests.runner.worker.bench import Bench, speak

MASTER = 'kind = "master"\n'
BOOK = MASTER + 'from = ["chapter-1", "chapter-2"]\nformats = ["flac"]\ntags = { title = "The Night Train" }\n'


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    return Bench(tmp_path)


def drop_chapters(bench: Bench, **more) -> None:
    bench.drop("chapter-1.toml", speak("It was a dark night.", "Nobody spoke.", **more), age_s=30)
    bench.drop("chapter-2.toml", speak("Morning came.", voice="anna", **more), age_s=20)


def drop_recordings(bench: Bench, name: str, job: str, **sounds) -> None:
    """A folder with recordings, by their names without suffix."""
    bench.drop_folder(name, job_toml=job)
    for stem, sound in sounds.items():
        soundfile.write(bench.instance.inbox / name / f"{stem}.wav", sound, 24_000)


def test_spoken_jobs_become_a_file_a_chapter_and_mastering_json(bench):
    drop_chapters(bench)
    bench.drop("book.toml", BOOK)
    bench.run()
    receipt = bench.receipt("book")
    assert receipt["status"] == "done" and receipt["error"] is None
    assert bench.files("book") == [
        "01 - chapter-1.flac", "02 - chapter-2.flac", "book.toml", "mastering.json", "result.json"
    ]  # fmt: skip
    assert [file["file"] for file in receipt["files"]] == [
        "01 - chapter-1.flac", "02 - chapter-2.flac", "mastering.json"
    ]  # fmt: skip
    mastering = bench.receipt("book", "mastering.json")
    assert mastering["schema"] == 1 and mastering["preset"] == "audiobook"
    assert [chapter["title"] for chapter in mastering["chapters"]] == ["chapter-1", "chapter-2"]
    assert all(file["passed"] for file in mastering["files"])
    assert list((bench.instance.state_dir / "masters").iterdir()) == []


def test_a_master_waits_for_its_chapters_also_when_it_was_claimed_together_with_them(bench):
    bench.drop("book.toml", BOOK, age_s=60)
    drop_chapters(bench)
    bench.run()
    assert bench.status("book") == "done"


def test_a_master_of_a_failed_chapter_fails_with_it_and_is_made_when_that_is_tried_again(bench):
    drop_chapters(bench, model="no-such-model-anywhere")
    bench.drop("book.toml", BOOK)
    bench.run()
    assert bench.status("chapter-1") == "failed"
    assert bench.receipt("book")["error"]["code"] == "dependency-failed"


@pytest.mark.parametrize("wanted", ['from = ["nowhere"]', 'from = ["voice"]'], ids=["unknown", "no speech"])
def test_what_cannot_be_mastered_is_rejected(bench, wanted):
    bench.drop("voice.toml", 'kind = "design"\nvoice = "x"\ndescription = "A voice."\n', age_s=50)
    bench.drop("book.toml", f"{MASTER}{wanted}\n")
    bench.run()
    assert bench.status("book") == "rejected"
    assert bench.receipt("book")["error"]["hint"]


def test_recordings_beside_the_job_become_chapters_with_cover_and_titles(bench):
    job = MASTER + 'files = ["a.wav", "b.wav"]\ntitles = ["One", "Two"]\nformats = ["m4b"]\ncover = "c.png"\n'
    drop_recordings(bench, "tape", job, a=speech(2), b=speech(2, seed=1))
    (bench.instance.inbox / "tape" / "c.png").write_bytes(png_bytes())
    bench.run()
    assert bench.status("tape") == "done", bench.receipt("tape")
    assert "tape.m4b" in bench.files("tape")
    assert [each["title"] for each in bench.receipt("tape", "mastering.json")["chapters"]] == ["One", "Two"]


def test_a_recording_that_cannot_be_used_fails_the_job_by_its_name_and_loses_nothing(bench):
    drop_recordings(bench, "tape", MASTER + 'files = ["a.wav", "b.wav"]\nformats = ["wav"]\n', a=speech(1), b=speech(1))
    (bench.instance.inbox / "tape" / "b.wav").write_text("no sound at all")
    bench.run()
    receipt = bench.receipt("tape")
    assert (receipt["status"], receipt["error"]["code"]) == ("failed", "sound-refused")
    assert "b.wav" in receipt["error"]["message"]


def test_a_recording_that_is_not_there_rejects_the_job(bench):
    bench.drop_folder("tape", job_toml=MASTER + 'files = ["a.wav"]\n')
    bench.run()
    assert bench.status("tape") == "rejected" and "a.wav" in bench.receipt("tape")["error"]["message"]


def test_a_take_that_was_evicted_is_taken_from_the_outbox_and_where_that_is_empty_the_message_says_what_to_do(bench):
    drop_chapters(bench)
    bench.run()
    with bench.context.database.write() as session:
        session.execute_many("DELETE FROM take WHERE 1 = ?", [(1,)])
    for path in (bench.instance.state_dir / "takes").rglob("*"):
        if path.is_file():
            path.unlink()
    bench.drop("book.toml", BOOK)
    bench.run()
    assert bench.status("book") == "done"
    for path in (bench.instance.outbox / "chapter-2").glob("*.wav"):
        path.unlink()
    bench.drop("again.toml", BOOK)
    bench.run()
    error = bench.receipt("again")["error"]
    assert "chapter-2" in error["message"] and "jobs retry chapter-2" in error["hint"]


def test_takes_that_a_waiting_master_needs_are_not_evicted(bench):
    drop_chapters(bench)
    bench.run()
    with bench.context.database.read() as session:
        assert jobs.open_take_keys(session) == set()
    bench.waits_for_masters = False
    bench.drop("book.toml", BOOK)
    bench.tick(2)
    with bench.context.database.read() as session:
        assert len(jobs.open_take_keys(session)) == 3


def test_other_jobs_are_spoken_while_a_master_is_made(bench):
    drop_chapters(bench)
    bench.run()
    bench.waits_for_masters = False
    bench.drop("book.toml", BOOK)
    bench.tick(2)
    bench.drop("line.toml", speak("Meanwhile."))
    bench.tick(6)
    assert bench.status("line") == "done"
    bench.waits_for_masters = True
    bench.run()
    assert bench.status("book") == "done"


def test_a_master_is_cancelled_at_once_and_its_process_ends(bench):
    drop_chapters(bench)
    bench.run()
    bench.waits_for_masters = False
    bench.drop("book.toml", BOOK)
    bench.tick(2)
    folder = bench.instance.state_dir / "masters"
    wait_until(lambda: folder.is_dir() and any(folder.iterdir()))
    with bench.context.database.write() as session:
        add_request(session, "book", CANCEL, now_s=0)
    bench.tick(4)
    assert bench.status("book") == "cancelled" and list(folder.iterdir()) == []
    with bench.context.database.write() as session:
        add_request(session, "book", RETRY, now_s=0)
    bench.waits_for_masters = True
    bench.run()
    assert bench.status("book") == "done"


def test_a_master_goes_on_after_its_runner_died(bench):
    drop_chapters(bench)
    bench.run()
    bench.waits_for_masters = False
    bench.drop("book.toml", BOOK)
    bench.tick(2)
    bench.restart()
    bench.waits_for_masters = True
    bench.run()
    assert bench.status("book") == "done"
    with bench.context.database.read() as session:
        assert jobs.by_name(session, "book").status == JobStatus.DONE


def test_lines_that_failed_are_missing_and_warned_of(bench):
    drop_chapters(bench)
    bench.run()
    with bench.context.database.write() as session:
        one = jobs.by_name(session, "chapter-1")
        session.execute_many("UPDATE line SET status = 'failed' WHERE job_id = ? AND position = 2", [(one.id,)])
    bench.drop("book.toml", BOOK)
    bench.run()
    assert bench.status("book") == "done"
    assert "1 line of chapter-1 failed, and is not heard." in bench.receipt("book")["warnings"]


def test_a_preset_that_cannot_be_kept_is_a_warning_in_the_receipt(bench):
    drop_chapters(bench)
    bench.drop("book.toml", BOOK.replace(MASTER, MASTER + 'preset = "acx"\n'))
    bench.run()
    receipt = bench.receipt("book")
    assert receipt["status"] == "done" and any("breaks the rule bit-rate" in warning for warning in receipt["warnings"])
    assert json.loads((bench.instance.outbox / "book" / "mastering.json").read_text())["preset"] == "acx"
