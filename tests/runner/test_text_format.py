"""Text that people read: amounts, times, tables."""

import pytest

from runner.text_format import ago, columns_of, counted, short, size, span, table


def test_columns_are_aligned_in_every_script():
    lines = table(("NAME", "N"), [("你好", "1"), ("Zoe\u0308", "2")]).splitlines()
    assert lines == ["NAME  N", "你好  1", "Zoe\u0308   2"]


def test_the_last_column_ends_at_the_edge_of_the_terminal():
    lines = table(("NAME", "TEXT"), [("elena", "a " * 40)], columns=40).splitlines()
    assert [columns_of(line) for line in lines] == [len("NAME   TEXT"), 40]
    assert lines[1].endswith("…")


def test_a_narrow_terminal_still_shows_some_of_the_last_column():
    assert table(("NAME",), [("x" * 30,)], columns=5).splitlines()[1] == "x" * 19 + "…"


def test_one_is_singular_and_thousands_are_separated():
    assert [counted(number, "job") for number in (0, 1, 1200)] == ["0 jobs", "1 job", "1,200 jobs"]


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(999, "999 B"), (1500, "1.5 kB"), (4.2e9, "4.2 GB"), (3e15, "3000.0 TB")]
)
def test_sizes_are_in_powers_of_a_thousand(size_bytes, text):
    assert size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (1.25, "1.2 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_a_length_of_time_has_its_largest_fitting_unit(seconds, text):
    assert span(seconds) == text


def test_a_time_in_the_future_is_no_time_ago():
    assert ago(10.0, now_s=5.0) == "0.0 s"


def test_text_is_shortened_to_one_line():
    assert short("a\nb " * 5, 6) == "a b a…"
