"""Markup in a text: read by the words in it where that is wanted, else named."""

import time

import pytest

from models.text.markup import markup_of, words_of
from models.text.markup_found import markup_in


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Wait. <break time="2s"/> Now.', ["SSML tags (<break>)"]),
        ("Tom &amp; Jerry are <b>friends</b>.", ["HTML tags (<b>)", "HTML entities (&amp;)"]),
        ("**very** `code` [docs](http://a.b)", ["Markdown (**very**, `code`, [docs](http://a.b))"]),
        ("# Chapter One\n\nNight.", ["Markdown (# Chapter One)"]),
        ("- first\n- second", ["Markdown (- first)"]),
        ("[laughs] Well, [pause 2s] fine. (sighs) <giggle>", ["directions ([laughs], [pause 2s], (sighs), …)"]),
        ("Say <|im_end|>.", ["control tokens of a model (<|im_end|>)"]),
        ("Dear {{name}},", ["placeholders ({{name}})"]),
        ("[b]bold[/b]", ["BBCode ([b], [/b])"]),
        ("\\emph{so}", ["LaTeX (\\emph{)"]),
        ("He said\\nBye \\u2019", ["escapes (\\n, \\u2019)"]),
        ("It=E2=80=99s", ["escapes (=E2=80=99)"]),
        ("00:00:01,000 --> 00:00:02,000", ["times of captions (00:00:01,000 --> )"]),
        ("It donâ€™t, caf\ufffd", ["characters that were lost or misread in a conversion (â€™, \ufffd)"]),
    ],
)
def test_markup_in_a_plain_text_is_named_with_examples(text, found):
    assert markup_in(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "3 < 5 and 5 > 3, AT&T; R&D",
        "He [sic] said [1] that (as ever).",
        "snake_case_name, 2*3*4, C#",
        "- Bonjour.\n- Oui.",
        "“Ah!” — he laughed.",
    ],
)
def test_ordinary_text_is_no_markup(text):
    assert markup_in(text) == []


@pytest.mark.parametrize(
    ("text", "file_name", "markup"),
    [
        ("<speak>Hi</speak>", "", "ssml"),
        (' <?xml version="1.0"?>\n<speak version="1.1">Hi</speak>\n', "a.txt", "ssml"),
        ("# One", "a.md", "markdown"),
        ("# One", "a.txt", "plain"),
        ("<p>One", "a.HTML", "html"),
        ("Say <speak>.", "", "plain"),
    ],
)
def test_a_text_is_read_by_the_markup_that_its_name_or_its_whole_shows(text, file_name, markup):
    assert markup_of(text, file_name=file_name) == markup


def test_ssml_gives_words_and_pauses_and_names_what_it_leaves_out():
    words = words_of(
        "<speak>Hello <emphasis level='strong'>there</emphasis>.<break time=\"1500ms\"/>"
        "<prosody rate='slow'>The <say-as interpret-as=\"characters\">BBC</say-as></prosody> and "
        "<sub alias='World Wide Web'>WWW</sub> &amp; more.<break strength='none'/></speak>",
        "ssml",
    )
    assert words.pieces == [("Hello there.", 1.5), ("The B B C and World Wide Web & more.", 0.0)]
    assert words.ignored == ["<prosody>"]


def test_html_is_read_in_paragraphs_without_scripts():
    words = words_of("<title>T</title><p>Tom &amp; <b>Jerry</b>.<script>x</script><p>Two<br>three", "html")
    assert words.text == "T\n\nTom & Jerry.\n\nTwo\n\nthree"


def test_markdown_is_read_without_its_signs():
    text = (
        "---\ntitle: T\n---\n# One\n\nIt was **very** _dark_ \\*now\\*: `code`, [the docs](http://a.b/c(d)).\n\n"
        "- first\n- second\n\n> quote\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nTwo\n===\n\nsnake_case[^1]\n\n* * *\n"
    )
    expected = [
        "One",
        "It was very dark *now*: code, the docs.",
        *("first", "second", "quote", "a, b", "1, 2", "Two", "snake_case", "* * *"),
    ]
    assert words_of(text, "markdown").text.split("\n\n") == expected


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<a ",
        "[",
        "*a",
        "_a ",
        "&",
        "`",
        "<!--",
        "[a](",
        "\\",
        "<a b='",
        "- a\n",
        "|",
        "#",
        "(a ",
        "<![CDATA[",
        "{{",
        "a](",
        " ",
        "-- ",
        "[pause ",
        "<break ",
    ],
)
def test_hostile_markup_takes_no_longer_than_its_length(unit):
    text = "-- " + unit * (100_000 // len(unit)) + "x"
    started_s = time.process_time()
    markup_in(text)
    words_of(text, "ssml")
    words_of(text, "markdown")
    assert time.process_time() - started_s < 5
