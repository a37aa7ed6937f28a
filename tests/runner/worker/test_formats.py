"""Formats, rates and levels of the files that a job publishes."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from models.audio.loudness import loudness_lufs
from tests.runner.worker.bench import speak


@pytest.mark.parametrize(
    ("format", "extension", "subtype"), [("opus", "opus", "OPUS"), ("ogg", "ogg", "OPUS"), ("vorbis", "ogg", "VORBIS")]
)
def test_opus_and_vorbis_are_chosen_by_name(bench, format, extension, subtype):  # noqa: A002
    bench.drop("a.toml", speak("One.", "Two.", format=format))
    bench.run()
    assert bench.receipt("a")["track"]["file"] == f"track.{extension}"
    for name in (f"line-1.{extension}", f"track.{extension}"):
        assert soundfile.info(bench.instance.outbox / "a" / name).subtype == subtype


def test_without_a_track_there_are_lines_alone(bench):
    bench.drop("a.toml", "track = false\n" + speak("One.", "Two."))
    bench.run()
    assert bench.files("a") == ["a.toml", "line-1.wav", "line-2.wav", "result.json"]
    assert (bench.status("a"), bench.receipt("a")["track"]) == ("done", None)


def test_lines_and_track_have_the_rate_that_is_asked_for(bench):
    bench.drop("a.toml", speak("One.", "Two.", sample_rate=44_100, format="mp3", mp3_bitrate=192))
    bench.run()
    infos = [soundfile.info(bench.instance.outbox / "a" / name) for name in ("line-1.mp3", "track.mp3")]
    assert [info.samplerate for info in infos] == [44_100, 44_100]
    entry = bench.receipt("a")["lines"][0]
    assert entry["duration_s"] == pytest.approx(infos[0].duration, abs=0.1)


def test_every_line_and_the_track_come_to_one_loudness(bench):
    bench.drop("a.toml", speak("One is said.", "Two is said, and it is longer.", loudness=-30.0))
    bench.run()
    bench.drop("b.toml", speak("One is said.", "Two is said, and it is longer."))
    bench.run()
    lines = [bench.audio("a", f"line-{n}.wav").astype(np.float32) for n in (1, 2)]
    assert [loudness_lufs(line) for line in lines] == [pytest.approx(-30.0, abs=0.2)] * 2
    assert np.abs(bench.audio("a", "track.wav") - np.concatenate(lines)).max() < 2**-14
    assert bench.receipt("b")["lines"][0]["reused"] is True  # levels are no matter of the take


def test_a_line_that_its_peak_keeps_quiet_says_so(bench, monkeypatch):
    monkeypatch.setattr("models.audio.line_level.HIGHEST_PEAK", 0.01)
    bench.drop("a.toml", speak("One is said.", loudness=-5.0))
    bench.run()
    assert "dB below loudness = -5: its peak allows no more." in bench.receipt("a")["lines"][0]["warnings"][0]


def test_settings_that_do_not_go_together_fail_the_job_with_what_would(make_bench):
    bench = make_bench(format="opus")
    bench.drop("a.toml", speak("One.", sample_rate=44_100))
    bench.run()
    assert "Choose 8000, 12000" in bench.receipt("a")["error"]["hint"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"format": "opus", "sample_rate": 44_100}, "sample_rate"),
        ({"mp3_bitrate": 192}, "set sample_rate = 44100"),
        ({"format": "wav", "mp3_bitrate": 64}, 'choose format = "mp3"'),
        ({"captions": "words", "track": False}, "the track times the captions"),
    ],
)
def test_a_job_file_that_contradicts_itself_is_rejected(bench, keys, said):
    bench.drop("a.toml", speak("One.", **keys))
    bench.run()
    receipt = bench.receipt("a")
    assert receipt["status"] == "rejected"
    assert said.replace("\\", "") in receipt["error"]["message"].replace("\\", "")
