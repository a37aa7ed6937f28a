"""The Python API: what is asked, what comes back, and what is refused."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from models.errors import (
    LanguageNotSpoken,
    PromptModelMismatch,
    UnknownSpeaker,
    UnsupportedCheckpoint,
    UnsupportedRequest,
)
from models.qwen3_tts import ClonePrompt, Sampling, SpeechRequest, load_speech_model
from models.qwen3_tts.prompt.request import speaker_of
from registry.errors import InvalidInput
from tests.checkpoints import write_checkpoint
from tests.models.qwen3_tts.speaking import model, recorded_prompt, requests_of
from tests.reference import audio

GREEDY = Sampling.greedy()
DRAWN = Sampling(temperature=1.0, top_k=0, predictor_temperature=1.0, predictor_top_k=0)


def preset(text="Hello world.", **details):
    return SpeechRequest(text, **{"speaker": "vivian", "language": "english", "max_frames": 6, **details})


def test_variants_speakers_and_languages_are_those_of_the_checkpoint():
    assert model("base").variant == "base"
    assert model("base").speakers == ()
    assert "ono_anna" in model("custom_voice").speakers
    assert "english" in model("voice_design").languages
    assert not any("dialect" in name for name in model("custom_voice").languages)


def test_speech_is_codes_and_their_sound():
    speech = model("custom_voice").synthesize(preset(seed=3), GREEDY)
    assert (speech.codes.shape, speech.codes.dtype, speech.codes.flags.c_contiguous) == ((6, 16), np.int32, True)
    assert (speech.waveform.shape, speech.waveform.dtype) == ((6 * 1920,), np.float32)
    assert (speech.seed, speech.finish_reason) == (3, "length")


@pytest.mark.parametrize("name", ["anna", "ANNA", "ono_anna", "Ono_Anna"])
def test_anna_is_ono_anna(name):
    speaker = model("custom_voice")
    expected, _ = speaker.prefill(preset(speaker="ono_anna"))
    np.testing.assert_array_equal(speaker.prefill(preset(speaker=name))[0], expected)


@pytest.mark.parametrize("tag", ["de", "de-AT", "German", "GERMAN", "deu"])
def test_languages_are_taken_by_any_usual_name(tag):
    speaker = model("custom_voice")
    expected, _ = speaker.prefill(preset(language="german"))
    np.testing.assert_array_equal(speaker.prefill(preset(language=tag))[0], expected)


@pytest.mark.parametrize("tag", ["klingon", "beijing_dialect", "sichuan_dialect", "welsh", "no language at all"])
def test_any_other_language_is_an_error_that_lists_those_spoken(tag):
    with pytest.raises(LanguageNotSpoken, match="portuguese"):
        model("custom_voice").synthesize(preset(language=tag), GREEDY)


def test_a_speaker_is_found_by_the_name_that_a_fine_tuned_model_gave_it():
    talker = dataclasses.replace(
        model("custom_voice").config.talker_config, spk_id={"Maria Lopez": 1000, "Zoe\u0308": 1001}
    )
    assert speaker_of("maria lopez", talker) == "Maria Lopez"
    assert speaker_of("ZOË", talker) == "Zoe\u0308"


def test_an_unknown_speaker_is_a_value_error_that_names_the_nearest():
    with pytest.raises(UnknownSpeaker, match="ryan") as caught:
        model("custom_voice").synthesize(preset(speaker="ryen"), GREEDY)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("checkpoint", "request_"),
    [
        ("base", preset()),
        ("voice_design", preset()),
        ("custom_voice", SpeechRequest("Hi.")),
        ("custom_voice", preset(clone_prompt=recorded_prompt("icl_dot", 0))),
    ],
    ids=["preset on base", "preset on design", "no speaker", "clone on presets"],
)
def test_a_kind_of_voice_that_the_model_lacks_is_refused(checkpoint, request_):
    with pytest.raises(UnsupportedRequest):
        model(checkpoint).synthesize(request_, GREEDY)


def test_a_prompt_of_another_model_size_is_refused_by_name():
    prompt = ClonePrompt(np.ones(64, np.float32), None, None, model_size="1b7")
    with pytest.raises(PromptModelMismatch, match="1b7"):
        model("base").synthesize(SpeechRequest("Hi.", clone_prompt=prompt), GREEDY)


def test_cloning_needs_a_transcript_or_the_speaker_embedding_alone():
    recording = audio("ref_short.wav")[0]
    for nothing in (None, "", "  "):
        with pytest.raises(UnsupportedRequest, match="transcript"):
            model("base").make_clone_prompt(recording, nothing)
    prompt = model("base").make_clone_prompt(recording, None, x_vector_only=True)
    assert prompt.reference_codes is None
    with pytest.raises(UnsupportedRequest):
        model("voice_design").make_clone_prompt(recording, "Ah.")


def test_a_stored_prompt_speaks_bit_for_bit_as_the_audio_it_was_made_from():
    speaker = model("base")
    fresh = speaker.make_clone_prompt(audio("ref_short.wav")[0], "Ah.")
    stored = ClonePrompt.from_bytes(fresh.to_bytes())
    spoken = [
        speaker.synthesize(SpeechRequest("Hello.", clone_prompt=prompt, seed=4, max_frames=5), DRAWN)
        for prompt in (fresh, stored)
    ]
    np.testing.assert_array_equal(spoken[0].waveform, spoken[1].waveform)


def test_a_base_model_speaks_without_reference_and_with_all_text_first():
    speaker = model("base")
    prefill, trailing = speaker.prefill(SpeechRequest("Hello.", language="english"))
    interleaved, _ = speaker.prefill(SpeechRequest("Hello.", language="english", interleave_text=True))
    text = len(speaker.tokenize("Hello."))
    assert prefill.shape == (3 + 4 + 1 + text + 2, 48)  # role, prefix, start of text, text and its end, start of speech
    assert len(trailing) == 1
    assert len(interleaved) == 3 + 4 + 1 + 1
    assert len(speaker.synthesize(SpeechRequest("Hello.", max_frames=3), GREEDY).codes) == 3


def test_an_instruct_stands_before_an_unchanged_in_context_prompt():
    speaker, (plain,) = model("base"), requests_of("base", "icl_dot")
    before, trailing = speaker.prefill(plain)
    after, trailing_after = speaker.prefill(dataclasses.replace(plain, instruct="Whisper."))
    instruct = speaker.tokenize("<|im_start|>user\nWhisper.<|im_end|>\n")
    np.testing.assert_allclose(after[len(instruct) :], before, atol=1e-5)
    np.testing.assert_array_equal(trailing_after, trailing)


def test_small_preset_models_drop_an_instruct_and_say_so(tmp_path):
    small = load_speech_model(write_checkpoint(tmp_path, variant="custom_voice", model={"tts_model_size": "0b6"}))
    plain = small.synthesize(preset(max_frames=2), GREEDY)
    told = small.synthesize(preset(max_frames=2, instruct="Whisper."), GREEDY)
    np.testing.assert_array_equal(plain.codes, told.codes)
    assert plain.warnings == ()
    assert "dropped" in told.warnings[0]


def test_sampling_of_a_request_wins_over_that_of_the_call():
    speaker = model("custom_voice")
    own = speaker.synthesize(preset(seed=1, sampling=GREEDY), DRAWN)
    np.testing.assert_array_equal(own.codes, speaker.synthesize(preset(seed=1), GREEDY).codes)


def test_the_checkpoint_states_the_default_sampling():
    assert Sampling.defaults(model("base")) == Sampling(0.9, 50, 1.0, 1.05, 0.9, 50, 1.0)


def test_without_a_seed_one_is_drawn_and_told():
    speaker = model("custom_voice")
    first, second = (speaker.synthesize(preset(max_frames=3), DRAWN) for _ in range(2))
    again = speaker.synthesize(preset(max_frames=3, seed=np.int64(first.seed)), DRAWN)
    assert type(again.seed) is int
    assert first.seed != second.seed
    np.testing.assert_array_equal(first.codes, again.codes)


@pytest.mark.parametrize(
    "changed",
    [{"max_frames": 0}, {"max_frames": 2.5}, {"seed": "x"}, {"text": 5}, {"language": 5}, {"speaker": 3},
     {"instruct": 5}, {"clone_prompt": b"bytes"}, {"sampling": {"temperature": 1}}],
    ids=str,
)  # fmt: skip
def test_an_impossible_request_is_refused_when_it_is_made(changed):
    with pytest.raises(InvalidInput, match=next(iter(changed))):
        preset(**changed)


@pytest.mark.parametrize(
    "ask",
    [
        lambda speaker: speaker.synthesize(preset("half a pair: \ud83d")),
        lambda speaker: speaker.synthesize(preset(language="")),
        lambda speaker: speaker.synthesize("Hello."),
        lambda speaker: speaker.synthesize(preset(), {"temperature": 1}),
        lambda speaker: speaker.stream(preset(speaker="nobody")),
        lambda speaker: speaker.synthesize_batch(preset()),
        lambda speaker: speaker.synthesize_batch([preset()], batch=0),
        lambda speaker: speaker.synthesize_batch([preset()], batch="2"),
        lambda speaker: speaker.encode_audio("speech.wav"),
        lambda speaker: speaker.decode_codes([[1], [2, 3]]),
        lambda _: Sampling(top_k=float("nan")),
        lambda _: Sampling(temperature="hot"),
    ],
    ids=range(12),
)
def test_what_is_asked_wrongly_is_refused_at_once_as_a_value_error(ask):
    with pytest.raises(InvalidInput) as caught:
        ask(model("custom_voice"))
    assert isinstance(caught.value, ValueError)


def test_the_cap_follows_the_text_and_never_exceeds_the_checkpoints():
    speaker = model("custom_voice")
    short = speaker.prepare(preset("Hi.", max_frames=None)).max_frames
    long = speaker.prepare(preset("Hi there. " * 20, max_frames=None)).max_frames
    endless = speaker.prepare(preset("Hi there. " * 20_000, max_frames=None)).max_frames
    assert short < long < endless == 8191
    assert speaker.prepare(preset(max_frames=100_000)).max_frames == 8191


def test_streamed_chunks_are_short_and_together_the_whole():
    speaker, (request,) = model("base"), requests_of("base", "icl_streaming")
    request = dataclasses.replace(request, max_frames=32)
    chunks = list(speaker.stream(request))
    whole = speaker.synthesize(request).waveform
    assert [len(chunk) // 1920 for chunk in chunks] == [4, 8, 16, 4]
    np.testing.assert_allclose(np.concatenate(chunks), whole, atol=1e-4 * np.abs(whole).max())


def test_a_model_with_other_dimensions_speaks_alone_as_in_a_batch(tmp_path):
    groups = {"num_code_groups": 5}
    folder = write_checkpoint(
        tmp_path,
        variant="custom_voice",
        seed=3,
        talker={"num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 8, **groups},
        predictor={"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, **groups},
        decoder={"num_quantizers": 5},
        codec={"encoder_valid_num_quantizers": 5},
    )
    speaker = load_speech_model(folder)
    requests = [preset("Hello. " * count, max_frames=2 + count) for count in range(1, 5)]
    together = dict(speaker.synthesize_batch(requests, GREEDY, batch=3))
    for index, request in enumerate(requests):
        alone = speaker.synthesize(request, GREEDY)
        assert alone.codes.shape[1] == 5
        np.testing.assert_array_equal(together[index].codes, alone.codes)


def test_weights_that_are_no_floats_are_named(tmp_path):
    def whole_numbers(tensors):
        tensors["talker.model.norm.weight"] = tensors["talker.model.norm.weight"].astype(mx.int32)

    folder = write_checkpoint(tmp_path / "model")
    rewrite(folder / "model.safetensors", whole_numbers)
    with pytest.raises(UnsupportedCheckpoint, match=r"model\.norm\.weight holds int32"):
        load_speech_model(folder)


def rewrite(file, change):
    tensors = mx.load(str(file))
    change(tensors)
    mx.save_safetensors(str(file), tensors, metadata={"format": "pt"})


def test_one_error_names_what_does_not_fit_in_every_part(tmp_path):
    def of_the_model(tensors):
        tensors["speaker_encoder.stray"] = mx.zeros(1)
        tensors["talker.codec_head.weight"] = mx.zeros((3, 5))
        del tensors["talker.model.norm.weight"]

    def of_the_codec(tensors):
        tensors |= {"stray.weight": mx.zeros(1), "encoder.quantizer.stray": mx.zeros(1)}
        del tensors["decoder.decoder.0.conv.weight"]

    folder = write_checkpoint(tmp_path / "model")
    rewrite(folder / "model.safetensors", of_the_model)
    rewrite(folder / "speech_tokenizer" / "model.safetensors", of_the_codec)
    with pytest.raises(UnsupportedCheckpoint) as caught:
        load_speech_model(folder)
    for name in ("speaker_encoder.stray", "codec_head.weight (3, 5)", "model.norm.weight"):
        assert name.removeprefix("speaker_encoder.") in str(caught.value)
    for name in ("stray.weight", "encoder.quantizer.stray", "decoder.0.conv.weight"):
        assert name in str(caught.value)


@pytest.mark.parametrize("chunking", [{"chunk_frames": 0}, {"chunk_frames": 2.5}, {"context_frames": -1}])
def test_chunks_of_nothing_are_refused(chunking):
    with pytest.raises(InvalidInput, match="chunk_frames"):
        model("base").decode_codes(np.zeros((3, 16), np.int32), **chunking)


def test_a_recording_that_is_not_finite_has_no_speaker():
    with pytest.raises(InvalidInput, match="not finite"):
        model("base").speaker_embedding(np.full(24_000, np.nan, np.float32))
