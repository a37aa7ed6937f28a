"""Numbers, times and rows → the text that people read: `2 jobs`, `3 min`, `1.5 GB`, a table. Pure."""

import re
import time
import unicodedata
from collections.abc import Sequence

LEAST_LAST_COLUMN = 20
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
    """One line of at most `width` characters."""
    line = " ".join((text or "").split())
    return line if len(line) <= width else line[: width - 1] + "…"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, columns: int | None = None) -> str:
    """Columns as wide as their widest cell; the last one is free, or ends at `columns` of a terminal."""
    lines = [[printable(str(cell)).replace("\n", "\\n") for cell in row] for row in (headings, *rows)]
    widths = [max(columns_of(line[column]) for line in lines) for column in range(len(headings))]
    if columns is not None:
        room = columns - sum(width + 2 for width in widths[:-1])
        lines = [[*line[:-1], short(line[-1], max(room, LEAST_LAST_COLUMN))] for line in lines]
    return "\n".join(
        "  ".join(cell + " " * (width - columns_of(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def columns_of(text: str) -> int:
    """Terminal columns of a text: letters of East Asia take two, accents by themselves none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) != 0 for character in text)
