"""Recordings become the official codes, mel spectrograms and speaker embeddings."""

from dataclasses import replace

import numpy as np
import pytest

from models.checkpoint_format.fit import LoadErrors
from models.qwen3_tts.checkpoint.checkpoint import read_checkpoint
from models.qwen3_tts.checkpoint.tensor_file import DeferredReads
from models.qwen3_tts.codec.mel import log_mel
from models.qwen3_tts.codec.ops import ops_named
from models.qwen3_tts.codec.weights import load_quantizers
from tests.models.qwen3_tts.codec.loaded import load_codec, load_speaker_encoder
from tests.reference import REFERENCE, assert_close, audio, call, cases, golden, info

FEATURE_ATOL = 1e-4
FOLDER = REFERENCE / "base" / "speech_tokenizer"
SINGLE_PROMPTS = [case for case in cases("base", "prompt") if isinstance(call("base", case)["ref_audio"], str)]


@pytest.fixture(scope="module", params=("numpy", "mlx"))
def codec(request):
    return load_codec(FOLDER, ops=ops_named(request.param))


def waveform_of(case):
    recorded = golden("base", case)
    if "audio_24k.0" in recorded:
        return recorded["audio_24k.0"]
    return audio(call("base", case)["ref_audio"])[0]


@pytest.mark.parametrize("case", SINGLE_PROMPTS)
def test_a_recording_becomes_the_official_codes(codec, case):
    np.testing.assert_array_equal(codec.encode(waveform_of(case)), golden("base", case)["ref_codes.0"])


@pytest.mark.parametrize("case", SINGLE_PROMPTS)
def test_every_codebook_of_the_encoder_agrees(codec, case):
    reads, errors = DeferredReads(), LoadErrors()
    config = replace(codec.config, encoder_valid_num_quantizers=32)
    quantizers = load_quantizers(config, read_checkpoint(FOLDER), what="the golden", reads=reads, errors=errors)
    errors.raise_if_any()
    reads.finish()
    vectors = codec.encoder(waveform_of(case), codec.ops)
    codes = np.concatenate([quantizer(vectors) for quantizer in quantizers], axis=1)
    np.testing.assert_array_equal(codes.T, golden("base", case)["codes_all_quantizers"][0])


@pytest.mark.parametrize("case", SINGLE_PROMPTS)
def test_every_stage_of_the_encoder_agrees(codec, case):
    recorded = golden("base", case)
    convolved = codec.encoder.run_convolutions(waveform_of(case), codec.ops)
    attended = codec.encoder.encoder_transformer(convolved, codec.ops)
    halved = codec.encoder.downsample(attended, codec.ops)
    stages = {
        "enc_conv": convolved.swapaxes(1, 2),
        "enc_transformer": attended,
        "enc_downsample": halved.swapaxes(1, 2),
    }
    for name, ours in stages.items():
        assert_close(codec.ops.to_numpy(ours), recorded[name], atol=FEATURE_ATOL, what=f"{case} {name}")


@pytest.mark.parametrize("case", cases("base", "codec"))
def test_a_round_trip_starts_from_the_official_codes(codec, case):
    if "audio" in call("base", case):
        ours = codec.encode(audio(call("base", case)["audio"])[0])
        np.testing.assert_array_equal(ours, golden("base", case)["codes.0"])


@pytest.fixture(scope="module", params=("numpy", "mlx"))
def speaker_encoder(request):
    return load_speaker_encoder(REFERENCE / "base", ops=ops_named(request.param))


CLIPS = [(case, item) for case in cases("base", "prompt") for item in range(len(info("base", case)["ref_frames"]))]


def clip(case, item):
    recorded = golden("base", case)
    if f"audio_24k.{item}" in recorded:
        return recorded[f"audio_24k.{item}"]
    names = call("base", case)["ref_audio"]
    return audio(names if isinstance(names, str) else names[item])[0]


@pytest.mark.parametrize(("case", "item"), CLIPS)
def test_mel_spectrograms_agree(case, item):
    assert_close(log_mel(clip(case, item)), golden("base", case)[f"mel.{item}"], atol=2e-3, what=f"{case} mel")


@pytest.mark.parametrize(("case", "item"), CLIPS)
def test_speaker_embeddings_agree(speaker_encoder, case, item):
    ours = speaker_encoder.embed(clip(case, item))
    assert_close(ours, golden("base", case)[f"spk_embedding.{item}"], atol=1e-4, what=f"{case} speaker")


def test_every_block_of_the_speaker_encoder_agrees(speaker_encoder):
    recorded = golden("base", "prompt_short")
    ops = speaker_encoder.ops
    value = ops.from_numpy(recorded["mel.0"][None])
    for index, block in enumerate(speaker_encoder.network.blocks):
        value = block(value, ops)
        ours = ops.to_numpy(value.swapaxes(1, 2))
        assert_close(ours, recorded[f"speaker_block{index}.0"], atol=1e-4, what=f"block {index}")
