"""Jobs with timed words, through the runner and the process that listens."""

import json
import signal

import psutil
import pytest
import webvtt

from models.draft.engine import open_engine as open_draft
from tests.engines.inline import InlineEngine
from tests.runner.worker.bench import Bench, speak

LONG = (
    "It was the middle of the night when the old clock struck twelve, and the wind began to rise over the fields. "
    "Nobody in the house was awake; only the dog, who had heard it all before, lifted its head and sighed."
)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path, engine=InlineEngine(open_draft), model="draft")
    yield made
    made.worker.close()


def folder(bench, job):
    return bench.instance.outbox / job


def process_of(bench):
    return psutil.Process(bench.worker.listen._pipe.pid)


def test_a_job_with_captions_of_words_gets_a_list_of_words_timed_by_the_track(bench):
    bench.drop(
        "tale.toml", speak("Come here, Nguyen.", LONG, voice="anna", language="en", captions="words", pause_after_s=1)
    )
    bench.run()
    receipt = bench.receipt("tale")
    assert (receipt["status"], receipt["warnings"]) == ("done", [])
    words = json.loads((folder(bench, "tale") / "words.json").read_text("utf-8"))
    assert [word["word"] for word in words] == [*["Come", "here,", "Nguyen."], *LONG.split()]
    assert {word["line"] for word in words} == {1, 2}
    first_s = receipt["lines"][0]["duration_s"]
    assert words[2]["end_s"] <= first_s
    assert words[3]["start_s"] >= first_s + 1
    assert words[-1]["end_s"] <= receipt["track"]["duration_s"]
    assert [each["file"] for each in receipt["track"]["captions"]] == ["captions.srt", "captions.vtt", "words.json"]
    captions = list(webvtt.read(folder(bench, "tale") / "captions.vtt"))
    assert all(len(row) <= 42 for caption in captions for row in caption.text.split("\n"))
    assert "<00:00:" in captions[0].raw_text


def test_a_line_too_long_for_a_caption_is_cut_where_its_words_are(bench):
    bench.drop("tale.toml", speak("Short.", LONG, voice="anna", language="en"))
    bench.run()
    captions = list(webvtt.read(folder(bench, "tale") / "captions.vtt"))
    assert captions[0].text == "Short."
    assert len(captions) >= 4
    assert not (folder(bench, "tale") / "words.json").exists()


def test_short_lines_start_no_process(bench):
    bench.drop("hello.toml", speak("Hello there.", voice="anna", language="en"))
    bench.run()
    assert bench.status("hello") == "done"
    assert bench.worker.listen._pipe is None


def test_a_process_that_was_killed_is_started_again(bench):
    bench.drop("one.toml", speak("Come here.", voice="anna", language="en", captions="words"))
    bench.run()
    process = process_of(bench)
    process.send_signal(signal.SIGKILL)
    process.wait()
    bench.drop("two.toml", speak("Come here.", voice="anna", language="en", captions="words"))
    bench.run()
    assert bench.status("two") == "done"
    assert bench.receipt("two")["warnings"] == []
    assert (folder(bench, "one") / "words.json").read_bytes() == (folder(bench, "two") / "words.json").read_bytes()


def test_the_process_ends_when_nobody_has_asked_it_for_a_while(bench):
    bench.drop("one.toml", speak("Come here.", voice="anna", language="en", captions="words"))
    bench.run()
    process = process_of(bench)
    bench.worker.listen.tick(bench.worker.listen._used_s + 301)
    assert not process.is_running()
    assert bench.worker.listen._pipe is None


def test_off_cuts_long_captions_by_their_letters_and_starts_no_process(bench):
    bench.drop("tale.toml", speak("Short.", LONG, voice="anna", language="en", verify="off"))
    bench.run()
    captions = list(webvtt.read(folder(bench, "tale") / "captions.vtt"))
    assert len(captions) >= 4
    assert all(len(caption.text) <= 84 for caption in captions)
    assert " ".join(caption.text for caption in captions) == f"Short. {LONG}"
    assert bench.worker.listen._pipe is None
