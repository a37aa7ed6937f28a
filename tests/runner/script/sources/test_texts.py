"""HTML, Markdown, plain text, PDF and captions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.script.document import Document
from runner.script.errors import SourceRefused
from runner.script.sources.read import read_source


def read(name: str, text: str | bytes) -> Document:
    return read_source(text if isinstance(text, bytes) else text.encode(), name=name)


def texts(document: Document) -> list[str]:
    return [line.text for line in document.lines]


def titles(document: Document) -> list[str]:
    return [chapter.title for chapter in document.chapters]


# ---- HTML and Markdown ---------------------------------------------------------------------------------------------


def test_a_page_of_html():
    page = '<html lang="de"><head><title>T</title></head><body><h1>Eins</h1><p>A &auml; b<p>C<h1>Zwei</h1>D<hr>E'
    document = read("a.html", page)
    assert (document.title, document.language, titles(document)) == ("T", "de", ["Eins", "Zwei"])
    assert texts(document) == ["Eins", "A ä b", "C", "Zwei", "D", "* * *", "E"]


def test_a_page_says_its_own_encoding():
    page = '<html><head><meta charset="iso-8859-1"></head><body><p>caf\xe9 \x93ja\x94</p></body></html>'
    document = read("a.html", page.encode("latin-1"))
    assert (texts(document), document.encoding) == (["café “ja”"], "iso-8859-1")
    with pytest.raises(SourceRefused, match="says that it is shift_jis, and is not"):
        read("a.html", b'<meta charset="shift_jis"><p>\x81</p>')


def test_rows_of_tables_are_read_one_after_the_other():
    table = "<table><tr>\n<th>Who</th>\n<th>When</th></tr><tr><td>Ann</td><td>May.</td></tr></table>"
    assert texts(read("a.html", table)) == ["Who; When", "Ann; May."]


def test_markdown_has_chapters_places_and_front_matter():
    document = read(
        "a.md",
        "---\ntitle: T\nauthor: 'Me'\n---\n# Book\n\nIntro *em* `code`.\n\n## One\n\n- a\n- b\n\n## Two\n\nEnd.\n",
    )
    assert (document.title, document.author) == ("T", "Me")
    assert titles(document) == ["Book", "One", "Two"]
    assert [(line.text, line.place) for line in document.lines] == [
        ("Book", "line 5"), ("Intro em code.", "line 7"), ("One", "line 9"), ("a", "line 11"), ("b", "line 12"),
        ("Two", "line 14"), ("End.", "line 16"),
    ]  # fmt: skip


def test_markdowns_footnotes_are_left_out_and_named():
    document = read("a.md", "Word[^1] more.\n\n[^1]: A note\n    goes on.\n\nEnd.\n")
    assert texts(document) == ["Word more.", "End."]
    assert document.warnings == ("Left out, as nobody reads it aloud: footnotes.",)


# ---- plain text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("CHAPTER I", "CHAPTER II"), ("Chapter One", "Chapter Two"), ("Kapitel 1", "Kapitel 2"), ("I.", "II."),
        ("Erstes Kapitel", "Zweites Kapitel"), ("Chapitre premier", "Chapitre II"), ("1", "2"),
        ("Prologue", "Epilogue"), ("Chapter 1: The Train", "Chapter 2: The Night"), ("THE TRAIN", "THE NIGHT"),
        ("Capítulo 1", "Capítulo 2"), ("ГЛАВА I", "ГЛАВА II"),
    ],
)  # fmt: skip
def test_headings_of_chapters(first: str, second: str):
    document = read("a.txt", f"{first}\n\nIt was dark here.\n\nNothing moved.\n\n{second}\n\nThen light came.\n")
    assert titles(document) == [first, second]
    assert [line.kind for line in document.lines] == ["heading", "narration", "narration", "heading", "narration"]


@pytest.mark.parametrize(
    "line", ["I", "Chapter and verse were given to all.", "He read chapter two aloud.", "No!", "1984 was over."]
)
def test_sentences_are_no_headings(line: str):
    document = read("a.txt", f"It was dark here.\n\n{line}\n\nThen light came.\n")
    assert titles(document) == [""]
    assert len(document.lines) == 3


def test_a_title_below_the_number_is_part_of_the_heading():
    text = "CHAPTER I\n\nThe Train\n\nIt was dark.\n\nCHAPTER II\n\nThe Night\n\nLight came.\n"
    assert titles(read("a.txt", text)) == ["CHAPTER I – The Train", "CHAPTER II – The Night"]


def test_the_frame_of_project_gutenberg_is_left_out():
    text = (
        "The Project Gutenberg eBook of X\n\nTitle: X\n\nAuthor: Y\n\n"
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nIt was.\n\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n\nLicence.\n"
    )
    document = read("a.txt", text)
    assert (document.title, document.author, texts(document)) == ("X", "Y", ["It was."])
    assert document.lines[0].place == "line 9"


@given(
    st.lists(st.lists(st.text("abcdé.,?!'", min_size=1, max_size=9), min_size=1, max_size=12), min_size=1, max_size=15)
)
def test_no_word_of_a_text_is_lost_doubled_or_moved(paragraphs: list[list[str]]):
    source = "\n\n".join(" ".join(words) for words in paragraphs)
    if not any(character.isalpha() for character in source):
        return
    assert " ".join(texts(read("a.txt", source))).split() == source.split()


@given(st.lists(st.text("abcdé .,?!'-", min_size=1, max_size=40), min_size=1, max_size=12))
def test_no_word_of_a_page_is_lost_doubled_or_moved(paragraphs: list[str]):
    if not any(character.isalpha() for text in paragraphs for character in text):
        return
    page = "".join(f"<p>{text}</p>" for text in paragraphs)
    assert " ".join(texts(read("a.html", page))).split() == " ".join(paragraphs).split()


def test_a_paragraph_longer_than_a_line_may_be_is_cut_between_sentences():
    source = "Here is a sentence of a long paragraph. " * 200
    lines = texts(read("a.txt", source))
    assert len(lines) > 2
    assert all(len(line) <= 2_000 and line.endswith(".") for line in lines)
    assert " ".join(lines).split() == source.split()


# ---- encodings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("Café “ja”.".encode("utf-8-sig"), "utf-8"), ("Café “ja”.".encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + "Café “ja”.".encode("utf-16-be"), "utf-16"), ("Café “ja”.".encode("cp1252"), "windows-1252"),
    ],
)  # fmt: skip
def test_encodings_that_are_certain_are_read(content: bytes, encoding: str):
    document = read("a.txt", content)
    assert (texts(document), document.encoding) == (["Café “ja”."], encoding)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Привет, мир.", "cp1251"), ("Příliš žluťoučký kůň.", "cp1250"), ("Καλημέρα κόσμε.", "cp1253"),
        ("Zażółć gęślą jaźń.", "cp1250"), ("こんにちは", "shift_jis"), ("Árvíztűrő tükörfúrógép.", "cp1250"),
        ("Güneş ışığı doğuyor.", "cp1254"),
    ],
)  # fmt: skip
def test_other_code_pages_are_refused_with_the_way_to_convert(text: str, encoding: str):
    with pytest.raises(SourceRefused, match="not UTF-8") as refused:
        read("a.txt", text.encode(encoding))
    assert "iconv" in refused.value.hint or "UTF-8" in refused.value.hint


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "no text"),
        ("a.txt", b" \n ", "no text"),
        ("a.txt", b"* * *\n", "no word"),
        ("a.fountain", b"x" * ((16 << 20) + 1), "at most 16,777,216"),
        ("a.docx", b"PK\x03\x04", "not a kind of source"),
        ("a", b"x", "not a kind of source"),
        ("a.txt", b"%PDF-1.4", "is a PDF"),
        ("a.pdf", b"hello", "is not a PDF"),
        ("a.epub", b"hello", "is not an EPUB"),
        ("a.md", b"PK\x03\x04", "ZIP archive"),
        ("a.txt", b"\xff\xfea", "UTF-16"),
        ("a.txt", b"a\0b" * 9, "not UTF-8"),
        ("a.srt", b"Hello there.", "no caption"),
        ("a.vtt", b"WEBVTT\n\nHello.", "no caption"),
        ("a.srt", b"1\n00:00:05,000 --> 00:00:01,000\nHi.\n", "line 2: the cue ends before it begins"),
        ("a.md", b"```\n```\n", "no"),
        ("a.html", b"<p></p>", "no text"),
        ("a.html", b"<div>" * 50_000 + b"x", "nested"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(name: str, content: bytes, said: str):
    with pytest.raises(SourceRefused, match=said):
        read(name, content)


# ---- PDF -----------------------------------------------------------------------------------------------------------


def test_a_pdf_without_heads_feet_and_line_ends(pdf: Callable[..., bytes]):
    pages = [
        ["THE TRAIN", "", f"It was a dark and stormy night of the {word} year, and the train was run-",
         f"ning late through the {word} hills of the north.", "", f"{number}"]
        for number, word in enumerate(("first", "second", "third", "fourth"), start=1)
    ]  # fmt: skip
    document = read("a.pdf", pdf(pages, title="The Train"))
    said = " ".join(texts(document))
    assert document.title == "The Train"
    assert "THE TRAIN" not in said
    assert "train was running late through the second hills of the north. It was" in said
    assert not any(character.isdigit() for character in said)


def test_a_scan_is_refused_by_name(pdf: Callable[..., bytes]):
    with pytest.raises(SourceRefused, match="its 2 pages are pictures") as refused:
        read("a.pdf", pdf([[], []]))
    assert "OCR" in refused.value.hint


def test_a_cut_pdf_is_refused(pdf: Callable[..., bytes]):
    with pytest.raises(SourceRefused, match=r"a\.pdf"):
        read("a.pdf", pdf([["Hello there."]])[:200])


# ---- captions ------------------------------------------------------------------------------------------------------


def test_subrip_keeps_times_and_names():
    text = "1\n00:00:01,000 --> 00:00:02,500\n<i>ANNA: Hello\nthere.</i>\n\n2\n00:01:03,040 --> 00:01:04,000\nNobody.\n"
    document = read("a.srt", text.replace("\n", "\r\n"))
    assert [(line.speaker, line.text, line.start_s, line.end_s, line.kind) for line in document.lines] == [
        ("ANNA", "Hello there.", 1.0, 2.5, "dialogue"), (None, "Nobody.", 63.04, 64.0, "narration")
    ]  # fmt: skip
    assert titles(document) == [""]


def test_webvtt_has_voices_notes_and_short_times():
    text = (
        "WEBVTT - a title\n\nNOTE not spoken\n\nSTYLE\n::cue {}\n\nintro\n00:01.000 --> 00:02.000 line:0\n"
        "<v.loud Elena>Hi <b>you</b> &amp; me</v>\n<v Bob>Ho\n\n01:00:00.000 --> 01:00:01.500\nEnd.\n"
    )
    assert [(line.speaker, line.text, line.start_s) for line in read("a.vtt", text).lines] == [
        ("Elena", "Hi you & me", 1.0), ("Bob", "Ho", 1.0), (None, "End.", 3600.0)
    ]  # fmt: skip


def test_a_time_of_day_is_no_name():
    text = "1\n00:00:01,000 --> 00:00:02,000\n10:30 is late.\n\n2\n00:00:02,000 --> 00:00:03,000\nNote: no.\n"
    assert [line.speaker for line in read("a.srt", text).lines] == [None, None]
