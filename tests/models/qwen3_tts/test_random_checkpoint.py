"""Generated checkpoints have exactly the tensors of the official ones."""

import mlx.core as mx
import numpy as np
import pytest

from models.checkpoint_format.codec_config import codec_config, speaker_encoder_config
from models.checkpoint_format.config import model_config
from models.checkpoint_format.files import file_header
from models.checkpoint_format.tensor_plan import codec_plan, linear, model_plan
from models.qwen3_tts.random_checkpoint import draw
from tests.checkpoints import raw_codec_config, raw_config, write_checkpoint
from tests.reference import CHECKPOINTS, REFERENCE


def shapes_in(path):
    return {name: tuple(entry["shape"]) for name, entry in file_header(path).items() if name != "__metadata__"}


@pytest.mark.parametrize("variant", CHECKPOINTS)
def test_the_plan_of_a_model_is_what_the_official_file_holds(variant):
    raw = raw_config(variant)
    speaker = speaker_encoder_config(raw["speaker_encoder_config"]) if "speaker_encoder_config" in raw else None
    plan = {name: drawn.shape for name, drawn in model_plan(model_config(raw), speaker).items()}
    assert plan == shapes_in(REFERENCE / variant / "model.safetensors")


def test_the_plan_of_a_codec_is_what_the_official_file_holds():
    plan = {name: drawn.shape for name, drawn in codec_plan(codec_config(raw_codec_config())).items()}
    assert plan == shapes_in(REFERENCE / "base" / "speech_tokenizer" / "model.safetensors")


def test_the_published_base_model_has_the_published_size():
    raw = raw_config("base", "0.6b")
    plan = model_plan(model_config(raw), speaker_encoder_config(raw["speaker_encoder_config"]))
    tensor_bytes = sum(2 * int(np.prod(drawn.shape)) for drawn in plan.values())
    assert 0 < 1_829_344_272 - tensor_bytes < 100_000  # what is left is the header


def test_the_published_codec_has_the_published_number_of_parameters():
    plan = codec_plan(codec_config(raw_codec_config("0.6b")))
    assert round(sum(int(np.prod(drawn.shape)) for drawn in plan.values()) / 1e6, 1) == 170.6


def test_equal_seeds_draw_equal_numbers():
    drawn = linear(3, 5)
    np.testing.assert_array_equal(draw("a", drawn, seed=1), draw("a", drawn, seed=1))
    assert not np.array_equal(draw("a", drawn, seed=1), draw("b", drawn, seed=1))
    assert not np.array_equal(draw("a", drawn, seed=1), draw("a", drawn, seed=2))


def test_drawn_numbers_are_the_same_on_every_machine():
    numbers = draw("fixed", linear(2, 4), seed=7).ravel()[:3].tolist()
    assert numbers == pytest.approx([0.53979594, 0.65125650, -0.25058228], abs=1e-7)


def test_a_checkpoint_can_be_written_in_shards(tmp_path):
    folder = write_checkpoint(tmp_path / "model", variant="voice_design", shards=3, dtype=mx.bfloat16)
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == 3
    found = {name: shape for file in files for name, shape in shapes_in(file).items()}
    assert found == shapes_in(REFERENCE / "voice_design" / "model.safetensors")
