"""The voices that are offered: those that the instance's model speaks with, and what else is named."""

import json

import pytest

from registry.storage.database import Database
from runner.config.instance import open_instance
from runner.scheduling.spoken_languages import languages_of
from runner.serve.voice_list import listed_voices
from tests.runner.serve.served import Served


def voices_of(root, *, model, serve=""):
    """What a server of an instance with this model would list."""
    root.mkdir(exist_ok=True)
    (root / "voicejobs.toml").write_text(f'model = "{model}"\nmodels_dir = "models"\n[serve]\n{serve}\n')
    instance = open_instance(root, environment={})
    instance.prepare()
    database = Database.open(instance.database_path, root=root)
    try:
        with database.read() as session:
            return {voice.id: voice for voice in listed_voices(session, instance)}
    finally:
        database.close()


def test_presets_are_those_of_the_instances_model(tmp_path):
    pytest.importorskip("hibari", reason="hibari-tts is an optional dependency")
    assert list(voices_of(tmp_path, model="hibari")) == ["preset:heart"]
    assert voices_of(tmp_path, model="hibari")["preset:heart"].languages == ("english",)
    for model in ("draft", "default", "qwen3-tts-1.7b-base", "qwen3-tts-0.6b-customvoice-4bit"):
        found = voices_of(tmp_path, model=model)
        assert {"ryan", "anna", "uncle_fu"} <= set(found), model
        assert "ono_anna" not in found, model


def test_a_preset_of_hibari_that_is_listed_is_spoken(tmp_path):
    pytest.importorskip("hibari", reason="hibari-tts is an optional dependency")
    natural = Served(tmp_path, settings="")
    environment = {"VOICEJOBS_MODEL": "hibari"}
    natural.start_runner(**environment).start(**environment)
    try:
        (voice,) = natural.get("/v1/audio/voices").json["voices"]
        body = json.dumps({"voice": voice["id"], "input": "Hello.", "response_format": "pcm"})
        answer = natural.request("POST", "/v1/audio/speech", body, content_type="application/json")
        assert (answer.status, len(answer.body) > 12_000) == (200, True)
    finally:
        natural.stop()


def test_a_checkpoint_offers_its_own_speakers(tmp_path):
    folder = tmp_path / "cast"
    folder.mkdir()
    speakers = {"Ryan": 1, "ono_anna": 2, "captain": 3, "no\nname": 4}
    config = {"model_type": "qwen3_tts", "tts_model_type": "custom_voice", "talker_config": {"spk_id": speakers}}
    (folder / "config.json").write_text(json.dumps(config))
    assert set(voices_of(tmp_path / "instance", model=str(folder))) == {"ryan", "anna", "preset:captain"}


def test_a_base_model_in_a_folder_and_an_unknown_one_have_no_presets(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_tts", "tts_model_type": "base"}))
    assert voices_of(tmp_path / "instance", model=str(folder)) == {}
    assert voices_of(tmp_path / "instance", model="qwen4-tts") == {}


def test_other_names_come_first_and_only_where_they_mean_a_voice(tmp_path):
    serve = '[serve.voices]\nnova = "serena"\nalloy = "nobody"\nRyan = "aiden"\n'
    found = voices_of(tmp_path, model="draft", serve=serve)
    assert list(found)[:2] == ["nova", "Ryan"]
    assert "alloy" not in found and "ryan" not in found


def test_languages_are_known_without_loading_a_model():
    assert languages_of("draft")[0] == languages_of("qwen3-tts-1.7b-base")[0] == "english"
    assert len(languages_of("draft")) > 80
    assert languages_of("some-other-engine:x") == languages_of("default")  # a name of the hub is a Qwen3-TTS model
