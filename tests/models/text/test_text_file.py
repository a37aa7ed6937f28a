"""A text file's bytes: taken, or refused with the place and the remedy."""

import contextlib
import time

import pytest

from models.text.paragraphs import paragraphs
from models.text.text_file import text_of
from registry.errors import InvalidInput


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"Hello.", "Hello."),
        (b"\xef\xbb\xbfHello.\r\nBye.\rNow.", "Hello.\nBye.\nNow."),
        (b"Hello.\x1a", "Hello.\n"),
        (b"Hello.\r\n\x1a\r\n\0\0", "Hello.\n"),
        (b"Hello.\0\0\0\0", "Hello.\n"),
        (b"Page one.\fPage two.", "Page one.\n\nPage two."),
    ],
    ids=["plain", "mark and newlines", "ctrl-z", "ctrl-z and padding", "padding", "new page"],
)
def test_a_text_is_taken_as_old_systems_have_written_it(content, text):
    assert text_of(content, name="t.txt") == text


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (
            "One.\nHe said “no”.".encode("cp1252"),
            "byte 14: line 2, byte 9 of the line, 0x93",
            "-f WINDOWS-1252 -t UTF-8",
        ),
        ("Übergröße".encode("latin-1"), "line 1, byte 1", "WINDOWS-1252"),
        ("Привет, мир. Как дела?".encode("cp1251"), "not UTF-8", "WINDOWS-1251"),
        ("Привет, мир. Как дела?".encode("koi8-r"), "not UTF-8", "KOI8-R"),
        ("こんにちは、世界。元気ですか".encode("shift_jis"), "not UTF-8", "SHIFT_JIS"),
        ("你好，世界。今天天气很好".encode("gb18030"), "not UTF-8", "GB18030"),
        ("안녕하세요 여러분 오늘".encode("euc-kr"), "not UTF-8", "EUC-KR"),
        ("Hello".encode("utf-16"), "is UTF-16", "iconv -f UTF-16 "),
        ("Hello".encode("utf-32"), "is UTF-32", "iconv -f UTF-32 "),
        ("Hello there".encode("utf-16-le"), "may be UTF-16", "UTF-16LE"),
        ("Grüße und café".encode()[:-1], "ends in the middle of a character", "cut off"),
        ("Grüße und ".encode() + b"\xe9 mehr", "line 1, byte 13", "iconv -c"),
        (b"One.\nTwo \x1b[31mred", "line 2, column 5: the control character ESC", "tr -d"),
        (b"One.\x1aTwo.", "line 1, column 5: the control character Ctrl-Z", "tr -d"),
        (b"%PDF-1.7 ...", "a PDF document", "plain text"),
        (b"PK\x03\x04...", "docx", "plain text"),
        (b"{\\rtf1 Hello}", "RTF", "plain text"),
        (b" \n ", "no text to speak", ""),
        ("***\n\n⁂\n".encode(), "no word to speak", ""),
    ],
)
def test_what_cannot_be_spoken_is_refused_with_its_place_and_a_remedy(content, message, hint):
    with pytest.raises(InvalidInput) as error:
        text_of(content, name="my text.txt")
    assert error.value.message.startswith("my text.txt")
    assert message in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize("unit", [b" ", b"a", b"1", b"\n", b"a-\n", b"-", b"\0 ", "é".encode(), b"a-"])
def test_a_file_of_whatever_is_read_in_a_time_that_grows_with_its_length(unit):
    started_s = time.process_time()
    with contextlib.suppress(InvalidInput):
        paragraphs(text_of(unit * (100_000 // len(unit)) + b"x", name="a.txt"))
    assert time.process_time() - started_s < 3
