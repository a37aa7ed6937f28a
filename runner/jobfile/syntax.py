"""The bytes of a job file → a plain tree of tables, lists, strings and numbers, or the reasons why it has none.

Everything that a hostile or careless file can do to a parser is refused here, before and after parsing: size,
encoding, nesting, repeated keys, NaN, lone surrogates, endless numbers.
"""

from __future__ import annotations

import codecs
import datetime
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from runner.config.source_positions import (
    STRING_ENDS,
    json_positions,
    nearest_position,
    repeated_json_keys,
    repeated_toml_key,
    toml_positions,
)
from runner.config.validation_messages import Problem, dotted
from runner.errors import JobFileInvalid

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CARRIED_KEYS = ("metadata",)  # anything is allowed in it
MAX_FILE_BYTES = 8 << 20
MAX_NESTING = 24
MAX_DIGITS = 400
MAX_PROBLEMS = 20
MAX_TABLES = 60_000  # tomllib takes 20 µs a table; three for each of 20,000 lines
MAX_VALUES = 300_000  # lines, and commas, outside of strings
MAX_CONTAINERS = 100_000  # tables and lists; each costs a parser half a kilobyte
MAX_STRINGS = 600_000  # and comments
MAX_DOTS = 100_000  # of keys and fractions; tomllib makes or looks up a table at each

_LONG_DOTTED_KEY = re.compile(rf"(?<![\w-])(?:[\w-]+[ \t]*\.[ \t]*){{{MAX_NESTING}}}")
_LONG_NUMBER = re.compile(rf"(?<![0-9_])[0-9_]{{{MAX_DIGITS}}}|(?<!\w)0[xX][0-9A-Fa-f_]{{{MAX_DIGITS}}}")
_BRACKETS = re.compile(r"[\[\]{}]")
_BYTE_ORDER_MARKS = {
    b"\xff\xfe": "the byte-order mark of UTF-16",
    b"\xfe\xff": "the byte-order mark of UTF-16",
}


@dataclass(frozen=True)
class JobText:
    """Text of a job file and the tree in it."""

    file_name: str  # as shown in messages
    text: str
    tree: dict[str, Any]
    is_json: bool

    def invalid(self, problems: list[Problem]) -> JobFileInvalid:
        """Error that lists `problems` with their positions."""
        first = problems[:MAX_PROBLEMS]
        positions_in = json_positions if self.is_json else toml_positions
        positions = positions_in(self.text, wanted=[problem.path for problem in first])
        texts = [_placed(nearest_position(positions, problem.path), problem.text) for problem in first]
        if len(problems) > len(first):
            texts.append(f": and {len(problems) - len(first):,} more problems.")
        return JobFileInvalid(self.file_name, texts, sentences=[problem.text for problem in first])


def _placed(position: tuple[int, int] | None, text: str) -> str:
    return f", line {position[0]}, column {position[1]}: {text}" if position else f": {text}"


def read_tree(content: bytes, *, file_name: str) -> JobText:
    """Decode and parse `content`, as TOML or JSON by the name's extension. Raises JobFileInvalid."""
    text = _decoded(content, file_name)
    is_json = PurePath(file_name).suffix.casefold() == ".json"
    tree = _json_tree(text, file_name) if is_json else _toml_tree(text, file_name)
    if not isinstance(tree, dict):
        raise JobFileInvalid(file_name, [f": a job is a table of keys, not {_type_word(tree)}."])
    parsed = JobText(file_name, text, tree, is_json)
    if problems := list(_value_problems(tree)):
        raise parsed.invalid(problems)
    carried = {key: _plain(value) if key in CARRIED_KEYS else value for key, value in tree.items()}
    return JobText(file_name, text, carried, is_json)


def _decoded(content: bytes, file_name: str) -> str:
    if len(content) > MAX_FILE_BYTES:
        size = f"{len(content):,} bytes, over the limit of {MAX_FILE_BYTES:,}"
        raise JobFileInvalid(file_name, [f": the file has {size}."], hint=SPLIT)
    content = content.removeprefix(codecs.BOM_UTF8)  # as some editors begin every file
    if not content.strip():
        raise JobFileInvalid(file_name, [": the file is empty."])
    for mark, name in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            raise JobFileInvalid(file_name, [f", line 1, column 1: the file starts with {name}."], hint=UTF8_HINT)
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise JobFileInvalid(file_name, [f", line {line}: the file holds a NUL byte."], hint=UTF8_HINT)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise JobFileInvalid(file_name, [f", line {line}: byte {error.start} is not UTF-8."], hint=UTF8_HINT) from None


SPLIT = "Split it into several jobs."
UTF8_HINT = "Save it as UTF-8 without a byte-order mark."


# Where a string or comment starts in each language, and what may end it. A backslash pair is skipped whole.
_TOML_OPENERS = re.compile(r"\"\"\"|'''|\"|'|#")
_JSON_OPENERS = re.compile(r"\"")
_CLOSERS = {**STRING_ENDS, "#": re.compile(r"(?=\n)|\Z")}


class _Unfit(Exception):
    """Why a text is not given to a parser, and the offset of the trouble; None: it is all of it."""

    def __init__(self, offset: int | None, reason: str, hint: str = "") -> None:
        self.offset, self.reason, self.hint = offset, reason, hint


def _without_strings(text: str, *, is_json: bool) -> tuple[str, int | None]:
    """`text` with closed strings and comments blanked, up to one without an end, whose offset is the second value.

    Takes linear time. Raises _Unfit.
    """
    openers = _JSON_OPENERS if is_json else _TOML_OPENERS
    pieces: list[str] = []
    at = 0
    while opener := openers.search(text, at):
        pieces.append(text[at : opener.start()])
        closer = next((m for m in _CLOSERS[opener.group()].finditer(text, opener.end()) if m.group()[:1] != "\\"), None)
        if closer is None:
            return "".join(pieces), opener.start()  # the parser stops here too
        at = closer.end()
        pieces.append("s" * (at - opener.start()))
        if len(pieces) > 2 * MAX_STRINGS:
            raise _Unfit(None, f"more than {MAX_STRINGS:,} strings and comments.", SPLIT)
    return "".join([*pieces, text[at:]]), None


def _refuse_costly(text: str, *, is_json: bool) -> None:
    """Raise _Unfit for what would recurse too deeply or take a parser quadratic time, before any parser sees it."""
    bare, _ = _without_strings(text, is_json=is_json)
    if not is_json and (long_key := _LONG_DOTTED_KEY.search(bare)):
        raise _Unfit(long_key.start(), f"a key has more than {MAX_NESTING} parts.")
    if max(bare.count("\n"), bare.count(",")) > MAX_VALUES or (not is_json and bare.count("\n[") > MAX_TABLES):
        raise _Unfit(None, f"more than {MAX_TABLES:,} tables or {MAX_VALUES:,} values.", SPLIT)
    if bare.count("{") + bare.count("[") > MAX_CONTAINERS:
        raise _Unfit(None, f"more than {MAX_CONTAINERS:,} tables and lists.", SPLIT)
    if not is_json and bare.count(".") > MAX_DOTS:
        raise _Unfit(None, f"more than {MAX_DOTS:,} dots in keys and numbers.", SPLIT)
    if long_number := _LONG_NUMBER.search(bare):
        raise _Unfit(long_number.start(), f"a number has more than {MAX_DIGITS} digits.")
    depth = 0
    for match in _BRACKETS.finditer(bare):
        depth += 1 if match.group() in "[{" else -1
        if depth > MAX_NESTING:
            raise _Unfit(match.start(), f"tables and lists are nested more than {MAX_NESTING} deep.")


def _refuse_unfit(text: str, file_name: str, *, is_json: bool) -> None:
    try:
        _refuse_costly(text, is_json=is_json)
    except _Unfit as unfit:
        place = None if unfit.offset is None else _line_and_column(text, unfit.offset)
        raise JobFileInvalid(file_name, [_placed(place, unfit.reason)], hint=unfit.hint) from None


def _line_and_column(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _toml_tree(text: str, file_name: str) -> object:
    _refuse_unfit(text, file_name, is_json=False)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobFileInvalid(file_name, [_toml_place(str(error), text)]) from None
    except (ValueError, OverflowError) as error:
        raise JobFileInvalid(file_name, [f": a value cannot be read: {error}."]) from None
    except RecursionError:
        raise JobFileInvalid(file_name, [": the file is nested too deeply."]) from None


def _toml_place(message: str, text: str) -> str:
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    if repeated := repeated_toml_key(text, message):
        return _placed(repeated[1], f"the key {dotted(repeated[0])!r} appears twice.")
    if match:
        return f", line {match.group(2)}, column {match.group(3)}: not valid TOML: {match.group(1)}."
    _, offset = _without_strings(text, is_json=False)
    place = _line_and_column(text, len(text) if offset is None else offset)
    return _placed(place, f"not valid TOML: {message.removesuffix(' (at end of document)')}.")


class _NoNumber(Exception):
    """A JSON constant that is not a number: NaN, Infinity."""


class _RepeatedKey(Exception):
    """An object with a repeated key."""


def _refuse_constant(name: str) -> object:
    raise _NoNumber(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _RepeatedKey
    return table


def _json_tree(text: str, file_name: str) -> object:
    _refuse_unfit(text, file_name, is_json=True)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f", line {error.lineno}, column {error.colno}"
        raise JobFileInvalid(file_name, [f"{place}: not valid JSON: {error.msg}."]) from None
    except _NoNumber as error:
        raise JobFileInvalid(file_name, [_constant_place(text, str(error))]) from None
    except _RepeatedKey:
        raise JobFileInvalid(file_name, _repetitions(text)) from None
    except (ValueError, OverflowError) as error:
        raise JobFileInvalid(file_name, [f": a value cannot be read: {error}."]) from None
    except RecursionError:
        raise JobFileInvalid(file_name, [": the file is nested too deeply."]) from None


def _constant_place(text: str, constant: str) -> str:
    bare, _ = _without_strings(text, is_json=True)
    return _placed(_line_and_column(text, bare.find(constant)), f"{constant} is not a number in JSON.")


def _repetitions(text: str) -> list[str]:
    repeated = repeated_json_keys(text, most=MAX_PROBLEMS)
    texts = [_placed(position, f"the key {dotted(path)!r} appears twice.") for path, position in repeated]
    return texts or [": a key appears twice."]


def _value_problems(tree: object) -> Iterator[Problem]:
    """Problems with values that no job may hold: NaN, infinities, lone surrogates, integers beyond 64 bits."""
    waiting: list[tuple[tuple[str | int, ...], object]] = [((), tree)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            sound = [(key, inner) for key, inner in value.items() if not _has_surrogate(key)]
            waiting += [((*path, key), inner) for key, inner in reversed(sound)]
            if len(sound) < len(value):  # a value under such a key cannot be named
                yield Problem(path, "a key holds half of a surrogate pair.")
        elif isinstance(value, list):
            waiting += [((*path, index), inner) for index, inner in reversed(list(enumerate(value)))]
        elif isinstance(value, str) and _has_surrogate(value):
            yield Problem(path, f"{dotted(path)} holds half of a surrogate pair.")
        elif isinstance(value, float) and not math.isfinite(value):
            yield Problem(path, f"{dotted(path)} is {value}, not a number.")
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            yield Problem(path, f"{dotted(path)} does not fit into 64 bits.")


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else False


def _plain(value: Any) -> Any:
    """`value` with TOML dates and times as ISO 8601 text, so that it can be written as JSON."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return value


def _type_word(value: object) -> str:
    words = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return words.get(type(value), "null")
