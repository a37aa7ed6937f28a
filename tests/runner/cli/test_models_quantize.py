"""A smaller copy of a model: a folder that loads like any other, and appears whole."""

import json

import pytest
from click.testing import CliRunner

from models.errors import ModelNotInstalled, UnsupportedCheckpoint
from models.store.availability import Available, availability
from models.store.manifest import read_manifest
from registry.errors import Conflict
from runner.cli.program import voicejobs
from runner.cli.quantize_run import quantized_id
from tests.models.store.making import BASE, contents, slug

pytest.importorskip("mlx.core")
SMALLER = "mlx-community/Qwen3-TTS-12Hz-0.6B-Base-8bit"


@pytest.fixture
def plain(directory):
    from tests.checkpoints import write_checkpoint

    sizes = {"hidden_size": 64, "intermediate_size": 64}
    return write_checkpoint(directory / slug(BASE), talker=sizes, predictor=sizes)


def quantize(directory, *arguments):
    result = CliRunner().invoke(voicejobs, ["models", "quantize", *arguments, "--models-dir", str(directory)])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_quantised_model_is_a_model_of_its_own_and_loads(plain, directory):
    from models.qwen3_tts.engine import open_qwen3_tts

    before = contents(plain)
    made = json.loads(quantize(directory, "qwen3-tts-0.6b-base", "--bits", "8", "--json"))
    assert (made["id"], made["name"], made["state"]) == (SMALLER, "qwen3-tts-0.6b-base-8bit", "available")
    assert availability(directory / slug(SMALLER), verify_hashes=True) == Available("verified")
    assert read_manifest(directory / slug(SMALLER)).model_id == SMALLER
    assert contents(plain) == before
    folder = directory / slug(SMALLER)
    engine = open_qwen3_tts(folder, model=SMALLER, dtype=None, batch=1, memory_limit_bytes=None)
    assert engine.facts().quantization == "8-bit"
    engine.close()


@pytest.mark.usefixtures("plain")
def test_what_cannot_be_quantised_leaves_nothing_behind(directory):
    quantize(directory, BASE, "--bits", "4", "--to", "me/Small")
    with pytest.raises(Conflict, match="exists already"):
        quantize(directory, BASE, "--bits", "4", "--to", "me/Small")
    with pytest.raises(UnsupportedCheckpoint, match="quantised already"):
        quantize(directory, "me/Small", "--bits", "4", "--to", "me/Smaller")
    assert not (directory / "me_Smaller").exists()
    assert list((directory / ".incoming").iterdir()) == []


def test_a_model_that_is_not_here_cannot_be_quantised(directory):
    with pytest.raises(ModelNotInstalled):
        quantize(directory, BASE, "--bits", "8")


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [(BASE, SMALLER), ("Qwen/Model", "Qwen/Model-8bit"), ("/home/me/my_model", "local/my-model-8bit")],
)
def test_the_bits_end_the_name(model_id, expected):
    assert quantized_id(model_id, bits=8) == expected
