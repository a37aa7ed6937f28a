"""Paragraphs of a text: a rule that looks at all of it tells a wrapped line from one that ends."""

import textwrap

import pytest

from models.text.paragraphs import paragraphs

PROSE = (
    "The ferry left at nine, with half the town on board and the other half waving from the pier. Nobody had told Mr. "
    "Hale, who stood there with his suitcase, that the well-known timetable of 1984 was no longer in use. "
)


def wrapped(count, width, **how):
    return textwrap.fill((PROSE * count).strip(), width, **how)


@pytest.mark.parametrize("width", [40, 55, 72, 80, 100])
def test_hard_wrapped_lines_are_joined(width):
    found = paragraphs("\n\n".join(wrapped(count, width) for count in (1, 2, 3)))
    assert found.is_wrapped
    assert list(found.texts) == [(PROSE * count).strip() for count in (1, 2, 3)]


def test_paragraphs_of_one_line_each_need_no_blank_lines_between_them():
    text = "\n".join(f"This is note number {number} of a long list of notes." for number in range(1, 31))
    found = paragraphs(text)
    assert (len(found.texts), found.is_wrapped) == (30, False)


def test_long_and_short_paragraphs_of_one_line_each_stay_apart():
    texts = [PROSE.strip(), "Chapter Two", (PROSE * 3).strip(), "“Yes,” he said.", "“No.”", "* * *", PROSE.strip()]
    assert list(paragraphs("\n".join(texts)).texts) == texts


def test_an_indent_begins_a_paragraph_of_wrapped_text():
    found = paragraphs("\n".join(wrapped(count, 70, initial_indent="    ") for count in (1, 2)))
    assert len(found.texts) == 2


def test_a_short_last_line_ends_a_paragraph_of_wrapped_text():
    found = paragraphs("\n".join([wrapped(2, 70) + " So it went on.", wrapped(2, 70) + " So it ended."]))
    assert len(found.texts) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Milk\nEggs\nBread", ["Milk", "Eggs", "Bread"]),
        ("milk\neggs\nbread", ["milk", "eggs", "bread"]),
        ("Hello there.\nHow are you?", ["Hello there.", "How are you?"]),
        ("It was a dark and\nstormy night.", ["It was a dark and stormy night."]),
        ("The door closed.\n⁂\nMorning came.", ["The door closed.", "⁂", "Morning came."]),
        ("— Bonjour, dit-il.\n— Bonjour.\n— Bien.", ["— Bonjour, dit-il.", "— Bonjour.", "— Bien."]),
        ("One.\r\n\r\nTwo.\rThree.", ["One.", "Two.", "Three."]),
        ("One.\n \t\nTwo.", ["One.", "Two."]),
        ("A nega-\ntive result of it\nwas found.", ["A negative result of it was found."]),
    ],
)
def test_short_texts_are_read_as_they_look(text, expected):
    assert list(paragraphs(text).texts) == expected


def test_chinese_is_joined_without_spaces():
    sentence = "他说，今天天气很好，我们去公园吧。她没有回答，只是看着窗外的雨，一直看到天黑为止。" * 3
    text = "\n".join(sentence[at : at + 24] for at in range(0, len(sentence), 24))
    assert list(paragraphs(text).texts) == [sentence]


def test_an_address_within_wrapped_text_keeps_its_lines():
    found = paragraphs("\n\n".join([wrapped(2, 72), "John Smith\n12 High Street\nLondon", wrapped(1, 72)]))
    assert list(found.texts)[1:4] == ["John Smith", "12 High Street", "London"]
