"""Sentence-safe splitting."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.text.sentences import split_pieces, split_text

ENGLISH = "Dr. Smith arrived at 3 p.m. on Monday. He was late! Why? Nobody knew, e.g. not even Mrs. Jones."


def split(text, *, language="english", max_characters=60):
    return split_text(text, language=language, max_characters=max_characters)


def test_short_text_stays_whole():
    assert split(ENGLISH, max_characters=200) == [ENGLISH]


def test_abbreviations_do_not_end_a_sentence():
    assert split(ENGLISH, max_characters=45) == [
        "Dr. Smith arrived at 3 p.m. on Monday.",
        "He was late! Why?",
        "Nobody knew, e.g. not even Mrs. Jones.",
    ]


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("chinese", "你好。今天天气很好！我们去公园吧？", ["你好。", "今天天气很好！", "我们去公园吧？"]),
        ("japanese", "こんにちは。元気ですか？", ["こんにちは。", "元気ですか？"]),
        ("german", "Das ist z. B. Herr Dr. Müller. Er kommt.", ["Das ist z. B. Herr Dr. Müller.", "Er kommt."]),
        ("auto", "你好。再见。", ["你好。", "再见。"]),
    ],
    ids=["chinese", "japanese", "german", "auto"],
)
def test_sentence_ends_are_those_of_the_language(language, text, sentences):
    longest = max(map(len, sentences))
    assert split(text, language=language, max_characters=longest) == sentences


def test_no_sentence_is_cut_unless_it_is_too_long_by_itself():
    text = " ".join(f"This is sentence number {number} of the chapter." for number in range(40))
    pieces = split(text, max_characters=120)
    assert all(piece.endswith(".") and len(piece) <= 120 for piece in pieces)
    assert " ".join(pieces) == text


def test_a_sentence_that_is_too_long_is_cut_at_its_clauses():
    text = (
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness."
    )
    pieces = split(text, max_characters=60)
    assert [piece[-1] for piece in pieces] == [",", "."]


def test_a_comma_inside_a_number_is_no_clause_mark():
    assert (
        split("There were 1,000,000 people and 2,000 dogs there.", max_characters=30)[0]
        == "There were 1,000,000 people"
    )


def test_a_word_that_is_too_long_is_cut_without_tearing_an_accent_off():
    pieces = split("a\u0301" * 50, max_characters=11)
    assert "".join(pieces) == "a\u0301" * 50
    assert not any(piece.startswith("\u0301") for piece in pieces)


def test_pieces_never_hold_more_than_200_words():
    assert max(len(piece.split()) for piece in split("A b c d. " * 200, max_characters=10_000)) <= 200


def test_a_paragraph_ends_a_piece_and_earns_a_longer_pause():
    first, second, last = split_pieces("One.\n\nTwo is here. Three.", language="english", max_characters=14)
    assert (first.end, second.end, last.end) == ("paragraph", "sentence", "text")
    assert first.pause_after_s > second.pause_after_s > last.pause_after_s == 0


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.integers(1, 80), st.sampled_from(["english", "auto", "chinese", "thai"]))
def test_nothing_but_white_space_is_ever_lost(text, max_characters, language):
    pieces = split_text(text, language=language, max_characters=max_characters)
    assert re.sub(r"\s", "", "".join(pieces)) == re.sub(r"\s", "", text)
    assert all(len(piece) <= max(max_characters, 2 * max_characters) for piece in pieces)


@pytest.mark.parametrize("unit", ["他说今天天气很好我们去公园吧。", "字", "No end of it, ", "Short. ", "a"])
def test_a_paragraph_of_any_length_is_split_in_time_that_grows_with_it(unit):
    text = unit * (100_000 // len(unit))
    started_s = time.process_time()
    pieces = split_text(text, language="auto", max_characters=2_000)
    assert time.process_time() - started_s < 5
    assert "".join("".join(pieces).split()) == "".join(text.split())
