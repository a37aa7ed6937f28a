"""Opening checkpoints: lazily, by what the files say of themselves, and strictly."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest

from models.checkpoint_format.files import MLX_LAYOUT, PYTORCH_LAYOUT
from models.checkpoint_format.fit import Quantization, packed_shape
from models.errors import UnsupportedCheckpoint
from models.qwen3_tts.checkpoint.checkpoint import read_checkpoint
from tests.reference import REFERENCE


def write_folder(folder: Path, *, config: dict[str, object] | None = None, stated: str | None = "pt") -> Path:
    (folder / "config.json").write_text(json.dumps(config or {}))
    metadata = {"format": stated} if stated else {}
    mx.save_safetensors(str(folder / "model.safetensors"), {"a": mx.ones((2, 3))}, metadata=metadata)
    return folder


def test_opening_a_checkpoint_reads_no_tensor():
    before_bytes = mx.get_active_memory()
    checkpoint = read_checkpoint(REFERENCE / "base")
    assert checkpoint.layout == PYTORCH_LAYOUT
    assert checkpoint.tensors["talker.model.text_embedding.weight"].shape == (720, 64)
    assert mx.get_active_memory() == before_bytes


@pytest.mark.parametrize(("stated", "layout"), [("pt", PYTORCH_LAYOUT), (None, PYTORCH_LAYOUT), ("mlx", MLX_LAYOUT)])
def test_the_layout_is_what_the_file_says(tmp_path, stated, layout):
    assert read_checkpoint(write_folder(tmp_path, stated=stated)).layout == layout


def test_a_file_of_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UnsupportedCheckpoint, match="'tf'"):
        read_checkpoint(write_folder(tmp_path, stated="tf"))


def test_shards_are_joined_by_their_index(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-1.safetensors")
    mx.save_safetensors(str(tmp_path / "model-2.safetensors"), {"b": mx.zeros((1,))}, metadata={"format": "pt"})
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert sorted(read_checkpoint(tmp_path).tensors) == ["a", "b"]


def test_a_tensor_that_the_index_promises_and_the_shard_lacks_is_named(tmp_path):
    write_folder(tmp_path)
    index = {"weight_map": {"a": "model.safetensors", "gone": "model.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnsupportedCheckpoint, match="lacks gone"):
        read_checkpoint(tmp_path)


def test_an_index_may_not_lead_out_of_the_folder(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(UnsupportedCheckpoint, match="not a file name"):
        read_checkpoint(tmp_path)


def test_a_file_cut_short_is_refused_before_it_is_used(tmp_path):
    file = write_folder(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UnsupportedCheckpoint, match="header says"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]"], ids=["empty", "noise", "list"])
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    (write_folder(tmp_path) / "model.safetensors").write_bytes(content)
    with pytest.raises(UnsupportedCheckpoint):
        read_checkpoint(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnsupportedCheckpoint, match="neither"):
        read_checkpoint(tmp_path)


def test_quantization_is_stated_by_the_config_never_guessed(tmp_path):
    write_folder(tmp_path, config={"quantization": {"bits": 4, "group_size": 64, "x": {"bits": 8, "group_size": 32}}})
    tensors = {"x.scales": mx.ones((1,)), "y.scales": mx.ones((1,)), "z.weight": mx.ones((1,))}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), tensors)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.quantization_of("x") == Quantization(bits=8, group_size=32)
    assert checkpoint.quantization_of("y") == Quantization(bits=4, group_size=64)
    assert checkpoint.quantization_of("z") is None


def test_packed_shapes_are_those_that_mlx_writes():
    weight, scales, biases = mx.quantize(mx.ones((8, 192)), group_size=64, bits=6)
    expected = packed_shape((8, 192), Quantization(bits=6, group_size=64))
    assert expected == {"weight": weight.shape, "scales": scales.shape, "biases": biases.shape}
