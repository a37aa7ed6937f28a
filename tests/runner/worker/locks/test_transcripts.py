"""Transcripts of recordings: written by a recogniser where nobody did, and compared with the recording where one is."""

import numpy as np
import pytest
import soundfile

from models.protocol import SAMPLE_RATE_HZ
from registry.voices.lookup import resolve
from runner.cli.program import run_command
from tests.natural_speech import BREEZE, WORLD, silence, spoken


def lock(bench, sound, transcript, *, language="en"):
    soundfile.write(bench.instance.inbox / "me.wav", sound, SAMPLE_RATE_HZ)
    keys = f'transcript = "{transcript}"\nlanguage = "{language}"\n'
    bench.drop("me.toml", f'kind = "lock"\nvoice = "me"\naudio = "me.wav"\n{keys}')
    bench.run()
    return bench.receipt("me")


def test_a_transcript_that_a_recogniser_writes_is_stored_as_such_and_quoted(listening_bench, monkeypatch, capsys):
    bench = listening_bench()
    receipt = lock(bench, spoken(BREEZE), "auto")
    assert receipt["status"] == "done"
    (warning,) = receipt["warnings"]
    assert "heard by pocketsphinx" in warning and "“a gentle breeze" in warning
    assert receipt["heard"]["words"] == len(BREEZE.split())
    with bench.context.database.read() as session:
        version = resolve(session, "me")
    assert version.transcript.startswith("a gentle breeze")
    assert version.provenance["transcript"]["heard_by"].startswith("pocketsphinx")
    assert 0 < version.provenance["transcript"]["confidence"] <= 1
    (bench.instance.root / "voicejobs.toml").touch()
    monkeypatch.chdir(bench.instance.root)
    assert run_command(["voices", "show", "me"]) == 0
    assert "heard by pocketsphinx" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sound", "transcript", "sentence"),
    [
        (lambda: spoken(BREEZE), BREEZE, None),
        (
            lambda: np.concatenate([spoken(BREEZE), silence(0.3), spoken(WORLD)]),
            BREEZE,
            "goes on after “slept in the garden.”: “nothing in the world",
        ),
        (lambda: spoken(BREEZE), f"{BREEZE} {WORLD}", "prepared him for what happened next.”, which is not heard"),
        (lambda: spoken(BREEZE), "The old clock on the wall stopped ticking many long years ago.", "where “"),
    ],
    ids=["right", "too short", "too long", "another"],
)
def test_a_transcript_that_does_not_fit_is_warned_of_with_the_words(listening_bench, sound, transcript, sentence):
    receipt = lock(listening_bench(), sound(), transcript)
    assert receipt["status"] == "done"
    compared = [warning for warning in receipt["warnings"] if "pocketsphinx" in warning]
    assert len(compared) == (sentence is not None)
    assert sentence is None or sentence in compared[0]


@pytest.mark.parametrize(
    ("settings", "sound", "language", "code", "message"),
    [
        ({"recogniser": ""}, lambda: spoken(BREEZE), "en", "no-recogniser", "No recogniser is set"),
        ({}, lambda: spoken(BREEZE), "de", "language-not-spoken", "does not know 'german'"),
        ({"recogniser": "faster-whisper:/nowhere"}, lambda: spoken(BREEZE), "en", None, "faster-whisper"),
    ],
    ids=["none", "language", "no folder"],
)
def test_a_transcript_that_nobody_can_write_fails_the_lock(listening_bench, settings, sound, language, code, message):
    error = lock(listening_bench(**settings), sound(), "auto", language=language)["error"]
    assert message in error["message"]
    assert code in (None, error["code"])


def test_a_language_that_the_recogniser_does_not_know_leaves_the_transcript_unchecked_and_says_so(listening_bench):
    receipt = lock(listening_bench(), spoken(BREEZE), BREEZE, language="de")
    assert receipt["status"] == "done"
    assert "was not compared with the recording: The recogniser pocketsphinx does not know" in receipt["warnings"][0]
