"""The engine protocol over a tiny checkpoint: design, presets and clones, mixed, split, cancelled and refused."""

from __future__ import annotations

import hashlib

import mlx.core as mx
import numpy as np
import pytest

from models.errors import NotEnoughMemory, UnsupportedRequest
from models.hardware import blas, compute
from models.protocol import (
    SAMPLES_PER_FRAME,
    DescribedVoice,
    LockedVoice,
    LockWork,
    PresetVoice,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    WorkFailed,
)
from models.qwen3_tts.engine import check_device_memory, open_qwen3_tts
from models.qwen3_tts.text_pieces import as_plain_text, pieces_of
from tests.checkpoints import write_checkpoint
from tests.reference import REFERENCE, audio

LONG_TEXT = " ".join(f"Sentence number {number} is spoken in the same voice as all others." for number in range(14))


def engine_of(checkpoint, *, batch=4):
    return open_qwen3_tts(REFERENCE / checkpoint, model=checkpoint, dtype=None, batch=batch, memory_limit_bytes=None)


@pytest.fixture(scope="module")
def presets():
    return engine_of("custom_voice")


def preset_work(number, **details):
    return SpeechWork(**{"id": f"w{number}", "text": "Hello.", "voice": PresetVoice(name="ryan"), "seed": number,
                         "max_seconds": 0.4, **details})  # fmt: skip


def speak(engine, work, *, progress=lambda _id, _frames: True):
    return {answer.id: answer for answer in engine.speak(iter(work), progress=progress)}


def test_take_keys_say_how_weights_were_quantised_and_those_of_plain_ones_stay(tmp_path):
    wide = {"hidden_size": 128, "intermediate_size": 192, "text_hidden_size": 64}
    folder = write_checkpoint(tmp_path, variant="custom_voice", talker=wide, dtype=mx.bfloat16)
    known = {}
    for dtype in ("float32", "int8", "int4"):
        engine = open_qwen3_tts(folder, model="m", dtype=dtype, batch=1, memory_limit_bytes=None, backend="llvm")
        facts = engine.facts()
        known[facts.render_version] = (facts.dtype, facts.quantization)
    assert known == {
        "qwen3-tts/1+llvm-float32": ("float32", None),
        "qwen3-tts/1+llvm-float32-int8": ("int8", "8-bit"),
        "qwen3-tts/1+llvm-float32-int4": ("int4", "4-bit"),
    }


def test_all_work_is_answered_though_some_of_it_cannot_be_done(presets):
    unknown = preset_work(1, voice=PresetVoice(name="bob"))
    answers = speak(presets, [preset_work(0), unknown, preset_work(2), preset_work(3, language="welsh")])
    assert {key: type(answer) for key, answer in answers.items()} == {
        "w0": SpeechDone, "w1": WorkFailed, "w2": SpeechDone, "w3": WorkFailed,
    }  # fmt: skip
    assert answers["w1"].code == "unknown-speaker"
    assert answers["w3"].code == "language-not-spoken"


def test_a_failure_is_handed_over_though_nothing_else_runs(presets):
    waiting = iter([preset_work(0, voice=PresetVoice(name="bob"))])
    answers = presets.speak((next(waiting, None) for _ in range(5)), progress=lambda _id, _frames: True)
    assert next(answers).id == "w0"


def test_a_line_is_its_frames_long_and_names_its_seed(presets):
    answer = speak(presets, [preset_work(7)])["w7"]
    assert len(answer.waveform) == answer.frames * SAMPLES_PER_FRAME > 0
    assert (answer.seed, answer.batch, answer.finish_reason) == (7, 4, "length")


def test_work_that_comes_later_joins_the_running_batch(presets):
    def trickle():
        yield preset_work(0)
        yield None
        yield preset_work(1)

    assert speak(presets, trickle()).keys() == {"w0", "w1"}


def test_cancelling_one_work_leaves_the_others_alone(presets):
    answers = speak(presets, [preset_work(0), preset_work(1)], progress=lambda key, frames: key != "w0" or frames < 2)
    assert (answers["w0"].finish_reason, answers["w0"].frames) == ("cancelled", 2)
    undisturbed = speak(presets, [preset_work(8), preset_work(1)])["w1"]
    np.testing.assert_allclose(answers["w1"].waveform, undisturbed.waveform, atol=1e-5)


def test_a_long_text_is_spoken_in_pieces_and_joined(presets):
    pieces = pieces_of(LONG_TEXT, "english")
    answer = speak(presets, [preset_work(0, text=LONG_TEXT, max_seconds=4.0)])["w0"]
    pauses = sum(round(piece.pause_after_s * 24_000) for piece in pieces[:-1])
    assert len(pieces) > 1
    assert len(answer.waveform) == answer.frames * SAMPLES_PER_FRAME + pauses
    assert answer.frames <= 4.0 * 12.5


def test_marks_alone_make_no_piece():
    text = f"{LONG_TEXT} * * * {'…  ' * 30} {LONG_TEXT}\n\n---\n\n!!!"
    pieces = pieces_of(text, "english")
    assert len(pieces) > 1
    assert all(any(character.isalnum() for character in piece.text) for piece in pieces)


def test_cancelling_a_long_text_ends_all_its_pieces(presets):
    work = [preset_work(0, text=LONG_TEXT * 3, max_seconds=20.0), preset_work(1)]
    answers = speak(presets, work, progress=lambda key, frames: key != "w0" or frames < 6)
    assert answers["w0"].finish_reason == "cancelled"
    assert answers["w1"].finish_reason != "cancelled"


def test_control_tokens_in_a_text_are_spoken_as_text():
    assert as_plain_text("a<|im_end|>b", ["<|im_end|>"]) == "a< |im_end|>b"


def test_sampling_of_a_job_is_checked(presets):
    answers = speak(presets, [preset_work(0, sampling={"temprature": 1.0}), preset_work(1, sampling={"top_p": 2.0})])
    assert {answer.code for answer in answers.values()} == {"invalid-input"}


def test_each_seed_designs_another_voice_and_each_again_the_same():
    engine = engine_of("voice_design")
    work = [
        SpeechWork(id=str(seed), text="Hi.", voice=DescribedVoice(description="Calm."), seed=seed, max_seconds=0.5)
        for seed in (1, 2, 3)
    ]
    first, second = speak(engine, work), speak(engine, work)
    assert engine.facts().abilities == ("design", "instruct")
    for key in first:
        np.testing.assert_array_equal(first[key].waveform, second[key].waveform)
    assert not np.array_equal(first["1"].waveform, first["2"].waveform)


def test_a_locked_voice_speaks_as_the_recording_it_was_made_from():
    engine = engine_of("base")
    recording = audio("ref_short.wav")[0]
    lock = engine.lock(LockWork(id="lock", transcript="Ah.", waveform=recording, language="english"))
    voice = LockedVoice(prompt=lock.prompt, prompt_sha256=hashlib.sha256(lock.prompt).hexdigest())
    work = [SpeechWork(id="line", text="Hello.", voice=voice, seed=5, language="english", max_seconds=0.6)]
    assert lock.facts == {"embedding_size": 48, "frames": 4, "codebooks": 16}
    assert lock.speaker_embedding.shape == (48,)
    np.testing.assert_array_equal(speak(engine, work)["line"].waveform, speak(engine, work)["line"].waveform)


def test_only_base_models_lock_voices(presets):
    with pytest.raises(UnsupportedRequest, match="base"):
        presets.lock(LockWork(id="lock", transcript="Ah.", waveform=audio("ref_short.wav")[0]))


def test_facts_name_the_weights_and_how_they_are_computed(presets):
    facts = presets.facts()
    assert len(facts.model_fingerprint) == 64
    assert (facts.dtype, facts.batch, facts.quantization) == ("float32", 4, None)
    assert "ono_anna" in facts.presets
    assert facts.languages == tuple(name for name in facts.languages if "dialect" not in name)


def test_a_small_memory_limit_makes_the_batch_small_and_not_the_engine_fail():
    engine = open_qwen3_tts(REFERENCE / "custom_voice", model="m", dtype=None, batch=8, memory_limit_bytes=1)
    assert engine.facts().batch == 1


def test_who_computes_can_be_chosen_and_is_a_fact():
    engine = open_qwen3_tts(
        REFERENCE / "custom_voice", model="m", dtype=None, batch=2, memory_limit_bytes=None, backend="mlx"
    )
    details = engine.facts().details
    assert (details["formulation"], details["codec"]) == ("mlx", "mlx")
    assert details["blas"] == (blas.loaded_blas().name if compute.mlx_device() == "cpu" else None)


@pytest.mark.parametrize(("free_bytes", "warnings"), [(None, 0), (1 << 40, 0), (1000, 1)])
def test_a_device_with_too_little_memory_is_a_warning_by_default(free_bytes, warnings):
    found = check_device_memory(REFERENCE / "base", free_bytes, factor=1.5, policy="warn")
    assert len(found) == warnings
    assert all("(device)" in warning for warning in found)


def test_a_device_with_too_little_memory_is_a_refusal_when_the_setting_says_so():
    with pytest.raises(NotEnoughMemory, match="device"):
        check_device_memory(REFERENCE / "base", 1000, factor=1.5, policy="refuse")


class Feed:
    """Work as the engine process feeds it: `live` waits beside it from the start."""

    def __init__(self, work, *, live=()):
        self.work, self.live = iter(work), list(live)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.work)

    def next_live(self):
        return self.live.pop(0) if self.live else None


def sound_of(outcomes, key):
    return np.concatenate([one.waveform for one in outcomes if one.id == key])


@pytest.mark.parametrize("text", ["Hello.", LONG_TEXT], ids=["one piece", "several pieces"])
def test_live_work_comes_in_chunks_that_together_are_its_line(presets, text):
    whole = speak(presets, [preset_work(0, text=text, max_seconds=4.0)])["w0"]
    work = preset_work(0, text=text, max_seconds=4.0, live=True)
    outcomes = list(presets.speak(iter([work]), progress=lambda _id, _frames: True))
    chunks = [one for one in outcomes if isinstance(one, SpeechPiece)]
    assert chunks[0].waveform.size == 4 * SAMPLES_PER_FRAME
    assert max(chunk.waveform.size for chunk in chunks) <= 25 * SAMPLES_PER_FRAME
    assert outcomes[-1].waveform.size == 0
    np.testing.assert_allclose(sound_of(outcomes, "w0"), whole.waveform, atol=1e-4)


def test_a_live_line_is_heard_before_the_batch_beside_it_has_ended(presets):
    work = [preset_work(0, text=LONG_TEXT, max_seconds=8.0), preset_work(1, live=True)]
    outcomes = list(presets.speak(iter(work), progress=lambda _id, _frames: True))
    assert [one.id for one in outcomes if isinstance(one, SpeechPiece)] == ["w1"] * len(outcomes[:-2])
    assert outcomes[-1].id == "w0"


def test_live_work_goes_before_the_further_pieces_of_a_long_text():
    engine = engine_of("custom_voice", batch=1)
    feed = Feed([preset_work(0, text=LONG_TEXT, max_seconds=4.0)], live=[preset_work(1, live=True)])
    done = [one.id for one in engine.speak(feed, progress=lambda _id, _frames: True) if isinstance(one, SpeechDone)]
    assert done == ["w1", "w0"]
