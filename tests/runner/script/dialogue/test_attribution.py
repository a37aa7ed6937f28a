"""Who speaks in prose: marks of many languages, tags, pronouns, turns; and nothing of the text is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.script.dialogue.attribution import attribute
from runner.script.document import ScriptLine
from runner.script.sources.read import read_source


def lines(text: str, language: str = "en") -> list[ScriptLine]:
    document = read_source(text.encode(), name="a.txt")
    return list(attribute(document, language=language).document.lines)


def said(text: str, language: str = "en") -> list[tuple[str | None, str]]:
    return [(line.speaker, line.text) for line in lines(text, language) if line.kind == "dialogue"]


@pytest.mark.parametrize(
    ("text", "language", "speaker", "quote"),
    [
        ("“Come in,” said Anna.", "en", "Anna", "“Come in,”"),
        ('"Come in," Anna said softly.', "en", "Anna", '"Come in,"'),
        ("‘Come in,’ said Anna. ‘It’s late.’", "en", "Anna", "‘Come in,’"),
        ("„Komm herein“, sagte Anna.", "de", "Anna", "„Komm herein“,"),
        ("»Komm herein«, sagte Anna.", "de", "Anna", "»Komm herein«,"),
        ("« Entrez », dit Anna.", "fr", "Anna", "« Entrez »,"),
        ("«Entra», disse Anna.", "it", "Anna", "«Entra»,"),
        ("„Wejdź”, powiedziała Anna.", "pl", "Anna", "„Wejdź”,"),
        ("«Войдите», сказала Анна.", "ru", "Анна", "«Войдите»,"),
        ("“Come in!” cried the old conductor.", "en", "old conductor", "“Come in!”"),
        ("Anna said, “Come in.”", "en", "Anna", "“Come in.”"),
        ("Then Anna said: “Come in.”", "en", "Anna", "“Come in.”"),
        ("„Komm herein“, sagte die Mutter.", "de", "Mutter", "„Komm herein“,"),
        ("“Come in,” said Mr. Darcy.", "en", "Mr. Darcy", "“Come in,”"),
    ],
)  # fmt: skip
def test_marks_and_tags(text: str, language: str, speaker: str, quote: str):
    assert said(f"{text}\n\n{text}\n", language)[0] == (speaker, quote)


def test_dashes_begin_speeches_and_enclose_what_the_narrator_adds():
    text = "—Pasa —dijo Ana—. Es tarde.\n\n—Gracias —respondió Luis.\n"
    assert said(text, "es") == [("Ana", "—Pasa"), ("Ana", "Es tarde."), ("Luis", "—Gracias")]


def test_french_puts_the_tag_between_commas():
    text = "— Oui, répondit Anna, je viens.\n\n— Bien, dit Paul.\n"
    assert said(text, "fr") == [("Anna", "— Oui,"), ("Anna", "je viens."), ("Paul", "— Bien,")]


def test_a_quote_that_runs_over_paragraphs_keeps_its_speaker():
    text = "“It was dark,” said Anna. “I saw nothing.\n\n“Then there was light.”\n\n“Good,” said Bob.\n"
    assert said(text) == [
        ("Anna", "“It was dark,”"), ("Anna", "“I saw nothing."), ("Anna", "“Then there was light.”"), ("Bob", "“Good,”")
    ]  # fmt: skip


def test_two_who_talk_take_turns_for_a_while():
    text = "“One,” said Anna.\n\n“Two,” said Bob.\n\n" + "".join(f"“Word {number}.”\n\n" for number in range(7))
    assert [speaker for speaker, _ in said(text)] == ["Anna", "Bob", "Anna", "Bob", "Anna", "Bob"]


def test_a_speech_that_calls_somebody_is_not_theirs():
    text = "“One,” said Anna.\n\n“Two,” said Bob.\n\n“Anna, listen.”\n"
    assert [speaker for speaker, _ in said(text)] == ["Anna", "Bob"]


def test_a_pronoun_means_whoever_was_named():
    text = "Mr. Gray saw that Anna had come. He let Anna wait.\n\n“Nobody is here,” he said.\n\n“I see,” she said.\n"
    assert [speaker for speaker, _ in said(text)] == ["Mr. Gray", "Anna"]


def test_sentences_about_one_person_say_who_speaks():
    assert said("“No,” said Bob.\n\nAnna looked up. “Yes.”\n\n“Oh,” said Bob.\n")[1] == ("Anna", "“Yes.”")


def test_two_ways_of_writing_a_name_are_one_person():
    text = (
        "“One,” said Elizabeth Bennet.\n\n“Two,” said Mr. Darcy.\n\n“Three,” said Elizabeth.\n\n“Four,” said Darcy.\n"
    )
    assert [speaker for speaker, _ in said(text)] == ["Elizabeth Bennet", "Mr. Darcy", "Elizabeth Bennet", "Mr. Darcy"]


def test_two_of_one_name_are_not_one_person():
    text = "“One,” said Mr. Bennet.\n\n“Two,” said Mrs. Bennet.\n\n“Three,” said Mr. Bennet.\n"
    assert [speaker for speaker, _ in said(text)] == ["Mr. Bennet", "Mrs. Bennet", "Mr. Bennet"]


def test_words_at_arms_length_are_no_speech():
    text = "He called it “the machine” and laughed.\n\n“Come,” said Anna.\n"
    assert [(line.kind, line.speaker) for line in lines(text)][:1] == [("narration", None)]


def test_an_unsure_quote_is_the_narrators_and_keeps_its_paragraph_whole():
    (line,) = lines("“Who is there?” Nobody was in the house, and “Go!” came from afar.\n")
    assert (line.speaker, line.rule, line.confidence) == (None, "unsure", 0.0)


def test_every_line_has_rule_and_confidence():
    found = lines("“One,” said Anna.\n\n“Two,” she said.\n")
    assert [(line.rule, line.confidence > 0.5) for line in found if line.kind == "dialogue"] == [
        ("tag", True), ("pronoun", True)
    ]  # fmt: skip


WORDS = st.lists(
    st.sampled_from(["said", "Anna", "Bob", "he", "she", "the old man", "don't", *',.!“”"‘’«»„—-']), max_size=14
)


@given(st.lists(WORDS, min_size=1, max_size=8), st.sampled_from(["en", "de", "fr", "es", "ru"]))
def test_no_letter_is_lost_doubled_or_moved(paragraphs: list[list[str]], language: str):
    source = "\n\n".join(" ".join(["It", *words]) for words in paragraphs)
    found = "".join(line.text for line in lines(source, language))
    assert "".join(found.split()) == "".join(source.split())
