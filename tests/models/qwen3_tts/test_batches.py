"""Rows share a batch without sharing anything else: texts, voices, lengths, draws, ends."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from models.qwen3_tts import Sampling, SpeechRequest
from models.qwen3_tts.network.code_predictor import CodePredictor
from models.qwen3_tts.network.generate import BatchGenerator
from models.qwen3_tts.network.kv_cache import SlottedKVCache
from models.qwen3_tts.prompt.prompt import prefill_groups, shared_prefix
from tests.models.qwen3_tts.speaking import model, requests_of

GREEDY = Sampling.greedy()
DRAWN = Sampling(temperature=1.0, top_k=20, predictor_temperature=0.8, predictor_top_k=10)
WARMER = dataclasses.replace(DRAWN, temperature=1.4, predictor_temperature=1.5)
NUCLEUS = Sampling(temperature=1.2, top_k=0, top_p=0.8, repetition_penalty=1.3, predictor_top_p=0.5)
SPEAKERS = ("ryan", "vivian", "eric", "dylan", "serena", "aiden", "sohee")


def mixed_rows():
    """Seven rows, no two alike in text, voice, length, layout, sampling or seed."""
    return [
        SpeechRequest(
            "Hello there, you. " * (number % 3 + 1),
            language=("auto", "english", "chinese")[number % 3],
            speaker=speaker,
            instruct="Whisper." if number % 2 else None,
            interleave_text=bool(number % 2),
            sampling=(GREEDY, DRAWN, NUCLEUS)[number % 3],
            seed=number,
            max_frames=3 + number,
        )
        for number, speaker in enumerate(SPEAKERS)
    ]


@pytest.fixture(scope="module")
def alone():
    return [model("custom_voice").synthesize(request) for request in mixed_rows()]


def test_rows_that_come_and_go_are_computed_by_what_was_compiled_for_their_number(monkeypatch):
    speaking = model("custom_voice", "mlx-fast")
    rows = [dataclasses.replace(row, sampling=DRAWN) for row in mixed_rows()]
    codes = {index: speech.codes for index, speech in speaking.synthesize_batch(rows, batch=3)}
    alone = [speaking.synthesize(row).codes for row in rows]
    traced = []
    predict = CodePredictor.predict_frame
    monkeypatch.setattr(CodePredictor, "predict_frame", lambda self, *given: traced.append(1) or predict(self, *given))
    again = [dataclasses.replace(row, sampling=WARMER) for row in rows]
    warmer = {index: speech.codes for index, speech in speaking.synthesize_batch(again, batch=3)}
    assert not traced or not speaking.network.predictor.ops.fused
    for index, row in enumerate(again):
        np.testing.assert_array_equal(codes[index], alone[index])
        np.testing.assert_array_equal(warmer[index], model("custom_voice", "mlx").synthesize(row).codes)
    assert any(not np.array_equal(codes[index], warmer[index]) for index in codes)


@pytest.mark.parametrize("batch", [3, 16])
def test_mixed_rows_speak_as_they_do_alone(alone, batch):
    together = dict(model("custom_voice").synthesize_batch(mixed_rows(), batch=batch))
    for index, speech in enumerate(alone):
        np.testing.assert_array_equal(together[index].codes, speech.codes)
        assert together[index].finish_reason == speech.finish_reason
        np.testing.assert_allclose(together[index].waveform, speech.waveform, atol=1e-4)


MORE = pytest.mark.slow  # of the same


@pytest.mark.parametrize(
    ("backend", "batch"),
    [("mlx", 7), ("mlx-fast", 2), pytest.param("mlx", 2, marks=MORE), pytest.param("mlx-fast", 7, marks=MORE)],
)
def test_launching_ahead_changes_nothing(backend, batch, monkeypatch):
    speaker = model("custom_voice", backend)
    expected = dict(speaker.synthesize_batch(mixed_rows(), batch=batch))
    monkeypatch.setattr(speaker, "pipelined", True)
    for index, speech in speaker.synthesize_batch(mixed_rows(), batch=batch):
        np.testing.assert_array_equal(speech.codes, expected[index].codes)


@pytest.mark.parametrize("backend", ["mlx", "mlx-fast"])
def test_every_backend_speaks_the_same_codes_greedily(backend):
    requests = [dataclasses.replace(row, sampling=GREEDY) for row in mixed_rows()]
    expected = dict(model("custom_voice").synthesize_batch(requests, batch=3))
    for index, speech in model("custom_voice", backend).synthesize_batch(requests, batch=3):
        np.testing.assert_array_equal(speech.codes, expected[index].codes)


@pytest.mark.parametrize("backend", ["mlx"])
def test_mixed_rows_of_mlx_speak_as_they_do_alone(backend):
    speaker, rows = model("custom_voice", backend), mixed_rows()[:4]
    together = dict(speaker.synthesize_batch(rows, batch=3))
    for index, row in enumerate(rows):
        np.testing.assert_array_equal(together[index].codes, speaker.synthesize(row).codes)


def test_rows_are_pulled_only_when_one_is_free():
    pulled, finished_when_pulled = [], {}
    finished = []

    def requests():
        for number, request in enumerate(mixed_rows()):
            pulled.append(number)
            finished_when_pulled[number] = len(finished)
            yield request

    for index, _ in model("custom_voice").synthesize_batch(requests(), batch=3):
        finished.append(index)
    assert all(finished_when_pulled[number] >= number - 2 - 1 for number in pulled)
    assert finished_when_pulled[6] >= 3


def test_nothing_waiting_now_is_asked_again_after_the_next_frame(alone):
    rows = mixed_rows()

    def requests():
        yield None
        yield rows[6]
        yield from [None] * 5
        yield rows[0]
        yield None
        yield rows[1]

    speeches = [speech for _, speech in sorted(model("custom_voice").synthesize_batch(requests(), batch=4))]
    for speech, number in zip(speeches, (6, 0, 1), strict=True):
        np.testing.assert_array_equal(speech.codes, alone[number].codes)


def test_a_row_is_cancelled_alone(alone):
    def progress(index, frames):
        return not (index == 5 and frames == 3)

    together = dict(model("custom_voice").synthesize_batch(mixed_rows(), batch=4, progress=progress))
    assert (together[5].finish_reason, together[5].codes.shape) == ("cancelled", (3, 16))
    assert len(together[5].waveform) == 3 * 1920
    np.testing.assert_array_equal(together[5].codes, alone[5].codes[:3])
    for index in (0, 1, 2, 3, 4, 6):
        np.testing.assert_array_equal(together[index].codes, alone[index].codes)


def test_an_end_of_iteration_in_progress_is_no_end_of_the_batch():
    def progress(*_):
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(model("custom_voice").synthesize_batch(mixed_rows()[:2], progress=progress))


def test_prompts_as_embeddings_are_contiguous():
    for array in model("custom_voice").prefill(mixed_rows()[1]):
        assert (array.dtype, array.ndim, array.flags.c_contiguous) == (np.float32, 2, True)


def test_leaving_a_batch_early_leaves_nothing_behind(alone):
    speaker = model("custom_voice")
    speeches = speaker.synthesize_batch(mixed_rows(), batch=7)
    next(speeches)
    speeches.close()
    again = speaker.synthesize(mixed_rows()[2])
    np.testing.assert_array_equal(again.codes, alone[2].codes)


def test_memory_does_not_grow_with_the_lines_spoken():
    speaker = model("custom_voice")
    rows = [dataclasses.replace(row, max_frames=2) for row in mixed_rows()]
    used = []
    for _ in range(3):
        for _ in speaker.synthesize_batch(rows * 2, batch=4):
            pass
        used.append(mx.get_active_memory() + mx.get_cache_memory())
    assert max(used[1:]) <= used[0] * 1.01


def test_cloned_and_plain_voices_share_a_batch():
    requests = [requests_of("base", case)[0] for case in ("icl_exact20", "icl_rep_1.5")]
    requests.append(SpeechRequest("Hello.", sampling=GREEDY, max_frames=7))
    together = dict(model("base").synthesize_batch(requests, batch=3))
    for index, request in enumerate(requests):
        np.testing.assert_array_equal(together[index].codes, model("base").synthesize(request).codes)


def test_equal_beginnings_of_prompts_are_found():
    speaker = model("voice_design")
    plans = [
        speaker.prepare(SpeechRequest(text, instruct="A calm, low voice." * 3, language="english")).plan
        for text in ("Good evening.", "Good morning.", "Bye.")
    ]
    instruct = len(speaker.tokenize("<|im_start|>user\n" + "A calm, low voice." * 3 + "<|im_end|>\n"))
    assert shared_prefix(plans[0], plans[1]) > instruct
    (group,) = prefill_groups(plans)
    assert sorted(group.members) == [0, 1, 2]
    assert instruct < group.shared < min(map(len, plans))


def test_voices_with_other_speaker_embeddings_share_no_more_than_what_stands_before_them():
    first, second = (model("base").prepare(requests_of("base", "icl_batch_two_refs")[index]).plan for index in (0, 1))
    assert shared_prefix(first, second) <= first.speaker_at
    assert shared_prefix(first, first) == len(first)


def test_equal_prompts_with_other_seeds_speak_as_they_do_alone():
    speaker = model("voice_design")
    requests = [
        SpeechRequest("Good evening.", instruct="A calm voice. " * 4, sampling=DRAWN, seed=seed, max_frames=6)
        for seed in range(3)
    ]
    together = dict(speaker.synthesize_batch(requests, batch=3))
    for index, request in enumerate(requests):
        np.testing.assert_array_equal(together[index].codes, speaker.synthesize(request).codes)
    assert len({speech.codes.tobytes() for speech in together.values()}) == 3


def test_positions_of_long_rows_are_given_back_when_these_are_gone():
    cache = SlottedKVCache(layers=2, kv_heads=1, head_dim=2, dtype=mx.float32)
    cache.reserve(slots=2, positions=900)
    cache.layers[1][1, :, :100] = 7
    cache.reserve(slots=1, positions=600)
    assert (cache.slots, cache.positions) == (2, 1024)
    cache.reserve(slots=1, positions=100)
    assert (cache.slots, cache.positions, cache.layers[1].shape) == (2, 128, (2, 2, 128, 2))
    assert mx.all(cache.layers[1][1, :, :100] == 7).item()


def test_the_compiled_step_is_the_plain_one():
    network = model("custom_voice", "mlx-fast").network
    talker, codes = network.talker, mx.arange(48).reshape(3, 16) % 60
    text, states = mx.ones((1, talker.config.hidden_size)), []
    for positions in ([40, 7, 130], [40, 40, 40]):
        caches = [talker.make_cache(), talker.make_cache()]
        for cache in caches:
            cache.reserve(slots=4, positions=131)
            cache.layers = [mx.random.normal(layer.shape, key=mx.random.key(1)) for layer in cache.layers]
        hidden, layers = network.step.fixed(codes, text, mx.array(positions, dtype=mx.uint32), caches[0].layers)
        plain = network.step.plain(codes, text, cache=caches[1], positions=positions)
        np.testing.assert_allclose(np.array(hidden), np.array(plain), atol=1e-5)
        states.append(all(mx.allclose(*pair, atol=1e-5).item() for pair in zip(layers, caches[1].layers, strict=True)))
    assert states == [True, True]


def test_the_cache_grows_only_by_whole_steps_and_is_given_back():
    speaker = model("custom_voice")
    generator: BatchGenerator = speaker.make_generator(3)
    rows = speaker._rows(mixed_rows()[:3], None, {})
    frames = generator.frames(rows)
    next(frames)
    assert (generator.cache.slots, generator.cache.positions) == (3, 128)
    for _ in frames:
        pass
    assert generator.cache.nbytes() == 0
