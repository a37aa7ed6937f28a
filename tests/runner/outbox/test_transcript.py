"""Heard words as files: phrases end at pauses and sentences, captions fit two rows, times are the recording's."""

import json

import pytest

from models.listen.values import HeardWord
from runner.outbox.transcript import phrases, transcript_files


def words(*entries):
    return [HeardWord(text=text, start_s=start_s, end_s=end_s, confidence=0.9) for text, start_s, end_s in entries]


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (words(("one", 1, 1.2), ("two", 1.3, 1.5), ("three", 2.4, 2.8)), [["one", "two"], ["three"]]),
        (words(("One.", 1, 1.2), ("Two", 1.2, 1.5)), [["One."], ["Two"]]),
        ([], []),
    ],
    ids=["pause", "sentence", "nothing"],
)
def test_phrases_end_at_pauses_and_at_sentences(heard, expected):
    assert [[word.text for word in phrase] for phrase in phrases(heard)] == expected


def test_files_have_the_times_of_the_recording():
    files = transcript_files(words(("one", 3.0, 3.2), ("two", 3.3, 3.5), ("three", 6.0, 6.4)))
    assert files["transcript.txt"] == b"one two\nthree\n"
    assert json.loads(files["words.json"])[2] == {"line": 2, "word": "three", "start_s": 6.0, "end_s": 6.4}
    assert b"00:00:03,000 --> 00:00:03,500\none two" in files["captions.srt"]
    assert b"00:00:06.000 --> 00:00:06.400\nthree" in files["captions.vtt"]


def test_words_that_overlap_keep_their_order_and_no_caption_is_longer_than_two_rows():
    heard = words(*((f"word{number}", number * 0.2, number * 0.2 + 0.5) for number in range(60)))
    captions = transcript_files(heard)["captions.srt"].decode().strip().split("\n\n")
    assert len(captions) > 3
    assert all(len(row) <= 42 for caption in captions for row in caption.split("\n")[2:])
