"""A pydantic error → sentences that a person can act on: the key, the mistake, the nearest valid choice."""

from __future__ import annotations

import datetime
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from registry.errors import nearest

Path = tuple[str | int, ...]  # of keys and indexes
SHOWN_CHARACTERS = 60
EXPLAINED = 50


@dataclass(frozen=True)
class Problem:
    """One mistake, and where it is: `path` leads to it through keys and indexes."""

    path: Path
    text: str


def problems_in(error: pydantic.ValidationError, model: type[pydantic.BaseModel], *, raw: Any) -> list[Problem]:
    """Problems of `error`, in the order of the model's fields; `raw` is the value that was validated.

    After the first EXPLAINED only the paths are given: a file can have a million wrong keys.
    """
    found = error.errors(include_url=False)
    explained = [_problem(dict(details), model, raw) for details in found[:EXPLAINED]]
    return explained + [Problem(details["loc"], "") for details in found[EXPLAINED:]]


def unknown_keys(raw: Any, model: type[pydantic.BaseModel]) -> list[Problem]:
    """Problems with keys that the model does not know, when there are many: pydantic keeps a kilobyte for each."""
    found = list(_unknown_paths(raw, model, ()))
    if len(found) <= EXPLAINED:
        return []
    explained = [Problem(path, _unknown_key(path, model)) for path in found[:EXPLAINED]]
    return explained + [Problem(path, "") for path in found[EXPLAINED:]]


def _unknown_paths(
    raw: Any, model: type[pydantic.BaseModel], path: tuple[str | int, ...]
) -> Iterator[tuple[str | int, ...]]:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    inner = {key: next(_models_in(field.annotation), None) for key, field in fields.items()}
    tables = enumerate(raw) if isinstance(raw, list) else [(None, raw)]
    for index, table in tables:
        place = path if index is None else (*path, index)
        for key, value in table.items() if isinstance(table, dict) else ():
            if key not in fields:
                yield (*place, key)
            elif (below := inner[key]) is not None:
                yield from _unknown_paths(value, below, (*place, key))


def _problem(details: dict[str, Any], model: type[pydantic.BaseModel], raw: Any) -> Problem:
    path = _path_in(raw, details["loc"], missing=details["type"] == "missing")
    key = dotted(path)
    if details["type"] == "extra_forbidden":
        return Problem(path, _unknown_key(path, model))
    if details["type"] == "missing":
        return Problem(path[:-1], f"{key} is missing.")
    reason = _range(model, path) if details["type"] in _BOUNDS else None
    reason = reason or _reason(details)
    return Problem(path, f"{key} = {shown(details['input'])}: {reason}" if key else reason)


def _range(model: type[pydantic.BaseModel], path: Path) -> str | None:
    """`expected at least 0.5 and at most 5.`, of a number with both bounds."""
    field = _field_at(model, path)
    found = dict(_bounds_in(field)) if field is not None else {}
    said = [_EXPECTED[kind].format(**{name: _whole(found[name])}) for kind, name in _BOUNDS.items() if name in found]
    return f"{' and '.join([said[0], *(each.removeprefix('expected ') for each in said[1:])])}." if said else None


def _bounds_in(field: pydantic.fields.FieldInfo) -> Iterator[tuple[str, object]]:
    """(`ge`, 0.5) and the like, also of a type that is one of several."""
    annotated = [part for part in (field.annotation, *typing.get_args(field.annotation)) if _is_annotated(part)]
    for one in (*field.metadata, *(each for part in annotated for each in typing.get_args(part)[1:])):
        for piece in (one, *getattr(one, "metadata", ())):
            yield from ((name, getattr(piece, name)) for name in _BOUNDS.values() if hasattr(piece, name))


def _is_annotated(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Annotated


def _path_in(raw: Any, location: Path, *, missing: bool) -> Path:
    """The part of pydantic's `loc` that names real keys: it contains union tags and validator names too."""
    path: list[str | int] = []
    for part in location:
        inside = isinstance(raw, Mapping) and part in raw
        indexed = isinstance(raw, list) and isinstance(part, int) and part < len(raw)
        if inside or indexed:
            path.append(part)
            raw = raw[part]
    if missing and location:
        path.append(location[-1])
    return tuple(path)


def _unknown_key(path: Path, model: type[pydantic.BaseModel]) -> str:
    known = _keys_at(model, path[:-1])
    wanted, above = str(path[-1]), path[:-1]
    near = nearest(wanted, known) or _nearest_below(wanted, known, lambda table: _keys_at(model, (*above, table)))
    where = f" in {dotted(path[:-1])}" if len(path) > 1 else ""
    advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}."
    return f"unknown key {shown(path[-1])}{where}; {advice}"


def _nearest_below(wanted: str, tables: Iterable[str], keys_of: Callable[[str], Iterable[str]]) -> list[str]:
    """Key that was written one table too high: `temperature` belongs in `sampling`."""
    owners = {key: table for table in tables for key in keys_of(table)}
    return [f"{owners[key]}.{key}" for key in nearest(wanted, owners)]


def _keys_at(model: type[pydantic.BaseModel], path: Path) -> list[str]:
    if any(isinstance(part, str) for part in path):
        field = _field_at(model, path)
        inner = next(_models_in(field.annotation), None) if field else None
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _field_at(model: type[pydantic.BaseModel], path: Path) -> pydantic.fields.FieldInfo | None:
    """The field that a path leads to; None where it leads elsewhere."""
    field = None
    for part in path:
        if isinstance(part, int):
            continue
        if field is not None:
            inner = next(_models_in(field.annotation), None)
            if inner is None:
                return None
            model = inner
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        if field is None:
            return None
    return field


def _models_in(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, list, typing.Annotated):
        for part in typing.get_args(annotation):
            yield from _models_in(part)


def _reason(details: dict[str, Any]) -> str:
    if details["type"] == "literal_error":
        return _choices(details)
    if details["type"] == "value_error":
        return _sentence(str(details["ctx"]["error"]))
    if (said := _EXPECTED.get(details["type"])) is not None:
        return _sentence(said.format(**{name: _whole(value) for name, value in details.get("ctx", {}).items()}))
    message = str(details["msg"]).removeprefix("Input ")
    return _sentence(message[:1].lower() + message[1:])


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


_BOUNDS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
# Errors of pydantic, in the words of people who write the file.
_EXPECTED = {
    "string_type": "expected text in quotes",
    "string_too_short": "it is empty",
    "string_too_long": "it has more than {max_length:,} characters",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "list_type": "expected a list",
    "dict_type": "expected a table",
    "model_type": "expected a table",
    "model_attributes_type": "expected a table",
    "too_short": "it is empty",
    "too_long": "it has {actual_length:,} entries, and at most {max_length:,} are allowed",
    "greater_than_equal": "expected at least {ge}",
    "greater_than": "expected more than {gt}",
    "less_than_equal": "expected at most {le}",
    "less_than": "expected less than {lt}",
}


def _choices(details: dict[str, Any]) -> str:
    choices = [choice.strip().strip("'") for choice in details["ctx"]["expected"].replace(" or ", ", ").split(",")]
    near = nearest(str(details["input"]), choices, limit=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}expected {', '.join(choices)}."


def dotted(path: Path) -> str:
    """`("lines", 3, "text")` → `lines[3].text`."""
    text = ""
    for part in path:
        name = part if isinstance(part, int) or len(part) <= SHOWN_CHARACTERS else part[: SHOWN_CHARACTERS - 1] + "…"
        text += f"[{name}]" if isinstance(part, int) else f".{name}" if text else str(name)
    return text


def shown(value: object) -> str:
    """`value` as a short, printable quotation."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, str):
        value = value[:SHOWN_CHARACTERS]  # what is left of it, quoted, is longer still
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
