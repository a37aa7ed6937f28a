"""Instructions for models that were not trained to follow any: named in the receipt and by `check`, before the work."""

import json

import pytest

from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.scheduling.instructions import takes_instructions
from runner.submission.checked_job import check_file
from tests.runner.worker.bench import Bench, speak


@pytest.fixture
def base_folder(tmp_path):
    """A model that says of itself that it clones; its weights are missing."""
    folder = tmp_path / "my-base"
    folder.mkdir()
    config = {"model_type": "qwen3_tts", "tts_model_type": "base", "tts_model_size": "1b7"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_an_instruction_for_a_base_model_is_named_in_the_receipt(tmp_path, base_folder):
    bench = Bench(tmp_path / "instance")
    lines = '[[lines]]\ntext = "One."\n[[lines]]\ntext = "Two."\ninstruct = "whispering"\n'
    bench.drop("a.toml", f'kind = "synthesize"\nvoice = "ryan"\nmodel = "{base_folder}"\n{lines}')
    bench.run()
    (warning,) = bench.receipt("a")["warnings"]
    assert warning.startswith(f"Line 2 has an instruction. {base_folder} was not trained to follow any")


def test_check_says_it_of_a_cloned_voice_that_is_still_to_be_locked(tmp_path):
    (tmp_path / "a.toml").write_text(speak("One.", "* * *", "Two.", voice="elena", instruct="whispering"))
    (warning,) = check_file(str(tmp_path / "a.toml"), instance=Instance(tmp_path, Settings())).warnings
    assert warning.startswith("2 lines (1, 3) have an instruction. qwen3-tts-")


@pytest.mark.parametrize("voice", ["preset:ryan", "elena"])
def test_check_says_nothing_where_the_model_follows_instructions(tmp_path, voice):
    (tmp_path / "a.toml").write_text(speak("One.", voice=voice, instruct="whispering"))
    settings = Settings(model="draft" if voice == "elena" else "qwen3-tts-1.7b-customvoice")
    assert check_file(str(tmp_path / "a.toml"), instance=Instance(tmp_path, settings)).warnings == []


def test_check_says_what_a_job_will_download(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_MODELS_DIR", str(tmp_path / "models"))
    (tmp_path / "a.toml").write_text(speak("One.", voice="elena"))
    instance = Instance(tmp_path, Settings(model="qwen3-tts-0.6b-base"))
    (said,) = check_file(str(tmp_path / "a.toml"), instance=instance).downloads
    assert said.startswith("qwen3-tts-0.6b-base is not here: 2.5 GB are downloaded first (")
    assert check_file(str(tmp_path / "a.toml"), instance=Instance(tmp_path, Settings(model="draft"))).downloads == []


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("qwen3-tts-1.7b-base", False),
        ("qwen3-tts-0.6b-customvoice-8bit", False),
        ("Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice", True),
        ("qwen3-tts-1.7b-voicedesign-4bit", True),
        ("somebody/unknown", True),
        ("hibari", True),  # it says itself that it ignores them
    ],
)
def test_instructions_are_taken_as_the_model_card_says(tmp_path, model, takes):
    assert takes_instructions(model, models_dir=tmp_path) is takes
