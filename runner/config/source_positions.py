"""The text of a parsed TOML or JSON file → line and column of every key and element in it.

Neither standard parser keeps positions, so a wrong value is located by a second walk over text that is
already known to be well-formed. It runs only when there is something to report, and no further than to that.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import re
from collections.abc import Iterable

Path = tuple[str | int, ...]
REPETITIONS = ("Cannot overwrite", "Cannot declare", "Duplicate inline table key")  # tomllib's and tomli's words
Positions = dict[Path, tuple[int, int]]  # path of keys and indexes -> line and column, both from 1

_TOML_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_TOML_SPACE = re.compile(r"[ \t]*")
_TOML_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TOML_SCALAR = re.compile(r"[^,\]}\n#]*")
_JSON_BLANK = re.compile(r"[ \t\r\n]*")
_JSON_SCALAR = re.compile(r"[^,\]}\s]+")
QUOTES = ('"""', "'''", '"', "'")
# A string's end, or a pair that begins with a backslash: one pattern for a whole string would keep a state a character.
STRING_ENDS = {
    '"""': re.compile(r'\\.|"""(?!")', re.DOTALL),
    "'''": re.compile(r"'''(?!')"),
    '"': re.compile(r'\\.|"', re.DOTALL),
    "'": re.compile(r"'"),
}


class _AllFound(Exception):
    """Every position that was asked for is known: the rest of the text does not matter."""


class _Walker:
    """Cursor over `text`; subclasses know the grammar. `wanted` are the paths to find: None, all of them."""

    def __init__(self, text: str, wanted: Iterable[Path] | None = None) -> None:
        self.text = text
        self.at = 0
        self.found: Positions = {}
        self.pending = None if wanted is None else {path[:end] for path in wanted for end in range(1, len(path) + 1)}
        self.repeated: list[tuple[Path, tuple[int, int]]] = []
        self.most_repeated: int | None = None
        self._line_starts = [0] + [match.end() for match in re.finditer("\n", text)]

    def line_and_column(self, offset: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def note(self, path: Path, offset: int) -> None:
        if self.pending is not None:
            self._note_wanted(path, offset, self.pending)
            return
        position = self.line_and_column(offset)
        if self.found.setdefault(path, position) != position:
            self.repeated.append((path, position))
            if len(self.repeated) == self.most_repeated:
                raise _AllFound

    def _note_wanted(self, path: Path, offset: int, pending: set[Path]) -> None:
        if path in pending:
            self.found[path] = self.line_and_column(offset)
            pending.remove(path)
        if not pending:
            raise _AllFound

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"unexpected text at offset {self.at}")
        self.at = match.end()
        return match.group()

    def string(self) -> str | None:
        """String that begins here, with its quotes, which is passed over; None for anything else."""
        quote = next((quote for quote in QUOTES if self.text.startswith(quote, self.at)), None)
        if quote is None:
            return None
        start, ends = self.at, STRING_ENDS[quote].finditer(self.text, self.at + len(quote))
        self.at = next((end.end() for end in ends if end.group()[0] != "\\"), len(self.text))
        return self.text[start : self.at]

    def take(self, literal: str) -> bool:
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        return True


class _TomlWalker(_Walker):
    def __init__(self, text: str, wanted: Iterable[Path] | None = None) -> None:
        super().__init__(text, wanted)
        self.element_counts: dict[Path, int] = {}  # how many [[path]] were seen
        self.set: set[Path] = set()  # what has a value

    def walk(self) -> Positions:
        table: Path = ()
        while self.skip(_TOML_BLANK) is not None and self.at < len(self.text):
            start = self.at
            if self.take("[["):
                table = self.open_element(self.dotted_key(), start)
                self.at = self.text.index("]]", self.at) + 2
            elif self.take("["):
                table = self.resolve(self.dotted_key())
                self.note(table, start)
                self.at = self.text.index("]", self.at) + 1
            else:
                self.key_and_value(table)
        return self.found

    def open_element(self, key: Path, offset: int) -> Path:
        array = (*self.resolve(key[:-1]), key[-1])
        index = self.element_counts.get(array, 0)
        self.element_counts[array] = index + 1
        self.note(array, offset) if index == 0 else None
        self.note((*array, index), offset)
        return (*array, index)

    def resolve(self, key: Path) -> Path:
        """Path that a table header means: through the latest element of every array of tables on the way."""
        path: Path = ()
        for part in key:
            path = (*path, part)
            if path in self.element_counts:
                path = (*path, self.element_counts[path] - 1)
        return path

    def dotted_key(self) -> Path:
        parts: list[str | int] = []
        while True:
            self.skip(_TOML_SPACE)
            quoted = self.string()
            parts.append(_unquoted(quoted) if quoted else self.skip(_TOML_BARE_KEY))
            self.skip(_TOML_SPACE)
            if not self.take("."):
                return tuple(parts)

    def key_and_value(self, table: Path) -> None:
        start = self.at
        path = (*table, *self.dotted_key())
        if self.pending is None:
            self.note_all(path, len(table), start)
        else:
            for length in range(len(table) + 1, len(path) + 1):
                self.note(path[:length], start)
        self.take("=")
        self.skip(_TOML_SPACE)
        self.value(path)

    def note_all(self, path: Path, outside: int, start: int) -> None:
        """Note a key and the tables that its dots make, `outside` is the length of its table's own path."""
        around = {path[:length] for length in range(outside + 1, len(path))}
        position = self.line_and_column(start)
        if path in self.found or around & self.set:
            self.repeated.append((path, position))
        self.set.add(path)
        for length in range(outside + 1, len(path) + 1):
            self.found.setdefault(path[:length], position)

    def value(self, path: Path) -> None:
        if self.take("["):
            self.elements(path)
        elif self.take("{"):
            self.inline_table(path)
        elif self.string() is None:
            self.skip(_TOML_SCALAR)

    def elements(self, path: Path) -> None:
        index = 0
        while self.skip(_TOML_BLANK) is not None and not self.take("]"):
            start = self.at
            self.note((*path, index), start)
            self.value((*path, index))
            self.skip(_TOML_BLANK)
            self.take(",")
            if self.at == start:
                raise ValueError(f"no element at offset {start}")  # what follows a repeated key may be anything
            index += 1

    def inline_table(self, path: Path) -> None:
        while self.skip(_TOML_BLANK) is not None and not self.take("}"):
            self.key_and_value(path)
            self.skip(_TOML_BLANK)
            self.take(",")


class _JsonWalker(_Walker):
    def value(self, path: Path) -> None:
        self.skip(_JSON_BLANK)
        if self.take("{"):
            self.members(path)
        elif self.take("["):
            self.elements(path)
        elif self.string() is None:
            self.skip(_JSON_SCALAR)
        self.skip(_JSON_BLANK)

    def members(self, path: Path) -> None:
        while self.skip(_JSON_BLANK) is not None and not self.take("}"):
            start = self.at
            key = json.loads(self.string() or "", strict=False)
            self.note((*path, key), start)
            self.skip(_JSON_BLANK)
            self.take(":")
            self.value((*path, key))
            self.take(",")

    def elements(self, path: Path) -> None:
        index = 0
        while self.skip(_JSON_BLANK) is not None and not self.take("]"):
            self.note((*path, index), self.at)
            self.value((*path, index))
            self.take(",")
            index += 1


def _unquoted(quoted: str) -> str:
    if quoted.startswith("'"):
        return quoted.strip("'")
    try:
        return str(json.loads(quoted, strict=False))
    except ValueError:
        return quoted.strip('"')  # an escape that JSON lacks: the position matters here, not the spelling


def toml_positions(text: str, *, wanted: Iterable[Path] | None = None) -> Positions:
    """Position of each key in `text`, or of those `wanted`; text that is no valid TOML may have fewer."""
    walker = _TomlWalker(text, wanted)
    with contextlib.suppress(ValueError, RecursionError, _AllFound):
        return walker.walk()
    return walker.found


def json_positions(text: str, *, wanted: Iterable[Path] | None = None) -> Positions:
    """As `toml_positions`, of each key and element in JSON."""
    walker = _JsonWalker(text, wanted)
    with contextlib.suppress(ValueError, RecursionError, _AllFound):
        walker.value(())
    return walker.found


def repeated_toml_key(text: str, complaint: str) -> tuple[Path, tuple[int, int]] | None:
    """Key or table that a TOML parser refused because it appeared before; None for other complaints.

    The parser stops after the value, and does not name the key.
    """
    if not complaint.startswith(REPETITIONS):
        return None
    walker = _TomlWalker(text)
    with contextlib.suppress(ValueError, RecursionError):
        walker.walk()
    place = re.search(r"\(at line (\d+)", complaint)
    last_line = int(place[1]) if place else len(text)
    return next((found for found in reversed(walker.repeated) if found[1][0] <= last_line), None)


def repeated_json_keys(text: str, *, most: int) -> list[tuple[Path, tuple[int, int]]]:
    """The first repeated keys of objects, each with the position of its repetition."""
    walker = _JsonWalker(text)
    walker.most_repeated = most
    with contextlib.suppress(ValueError, RecursionError, _AllFound):
        walker.value(())
    return walker.repeated


def nearest_position(positions: Positions, path: Path) -> tuple[int, int] | None:
    """Position of `path`, or of the nearest part of it that has one."""
    for length in range(len(path), 0, -1):
        if path[:length] in positions:
            return positions[path[:length]]
    return None
