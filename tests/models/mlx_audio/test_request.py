"""Arguments of mlx-audio's `generate` for one line."""

import pytest

from models.errors import UnknownSpeaker
from models.mlx_audio.load import LoadedModel
from models.mlx_audio.request import voice_arguments
from models.protocol import PresetVoice, SpeechWork
from models.store.families import family_named


def model(folder, family, *presets):
    return LoadedModel(
        network=None,
        family=family_named(family),
        folder=folder,
        presets=presets,
        arguments=frozenset({"voice"}),
        native_hz=24_000,
        fingerprint="",
        package_version="",
    )


def line(voice):
    return SpeechWork(id="a", text="Hello.", voice=PresetVoice(name=voice), seed=1)


@pytest.mark.parametrize(
    ("family", "name", "told"),
    [
        ("kokoro", "AF_Heart", {"voice": "af_heart"}),
        ("spark", "af_heart", {"gender": "af_heart"}),
        ("soprano", "af_heart", {}),
        ("bark", "af_heart", {"voice": "{folder}/speaker_embeddings/af_heart.npz"}),
        ("bark", "default", {}),
    ],
)
def test_a_preset_is_told_as_its_family_takes_it(tmp_path, family, name, told):
    expected = {key: value.format(folder=tmp_path) for key, value in told.items()}
    bringing = model(tmp_path, family, "af_heart", "default")
    assert voice_arguments(bringing, line(name), scratch=tmp_path) == expected


def test_a_preset_that_a_model_lacks_is_refused(tmp_path):
    with pytest.raises(UnknownSpeaker, match="nobody"):
        voice_arguments(model(tmp_path, "kokoro", "af_heart"), line("nobody"), scratch=tmp_path)
