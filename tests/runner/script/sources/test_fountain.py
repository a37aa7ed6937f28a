"""Fountain: every corner of its rules, one test each."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runner.script.document import Document, is_spoken
from runner.script.sources.read import read_source


def read(text: str) -> Document:
    return read_source(text.encode(), name="play.fountain")


def told(text: str) -> list[tuple[str, str | None, str]]:
    return [(line.kind, line.speaker, line.text) for line in read(text).lines]


def test_a_cue_needs_a_blank_line_above_and_text_below():
    assert told("Dark.\n\nELENA\nHello.\n") == [("action", None, "Dark."), ("dialogue", "ELENA", "Hello.")]
    assert told("Dark.\nELENA\nHello.\n") == [("action", None, "Dark. ELENA Hello.")]
    assert told("Dark.\n\nELENA\n\nHello.\n") == [
        ("action", None, "Dark."), ("action", None, "ELENA"), ("action", None, "Hello.")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cue", "name"),
    [
        ("@McCLANE", "McCLANE"), ("DR. X", "DR. X"), ("STEEL #2", "STEEL #2"), ("MARÍA ÉLAN", "MARÍA ÉLAN"),
        ("R2D2", "R2D2"), ("MOM & DAD", "MOM & DAD"), ("ELENA ^", "ELENA"), ("ELENA (V.O.)", "ELENA"),
        ("ELENA (O.S.) (CONT'D)", "ELENA"), ("@anna (whispering)", "anna"), ("ELENA [[a note]]", "ELENA"),
        ("ЕЛЕНА", "ЕЛЕНА"), ("O'NEIL", "O'NEIL"), ("*ELENA*", "ELENA"),
    ],
)  # fmt: skip
def test_names_in_cues(cue: str, name: str):
    assert told(f"Dark.\n\n{cue}\nHello.\n")[1:] == [("dialogue", name, "Hello.")]


def test_numbers_alone_are_no_cue():
    assert told("Dark.\n\n1999\nA year.\n")[1:] == [("action", None, "1999 A year.")]


def test_parentheticals_direct_the_speech_that_follows():
    lines = read("ELENA\n(low,\ntired)\nNo.\n(louder)\nNo!\n").lines
    assert [(line.text, line.direction) for line in lines] == [("No.", "low, tired"), ("No!", "louder")]


def test_two_spaces_keep_a_blank_line_within_a_speech():
    assert told("ELENA\nOne.\n  \nTwo.\n\nThree.\n") == [
        ("dialogue", "ELENA", "One."), ("dialogue", "ELENA", "Two."), ("action", None, "Three.")
    ]  # fmt: skip


def test_headings_by_their_words_or_by_force():
    document = read(
        "INT. HOUSE - DAY #12A#\n\nDark.\n\n.A DREAM\n\n..not one\n\nI/E. CAR\n\nDark.\n\next. garden\n\nOh.\n"
    )
    assert [chapter.title for chapter in document.chapters] == [
        "INT. HOUSE - DAY",
        "A DREAM",
        "I/E. CAR",
        "ext. garden",
    ]
    assert ("action", None, "..not one") in [(line.kind, line.speaker, line.text) for line in document.lines]


def test_what_comes_before_the_first_scene_has_a_chapter_without_a_title():
    document = read("Dark.\n\nINT. HOUSE\n\nLight.\n")
    assert [(chapter.index, chapter.title) for chapter in document.chapters] == [(1, ""), (2, "INT. HOUSE")]
    assert [line.chapter for line in document.lines] == [1, 2, 2]


def test_transitions_are_known_and_silent():
    lines = read("Dark.\n\nCUT TO:\n\n> FADE TO BLACK\n\nSMASH CUT TO:\n\n> THE END <\n").lines
    assert [line.kind for line in lines] == ["action", "transition", "transition", "transition", "action"]
    spoken = [line.text for line in lines if is_spoken(line, narrate="all", is_screenplay=True)]
    assert spoken == ["Dark.", "THE END"]


def test_a_forced_action_may_be_in_capitals():
    assert told("!BANG\nAND AGAIN\n") == [("action", None, "BANG AND AGAIN")]


def test_lyrics_belong_to_whoever_sings():
    assert told("Song:\n\nANNA\n~La la\nSpoken.\n\n~Nobody's\n") == [
        ("action", None, "Song:"), ("lyric", "ANNA", "La la"), ("dialogue", "ANNA", "Spoken."),
        ("lyric", None, "Nobody's"),
    ]  # fmt: skip


def test_notes_boneyards_sections_synopses_and_page_breaks_are_left_out():
    text = (
        "# Act\n\n= so it goes\n\nDark. [[a note\nover lines]] Still.\n\n/* ANNA\nHidden.\n\nMore. */\n\n"
        "===\n\nLight.\n"
    )
    assert told(text) == [("action", None, "Dark. Still."), ("action", None, "Light.")]


def test_marks_that_are_never_closed_are_text():
    assert told("Two [[ one.\n\nAnd /* more.\n") == [("action", None, "Two [[ one."), ("action", None, "And /* more.")]


def test_emphasis_is_dropped_and_escapes_are_kept():
    text = "A *b* **c** ***d*** _e_ _**f**_ \\*g\\* snake_case_name 2 * 3 * 4.\n"
    assert told(text) == [("action", None, "A b c d e f *g* snake_case_name 2 * 3 * 4.")]


def test_the_title_page_is_read_and_not_spoken():
    document = read("Title:\n    _**The Night**_\n    Train\nCredit: by\nAuthors: Ann, Bo\nSource: x\n\nDark.\n")
    assert (document.title, document.author) == ("The Night Train", "Ann, Bo")
    assert [line.text for line in document.lines] == ["Dark."]
    assert read("Series: Trains\nTitle: Two\n\nDark.\n").title == "Two"


def test_a_first_line_with_a_colon_is_no_title_page():
    assert told("FADE IN:\n\nDark.\n") == [("action", None, "FADE IN:"), ("action", None, "Dark.")]
    assert told("Remember: no light.\n\nDark.\n")[0] == ("action", None, "Remember: no light.")


def test_two_who_speak_at_once_speak_one_after_the_other():
    assert told("ANNA\nYes.\n\nBOB ^\nNo.\n") == [("dialogue", "ANNA", "Yes."), ("dialogue", "BOB", "No.")]


def test_places_are_lines_of_the_file():
    lines = read("Title: X\n\n/* one\ntwo */\n\nDark.\n\nANNA\nYes.\n").lines
    assert [line.place for line in lines] == ["line 6", "line 9"]


@pytest.mark.parametrize("narrate", ["all", "action", "none"])
def test_who_narrates_what(narrate: str):
    lines = read("INT. HOUSE\n\nDark.\n\nANNA\nYes.\n\n~la\n").lines
    spoken = [line.text for line in lines if is_spoken(line, narrate=narrate, is_screenplay=True)]  # type: ignore[arg-type]
    assert (
        spoken
        == {"all": ["INT. HOUSE", "Dark.", "Yes.", "la"], "action": ["Dark.", "Yes.", "la"], "none": ["Yes."]}[narrate]
    )


WORD = st.text("abcdefgé", min_size=2, max_size=6)
SAID = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
NAME = st.text("ABCDEFÉ", min_size=2, max_size=8)
PIECE = st.one_of(
    SAID.map(lambda text: (f"{text}.\n\n", [("action", None, f"{text}.")])),
    st.tuples(NAME, SAID).map(lambda pair: (f"@{pair[0]}\n{pair[1]}\n\n", [("dialogue", pair[0], pair[1])])),
    SAID.map(lambda text: (f"> {text}:\n\n", [("transition", None, f"{text}:")])),
)


@given(st.lists(PIECE, min_size=1, max_size=20))
def test_written_and_read_again_a_play_is_the_same(pieces: list[tuple[str, list[tuple[str, str | None, str]]]]):
    source = "".join(text for text, _ in pieces)
    assert told(source) == [line for _, lines in pieces for line in lines]


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters="\n\t"), max_size=300))
def test_any_text_is_read_without_losing_a_word(text: str):
    source = "\n".join(f"w{number}x {line}" for number, line in enumerate(text.split("\n")))
    assume(not any(mark in source for mark in ("[[", "/*", "*", "_", "\\", "#", "=", ":")))
    got = " ".join(line.text if line.speaker is None else f"{line.speaker} {line.text}" for line in read(source).lines)
    assert [word for word in got.split() if word.startswith("w")] == [
        word for word in source.split() if word.startswith("w")
    ]
