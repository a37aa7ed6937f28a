"""The C engine as a peer of the benchmark: its report is read, and a report without times is not taken for one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.c_engine import CEngine, run_of

ROOT = Path(__file__).parents[2]
REPORT = """
  Prefill: 400 ms
  Generated 24 frames (1.9s audio)
  Talker step: 1000 ms (41.7 ms/f), Code Predictor: 5000 ms (208.3 ms/f)
  Embed: 2 ms, Codec head+sampling: 30 ms
  Speech decoder: 900 ms total (68 ms drain after gen)
Audio: 1.9s generated in 6.6s (RTF 3.44)
  TTFA: 3100 ms (first audio chunk, 10-frame chunk)
"""


@pytest.fixture
def binary(tmp_path):
    """A stand-in that reports as the engine does, and what it was asked for."""
    path = tmp_path / "qwen_tts"
    path.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/asked\ncat >&2 <<'END'\n{REPORT}END\n")
    path.chmod(0o755)
    return path


def test_the_parts_that_follow_one_another_are_added():
    run = run_of(REPORT)
    assert (run.frames, run.took_s, run.first_audio_s) == (24, 6.5, 3.1)


def test_the_whole_is_taken_where_parts_are_missing():
    assert run_of("Generated 12 frames\nAudio: 1.0s generated in 3.4s (RTF 3.40)").took_s == 3.4


@pytest.mark.parametrize("output", ["", "Generated 12 frames", "Audio: 1.0s generated in 3.4s"])
def test_a_report_without_frames_or_times_is_refused(output):
    with pytest.raises(ValueError, match="states no frames or no times"):
        run_of(output)


def test_it_is_asked_for_the_same_text_of_so_many_frames(binary, tmp_path):
    engine = CEngine(binary=str(binary), folder=tmp_path, mode="int8")
    assert engine.speak("Good evening.", speaker="ryan", frames=24).frames == 24
    asked = (tmp_path / "asked").read_text()
    for part in ("--text Good evening.", "-s ryan", "--max-duration 1.92", "--int8"):
        assert part in asked


def test_a_binary_that_fails_is_named(tmp_path):
    with pytest.raises(RuntimeError, match="ended with status 1"):
        CEngine(binary="/bin/false", folder=tmp_path, mode="bfloat16").speak("Hello.", speaker="ryan", frames=2)


def test_a_contestant_answers_with_the_engines_own_seconds(binary, tmp_path):
    commands = [
        {"do": "load", "folder": str(tmp_path), "dtype": "int4"},
        {"do": "speak", "texts": ["One.", "Two."], "voice": "preset", "frames": 24},
        {"do": "first_audio", "text": "One.", "voice": "preset"},
    ]
    contestant = [sys.executable, str(ROOT / "benchmarks/contestant.py"), "c-engine", "--binary", str(binary)]
    done = subprocess.run(
        contestant, input="\n".join(map(json.dumps, commands)), capture_output=True, text=True, check=True, cwd=ROOT
    )
    _, spoken, first = map(json.loads, done.stdout.splitlines())
    assert (spoken["frames"], spoken["wall_s"], first["first_audio_s"]) == (48, 13.0, 3.1)
