"""The preset that speaks where no voice is named: one that the model has."""

import json

import pytest

from models.errors import UnsupportedRequest
from runner.cli.program import run_command
from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.scheduling.model_presets import default_voice, offer_of
from tests.models.store.making import weights


@pytest.fixture
def instance(tmp_path):
    def make(folder, config, *files):
        place = tmp_path / "models" / folder
        (place / "voices").mkdir(parents=True)
        (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
        for name in ("model.safetensors", *files):
            weights(place / name)

    make("lab_soprano", {"model_type": "soprano"})
    make("lab_indextts", {"model_type": "indextts"})
    make("lab_kokoro", {"model_type": "kokoro"}, "voices/bf_emma.safetensors", "voices/af_heart.safetensors")
    make("lab_speakers", {"model_type": "qwen3_tts", "tts_model_type": "custom_voice", **SPEAKERS})
    (tmp_path / "voicejobs.toml").write_text("offline = true\n", encoding="utf-8")
    return Instance(tmp_path, Settings(models_dir=str(tmp_path / "models"), offline=True))


SPEAKERS = {"talker_config": {"spk_id": {"ada": 1, "ben": 2}}}


@pytest.mark.parametrize(
    ("model", "narrator"),
    [
        ("lab/soprano", "preset:default"),
        ("lab/kokoro", "preset:af_heart"),
        ("lab/speakers", "preset:ada"),
        ("orpheus", "preset:tara"),  # not here, and known
        ("spark", "preset:female"),
        ("hibari", "preset:heart"),
        ("draft", "preset:serena"),
        (None, "preset:serena"),
    ],
)
def test_a_book_is_narrated_by_a_preset_that_its_model_has(instance, model, narrator):
    assert default_voice(model, instance, key="narrator") == narrator


def test_say_speaks_with_its_usual_voice_where_the_model_has_it(instance):
    assert default_voice("draft", instance, key="--voice", preferred="ryan") == "preset:ryan"
    assert default_voice("lab/speakers", instance, key="--voice", preferred="ryan") == "preset:ada"


@pytest.mark.parametrize(("model", "said"), [("lab/indextts", "has no presets"), ("kokoro", "before it is here")])
def test_where_no_preset_is_known_the_message_says_what_to_set(instance, model, said):
    with pytest.raises(UnsupportedRequest, match=said) as caught:
        default_voice(model, instance, key="narrator")
    assert caught.value.hint.startswith("Set narrator:")


def test_what_a_model_offers_is_known_without_loading_it(instance):
    assert offer_of("mlx-audio:lab/soprano", instance).languages == ("english",)
    assert offer_of("lab/speakers", instance).presets == ("ada", "ben")
    assert offer_of("nobody/has-it", instance).presets is None


@pytest.mark.usefixtures("instance")
def test_a_script_without_a_narrator_is_refused_where_its_model_has_no_presets(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_MODELS_DIR", str(tmp_path / "models"))
    (tmp_path / "story.txt").write_text("It was dark.\n", encoding="utf-8")
    job = tmp_path / "story.toml"
    job.write_text('kind = "script"\nsource = "story.txt"\nmodel = "lab/indextts"\n', encoding="utf-8")
    assert run_command(["--root", str(tmp_path), "script", "check", str(job)]) != 0
    assert "lab/indextts has no presets. Set narrator:" in " ".join(capsys.readouterr().err.split())
    assert run_command(["--root", str(tmp_path), "say", "--model", "lab/indextts", "-o", "x.wav", "Hello."]) != 0
    assert "Set --voice:" in " ".join(capsys.readouterr().err.split())
