"""Quantised copies: the community's layout, only the linears, whole or not at all."""

import filecmp
import json

import mlx.core as mx
import numpy as np
import pytest

from models.checkpoint_format.files import file_header
from models.errors import UnsupportedCheckpoint
from models.qwen3_tts import Sampling, SpeechRequest, load_speech_model
from models.qwen3_tts.checkpoint.quantized import is_quantized
from models.qwen3_tts.quantize import quantize_checkpoint
from registry.errors import Conflict, InvalidInput
from tests.checkpoints import write_checkpoint

# Sizes that groups of 64 divide, which those of the tiny checkpoints are not.
WIDE = {
    "talker": {"hidden_size": 128, "intermediate_size": 192, "text_hidden_size": 64, "num_hidden_layers": 1},
    "predictor": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("plain") / "model", variant="base", **WIDE)


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_a_quantised_checkpoint_loads_and_speaks(plain, tmp_path, bits):
    folder = quantize_checkpoint(plain, tmp_path / "small", bits=bits)
    speech = load_speech_model(folder, "float32").synthesize(SpeechRequest("Hello.", max_frames=3), Sampling.greedy())
    assert len(speech.waveform) == len(speech.codes) * 1920 > 0


def test_eight_bits_stay_close_to_the_plain_numbers(plain, tmp_path):
    folder = quantize_checkpoint(plain, tmp_path / "small", bits=8)
    tensors = mx.load(str(folder / "model.safetensors"))
    path = "talker.model.layers.0.mlp.down_proj"
    packed = (tensors[f"{path}.{part}"] for part in ("weight", "scales", "biases"))
    ours = mx.dequantize(*packed, group_size=64, bits=8)
    theirs = mx.load(str(plain / "model.safetensors"))[f"{path}.weight"]
    np.testing.assert_allclose(np.array(ours), np.array(theirs), atol=2e-3)


def test_tables_norms_speaker_encoder_and_codec_are_kept(plain, tmp_path):
    folder = quantize_checkpoint(plain, tmp_path / "small", bits=4)
    before, after = (mx.load(str(each / "model.safetensors")) for each in (plain, folder))
    for name in ("talker.model.text_embedding.weight", "talker.model.norm.weight", "speaker_encoder.fc.bias"):
        np.testing.assert_array_equal(np.array(before[name]), np.array(after[name]))
    convolution = "speaker_encoder.blocks.0.conv.weight"
    np.testing.assert_array_equal(np.array(before[convolution].swapaxes(1, 2)), np.array(after[convolution]))
    same = filecmp.dircmp(plain / "speech_tokenizer", folder / "speech_tokenizer")
    assert not same.diff_files and not same.left_only


def test_the_copy_says_how_it_is_stored(plain, tmp_path):
    folder = quantize_checkpoint(plain, tmp_path / "small", bits=6)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["quantization"] == {"group_size": 64, "bits": 6, "mode": "affine"}
    header = file_header(folder / "model.safetensors")
    assert header["__metadata__"]["format"] == "mlx"
    index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
    assert set(index["weight_map"]) == header.keys() - {"__metadata__"}


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("talker.model.layers.0.self_attn.q_proj.weight", (64, 128), True),
        ("talker.model.layers.0.self_attn.q_proj.weight", (64, 96), False),
        ("talker.code_predictor.lm_head.3.weight", (64, 64), True),
        ("talker.codec_head.weight", (64, 64), True),
        ("talker.text_projection.linear_fc1.weight", (64, 64), True),
        ("talker.model.text_embedding.weight", (64, 64), False),
        ("talker.code_predictor.model.codec_embedding.3.weight", (64, 64), False),
        ("talker.model.layers.0.self_attn.q_norm.weight", (64,), False),
        ("speaker_encoder.fc.weight", (64, 64, 1), False),
    ],
)
def test_only_linears_whose_inputs_fill_whole_groups_are_packed(name, shape, expected):
    assert is_quantized(name, shape, group_size=64) is expected


@pytest.mark.parametrize("backend", ["llvm", "numpy", "mlx"])
@pytest.mark.parametrize(("dtype", "bits"), [("int8", 8), ("int4", 4)])
def test_quantised_while_loading_it_speaks_as_the_quantised_copy(plain, tmp_path, dtype, bits, backend):
    copy = load_speech_model(quantize_checkpoint(plain, tmp_path / "small", bits=bits), "float32", backend=backend)
    model = load_speech_model(plain, dtype, backend=backend)
    assert (model.quantized_to, model.quantization, model.dtype) == (dtype, f"{bits}-bit", "float32")
    assert copy.quantized_to is None
    request = SpeechRequest("Hello.", max_frames=3)
    ours, theirs = (each.synthesize(request, Sampling.greedy()) for each in (model, copy))
    np.testing.assert_array_equal(ours.codes, theirs.codes)
    np.testing.assert_array_equal(ours.waveform, theirs.waveform)


def test_a_quantised_checkpoint_stays_as_it_is_where_another_width_is_asked_for(plain, tmp_path):
    model = load_speech_model(quantize_checkpoint(plain, tmp_path / "small", bits=4), "int8")
    assert (model.quantized_to, model.quantization) == (None, "4-bit")


def test_weights_that_are_not_finite_are_refused_while_they_are_quantised(tmp_path):
    folder = write_checkpoint(tmp_path / "model", variant="base", dtype=mx.bfloat16, **WIDE)
    tensors = mx.load(str(folder / "model.safetensors"))
    name = "talker.model.layers.0.mlp.down_proj.weight"
    tensors[name][3, 5] = float("nan")
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, metadata={"format": "pt"})
    with pytest.raises(UnsupportedCheckpoint, match=name):
        load_speech_model(folder, "int4")


def test_other_widths_are_refused(plain, tmp_path):
    with pytest.raises(InvalidInput, match="8, 6, 4"):
        quantize_checkpoint(plain, tmp_path / "small", bits=5)


def test_a_folder_that_exists_is_left_alone(plain, tmp_path):
    with pytest.raises(Conflict):
        quantize_checkpoint(plain, tmp_path, bits=8)


def test_a_quantised_checkpoint_is_not_quantised_again(plain, tmp_path):
    folder = quantize_checkpoint(plain, tmp_path / "small", bits=8)
    with pytest.raises(UnsupportedCheckpoint, match="already"):
        quantize_checkpoint(folder, tmp_path / "smaller", bits=4)


def test_what_fails_leaves_nothing_behind(tmp_path):
    folder = write_checkpoint(
        tmp_path / "odd", variant="voice_design", talker={"hidden_size": 48, "text_hidden_size": 48}
    )
    with pytest.raises(UnsupportedCheckpoint, match="groups of 256"):
        quantize_checkpoint(folder, tmp_path / "small", bits=8, group_size=256)
    assert [each.name for each in tmp_path.iterdir()] == ["odd"]
