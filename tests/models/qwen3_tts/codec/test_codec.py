"""The codec's promises: whole, pieces, stream and batch are one computation, and states never change."""

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from models.errors import InvalidReferenceAudio, UnsupportedCheckpoint, UnsupportedRequest
from models.qwen3_tts.codec.codec import batches
from models.qwen3_tts.codec.ops import ops_named
from registry.errors import InvalidInput
from tests.checkpoints import write_codec
from tests.models.qwen3_tts.codec.loaded import load_codec
from tests.reference import REFERENCE

SAME = 2e-6  # of samples in -1 … 1: sums in another order
FOLDER = REFERENCE / "base" / "speech_tokenizer"


def some_codes(frames, *, seed=0, codebooks=16, size=64):
    return np.random.default_rng(seed).integers(0, size, (frames, codebooks)).astype(np.int32)


@pytest.fixture(scope="module")
def codec():
    return load_codec(FOLDER, ops=ops_named("numpy"))


def streamed(codec, codes, steps, state=None):
    state = codec.state() if state is None else state
    pieces, start = [], 0
    for step in steps:
        waveform, state = codec.decode_next(codes[start : start + step], state)
        pieces.append(waveform)
        start += step
    assert start == len(codes)
    return np.concatenate(pieces), state


def test_a_stream_gives_the_samples_of_the_whole(codec):
    codes = some_codes(40)
    ours, _ = streamed(codec, codes, [1, 2, 25, 12])
    np.testing.assert_allclose(ours, codec.decode(codes), atol=SAME)


def test_plain_mlx_streams_the_samples_of_the_whole_too():
    codec = load_codec(FOLDER, ops=ops_named("mlx"))
    codes = some_codes(14)
    ours, _ = streamed(codec, codes, [1, 3, 10])
    np.testing.assert_allclose(ours, codec.decode(codes), atol=SAME)


def test_chunks_with_all_their_past_as_context_are_seamless(codec):
    codes = some_codes(30)
    np.testing.assert_allclose(codec.decode(codes, chunk_frames=7, context_frames=30), codec.decode(codes), atol=SAME)


def test_chunks_with_little_context_have_the_official_seams(codec):
    codes = some_codes(60)
    gap = np.abs(codec.decode(codes, chunk_frames=30, context_frames=5) - codec.decode(codes))
    assert gap[: 30 * 1920].max() <= SAME
    assert gap[30 * 1920 :].max() > 1e-3


def test_rows_of_any_lengths_decode_together_as_alone(codec):
    rows = [some_codes(frames, seed=frames) for frames in (9, 1, 26, 0, 9)]
    for codes, ours in zip(rows, codec.decode_rows(rows), strict=True):
        np.testing.assert_allclose(ours, codec.decode(codes), atol=SAME)
        assert len(ours) == len(codes) * 1920


def test_streams_at_different_places_go_on_together_as_alone(codec):
    codes = [some_codes(10, seed=seed) for seed in range(3)]
    states = [codec.state(), codec.state(codes[1][:4]), codec.state(codes[2][:1])]
    rows = [codes[0][:5], codes[1][4:9], codes[2][1:6]]
    together = codec.decode_next_rows(rows, states)
    for row, state, (waveform, after) in zip(rows, states, together, strict=True):
        alone, after_alone = codec.decode_next(row, state)
        np.testing.assert_allclose(waveform, alone, atol=SAME)
        following = some_codes(3, seed=9)
        np.testing.assert_allclose(
            codec.decode_next(following, after)[0], codec.decode_next(following, after_alone)[0], atol=SAME
        )


def test_a_state_can_be_gone_on_from_again_and_again(codec):
    codes = some_codes(12)
    state = codec.state(codes[:5])
    first, _ = codec.decode_next(codes[5:], state)
    codec.decode_next(some_codes(7, seed=1), state)
    again, _ = codec.decode_next(codes[5:], state)
    np.testing.assert_array_equal(first, again)
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.frames = None


def test_what_follows_a_reference_is_cut_on_the_exact_sample(codec):
    codes = some_codes(20)
    ours, _ = codec.decode_next(codes[1:], codec.state(codes[:1]))  # 1 of 20: the official division is inexact here
    np.testing.assert_allclose(ours, codec.decode(codes)[1920:], atol=SAME)


def test_nothing_decodes_to_nothing(codec):
    assert codec.decode(some_codes(0)).shape == (0,)
    waveform, state = codec.decode_next(some_codes(0), codec.state())
    assert waveform.shape == (0,)
    np.testing.assert_array_equal(codec.decode_next(some_codes(2), state)[0], codec.decode(some_codes(2)))


@pytest.mark.parametrize(
    "codes",
    [some_codes(3)[:, :15], some_codes(3)[0], some_codes(3) + 64, some_codes(3) - 64, some_codes(3).astype(float)],
    ids=["codebooks", "one-frame", "too-large", "negative", "floats"],
)
def test_impossible_codes_are_refused(codec, codes):
    with pytest.raises(InvalidInput):
        codec.decode(codes)


@pytest.mark.parametrize("samples", [1, 1919, 1920, 1921, 2400, 75 * 960, 75 * 960 + 1])
def test_audio_of_any_length_is_encoded(codec, samples):
    waveform = np.sin(np.arange(samples) / 20).astype(np.float32)
    codes = codec.encode(waveform)
    assert codes.shape == (-(-samples // 1920), 16)
    assert (codes.dtype, codes.flags.c_contiguous) == (np.int32, True)


@pytest.mark.parametrize(
    "waveform",
    [np.zeros(0, np.float32), np.zeros((5000, 2), np.float32), np.full(5000, np.nan, np.float32)],
    ids=["empty", "stereo", "nan"],
)
def test_impossible_audio_is_refused(codec, waveform):
    with pytest.raises(InvalidReferenceAudio):
        codec.encode(waveform)


def test_long_audio_is_encoded_in_pieces_as_in_one(monkeypatch):
    codec = load_codec(FOLDER)
    waveform = np.random.default_rng(0).normal(0, 0.1, 30_000).astype(np.float32)
    whole = codec.encoder(waveform, codec.ops)
    monkeypatch.setattr("models.qwen3_tts.codec.encoder.PIECE_POSITIONS", 3)
    monkeypatch.setattr("models.qwen3_tts.codec.encoder.ATTENTION_SCORES", 100)
    np.testing.assert_allclose(codec.encoder(waveform, codec.ops), whole, atol=1e-5)


OTHER_DIMENSIONS = {
    "gqa": {"decoder": {"num_key_value_heads": 2}},
    "one-kv-head": {"decoder": {"num_key_value_heads": 1}, "encoder": {"num_key_value_heads": 2}},
    "strides": {"decoder": {"upsample_rates": [6, 4, 2], "upsampling_ratios": [2]}},
    "rate-3": {"decoder": {"upsampling_ratios": [3, 2], "upsample_rates": [4, 3]}},
    "codebooks": {
        "decoder": {"num_quantizers": 5, "codebook_size": 32},
        "encoder": {"codebook_size": 32, "num_semantic_quantizers": 2},
        "codec": {"encoder_valid_num_quantizers": 5},
    },
    "window-1": {"decoder": {"sliding_window": 1}},
    "window-4": {"decoder": {"sliding_window": 4, "num_hidden_layers": 3}},
    "shortcut": {"encoder": {"use_conv_shortcut": True, "num_residual_layers": 2, "compress": 1}},
    "biased": {"decoder": {"attention_bias": True}, "encoder": {"attention_bias": True}},
    "no-projection": {"encoder": {"vector_quantization_hidden_dimension": 32, "codebook_dim": 32}},
    "no-halving": {"encoder": {"_frame_rate": 25}, "codec": {"encode_downsample_rate": 960}},
}


@pytest.mark.parametrize("name", OTHER_DIMENSIONS)
def test_other_dimensions_load_and_both_backends_agree(tmp_path, name):
    folder = write_codec(tmp_path / name, **OTHER_DIMENSIONS[name])
    ours, plain = (load_codec(folder, ops=ops_named(backend)) for backend in ("numpy", "mlx"))
    codes = some_codes(6, codebooks=ours.codebooks, size=32)
    np.testing.assert_allclose(ours.decode(codes), plain.decode(codes), atol=1e-5)
    whole, _ = streamed(ours, codes, [3, 1, 2])
    np.testing.assert_allclose(whole, ours.decode(codes), atol=SAME)
    assert len(whole) == 6 * ours.samples_per_frame
    waveform = np.random.default_rng(1).normal(0, 0.1, 9_000).astype(np.float32)
    np.testing.assert_array_equal(ours.encode(waveform), plain.encode(waveform))


def rewrite(folder, change):
    path = folder / "model.safetensors"
    tensors = {name: mx.array(np.array(value)) for name, value in mx.load(str(path)).items()}
    change(tensors)
    mx.save_safetensors(str(path), tensors, metadata={"format": "pt"})


def test_every_tensor_at_fault_is_named_in_one_error(tmp_path):
    folder = write_codec(tmp_path / "codec")

    def spoil(tensors):
        del tensors["decoder.decoder.5.alpha"], tensors["encoder.downsample.conv.weight"]
        tensors["decoder.extra.weight"] = mx.zeros((1,))
        tensors["decoder.pre_conv.conv.weight"] = tensors["decoder.pre_conv.conv.weight"].swapaxes(0, 1)

    rewrite(folder, spoil)
    with pytest.raises(UnsupportedCheckpoint) as caught:
        load_codec(folder)
    for name in ("decoder.decoder.5.alpha", "decoder.extra.weight", "decoder.pre_conv.conv.weight"):
        assert name in str(caught.value)


def test_a_codec_without_an_encoder_speaks_but_cannot_listen(tmp_path):
    codec = load_codec(write_codec(tmp_path / "codec", with_encoder=False))
    assert len(codec.decode(some_codes(2))) == 2 * 1920
    with pytest.raises(UnsupportedRequest):
        codec.encode(np.zeros(5000, np.float32))


def test_a_codec_in_mlx_layout_gives_the_same_samples(tmp_path, codec):
    folder = write_codec(tmp_path / "codec", seed=3)
    before = load_codec(folder, ops=codec.ops)
    transposed = ("upsample.0.0", "upsample.1.0", "block.1.conv")
    path = folder / "model.safetensors"
    tensors = {name: mx.array(np.array(value)) for name, value in mx.load(str(path)).items()}
    for name, value in tensors.items():
        if value.ndim == 3:
            expanding = name.startswith("decoder.") and any(part in name for part in transposed)
            tensors[name] = value.transpose(1, 2, 0) if expanding else value.swapaxes(1, 2)
    mx.save_safetensors(str(path), tensors, metadata={"format": "mlx"})
    after = load_codec(folder, ops=codec.ops)
    codes, waveform = some_codes(5), np.random.default_rng(1).normal(0, 0.1, 5_000).astype(np.float32)
    np.testing.assert_array_equal(before.decode(codes), after.decode(codes))
    np.testing.assert_array_equal(before.encode(waveform), after.encode(waveform))


def test_batches_cover_every_frame_of_every_row_once():
    lengths = [5, 0, 12, 12]
    covered = [[] for _ in lengths]
    for indices, start, frames in batches(lengths, at_once=8):
        assert len(indices) * frames <= 8
        for index in indices:
            covered[index] += range(start, start + frames)
    assert covered == [list(range(length)) for length in lengths]
