"""A language model on this machine: whatever its weights are, its answers are of the schema."""

import json

import pytest

from runner.reading_process import ReadingProcess
from runner.script.analyzer.language_model import MODULE
from runner.script.analyzer.prompt import SCHEMA, bounded_schema
from tests.runner.script.analyzer.tiny_language_model import write_language_model


def ask(folder, state, *, count=1, timeout_s=60, turn_s=60):
    questions = {f"digest-{number}": f"Who is {number}?" for number in range(count)}
    asked = {"folder": str(folder), "timeout_s": timeout_s, "turn_s": turn_s, "questions": questions}
    reading = ReadingProcess(MODULE, asked, folder=state, longest_s=100).wait()
    return reading if reading.header is None else reading.header


def test_every_text_of_the_schema_for_models_that_are_held_to_it_has_an_end():
    bounded = bounded_schema()
    texts = [value for value in bounded["properties"].values() if value["type"] == "string" and "enum" not in value]
    assert len(texts) == 4 and all("pattern" in text for text in texts)
    assert bounded["properties"]["voiceTraits"]["items"]["pattern"] and bounded["required"] == SCHEMA["required"]


def test_a_folder_with_code_of_its_own_or_pickles_is_refused_by_name(tmp_path):
    pytest.importorskip("mlx_lm")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "qwen3"}), encoding="utf-8")
    (tmp_path / "model" / "weights.bin").write_bytes(b"\x80\x04.")
    assert "is a pickle" in ask(tmp_path / "model", tmp_path)["failure"]


@pytest.mark.peers
def test_a_random_model_gives_profiles_and_the_same_ones_again(tmp_path):
    folder = write_language_model(tmp_path / "model")
    found = ask(folder, tmp_path, count=2)
    assert found["failure"] == "" and len(found["profiles"]) == 2
    assert all(3 <= len(profile["voice_traits"]) <= 6 for profile in found["profiles"].values())
    assert {profile["analyzer"] for profile in found["profiles"].values()} == {"mlx"}
    assert found == ask(folder, tmp_path, count=2)


@pytest.mark.peers
def test_what_no_time_was_left_for_is_missing_and_no_failure(tmp_path):
    assert ask(write_language_model(tmp_path / "model"), tmp_path, turn_s=0) == {"profiles": {}, "failure": ""}


@pytest.mark.peers
def test_a_model_that_is_slow_or_none_is_a_failure_with_its_reason(tmp_path):
    folder = write_language_model(tmp_path / "model")
    assert "had not answered after 0.001 s" in ask(folder, tmp_path, timeout_s=0.001)["failure"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt-unheard-of"}), encoding="utf-8")
    assert "cannot be loaded" in ask(folder, tmp_path)["failure"]
    (folder / "config.json").write_text(json.dumps({**config, "model_file": "evil.py"}), encoding="utf-8")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    assert (
        "asks to run code of the repository (evil.py)" in ask(folder, tmp_path)["failure"]
        and not (tmp_path / "ran").exists()
    )
