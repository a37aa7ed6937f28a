"""The codec computes what the official package computed: goldens of every stage, by both backends."""

import functools

import numpy as np
import pytest

from models.qwen3_tts.codec.ops import ops_named
from tests.models.qwen3_tts.codec.loaded import load_codec
from tests.reference import REFERENCE, assert_close, call, cases, golden, info, recorded_windows

WAVEFORM_ATOL = 2e-5
SAMPLES_PER_FRAME = 1920


@pytest.fixture(scope="module", params=("numpy", "mlx"))
def codec(request):
    return load_codec(REFERENCE / "base" / "speech_tokenizer", ops=ops_named(request.param))


def assert_wave_matches(ours, recorded, *, case, what):
    frames = len(ours) // SAMPLES_PER_FRAME
    windows = [
        ours[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME]
        for first, last in recorded_windows(case, frames=frames)
    ]
    assert_close(np.concatenate(windows), recorded, atol=WAVEFORM_ATOL, what=what)


def waves(checkpoint, case):
    """Each item of a case: all codes decoded together, the spoken ones among them, and the recorded samples."""
    arrays = golden(checkpoint, case)
    for item in range(len(info(checkpoint, case)["frames"])):
        spoken = arrays[f"codes.{item}"]
        yield item, arrays.get(f"decode_codes.{item}", spoken), spoken, arrays.get(f"wave.{item}")


@pytest.mark.parametrize("case", cases("base", "codec"))
def test_decoding_gives_the_official_samples(codec, case):
    for item, codes, _, recorded in waves("base", case):
        if codec.ops.name == "mlx" and len(codes) > 40:
            pytest.skip("MLX's convolutions are slow on a CPU; the shorter cases take the same path")
        chunk_frames = 300 if len(codes) > 300 else None
        ours = codec.decode(codes, chunk_frames=chunk_frames)
        assert_wave_matches(ours, recorded, case=call("base", case), what=f"{case} {item}")


SPOKEN = [
    (checkpoint, case)
    for checkpoint in ("base", "voice_design", "custom_voice")
    for case in cases(checkpoint, "tts")
    if call(checkpoint, case).get("wave", "full") != "none"
]


@pytest.fixture(scope="module")
def codecs():
    """One codec a checkpoint, for as long as the tests of this file run."""
    return functools.cache(lambda checkpoint: load_codec(REFERENCE / checkpoint / "speech_tokenizer"))


@pytest.mark.parametrize(("checkpoint", "case"), SPOKEN, ids=["/".join(pair) for pair in SPOKEN])
def test_speech_is_cut_exactly_behind_the_reference(codecs, checkpoint, case):
    codec = codecs(checkpoint)
    for item, codes, spoken, recorded in waves(checkpoint, case):
        reference = codes[: len(codes) - len(spoken)]
        ours, _ = codec.decode_next(spoken, codec.state(reference if len(reference) else None))
        assert_wave_matches(ours, recorded, case=call(checkpoint, case), what=f"{case} {item}")
