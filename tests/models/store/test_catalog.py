"""Which model a name means, and where the shared directory is."""

from pathlib import Path

import pytest

from models.errors import InvalidModelId, UnknownModel
from models.store import catalog
from models.store.installed import resolve_model
from models.store.shared_directory import id_of, resolve_models_dir, slug_of
from tests.models.store.making import BASE, home_environment, other_model, slug, speech_model

GIGABYTE = 1_000_000_000


def test_every_short_name_of_the_design_is_known():
    families = ("1.7b-base", "1.7b-voicedesign", "1.7b-customvoice", "0.6b-base", "0.6b-customvoice")
    wanted = {f"qwen3-tts-{family}{bits}" for family in families for bits in ("", "-8bit", "-6bit", "-4bit")}
    assert {entry.name for entry in catalog.CATALOG if entry.name.startswith("qwen3")} == wanted


def test_quantised_models_are_smaller_than_plain_ones_and_the_codec_stays():
    sizes = [catalog.entry_named(f"qwen3-tts-1.7b-base{bits}").size_bytes for bits in ("-4bit", "-6bit", "-8bit", "")]
    assert sizes == sorted(sizes)
    assert sizes[0] > catalog.CODEC_BYTES


@pytest.mark.parametrize(
    "config", [None, [], {"model_type": "qwen3_tts", "tts_model_type": 7}, {"quantization": {"bits": "x"}}]
)
def test_a_config_that_says_nothing_of_use_is_no_error(config):
    assert catalog.kind_of(config).variant is None


@pytest.mark.parametrize(
    ("ability", "memory", "expected"),
    [
        ("clone", 8, "qwen3-tts-1.7b-base"),
        ("clone", 4, "qwen3-tts-0.6b-base"),
        ("clone", 1, "qwen3-tts-0.6b-base"),
        ("presets", 8, "qwen3-tts-1.7b-customvoice"),
        ("presets", 4, "qwen3-tts-0.6b-customvoice"),
        ("design", 8, "qwen3-tts-1.7b-voicedesign"),
        ("design", 5, "qwen3-tts-1.7b-voicedesign-8bit"),
        ("design", 1, "qwen3-tts-1.7b-voicedesign-4bit"),
    ],
)
def test_the_default_model_is_the_large_one_where_memory_allows_it(ability, memory, expected):
    entry = catalog.default_model_for(ability, available_bytes=memory * GIGABYTE)
    assert entry.name == expected
    assert ability in entry.abilities


def test_offline_the_default_is_a_model_that_is_there(directory):
    speech_model(directory / slug(BASE))
    choice = resolve_model("default", directory=directory, available_bytes=9 * GIGABYTE, offline=True)
    assert choice.id == BASE


def test_the_small_preset_model_claims_no_instructions():
    assert catalog.entry_named("qwen3-tts-0.6b-customvoice").abilities == ("presets",)


@pytest.mark.parametrize("name", ["qwen3-tts-0.6b-base", "Qwen3-TTS-0.6B-Base", BASE, BASE.lower(), f" {BASE} "])
def test_a_model_is_found_by_short_name_and_by_repository_in_any_case(name, directory):
    choice = resolve_model(name, directory=directory)
    assert choice.id == BASE
    assert choice.folder == directory / slug(BASE)


def test_a_short_name_means_the_official_weights_where_only_those_are_installed(directory):
    official = speech_model(directory / "Qwen_Qwen3-TTS-12Hz-0.6B-Base")
    assert resolve_model("qwen3-tts-0.6b-base", directory=directory).folder == official
    assert resolve_model(BASE, directory=directory).folder == directory / slug(BASE)


def test_a_local_folder_is_a_model_where_it_lies(directory, tmp_path):
    folder = speech_model(tmp_path / "mine")
    choice = resolve_model(str(folder), directory=directory)
    assert choice.folder == folder
    assert choice.is_local


def test_the_draft_engine_needs_no_folder(directory):
    assert resolve_model("draft", directory=directory).folder is None


def test_an_installed_model_that_we_do_not_know_is_found_by_its_id(directory):
    folder = other_model(directory / "someone_My-Model")
    assert resolve_model("Someone/my-model", directory=directory).folder == folder


def test_an_unknown_name_is_answered_with_the_nearest_and_with_what_is_installed(directory):
    speech_model(directory / slug(BASE))
    with pytest.raises(UnknownModel) as caught:
        resolve_model("qwen3-tts-1.7-base", directory=directory)
    assert "qwen3-tts-1.7b-base" in caught.value.hint
    assert f"Installed: {BASE}" in caught.value.hint


def test_a_local_folder_that_is_not_there_is_an_unknown_model(directory):
    with pytest.raises(UnknownModel, match="no folder"):
        resolve_model("/nowhere/model", directory=directory)


@pytest.mark.parametrize("model_id", ["noslash", "a/b/c", "/b", "a/", "a/..", ".a/b", ""])
def test_an_id_has_exactly_one_slash_and_stays_in_the_directory(model_id):
    with pytest.raises(InvalidModelId):
        slug_of(model_id)


def test_the_first_underscore_of_a_folder_is_the_slash_of_its_id():
    assert slug_of("mlx-community/A_B") == "mlx-community_A_B"
    assert id_of("mlx-community_A_B") == "mlx-community/A_B"
    assert id_of("nounderscore") is None


def test_the_edit_distance_counts_letters_to_change():
    assert catalog.edit_distance("kitten", "sitting") == 3
    assert catalog.edit_distance("", "abc") == 3


ORDER = {
    "--models-dir": ("/flag", "/ours", "/acervo", "/file"),
    "VOICEJOBS_MODELS_DIR": (None, "/ours", "/acervo", "/file"),
    "ACERVO_MODELS_DIR": (None, "", "/acervo", "/file"),
    "voicejobs.toml": (None, "", "", "/file"),
}


@pytest.mark.parametrize("winner", ORDER)
def test_the_models_directory_is_named_by_the_strongest_voice(winner):
    flag, ours, acervo, configured = ORDER[winner]
    environ = {"HOME": "/h", "VOICEJOBS_MODELS_DIR": ours, "ACERVO_MODELS_DIR": acervo}
    first = next(value for value in (flag, ours, acervo, configured) if value)
    assert resolve_models_dir(flag, environ, configured) == Path(first)


@pytest.mark.parametrize(
    ("platform", "more", "expected"),
    [
        ("darwin", {}, "/h/Library/SharedModels"),
        ("darwin", {"ACERVO_APP_GROUP_ID": "group.x"}, "/h/Library/Group Containers/group.x/SharedModels"),
        ("linux", {}, "/h/.local/share/SharedModels"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/SharedModels"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/h/.local/share/SharedModels"),
    ],
)
def test_without_a_setting_the_platform_decides(platform, more, expected):
    assert resolve_models_dir(None, home_environment("/h", **more), platform=platform) == Path(expected)


def test_a_tilde_means_the_home_of_the_environment():
    assert resolve_models_dir("~/m", {"HOME": "/h"}) == Path("/h/m")
