"""Final Draft: every run of a paragraph, dual dialogue, and nothing that nobody says."""

from __future__ import annotations

from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.script.document import Document
from runner.script.errors import SourceRefused
from runner.script.sources.read import read_source


def paragraph(kind: str, *runs: str, inside: str = "") -> str:
    texts = "".join(f'<Text Style="Bold">{escape(run)}</Text>' for run in runs)
    return f'<Paragraph Type="{kind}">{inside}{texts}</Paragraph>'


def read(*paragraphs: str, front: str = "") -> Document:
    body = f"<FinalDraft><Content>{''.join(paragraphs)}</Content>{front}</FinalDraft>"
    return read_source(f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode(), name="play.fdx")


def told(document: Document) -> list[tuple[str, str | None, str]]:
    return [(line.kind, line.speaker, line.text) for line in document.lines]


def test_every_styled_run_of_a_paragraph_is_read():
    assert told(read(paragraph("Action", "Elena ", "opens", " the door."))) == [
        ("action", None, "Elena opens the door.")
    ]


def test_both_who_speak_at_once_are_read():
    dual = "".join(
        (paragraph("Character", "ANNA"), paragraph("Dialogue", "Yes."), paragraph("Character", "BOB (V.O.)"),
         paragraph("Parenthetical", "(low)"), paragraph("Dialogue", "No."))
    )  # fmt: skip
    document = read(f"<Paragraph><DualDialogue>{dual}</DualDialogue></Paragraph>", paragraph("Action", "Dark."))
    assert told(document) == [("dialogue", "ANNA", "Yes."), ("dialogue", "BOB", "No."), ("action", None, "Dark.")]
    assert [line.direction for line in document.lines] == [None, "low", None]


def test_notes_summaries_and_lists_of_names_are_no_part_of_the_script():
    note = '<ScriptNote><Paragraph Type="Action"><Text>secret</Text></Paragraph></ScriptNote>'
    summary = "<SceneProperties><Summary><Paragraph><Text>told</Text></Paragraph></Summary></SceneProperties>"
    document = read(paragraph("Scene Heading", "INT. HOUSE", inside=summary), paragraph("Action", "Dark.", inside=note))
    assert told(document) == [("heading", None, "INT. HOUSE"), ("action", None, "Dark.")]
    assert [chapter.title for chapter in document.chapters] == ["INT. HOUSE"]


def test_songs_shots_and_types_of_ones_own_are_read():
    document = read(
        paragraph("Character", "ANNA"), paragraph("Lyrics", "La"), paragraph("Shot", "CLOSE"),
        paragraph("New Act", "ACT ONE"), paragraph("Transition", "CUT TO:"), paragraph("My Type", "Odd."),
    )  # fmt: skip
    assert told(document) == [
        ("lyric", "ANNA", "La"), ("action", None, "CLOSE"), ("action", None, "ACT ONE"),
        ("transition", None, "CUT TO:"), ("action", None, "Odd."),
    ]  # fmt: skip
    assert document.warnings == ("Paragraphs of the type 'My Type' are read as action.",)


def test_the_title_page_is_read_and_not_spoken():
    front = "<TitlePage><Content>" + "".join(paragraph("", text) for text in ("Rain", "written by", "Ann"))
    document = read(paragraph("Action", "Dark."), front=f"{front}</Content></TitlePage>")
    assert (document.title, document.author, len(document.lines)) == ("Rain", "Ann", 1)


def test_dialogue_without_a_character_goes_to_the_narrator_with_a_warning():
    document = read(paragraph("Dialogue", "Yes."))
    assert told(document) == [("action", None, "Yes.")]
    assert "narrator" in document.warnings[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><FinalDraft><Content/></FinalDraft>', "entities of its own"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><FinalDraft/>', "entities of its own"),
        ("<FinalDraft><Content>", "no well-formed XML"),
        ("<Other/>", "its outermost tag is not FinalDraft"),
        ("<FinalDraft>" + "<a>" * 300 + "</a>" * 300 + "</FinalDraft>", "nested too deeply"),
        ("<FinalDraft><Content/></FinalDraft>", "no text to speak"),
        ("", "no well-formed XML"),
    ],
)
def test_what_is_no_script_or_could_do_harm_is_refused(content: str, said: str):
    with pytest.raises(SourceRefused, match=said):
        read_source(content.encode(), name="play.fdx")


@given(st.lists(st.lists(st.text("abc é&<", min_size=1, max_size=8), min_size=1, max_size=4), min_size=1, max_size=12))
def test_no_letter_of_any_run_is_lost(paragraphs: list[list[str]]):
    wanted = "".join("".join(runs) for runs in paragraphs)
    if not wanted.strip():
        return
    document = read(*(paragraph("Action", *runs) for runs in paragraphs))
    assert "".join("".join(line.text for line in document.lines).split()) == "".join(wanted.split())
