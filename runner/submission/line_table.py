"""A table of lines, CSV or JSON lines, on a person's disk or standard input → a synthesize job. Only reads files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from models.named_paths import named_path, shown_path, status_of
from registry.errors import InvalidInput, NotFound, nearest, storage_error
from runner.inbox.attachments import read_file
from runner.jobfile.specs import MAX_LINES, LineSpec
from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.names import job_name_from
from runner.submission.checked_job import JobOnDisk
from runner.submission.drop_writer import job_from_values

NUMBERS = {"seed": int, "pause_after_s": float}
COLUMNS = tuple(LineSpec.model_fields)
DELIMITERS = ",;\t"
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")


def job_from_table(
    name: str, *, stdin: Callable[[], BinaryIO], voice: str | None, file_format: str | None
) -> JobOnDisk:
    """A job that speaks the lines of a table. Raises InvalidInput, which names the row, NotFound and StorageError."""
    is_input = name == "-"
    content = stdin().read(MAX_FILE_BYTES + 1) if is_input else _content_of(name)
    shown = "standard input" if is_input else shown_path(name)
    if len(content) > MAX_FILE_BYTES:
        raise InvalidInput(f"{shown} is larger than {MAX_FILE_BYTES:,} bytes.", hint="Cut it into several tables.")
    lines = [_line(row, place=f"{shown}, row {number}") for number, row in _rows(_text_of(content, shown), shown)]
    if not lines:
        raise InvalidInput(f"{shown} has no lines.", hint="A CSV file begins with a row of headings; one is `text`.")
    if len(lines) > MAX_LINES:
        raise InvalidInput(f"{shown} has {len(lines):,} lines; a job has {MAX_LINES:,} at most.")
    given = {"voice": voice, "format": file_format}
    values = {"kind": "synthesize", **{key: value for key, value in given.items() if value is not None}}
    return job_from_values({**values, "lines": lines}, name="lines" if is_input else job_name_from(Path(name).stem))


def _content_of(name: str) -> bytes:
    path = named_path(name)
    if status_of(path) is None:
        raise NotFound(f"There is no file {shown_path(path)}.")
    try:
        return read_file(path.resolve(), limit_bytes=MAX_FILE_BYTES)
    except OSError as error:
        raise storage_error(error, f"reading {path}") from error


def _text_of(content: bytes, shown: str) -> str:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"  # as spreadsheets write it
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        hint = "Save the table as UTF-8: in a spreadsheet, `CSV UTF-8`."
        raise InvalidInput(f"{shown} is not UTF-8 (at byte {error.start + 1}).", hint=hint) from error


def _rows(text: str, shown: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Number and values of each row; empty rows are left out."""
    return _json_rows(text, shown) if text.lstrip().startswith("{") else _csv_rows(text, shown)


def _json_rows(text: str, shown: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InvalidInput(f"{shown}, row {number}: no JSON ({error}).", hint="Each row is one object.") from error
        if not isinstance(value, dict):
            raise InvalidInput(f"{shown}, row {number}: expected an object with a `text`.")
        _check_names(list(value), f"{shown}, row {number},")
        yield number, value


def _csv_rows(text: str, shown: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    headings_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=headings_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        headings = [heading.strip().casefold() for heading in next(reader, [])]
        _check_headings(headings, shown)
        for row in reader:
            if any(cell.strip() for cell in row):
                named = zip(headings, row)  # noqa: B905 - a short row lacks its last cells
                yield reader.line_num, {heading: cell for heading, cell in named if cell.strip()}
    except csv.Error as error:
        raise InvalidInput(f"{shown}, row {reader.line_num}: no CSV ({error}).") from error


def _check_headings(headings: Sequence[str], shown: str) -> None:
    _check_names(headings, shown)
    if "text" not in headings:
        hint = f"The first row names the columns: {', '.join(COLUMNS)}. Other columns are not read."
        raise InvalidInput(f"{shown} has no column 'text'.", hint=hint)
    doubled = next((heading for heading in headings if heading in COLUMNS and headings.count(heading) > 1), None)
    if doubled is not None:
        raise InvalidInput(f"{shown} has two columns {doubled!r}.")


def _check_names(names: Sequence[str], place: str) -> None:
    """Raise InvalidInput for a misspelt name. Other columns are somebody's notes, and are not read."""
    for name in names:
        near = nearest(name, COLUMNS, limit=1) if name not in COLUMNS else []
        if near:
            raise InvalidInput(f"{place} has a column {name!r}; did you mean {near[0]!r}?")


def _line(row: Mapping[str, Any], *, place: str) -> dict[str, Any]:
    """Values of one line of a job file."""
    line = {key: value for key, value in row.items() if key in COLUMNS and value not in (None, "")}
    if "text" not in line:
        raise InvalidInput(f"{place} has no text.")
    for key, number in NUMBERS.items():
        if isinstance(line.get(key), str):
            try:
                line[key] = number(line[key].strip().replace(",", "."))
            except ValueError:
                raise InvalidInput(f"{place}: {key} = {line[key]!r} is no number.") from None
    return line
