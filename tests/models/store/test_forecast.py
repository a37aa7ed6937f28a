"""Downloads that work will need, known before it begins."""

import pytest

from models.errors import UnknownModel
from models.store.forecast import default_models, free_bytes, to_download
from tests.models.store.making import BASE, slug, speech_model


def test_only_what_is_not_here_is_downloaded(tmp_path):
    speech_model(tmp_path / slug(BASE))
    names = ["qwen3-tts-0.6b-base", "qwen3-tts-1.7b-base", "qwen3-tts-1.7b-base", "draft", "somebody/model"]
    found = {one.name: one.size_bytes for one in to_download(names, directory=tmp_path)}
    assert list(found) == ["qwen3-tts-1.7b-base", "somebody/model"]
    assert found["qwen3-tts-1.7b-base"] == pytest.approx(4.54e9, rel=0.01)
    assert found["somebody/model"] == 0
    with pytest.raises(UnknownModel):
        list(to_download(["qwen9"], directory=tmp_path))


def test_each_kind_of_work_has_a_default_model():
    assert [entry.variant for entry in default_models()] == ["voice_design", "base", "custom_voice"]


def test_the_free_space_of_a_folder_that_is_not_there_yet_is_that_of_its_disk(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") > 0
