"""A prompt of the Swift tools speaks like a native lock, through the engine protocol over a tiny checkpoint."""

import dataclasses
import hashlib

import numpy as np
import pytest

from models.protocol import LockedVoice, LockWork, SpeechDone, SpeechWork, WorkFailed
from models.qwen3_tts.engine import open_qwen3_tts
from models.voices.clone_prompt import ClonePrompt
from models.voices.swift_prompt import from_clone_prompt
from tests.reference import REFERENCE, audio


@pytest.fixture(scope="module")
def engine():
    return open_qwen3_tts(REFERENCE / "base", model="base", dtype=None, batch=1, memory_limit_bytes=None)


@pytest.fixture(scope="module")
def native(engine):
    return engine.lock(
        LockWork(id="lock", transcript="Hi.", waveform=audio("ref_en.wav")[0], language="english")
    ).prompt


def spoken(engine, prompt):
    voice = LockedVoice(prompt=prompt, prompt_sha256=hashlib.sha256(prompt).hexdigest())
    work = SpeechWork(id="line", text="Hello.", voice=voice, seed=5, language="english", max_seconds=0.6)
    (answer,) = engine.speak(iter([work]), progress=lambda _id, _frames: True)
    return answer


def test_a_swift_prompt_gives_the_same_audio_as_the_lock_it_was_made_from(engine, native):
    swift = from_clone_prompt(ClonePrompt.from_bytes(native)).to_bytes()
    np.testing.assert_array_equal(spoken(engine, swift).waveform, spoken(engine, native).waveform)


def test_a_prompt_without_speaker_embedding_speaks_with_that_of_its_own_codes(engine, native):
    swift = dataclasses.replace(from_clone_prompt(ClonePrompt.from_bytes(native)), embedding=None).to_bytes()
    assert isinstance(spoken(engine, swift), SpeechDone)


def test_a_prompt_for_another_size_is_refused_and_relock_is_named(engine, native):
    wide = dataclasses.replace(ClonePrompt.from_bytes(native), speaker_embedding=np.ones(2048, np.float32))
    answer = spoken(engine, from_clone_prompt(wide).to_bytes())
    assert isinstance(answer, WorkFailed)
    assert answer.code == "prompt-model-mismatch"
    assert "relock" in answer.hint


def test_a_take_says_how_alike_it_and_its_lock_sound_by_the_models_own_encoder(engine, native):
    answer = spoken(engine, native)
    prompt = ClonePrompt.from_bytes(native)
    own = engine._model.speaker_embedding(answer.waveform)
    lengths = np.linalg.norm(own) * np.linalg.norm(prompt.speaker_embedding)
    assert answer.similarity == pytest.approx(float(own @ prompt.speaker_embedding / lengths), abs=1e-5)
    same = dataclasses.replace(prompt, speaker_embedding=own).to_bytes()
    assert spoken(engine, native).codes_sha256 == answer.codes_sha256 != spoken(engine, same).codes_sha256
