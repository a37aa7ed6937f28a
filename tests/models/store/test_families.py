"""Other speech models than Qwen3-TTS in the shared directory: known by their configs, whole only with companions."""

import json

import pytest

from models.engine_kinds import kind_of_model
from models.store.availability import Available, Partial, availability
from models.store.catalog import CATALOG, entry_named, kind_of
from models.store.companions import presets_in
from models.store.families import FAMILIES, companions_of, family_named, family_of
from models.store.hub_cache import hub_folder, link_hub_cache
from models.store.installed import list_models, resolve_model
from tests.models.store.making import weights

CODEC = "mlx-community_descript-audio-codec-44khz"


def other_family(folder, *, files=("model.safetensors",), **config):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name in files:
        weights(folder / name)
    return folder


@pytest.mark.parametrize(
    ("config", "name", "family"),
    [
        ({"model_type": "dia"}, "anything", "dia"),
        ({"model_type": "csm"}, "anything", "sesame"),
        ({}, "mlx-community/Kokoro-82M-bf16", "kokoro"),
        ({"model_type": "llama"}, "mlx-community/orpheus-3b-0.1-ft-bf16", "llama"),
        ({"model_type": "llama"}, "meta/Llama-3.2-1B", None),
        ({"model_type": "qwen3"}, "Qwen/Qwen3-8B", None),
        ({"model_type": "qwen3_tts"}, "someone/dia", None),
        (["no", "config"], "someone/model", None),
    ],
)
def test_a_model_is_of_the_family_that_its_config_names_else_its_name(config, name, family):
    found = family_of(config, name)
    assert (found and found.name) == family


def test_a_catalogue_name_a_repository_and_a_prefix_choose_the_engine():
    for name in ("kokoro", "Chatterbox", "mlx-community/Dia-1.6B-fp16", "mlx-audio:someone/model"):
        assert kind_of_model(name).name == "mlx-audio"
    for name in ("qwen3-tts-0.6b-base", "someone/dia", "someone/kokoro"):
        assert kind_of_model(name).name == "qwen3-tts"


def test_every_entry_of_another_family_says_what_it_can():
    others = [entry for entry in CATALOG if entry.family is not None]
    assert {entry.family.name for entry in others} | {"chatterbox_turbo"} == {family.name for family in FAMILIES}
    assert all(entry.abilities and entry.size_bytes for entry in others)
    assert entry_named("spark").licence == "CC-BY-NC-SA-4.0"


def test_a_prefixed_name_means_the_repository_after_it(directory):
    assert resolve_model("mlx-audio:someone/model", directory=directory).id == "someone/model"
    assert resolve_model("mlx-audio:mlx-community/Dia-1.6B-fp16", directory=directory).entry.name == "dia"


def test_a_config_names_the_companion_where_it_may_choose_one():
    [tokenizer, codec] = companions_of(family_named("outetts"), {"tokenizer_name": "someone/tokenizer"})
    assert (tokenizer.repository, tokenizer.files != ()) == ("someone/tokenizer", True)
    assert codec.repository == "mlx-community/dac-speech-24khz-1.5kbps"


def test_a_model_without_its_companion_is_not_whole_and_the_companion_is_named(directory):
    other_family(directory / "lab_dia", model_type="dia")
    [dia] = list_models(directory)
    assert dia.state == Partial(
        (CODEC.replace("_", "/", 1),), (f"its companion {CODEC.replace('_', '/', 1)} is not here",)
    )
    other_family(directory / CODEC, sample_rate=44_100)
    assert [model.state for model in list_models(directory)] == [Available("heuristic")] * 2


def test_a_broken_companion_counts_as_missing(directory):
    other_family(directory / "lab_dia", model_type="dia")
    broken = other_family(directory / CODEC, sample_rate=44_100) / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1])
    states = {model.id: model.state.state for model in list_models(directory)}
    assert states == {"lab/dia": "partial", CODEC.replace("_", "/", 1): "partial"}


def test_pickled_weights_are_refused_by_name(directory):
    folder = other_family(directory / "lab_soprano", files=(), model_type="soprano")
    (folder / "decoder.pth").write_bytes(b"pickled")
    state = availability(folder)
    assert state.missing == ("decoder.pth",)
    assert "pickle" in state.problems[0]


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_repository_that_wants_its_own_code_run_is_refused(directory, name):
    folder = other_family(directory / "lab_soprano", model_type="soprano")
    config = {"model_type": "soprano", "auto_map": {"AutoModel": "modeling.Model"}}
    (folder / name).write_text(json.dumps(config), encoding="utf-8")
    state = availability(folder)
    assert state.missing == (name,)
    assert "AutoModel" in state.problems[0] and "trust_remote_code" in state.problems[0]


def test_what_a_model_of_no_known_family_holds_is_not_judged(directory):
    folder = other_family(directory / "lab_words", model_type="llama", auto_map={"AutoModel": "modeling.Model"})
    assert availability(folder) == Available("heuristic")
    assert not kind_of({"model_type": "llama"}, name="lab/words").is_speech


def test_a_hub_cache_has_each_model_of_the_directory_and_follows_it(directory, tmp_path):
    cache = tmp_path / "hub"
    dia = other_family(directory / "lab_dia", model_type="dia")
    assert hub_folder(link_hub_cache(cache, directory), "lab/dia").resolve() == dia
    assert hub_folder(cache, "lab/other") is None
    moved = other_family(tmp_path / "elsewhere" / "lab_dia", model_type="dia")
    assert hub_folder(link_hub_cache(cache, moved.parent), "lab/dia").resolve() == moved


def test_the_presets_of_a_model_are_those_that_its_files_name(directory):
    def nowhere(_repository):
        return None

    kokoro = other_family(directory / "lab_kokoro")
    assert presets_in(kokoro, family_named("kokoro"), found=nowhere) == ()
    (kokoro / "voices").mkdir()
    weights(kokoro / "voices" / "af_heart.safetensors")
    (kokoro / "voices" / "am_adam.pt").write_bytes(b"pickled")
    assert presets_in(kokoro, family_named("kokoro"), found=nowhere) == ("af_heart",)
    bark = other_family(directory / "lab_bark")
    weights(bark / "speaker_embeddings" / "de_speaker_0.npz")
    (bark / "speaker_embeddings" / "de_speaker_0_fine_prompt.npy").write_bytes(b"")
    assert presets_in(bark, family_named("bark"), found=nowhere) == ("de_speaker_0",)
    soprano = other_family(directory / "lab_soprano")
    assert presets_in(soprano, family_named("soprano"), found=nowhere) == ("default",)
    assert presets_in(soprano, family_named("spark"), found=nowhere) == ("female", "male")
    assert presets_in(soprano, family_named("indextts"), found=nowhere) == ()
    (soprano / "voices.npz").write_bytes(b"broken")
    assert presets_in(soprano, family_named("kitten_tts"), found=nowhere) == ()


def test_presets_of_another_repository_are_offered_where_it_is_here(directory):
    folder, family = other_family(directory / "lab_csm", model_type="csm"), family_named("sesame")
    asked = []

    def found(repository):
        asked.append(repository)
        return directory / "sesame_csm-1b"

    assert presets_in(folder, family, found=found) == ()
    (directory / "sesame_csm-1b" / "prompts").mkdir(parents=True)
    weights(directory / "sesame_csm-1b" / "prompts" / "conversational_a.wav")
    assert presets_in(folder, family, found=found) == ("conversational_a",)
    assert asked == ["sesame/csm-1b"] * 2
