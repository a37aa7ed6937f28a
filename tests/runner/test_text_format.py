"""Text that people read: amounts, times, tables."""

import pytest

from runner.text_format import ago, columns_of, counted, short, size, span, table


def test_columns_are_aligned_in_every_script():
    lines = table(("NAME", "N"), [("你好", "1"), ("Zoe\u0308", "2")]).splitlines()
    assert lines == ["NAME  N", "你好  1", "Zoe\u0308   2"]


@pytest.mark.parametrize("columns", range(40, 201, 20))
def test_a_table_fits_the_terminal_whatever_is_in_it(columns):
    rows = [("你好" * 40, "done", "e\u0301" * 90, "👩\u200d👩\u200d👧" * 30), ("b", "failed", "c", "d" * 300)]
    lines = table(("NAME", "STATUS", "TEXT", "NOTE"), rows, columns=columns).splitlines()
    assert max(map(columns_of, lines)) <= columns
    assert "done" in lines[1] and "failed" in lines[2]


def test_the_widest_columns_give_way_evenly_and_the_others_stay():
    lines = table(("A", "B", "C"), [("a" * 50, "b" * 10, "c" * 90)], columns=60).splitlines()
    assert lines[1] == f"{'a' * 11}…{'a' * 11}  {'b' * 10}  {'c' * 22}…"


def test_names_keep_their_end_by_which_they_differ():
    lines = table(("NAME", "NOTE"), [(f"chapter-one-of-the-long-book-{n}", "x" * 40) for n in (1, 2)], columns=40)
    assert [line.split()[0] for line in lines.splitlines()[1:]] == ["chapter-o…ng-book-1", "chapter-o…ng-book-2"]


def test_columns_that_fit_are_not_touched():
    assert table(("A", "B"), [("a" * 30, "b" * 8)], columns=40).splitlines()[1] == "a" * 30 + "  " + "b" * 8


def test_a_terminal_that_says_it_has_no_room_gets_forty_columns():
    assert table(("NAME",), [("x" * 50,)], columns=0).splitlines()[1] == "x" * 39 + "…"


def test_a_cell_is_one_line_and_obeyed_by_no_terminal():
    cell = table(("NAME",), [("a\nb\tc\x1b[31m\x9b\u202e",)]).splitlines()[1]
    assert cell == r"a\nb\tc\u001b[31m\u009b\u202e"


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
    assert short("你好你好", 6) == "你好…"
