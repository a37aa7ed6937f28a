"""Tensors that NumPy reads itself: as MLX reads them, and never from a file that has changed."""

from __future__ import annotations

import os

import mlx.core as mx
import numpy as np
import pytest

from models.checkpoint_format.fit import LoadErrors
from models.errors import EngineFailure, UnsupportedCheckpoint
from models.qwen3_tts import Sampling, SpeechRequest, load_speech_model
from models.qwen3_tts.checkpoint.checkpoint import Tensors, read_checkpoint
from models.qwen3_tts.checkpoint.tensor_file import DeferredReads, StoredTable
from models.qwen3_tts.codec.codec import open_codec
from models.qwen3_tts.codec.ops import ops_named
from models.qwen3_tts.codec.weights import laid_out
from tests.checkpoints import write_checkpoint, write_codec

DTYPES = {"bfloat16": mx.bfloat16, "float16": mx.float16, "float32": mx.float32}


def write_tensors(folder, tensors):
    (folder / "config.json").write_text("{}")
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, metadata={"format": "pt"})
    return folder / "model.safetensors"


def opened(folder) -> Tensors:
    return read_checkpoint(folder).tensors


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_is_read_as_mlx_reads_it(tmp_path, dtype):
    value = mx.random.normal((7, 5), key=mx.random.key(1)).astype(DTYPES[dtype])
    write_tensors(tmp_path, {"odd": mx.ones((3,), dtype=mx.uint8), "value": value})
    np.testing.assert_array_equal(opened(tmp_path).stored["value"].floats(), np.array(value.astype(mx.float32)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_a_table_are_those_of_the_whole_table(tmp_path, dtype):
    value = mx.random.normal((9, 4), key=mx.random.key(2)).astype(DTYPES[dtype])
    write_tensors(tmp_path, {"table": value})
    ids = mx.array([8, 0, 3, 3])
    found = StoredTable(opened(tmp_path).stored["table"])[ids]
    np.testing.assert_array_equal(np.array(found), np.array(value[ids].astype(mx.float32)))


def test_a_dtype_that_is_not_read_is_named(tmp_path):
    write_tensors(tmp_path, {"value": mx.ones((2,), dtype=mx.bool_)})
    with pytest.raises(UnsupportedCheckpoint, match="value is stored as BOOL"):
        opened(tmp_path).stored["value"].floats()


def overwrite(path):
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\1\2\3\4")
    os.utime(path, ns=(1, 1))  # the clock of some file systems is coarse


def shorten(path):
    os.truncate(path, path.stat().st_size - 4)


@pytest.mark.parametrize("change", [overwrite, shorten])
def test_a_file_that_changes_in_place_is_never_read_again(tmp_path, change):
    path = write_tensors(tmp_path, {"value": mx.ones((4, 4))})
    stored = opened(tmp_path).stored["value"]
    change(path)
    with pytest.raises(EngineFailure, match="has changed since"):
        stored.floats()


def test_a_file_that_another_one_replaces_is_read_as_it_was(tmp_path):
    path = write_tensors(tmp_path, {"value": mx.ones((4, 4))})
    stored = opened(tmp_path).stored["value"]
    (tmp_path / "next").mkdir()
    write_tensors(tmp_path / "next", {"value": mx.zeros((4, 4))}).replace(path)
    assert stored.floats().all()


def test_a_loaded_model_says_so_when_its_file_has_changed(tmp_path):
    folder = write_checkpoint(tmp_path, variant="custom_voice", dtype=mx.bfloat16)
    model = load_speech_model(folder, "float32", backend="llvm")
    overwrite(folder / "model.safetensors")
    with pytest.raises(EngineFailure, match="has changed since the model was loaded"):
        model.synthesize(SpeechRequest("Hello.", speaker="ryan", max_frames=1), Sampling.greedy())


@pytest.mark.parametrize("shape", [(3, 5), (20, 7, 300), (4, 9, 2, 130)])
def test_arrays_laid_out_in_blocks_are_the_same_arrays(shape):
    value = np.random.default_rng(0).standard_normal(shape[::-1], np.float32).transpose()
    found = laid_out(value)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, value)


def test_what_could_not_be_read_remains_to_be_read():
    outcomes, reads = [OSError(), None, None], DeferredReads()

    def read():
        if problem := outcomes.pop(0):
            raise problem

    reads.add(read, nbytes=1)
    with pytest.raises(OSError):
        reads.finish()
    reads.finish()
    reads.finish()
    assert outcomes == [None]


def test_a_recording_is_not_encoded_from_a_file_that_has_changed(tmp_path):
    folder, ops = write_codec(tmp_path / "codec"), ops_named("numpy")
    codec = open_codec(folder, ops=ops, reads=DeferredReads(), errors=LoadErrors())
    overwrite(tmp_path / "codec" / "model.safetensors")
    for _ in range(2):
        with pytest.raises(EngineFailure, match="has changed since"):
            codec.encode(np.zeros(4_000, np.float32))
