"""EPUB 2 and 3: order, chapters, notes, protection, and archives that could do harm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runner.script.document import Document
from runner.script.errors import SourceRefused
from runner.script.sources.read import read_source
from tests.runner.script.sources.conftest import CONTAINER, packed

Epub = Callable[..., bytes]


def read(content: bytes) -> Document:
    return read_source(content, name="book.epub")


def texts(document: Document) -> list[str]:
    return [line.text for line in document.lines]


def titles(document: Document) -> list[str]:
    return [chapter.title for chapter in document.chapters]


def test_pages_are_read_in_the_order_of_the_spine(epub: Epub):
    spine = '<itemref idref="b.xhtml"/><itemref idref="note.xhtml" linear="no"/><itemref idref="a.xhtml"/>'
    book = epub({"a.xhtml": "<p>Second.</p>", "b.xhtml": "<p>First.</p>", "note.xhtml": "<p>Aside.</p>"}, spine=spine)
    assert texts(read(book)) == ["First.", "Second."]


def test_chapters_are_those_of_the_table_of_contents(epub: Epub):
    nav = '<li><a href="a.xhtml">One</a></li><li><a href="b.xhtml#mid"><span>Tw</span>o</a></li>'
    pages = {
        "cover.xhtml": "<p>By Ann.</p>",
        "a.xhtml": "<h1>I</h1><p>A.</p>",
        "b.xhtml": "<p>B.</p><h2 id='mid'>II</h2><p>C.</p>",
    }
    document = read(epub(pages, nav=nav))
    assert titles(document) == ["", "One", "Two"]
    assert [(line.chapter, line.kind, line.text) for line in document.lines] == [
        (1, "narration", "By Ann."), (2, "heading", "I"), (2, "narration", "A."), (2, "narration", "B."),
        (3, "heading", "II"), (3, "narration", "C."),
    ]  # fmt: skip


def test_an_older_book_has_its_contents_in_an_ncx(epub: Epub):
    ncx = "".join(
        f'<navPoint><navLabel><text>{title}</text></navLabel><content src="{href}"/></navPoint>'
        for title, href in [("Eins", "a.xhtml"), ("Zwei", "b.xhtml")]
    )
    document = read(epub({"a.xhtml": "<p>A.</p>", "b.xhtml": "<p>B.</p>"}, ncx=ncx))
    assert titles(document) == ["Eins", "Zwei"]
    assert texts(document) == ["A.", "B."]  # titles that only the table of contents has are not spoken


def test_without_contents_chapters_are_the_headings(epub: Epub):
    document = read(epub({"a.xhtml": "<h1>Book</h1><h2>One</h2><p>A.</p>", "b.xhtml": "<h2>Two</h2><p>B.</p>"}))
    assert titles(document) == ["Book", "One", "Two"]


def test_notes_references_and_page_numbers_are_left_out_and_named(epub: Epub):
    page = (
        '<p>Word<a epub:type="noteref" href="#n">1</a> more<span epub:type="pagebreak" title="7">7</span>.</p>'
        '<aside epub:type="footnote" id="n"><p>A note.</p></aside><section role="doc-endnotes"><p>Ends.</p></section>'
        '<nav epub:type="toc"><ol><li>One</li></ol></nav><div epub:type="index"><p>cat, 3</p></div>'
    )
    document = read(epub({"a.xhtml": page}))
    assert texts(document) == ["Word more."]
    assert document.warnings == (
        "Left out, as nobody reads it aloud: endnotes, footnote, index, noteref, pagebreak, toc.",
    )


def test_only_tags_that_break_a_line_part_words(epub: Epub):
    page = (
        "<p>w<i>or</i>d<b> </b>one&nbsp;two<br/>three</p><div>four<div>five</div>six</div><ul><li>a</li><li>b</li></ul>"
    )
    assert texts(read(epub({"a.xhtml": page}))) == ["word one two\nthree", "four", "five", "six", "a", "b"]


def test_what_is_hidden_or_beside_the_text_is_not_read(epub: Epub):
    page = (
        '<p>A<ruby>漢<rp>(</rp><rt>kan</rt></ruby>.</p><p aria-hidden="true">no</p><p hidden="hidden">no</p>'
        '<script>no()</script><style>no</style><img alt="no" src="x.png"/><svg><text>no</text></svg>'
    )
    assert texts(read(epub({"a.xhtml": page}))) == ["A漢."]


def test_title_authors_language_and_cover_are_the_packages(epub: Epub):
    metadata = (
        "<dc:title>The Train</dc:title><dc:creator>Ann</dc:creator><dc:creator>Bo</dc:creator>"
        '<dc:language>en-GB</dc:language><meta name="cover" content="pic"/>'
    )
    more = '<item id="pic" href="c.png" media-type="image/png"/>'
    document = read(epub({"a.xhtml": "<p>A.</p>"}, metadata=metadata, more=more, files={"OEBPS/c.png": b"\x89PNG1"}))
    assert (document.title, document.author, document.language) == ("The Train", "Ann, Bo", "en-GB")
    assert document.cover == b"\x89PNG1"


def test_pages_that_are_no_xml_are_read_as_browsers_do(epub: Epub):
    assert texts(read(epub({"a.xhtml": "<p>One<p>Two & three<br>four"}))) == ["One", "Two & three\nfour"]


@pytest.mark.parametrize(
    ("method", "is_read"),
    [
        ("http://www.idpf.org/2008/embedding", True), ("http://ns.adobe.com/pdf/enc#RC", True),
        ("http://www.w3.org/2001/04/xmlenc#aes128-cbc", False), ("", False),
    ],
)  # fmt: skip
def test_protected_books_are_refused_and_hidden_fonts_are_not(epub: Epub, method: str, is_read: bool):
    encryption = f'<encryption><EncryptedData><EncryptionMethod Algorithm="{method}"/></EncryptedData></encryption>'
    book = epub({"a.xhtml": "<p>A.</p>"}, files={"META-INF/encryption.xml": encryption})
    if is_read:
        assert texts(read(book)) == ["A."]
    else:
        with pytest.raises(SourceRefused, match="protected"):
            read(book)


def test_an_archive_that_unpacks_to_far_more_is_refused_before_it_is_unpacked(epub: Epub):
    with pytest.raises(SourceRefused, match="claims to unpack"):
        read(epub({"a.xhtml": "<p>" + "a" * 30_000_000 + "</p>"}))


@pytest.mark.slow
def test_many_pages_that_together_are_too_much_are_refused(epub: Epub):
    lorem = "".join(f"<p>{number} words of a book that goes on.</p>" for number in range(60_000))
    files = {f"OEBPS/p{number}.xhtml": f"<html><body>{lorem}</body></html>" for number in range(2)}
    assert len(read(epub({"a.xhtml": "<p>A.</p>"}, files=files)).lines) == 1  # nothing reads what no spine lists
    with pytest.raises(SourceRefused, match=r"lines; at most 200,000"):
        pages = {f"p{number}.xhtml": lorem for number in range(4)}
        read(epub(pages))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.txt": "x"}, "no EPUB: it has no META-INF/container.xml"),
        ({"META-INF/container.xml": CONTAINER}, "names no package that is there"),
        ({"META-INF/container.xml": "<x"}, "names no package"),
        ({"META-INF/container.xml": CONTAINER, "OEBPS/book.opf": "<package/>"}, "lists no page"),
        ({"META-INF/container.xml": CONTAINER, "../evil": "x"}, "The entry"),
        ({"META-INF/container.xml": CONTAINER, "/etc/passwd": "x"}, "The entry"),
    ],
)
def test_archives_that_are_no_book_are_refused(files: dict[str, str], said: str):
    with pytest.raises(SourceRefused, match=said):
        read(packed(files))


def test_a_cut_archive_is_refused(epub: Epub):
    with pytest.raises(SourceRefused, match="broken"):
        read(epub({"a.xhtml": "<p>A.</p>"})[:-40])


def test_contents_that_point_outside_or_nowhere_are_ignored(epub: Epub):
    hrefs = {"X": "../../../etc/passwd", "Y": "none.xhtml", "Z": "a.xhtml"}
    nav = "".join(f'<li><a href="{href}">{title}</a></li>' for title, href in hrefs.items())
    assert titles(read(epub({"a.xhtml": "<p>A.</p>"}, nav=nav))) == ["Z"]
