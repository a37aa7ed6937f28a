"""Answers of mlx-audio's recognisers as words; and one with random weights."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from models.listen.recognisers import check_language, kind_of, languages_of, memory_bytes, model_of
from models.mlx_audio.recogniser import heard_words
from registry.errors import InvalidInput

REPOSITORY = "mlx-community/parakeet-tdt-0.6b-v3"


@dataclass
class Token:
    text: str
    start: float
    end: float


def test_words_of_segments_have_their_times_and_confidence():
    words = [{"word": " Hello,", "start": 0.1, "end": 0.5, "probability": 0.75}, {"word": " ", "start": 1, "end": 1}]
    result = SimpleNamespace(text="Hello,", segments=[{"text": "Hello,", "words": words}, {"text": "no words"}])
    assert [(word.text, word.start_s, word.end_s, word.confidence) for word in heard_words(result)] == [
        ("Hello,", 0.1, 0.5, 0.75)
    ]


def test_tokens_of_sentences_are_joined_to_words():
    tokens = [Token(" Hel", 0.0, 0.2), Token("lo", 0.2, 0.4), Token(" friend", 0.5, 0.9), Token(".", 0.9, 1.0)]
    result = SimpleNamespace(text="Hello friend.", sentences=[SimpleNamespace(tokens=tokens)])
    assert [(word.text, word.start_s, word.end_s) for word in heard_words(result)] == [
        ("Hello", 0.0, 0.4),
        ("friend.", 0.5, 1.0),
    ]


def test_a_text_alone_has_no_words_with_times():
    assert list(heard_words(SimpleNamespace(text="Hello", segments=None))) == []
    assert list(heard_words("Hello")) == []


def test_a_recogniser_of_mlx_audio_is_named_by_its_repository_or_folder():
    assert kind_of(f"mlx-audio:{REPOSITORY}") == ("mlx-audio", REPOSITORY)
    assert model_of("mlx-audio:./ears") == "./ears"
    assert languages_of(f"mlx-audio:{REPOSITORY}") == ()
    check_language(f"mlx-audio:{REPOSITORY}", "german")
    for wrong in ("mlx-audio", "mlx-audio:", "mlx-audio:small"):
        with pytest.raises(InvalidInput) as caught:
            kind_of(wrong)
        assert REPOSITORY in caught.value.hint


def test_a_recogniser_of_mlx_audio_takes_as_much_memory_as_its_weights(tmp_path):
    for name in ("model-1.safetensors", "model-2.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(bytes(1_000))
    assert memory_bytes(f"mlx-audio:{tmp_path}") == 2_000


@pytest.mark.peers
def test_a_whisper_with_random_weights_is_opened_offline_and_hears_something(tmp_path):
    pytest.importorskip("mlx_audio", reason="mlx-audio is an optional dependency")
    from models.mlx_audio.recogniser import open_recogniser
    from tests.natural_speech import BREEZE, spoken
    from tests.other_models import write_whisper

    recogniser = open_recogniser(str(write_whisper(tmp_path / "lab_whisper")))
    assert recogniser.name.startswith("mlx-audio ") and recogniser.name.endswith("lab_whisper")
    words = recogniser.hear(spoken(BREEZE), "english")
    assert all(0 <= word.start_s <= word.end_s and 0 <= word.confidence <= 1 for word in words)
    assert json.loads((tmp_path / "lab_whisper" / "config.json").read_text())["model_type"] == "whisper"
