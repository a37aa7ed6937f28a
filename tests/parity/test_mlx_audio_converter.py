"""What the MLX community's converter writes is loaded, and says the same.

Needs mlx-audio, here or in another environment named by VOICEJOBS_MLX_AUDIO_PYTHON (its interpreter).
"""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from models.qwen3_tts import Sampling, SpeechRequest, load_speech_model
from tests.reference import REFERENCE

pytestmark = pytest.mark.peers

# Importing the converter imports every model it knows, and one of them reaches for its codec's weights on the hub.
CONVERT = """
import json, sys
from mlx_audio.codec.models.snac import SNAC
SNAC.from_pretrained = classmethod(lambda cls, *a, **k: type("Unused", (), {"eval": lambda self: self})())
from mlx_audio.convert import convert
convert(**json.loads(sys.argv[1]))
"""
REQUESTS = {
    "custom_voice": SpeechRequest("Hello there.", language="english", speaker="ryan", max_frames=12),
    "voice_design": SpeechRequest("Hello there.", language="english", instruct="A warm voice.", max_frames=12),
}


@pytest.fixture(scope="session")
def converter_python():
    if importlib.util.find_spec("mlx_audio"):
        return sys.executable
    named = os.environ.get("VOICEJOBS_MLX_AUDIO_PYTHON")
    return named or pytest.skip("mlx-audio is not installed, and VOICEJOBS_MLX_AUDIO_PYTHON names no other Python")


def convert(python, source, target, **options):
    arguments = json.dumps({"hf_path": str(source), "mlx_path": str(target), **options})
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([python, "-c", CONVERT, arguments], env=environment, check=True, timeout=110)
    return target


@pytest.mark.parametrize("variant", REQUESTS)
def test_a_plain_conversion_says_the_same_codes(converter_python, tmp_path, variant):
    folder = convert(converter_python, REFERENCE / variant, tmp_path / "converted", dtype="float32")
    greedy, request = Sampling.greedy(), REQUESTS[variant]
    before = load_speech_model(REFERENCE / variant, "float32").synthesize(request, greedy)
    after = load_speech_model(folder, "float32").synthesize(request, greedy)
    np.testing.assert_array_equal(before.codes, after.codes)
    np.testing.assert_array_equal(before.waveform, after.waveform)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_conversion_speaks(converter_python, tmp_path, bits):
    options = {"quantize": True, "q_bits": bits, "q_group_size": 32}
    folder = convert(converter_python, REFERENCE / "custom_voice", tmp_path / "converted", **options)
    speech = load_speech_model(folder, "float32").synthesize(REQUESTS["custom_voice"], Sampling.greedy())
    assert len(speech.waveform) == 1920 * len(speech.codes) > 0
