"""Recordings become the official codes, mel spectrograms and speaker embeddings."""

import mlx.core as mx
import numpy as np
import pytest

from models.qwen3_tts.codec import load_codec, read_lazily
from models.qwen3_tts.codec_weights import load_quantizers
from models.qwen3_tts.waveform_kernels import kernels_named
from tests.reference import REFERENCE, assert_close, audio, call, cases, golden

FEATURE_ATOL = 1e-4
FOLDER = REFERENCE / "base" / "speech_tokenizer"
SINGLE_PROMPTS = [case for case in cases("base", "prompt") if isinstance(call("base", case)["ref_audio"], str)]


@pytest.fixture(scope="module", params=("numpy", "mlx"))
def codec(request):
    return load_codec(FOLDER, kernels=kernels_named(request.param))


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
    stored, mlx_layout = read_lazily(FOLDER / "model.safetensors")
    quantizers = load_quantizers(codec.config, stored, mlx_layout=mlx_layout, where="the golden", codebooks=32)
    vectors = codec.encoder(waveform_of(case), codec.kernels)
    codes = np.concatenate([quantizer(vectors) for quantizer in quantizers], axis=1)
    np.testing.assert_array_equal(codes.T, golden("base", case)["codes_all_quantizers"][0])


@pytest.mark.parametrize("case", SINGLE_PROMPTS)
def test_every_stage_of_the_encoder_agrees(codec, case):
    recorded = golden("base", case)
    convolved = codec.encoder.convolve(waveform_of(case), codec.kernels)
    attended = codec.encoder.encoder_transformer(convolved)
    halved = codec.encoder.downsample(attended, codec.kernels)
    stages = {
        "enc_conv": convolved.swapaxes(1, 2),
        "enc_transformer": attended,
        "enc_downsample": halved.swapaxes(1, 2),
    }
    for name, ours in stages.items():
        assert_close(np.asarray(ours.astype(mx.float32)), recorded[name], atol=FEATURE_ATOL, what=f"{case} {name}")


@pytest.mark.parametrize("case", cases("base", "codec"))
def test_a_round_trip_starts_from_the_official_codes(codec, case):
    if "audio" in call("base", case):
        ours = codec.encode(audio(call("base", case)["audio"])[0])
        np.testing.assert_array_equal(ours, golden("base", case)["codes.0"])
