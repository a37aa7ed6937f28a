"""`voicejobs transcribe`: a recording as text, captions or JSON, through a whole instance."""

import json

import pytest
import soundfile

from models.protocol import SAMPLE_RATE_HZ
from runner.cli.program import run_command
from runner.config.settings import SETTINGS_FILE
from tests.natural_speech import BREEZE, spoken


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / SETTINGS_FILE).write_text('recogniser = "pocketsphinx"\nlanguage = "en"\n')
    soundfile.write(tmp_path / "a memo.wav", spoken(BREEZE), SAMPLE_RATE_HZ)
    return tmp_path


def test_a_recording_is_printed_as_captions_and_its_job_leaves_no_folder(home, capsys):
    (home / "linked.wav").symlink_to("a memo.wav")
    assert run_command(["transcribe", "linked.wav", "--format", "srt"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("1\n00:00:00,")
    assert "a gentle breeze" in out
    assert err == ""
    assert list((home / "outbox").iterdir()) == []


@pytest.mark.usefixtures("home")
def test_json_has_the_text_the_words_and_who_heard_them(capsys):
    assert run_command(["transcribe", "a memo.wav", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["text"].split() == [word["word"] for word in printed["words"]]
    assert printed["recogniser"].startswith("pocketsphinx")
    assert printed["language"] == "english"
    assert printed["warnings"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.wav"], 3, "no recording"),
        (["a memo.wav", "--language", "klingonese"], 2, "klingonese"),
        (["a memo.wav", "--language", "de"], 1, "does not know 'german'"),
        (["voicejobs.toml"], 1, "voicejobs.toml is a text file"),
    ],
    ids=["no file", "no language", "not known", "no audio"],
)
@pytest.mark.usefixtures("home")
def test_what_cannot_be_transcribed_is_said(capsys, arguments, code, message):
    assert run_command(["transcribe", *arguments]) == code
    assert message in capsys.readouterr().err


def test_without_a_recogniser_nothing_is_dropped(home, capsys):
    (home / SETTINGS_FILE).write_text("")
    assert run_command(["transcribe", "a memo.wav"]) == 3
    assert "No recogniser is set" in capsys.readouterr().err
    assert list((home / "inbox").iterdir()) == []
