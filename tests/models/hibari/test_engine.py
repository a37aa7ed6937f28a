"""The engine hibari: real English from the weights in its wheel."""

import importlib
import socket

import numpy as np
import pytest

from models.audio.quality import measure
from models.errors import UnsupportedRequest
from models.hibari.engine import open_engine
from models.protocol import DescribedVoice, LockWork, ModelChoice, PresetVoice, SpeechPiece, SpeechWork, WorkFailed

hibari = pytest.importorskip("hibari", reason="hibari-tts is an optional dependency")

TEXT = "That quick beige fox jumped in the air over each thin dog."
HEART = PresetVoice(name="heart")


@pytest.fixture(scope="module")
def engine():
    return open_engine(ModelChoice(engine="hibari", model="hibari"))


@pytest.fixture
def say(engine):
    def speak(text=TEXT, *, voice=HEART, seed=1, progress=lambda _id, _frames: True, **options):
        work = SpeechWork(id="line", text=text, voice=voice, seed=seed, **options)
        (outcome,) = engine.speak([None, work], progress=progress)
        return outcome

    return speak


def test_a_line_is_speech_of_the_length_of_its_text(say):
    done = say(language="english")
    assert done.finish_reason == "eos"
    assert done.waveform.dtype == np.float32
    assert done.warnings == ()
    assert measure(done.waveform, text=TEXT, language="english").passed


def test_equal_requests_sound_equal_whatever_was_spoken_before(say):
    alone = say()
    say("Something else was said in between.", seed=9)
    assert np.array_equal(say().waveform, alone.waveform)


def test_it_says_only_what_it_can(engine):
    facts = engine.facts()
    assert facts.abilities == ("presets",)
    assert facts.presets == ("heart",)
    assert facts.languages == ("english",)
    assert facts.model_fingerprint.removeprefix("hibari:")[:16] in facts.render_version


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"voice": PresetVoice(name="hart")}, "unknown-speaker"),
        ({"voice": PresetVoice(name="emma")}, "unsupported-request"),  # its weights are not in the wheel
        ({"voice": DescribedVoice(description="A warm voice.")}, "unsupported-request"),
        ({"language": "german"}, "language-not-spoken"),
        ({"text": "你好"}, "invalid-input"),
    ],
)
def test_what_it_cannot_do_is_refused_and_nothing_is_fetched(say, options, code, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("it went to the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    outcome = say(**options)
    assert isinstance(outcome, WorkFailed)
    assert outcome.code == code


def test_it_cannot_lock(engine):
    with pytest.raises(UnsupportedRequest, match="presets"):
        engine.lock(LockWork(id="lock", transcript=TEXT, waveform=np.zeros(24_000, np.float32)))


def test_another_voice_is_a_file_of_the_shared_directory_with_the_bytes_that_the_package_knows(tmp_path, monkeypatch):
    voices = importlib.import_module("hibari.voices")
    heart = voices.VOICES["heart"]
    (tmp_path / "voices").mkdir()
    weights = open_engine(ModelChoice(engine="hibari"))._paths["heart"].read_bytes()
    (tmp_path / "voices" / "emma.onnx").write_bytes(weights)
    (tmp_path / "kore.onnx").write_bytes(weights[:-1])
    known = {
        "heart": heart,
        "emma": {**heart, "bundled": False, "file": "emma.onnx"},
        "kore": {**heart, "bundled": False, "file": "kore.onnx"},
    }
    monkeypatch.setattr(voices, "VOICES", known)
    engine = open_engine(ModelChoice(engine="hibari", folder=str(tmp_path)))
    assert engine.facts().presets == ("heart", "emma")
    work = SpeechWork(id="line", text="Hello there.", voice=PresetVoice(name="emma"), seed=1)
    (done,) = engine.speak([work], progress=lambda _id, _frames: True)
    assert np.abs(done.waveform).max() > 0.1


def test_a_long_text_can_be_cancelled_or_cut(say):
    text = f"{TEXT} " * 3
    assert say(text, progress=lambda _id, _frames: False).finish_reason == "cancelled"
    cut = say(text, max_seconds=1.5)
    assert cut.finish_reason == "length"
    assert cut.waveform.size == 36_000


def test_words_in_the_packages_own_notation_are_read_as_text(say):
    spoken, plain = say("See [the page](/hɛlˈO/) now."), say("See [the page] (/hɛlˈO/) now.")
    assert np.array_equal(spoken.waveform, plain.waveform)


def test_what_it_ignores_is_said(say):
    warnings = say("Hello, Привет.", instruct="whispering").warnings
    assert any("instruct" in warning for warning in warnings)
    assert any("Прив"[1] in warning for warning in warnings)


def test_without_the_package_the_error_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "hibari", None)
    with pytest.raises(UnsupportedRequest) as caught:
        open_engine(ModelChoice(engine="hibari"))
    assert "pip install 'hibari-tts" in caught.value.hint


@pytest.mark.parametrize("limit_s", [None, 5.0], ids=["whole", "cut"])
def test_a_live_line_comes_sentence_by_sentence_and_sounds_as_ever(engine, say, limit_s):
    text = f"{TEXT} Then it slept. {TEXT}"
    work = SpeechWork(id="line", text=text, voice=HEART, seed=1, max_seconds=limit_s, live=True)
    *pieces, done = engine.speak([work], progress=lambda _id, _frames: True)
    assert pieces
    assert all(isinstance(piece, SpeechPiece) for piece in pieces)
    sound = np.concatenate([one.waveform for one in (*pieces, done)])
    np.testing.assert_array_equal(sound, say(text, max_seconds=limit_s).waveform)
