"""`voicejobs voices check`: auditions spoken again, by the draft engine and by a tiny checkpoint in its real layout."""

import json
import shutil

import pytest
import soundfile

from models.protocol import SpeechDone
from runner.cli.program import run_command
from runner.cli.voice_check import VoiceReport, compared
from runner.config.settings import SETTINGS_FILE
from runner.outbox.take_encoding import as_stored
from tests.checkpoints import write_checkpoint
from tests.natural_speech import BREEZE, silence, spoken
from tests.reference import REFERENCE

REPORT = VoiceReport(voice="me@1", model="lab/base")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOICEJOBS_MODELS_DIR", str(tmp_path / "models"))
    (tmp_path / SETTINGS_FILE).write_text("settle_s = 0.0\nmin_free_bytes = 0\n[sampling]\nmax_seconds = 3.0\n")
    return tmp_path


def lock(home, voice, model):
    soundfile.write(home / "me.wav", spoken(BREEZE), 24_000)
    keys = {"kind": "lock", "voice": voice, "model": model, "audio": "me.wav", "transcript": BREEZE, "language": "en"}
    submit(home, voice, keys)


def submit(home, name, keys):
    (home / f"{name}.json").write_text(json.dumps(keys))
    assert run_command(["submit", "--wait", f"{name}.json"]) == 0


def checked(capsys, *arguments):
    capsys.readouterr()
    code = run_command(["voices", "check", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_voices_that_speak_as_before_are_the_same_and_what_cannot_be_checked_is_said(home, capsys):
    shutil.copytree(REFERENCE / "base", home / "models" / "lab_base")
    lock(home, "me", "lab/base")
    submit(
        home, "made", {"kind": "design", "voice": "drafted", "model": "draft", "description": "Warm.", "candidates": 1}
    )
    submit(home, "kept", {"kind": "lock", "voice": "drafted", "from": {"job": "made", "candidate": 1}})
    code, reports = checked(capsys, "--all")
    drafted, me = sorted(reports, key=lambda report: report["voice"])
    assert (code, me["moved"], me["codes"], me["audio"]) == (0, False, "equal", "equal")
    assert me["similarity"] == pytest.approx(me["similarity_then"], abs=1e-4)
    assert me["duration_s"] == me["duration_then_s"] > 0
    assert (drafted["moved"], drafted["codes"], drafted["audio"]) == (False, "unknown", "equal")
    shutil.rmtree(home / "models" / "lab_base")
    code, (report,) = checked(capsys, "me@1")
    assert (code, "lab/base" in report["problem"]) == (3, True)
    assert run_command(["voices", "check"]) == 2


def test_another_model_under_the_same_name_speaks_otherwise(home, capsys):
    shutil.copytree(REFERENCE / "base", home / "models" / "lab_base")
    lock(home, "me", "lab/base")
    shutil.rmtree(home / "models" / "lab_base")
    write_checkpoint(home / "models" / "lab_base", seed=77)
    _, (report,) = checked(capsys, "me")
    assert (report["codes"], report["audio"]) == ("unequal", "unequal")
    assert report["similarity"] != report["similarity_then"]


@pytest.mark.parametrize(
    ("similarity", "then", "codes", "sound", "moved"),
    [
        (0.9, 0.9, "a", spoken, False),
        (0.2, 0.9, "a", spoken, False),  # what it says is what it said
        (0.8, 0.9, "b", silence, False),
        (0.6, 0.9, "b", silence, True),
        (None, None, "", silence, True),
        (None, None, "", spoken, False),
        (0.9, None, "b", silence, False),
    ],
    ids=["same", "same codes", "alike", "another voice", "no encoder", "no encoder, same", "an old lock"],
)
def test_a_voice_has_moved_when_it_sounds_unlike_its_lock_or_else_otherwise_at_all(
    similarity, then, codes, sound, moved
):
    stored = spoken("Yes.")
    waveform = stored if sound is spoken else silence(1.0)
    done = SpeechDone(
        id="x", waveform=waveform, frames=1, finish_reason="eos", seed=1, render_s=0.1, batch=1,
        similarity=similarity, codes_sha256=codes,
    )  # fmt: skip
    report = compared(REPORT, done, stored=as_stored(stored), then=then, codes_then="a" if codes else "")
    assert report.moved is moved
