"""Answers of mlx-audio's recognisers as words; and one with random weights."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from models.errors import LanguageNotHeard
from models.listen.recognisers import check_language, kind_of, languages_of, memory_bytes, model_of
from models.mlx_audio.recogniser import MlxAudioRecogniser, heard_words
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


@pytest.mark.peers
@pytest.mark.parametrize(
    ("writer", "name"),
    [
        ("write_parakeet", "mlx-community_parakeet-ctc"),
        ("write_wav2vec2", "lab_letters"),
        ("write_qwen3_asr", "lab_Qwen3-ASR"),
    ],
)
def test_a_recogniser_with_random_weights_ends_its_nonsense_and_writes_readable_words(tmp_path, writer, name):
    pytest.importorskip("mlx_audio", reason="mlx-audio is an optional dependency")
    from models.mlx_audio.recogniser import open_recogniser
    from tests import other_ears
    from tests.natural_speech import BREEZE, spoken

    recogniser = open_recogniser(str(getattr(other_ears, writer)(tmp_path / name)))
    for language in ("english", "auto"):
        words = recogniser.hear(spoken(BREEZE), language)
        assert all(word.text.isprintable() and "<" not in word.text for word in words)
        assert all(0 <= word.start_s <= word.end_s for word in words)


class Told:
    """A network that keeps what it was told."""

    def generate(self, audio, *, max_tokens=128, language="en", verbose=False):
        self.told = {"audio": audio, "max_tokens": max_tokens, "language": language, "verbose": verbose}
        return SimpleNamespace(text="")


class ToldLanguages:
    def generate(self, audio, *, source_lang="en", target_lang="en"):
        self.told = {"audio": audio, "source_lang": source_lang, "target_lang": target_lang}
        return SimpleNamespace(text="")


SOUND = np.ones(24_000, np.float32)


@pytest.mark.parametrize(
    ("family", "language", "told"),
    [("voxtral", "auto", None), ("voxtral", "german", "de"), ("qwen3_asr", "german", "German")],
)
def test_a_recogniser_is_told_the_language_and_the_sound_in_the_form_that_it_takes(family, language, told):
    network = Told()
    MlxAudioRecogniser(network, family=family, name="ears").hear(SOUND, language)
    assert network.told["language"] == told
    assert isinstance(network.told["audio"], list) == (family == "voxtral")
    assert network.told["max_tokens"] == 20 + 32


def test_a_recogniser_that_takes_all_speech_for_english_has_to_be_told_the_language():
    network = ToldLanguages()
    canary = MlxAudioRecogniser(network, family="canary", name="ears")
    canary.hear(SOUND, "german")
    assert (network.told["source_lang"], network.told["target_lang"]) == ("de", "de")
    with pytest.raises(LanguageNotHeard):
        canary.hear(SOUND, "auto")


def test_a_recogniser_that_knows_its_languages_hears_no_other():
    english = MlxAudioRecogniser(Told(), family="mms", name="ears", languages=("english",))
    with pytest.raises(LanguageNotHeard):
        english.hear(SOUND, "german")
    assert english.hear(SOUND, "auto") == []
