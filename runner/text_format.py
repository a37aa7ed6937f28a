"""Numbers, times and rows → the text that people read: `2 jobs`, `3 min`, `1.5 GB`, a table. Pure."""

import itertools
import re
import time
import unicodedata
from collections.abc import Sequence

GAP = "  "  # between two columns
NARROWEST = 40  # a terminal is taken to have as many columns at least
SOFT_HYPHEN = "\u00ad"
# Controls except tab and newline, C1, marks that change the direction of text, line separators, halves of characters.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text without what a terminal would obey, each such character as the escape that JSON has for it."""
    return text if text.isprintable() else _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def counted(number: int, thing: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size(size_bytes: float) -> str:
    """`1.5 GB`, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size_bytes) < 1000 or unit == "TB":
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def span(seconds: float | None) -> str:
    """Length of time in its largest fitting unit."""
    if seconds is None:
        return "-"
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def ago(then_s: float | None, *, now_s: float) -> str:
    """`3 min` since a time of day."""
    return "-" if then_s is None else span(max(0.0, now_s - then_s))


def when(then_s: float | None) -> str:
    """Time of day in the local zone."""
    return "-" if then_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(then_s))


def short(text: str | None, width: int = 50) -> str:
    """One line of at most `width` columns."""
    return cut(" ".join((text or "").split()), width)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, columns: int | None = None) -> str:
    """Columns as wide as their widest cell; on a terminal of so many `columns` the widest give way, evenly."""
    lines = [[_one_line(str(cell)) for cell in row] for row in (headings, *rows)]
    widths = [max(columns_of(line[column]) for line in lines) for column in range(len(headings))]
    if columns is not None:
        widths = _fitted(widths, max(columns, NARROWEST) - len(GAP) * (len(widths) - 1))
        last = len(widths) - 1  # text; the others are names and numbers, which often differ at their end
        lines = [[cut(line[n], widths[n], keep_end=n < last) for n in range(len(widths))] for line in lines]
    return "\n".join(
        GAP.join(cell + " " * (width - columns_of(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _one_line(cell: str) -> str:
    return printable(cell).replace("\n", "\\n").replace("\t", "\\t")


def _fitted(widths: Sequence[int], room: int) -> list[int]:
    """Widths that take no more than `room` together: the widest become equal, to one column, and the others stay."""
    fitted = list(widths)
    by_width = sorted(range(len(widths)), key=widths.__getitem__)
    for count, column in enumerate(by_width):
        fitted[column] = min(widths[column], max(1, room // (len(widths) - count)))
        room -= fitted[column]
    return fitted


def cut(text: str, width: int, *, keep_end: bool = False) -> str:
    """Text of at most `width` terminal columns, with … in place of its end, or of its middle."""
    if columns_of(text) <= width:
        return text
    end_columns = (width - 1) // 2 if keep_end else 0
    begun = _characters_in(text, width - 1 - end_columns)
    ended = _characters_in(text[::-1], end_columns)
    return f"{text[:begun]}…{text[len(text) - ended :]}"


def _characters_in(text: str, columns: int) -> int:
    """How many characters at its beginning take no more than so many columns."""
    ends = itertools.accumulate(map(_columns_of_character, text))
    return sum(1 for _ in itertools.takewhile(lambda end: end <= columns, ends)) if columns > 0 else 0


def columns_of(text: str) -> int:
    """Terminal columns of a text: letters of East Asia and emoji take two, accents alone and joiners none."""
    return len(text) if text.isascii() else sum(map(_columns_of_character, text))


def _columns_of_character(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return int(character == SOFT_HYPHEN or unicodedata.category(character) not in ("Mn", "Me", "Cf"))
