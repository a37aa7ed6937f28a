"""Transcribe jobs: a recording becomes text, captions and words; what cannot be heard is said, and nothing is lost."""

import json

import numpy as np
import pytest
import soundfile
import webvtt

from models.protocol import SAMPLE_RATE_HZ
from runner.submission.checked_job import check_file
from tests.natural_speech import memo, silence
from tests.runner.worker.bench import speak

JOB = 'kind = "transcribe"\naudio = "memo.wav"\nlanguage = "en"\n'


def drop(bench, sound, *, job=JOB, rate_hz=SAMPLE_RATE_HZ, name="memo.wav"):
    soundfile.write(bench.instance.inbox / name, sound, rate_hz)
    bench.drop("said.toml", job)


def test_a_recording_becomes_text_captions_and_words_with_times(listening_bench):
    bench = listening_bench()
    drop(bench, memo())
    bench.run()
    receipt = bench.receipt("said")
    assert (receipt["status"], receipt["warnings"]) == ("done", [])
    folder = bench.instance.outbox / "said"
    assert [entry["file"] for entry in receipt["files"]] == [
        "transcript.txt", "captions.srt", "captions.vtt", "words.json",
    ]  # fmt: skip
    first, second = (folder / "transcript.txt").read_text("utf-8").splitlines()
    assert first.startswith("a gentle breeze")
    assert second.startswith("nothing in the world")
    words = json.loads((folder / "words.json").read_text("utf-8"))
    assert [word["word"] for word in words] == [*first.split(), *second.split()]
    assert next(word for word in words if word["line"] == 2)["start_s"] == pytest.approx(6.3, abs=0.3)
    captions = list(webvtt.read(folder / "captions.vtt"))
    assert captions[0].text.replace("\n", " ") == first
    assert receipt["heard"]["recogniser"].startswith("pocketsphinx")
    assert receipt["heard"]["language"] == "english"
    assert receipt["heard"]["words"] == len(words)
    assert 0 < receipt["heard"]["confidence"] <= 1


def test_a_recording_of_several_pieces_has_the_times_of_the_whole(listening_bench, monkeypatch):
    monkeypatch.setattr("runner.listen.transcriber.PIECE_S", 6.0)
    bench = listening_bench()
    drop(bench, np.stack([memo(), silence(memo().size / SAMPLE_RATE_HZ)], axis=1))
    bench.run()
    words = json.loads((bench.instance.outbox / "said" / "words.json").read_text("utf-8"))
    assert next(word for word in words if word["word"] == "nothing")["start_s"] == pytest.approx(6.3, abs=0.3)
    assert [word["start_s"] for word in words] == sorted(word["start_s"] for word in words)
    assert "left out" in bench.receipt("said")["warnings"][0]
    assert list(bench.instance.spool_dir.iterdir()) == []


def test_how_much_of_a_long_recording_was_heard_is_shown_while_it_runs(listening_bench, monkeypatch):
    monkeypatch.setattr("runner.listen.transcriber.PIECE_S", 6.0)
    bench = listening_bench()
    drop(bench, memo())
    while not bench.worker.transcribes:
        bench.tick_without_rest()
    (hearing,) = bench.worker.transcribes._hearings.values()
    hearing.progress.note(60.0, 7200.0)
    bench.tick_without_rest()
    assert note_of(bench) == "60 s of 2 h heard"
    bench.run()
    assert str(hearing.progress).endswith(" heard")
    assert note_of(bench) == ""


def note_of(bench):
    from registry.jobs.lists import list_jobs
    from runner.cli.commands.jobs import _note
    from runner.outbox.waits_file import Waits

    with bench.context.database.read() as session:
        (listed,) = list_jobs(session)
    return _note(listed, Waits())


def test_silence_is_no_error_and_has_no_words(listening_bench):
    bench = listening_bench()
    drop(bench, silence(2))
    bench.run()
    receipt = bench.receipt("said")
    assert receipt["status"] == "done"
    assert "No word was heard" in receipt["warnings"][0]
    assert (bench.instance.outbox / "said" / "transcript.txt").read_bytes() == b""
    assert (bench.instance.outbox / "said" / "words.json").read_bytes() == b"[]\n"


@pytest.mark.parametrize(
    ("settings", "job", "code", "message"),
    [
        ({"recogniser": ""}, JOB, "no-recogniser", "No recogniser is set"),
        ({}, JOB.replace('"en"', '"de"'), "language-not-spoken", "does not know 'german'"),
        ({"recogniser": "faster-whisper:/nowhere"}, JOB, None, "faster-whisper"),
        ({"recogniser": "parrot"}, JOB, "invalid-input", "no recogniser 'parrot'"),
    ],
    ids=["none", "language", "no folder", "unknown"],
)
def test_what_cannot_hear_fails_the_job_and_no_other(listening_bench, settings, job, code, message):
    bench = listening_bench(**settings)
    drop(bench, silence(1), job=job)
    bench.drop("other.toml", speak("Hello."))
    bench.run()
    error = bench.receipt("said")["error"]
    assert message in error["message"]
    assert code in (None, error["code"])
    assert bench.status("other") == "done"


@pytest.mark.parametrize(
    ("samples", "message"),
    [(silence(0), "no samples"), (np.full(9000, np.nan, np.float32), "not finite")],
    ids=["empty", "not finite"],
)
def test_a_recording_that_holds_no_sound_is_named_by_check_as_by_the_run(listening_bench, samples, message):
    bench = listening_bench()
    soundfile.write(bench.instance.inbox / "memo.wav", samples, SAMPLE_RATE_HZ, subtype="FLOAT")
    bench.drop("said.toml", JOB)
    (problem,) = check_file(str(bench.instance.inbox / "said.toml"), instance=bench.instance).problems
    assert message in problem
    bench.run()
    error = bench.receipt("said")["error"]
    assert (error["code"], message in error["message"]) == ("invalid-reference-audio", True)


def test_a_recording_longer_than_six_hours_is_refused_before_it_is_decoded(listening_bench):
    bench = listening_bench()
    path = bench.instance.inbox / "memo.flac"
    with soundfile.SoundFile(path, "w", 1_000, 1) as file:
        for _ in range(7 * 60):
            file.write(np.zeros(60_000, np.float32))
    bench.drop("said.toml", JOB.replace("memo.wav", "memo.flac"))
    bench.run()
    assert "at most 21600 s are read" in bench.receipt("said")["error"]["message"]


def test_a_cancelled_recording_is_heard_no_further(listening_bench):
    bench = listening_bench()
    drop(bench, memo())
    while not bench.worker.transcribes:
        bench.tick_without_rest()
    (hearing,) = bench.worker.transcribes._hearings.values()
    cancel(bench, "said")
    bench.run()
    assert bench.status("said") == "cancelled"
    assert hearing.stopped.is_set()
    assert bench.files("said") == ["result.json", "said.toml"]


def cancel(bench, name):
    from registry.jobs.requests import add_request
    from registry.jobs.values import CANCEL

    with bench.context.database.write() as session:
        add_request(session, name, CANCEL, now_s=bench.context.clock())


def test_a_recording_that_a_dead_runner_was_hearing_is_heard_again(listening_bench):
    bench = listening_bench()
    drop(bench, memo())
    while not bench.worker.transcribes:
        bench.tick_without_rest()
    bench.restart()
    bench.run()
    receipt = bench.receipt("said")
    assert (receipt["status"], receipt["attempts"]) == ("done", 2)
