"""Words that were heard, compared with a text as phonemes."""

import pytest

from models.draft.espeak import find_library
from models.listen.judgement import judged
from models.listen.recognisers import kind_of, open_recogniser
from models.listen.values import HeardWord
from registry.errors import InvalidInput, VoiceJobsError

TEXT = "I won't let you down, whatever happens tomorrow."


def compared(expected, transcript, *, recogniser="pocketsphinx"):
    heard = [
        HeardWord(text=word, start_s=float(at), end_s=at + 0.9, confidence=1.0)
        for at, word in enumerate(transcript.split())
    ]
    return judged(
        heard,
        expected=expected,
        language="english",
        recogniser=recogniser,
        duration_s=float(len(heard)),
        library=find_library(),
    )


def test_numbers_and_words_that_sound_alike_are_the_same():
    found, passes = compared("The knight paid 50 pounds.", "the night paid fifty pounds")
    assert passes
    assert found.distance == 0


@pytest.mark.parametrize(
    ("transcript", "expected", "place_s"),
    [
        ("i won't let tomorrow", "you down, whatever happens", (2.9, 3.0)),
        (f"{TEXT.lower()} and thank you all for watching", "", (8.0, 13.9)),
        ("", TEXT, (0.0, 0.0)),
    ],
    ids=["left out", "added", "nothing"],
)
def test_what_is_left_out_or_added_fails_and_is_named_with_its_place(transcript, expected, place_s):
    found, passes = compared(TEXT, transcript)
    assert not passes
    assert found.worst.expected == expected
    assert (found.worst.start_s, found.worst.end_s) == pytest.approx(place_s)


def test_a_mistaken_word_passes_a_coarse_recogniser():
    assert compared(TEXT, "i only let you down whatever happens tomorrow")[1]


def test_a_line_of_two_words_is_not_judged():
    assert compared("Come here.", "thank you for watching this")[1]


@pytest.mark.parametrize("name", ["whisper", "pocketsphinx:large", "faster-whisper"])
def test_a_recogniser_that_nobody_knows_is_refused(name):
    with pytest.raises(InvalidInput):
        kind_of(name)


def test_a_folder_that_holds_no_model_or_a_missing_package_is_named(tmp_path):
    with pytest.raises(VoiceJobsError, match="faster-whisper"):
        open_recogniser(f"faster-whisper:{tmp_path}")
