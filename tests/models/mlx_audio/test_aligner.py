"""Words as they are written, with the times of the parts that an aligner makes of them."""

import pytest

from models.errors import EngineFailure, LanguageNotHeard, UnsupportedRequest
from models.listen.recognisers import check_aligner
from models.listen.written_words import written_words
from models.mlx_audio.aligner import TimedPart, timed
from registry.errors import InvalidInput


def test_words_get_the_times_of_their_letters_and_keep_their_marks():
    parts = [TimedPart("It's", 0.1, 0.3), TimedPart("wellknown", 0.4, 1.3), TimedPart("2026", 1.5, 2.0)]
    words = list(timed(written_words("“It's — well-known: 2026!”"), parts))
    assert [(word.text, word.start_s, word.end_s) for word in words] == [
        ("“It's", 0.1, 0.3),
        ("well-known:", 0.4, 1.3),
        ("2026!”", 1.5, 2.0),
    ]
    assert [word.place for word in words] == [0, 8, 20]


def test_a_part_of_several_words_is_shared_by_their_letters():
    words = list(timed(written_words("ab cd"), [TimedPart("abcd", 1.0, 2.0)]))
    assert [(word.start_s, word.end_s) for word in words] == [(1.0, 1.5), (1.5, 2.0)]


def test_parts_of_another_text_are_no_answer():
    with pytest.raises(EngineFailure, match="another text"):
        list(timed(written_words("Hello there"), [TimedPart("Hello", 0, 1), TimedPart("you", 1, 2)]))


@pytest.mark.parametrize("name", ["pocketsphinx", "faster-whisper:small", "mlx-audio:small", "Qwen/aligner"])
def test_only_models_of_mlx_audio_time_words(name):
    with pytest.raises(InvalidInput):
        check_aligner(name)


@pytest.mark.peers
def test_an_aligner_with_random_weights_times_every_word_within_the_take(tmp_path):
    pytest.importorskip("mlx_audio", reason="mlx-audio is an optional dependency")
    from models.mlx_audio.aligner import open_aligner
    from models.mlx_audio.recogniser import open_recogniser
    from tests.natural_speech import BREEZE, spoken
    from tests.other_ears import write_aligner, write_qwen3_asr

    folder, sound = write_aligner(tmp_path / "lab_Qwen3-ForcedAligner"), spoken(BREEZE)
    words = open_aligner(str(folder)).word_times(sound, text=BREEZE, language="auto")
    assert [word.text for word in words] == [word.text for word in written_words(BREEZE)]
    assert all(0 <= word.start_s <= word.end_s <= sound.size / 24_000 for word in words)
    with pytest.raises(LanguageNotHeard):
        open_aligner(str(folder)).word_times(sound, text=BREEZE, language="finnish")
    with pytest.raises(UnsupportedRequest, match="hears no words"):
        open_recogniser(str(folder))
    with pytest.raises(UnsupportedRequest, match="times none"):
        open_aligner(str(write_qwen3_asr(tmp_path / "lab_Qwen3-ASR")))
