"""A job file's bytes → a checked `JobSpec`, or every mistake in it, with file, line, column and key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import pydantic

from models.audio.file_format import FileFormat
from models.protocol import SAMPLE_RATE_HZ
from models.text.markup import words_in
from models.text.spoken_form import speaks
from registry.errors import InvalidInput, nearest
from registry.voices.names import name_key
from runner.config.validation_messages import Problem, dotted, problems_in, shown, unknown_keys
from runner.errors import JobFileInvalid, RecordedOtherwise
from runner.jobfile.specs import SPEC_CLASSES, JobSpec, MasterSpec, SynthesizeSpec
from runner.jobfile.syntax import read_tree
from runner.names import printable_name

MAX_METADATA_BYTES = 1 << 20
SYNTHESIZE = "synthesize"
SCHEMA_ID = "urn:voicejobs:job-file:1"


def parse_job(content: bytes, *, file_name: str) -> JobSpec:
    """Job that a file describes; `file_name` tells TOML from JSON and appears in messages.

    Raises JobFileInvalid, which lists every problem found.
    """
    shown_name = printable_name(file_name)
    text = read_tree(content, file_name=shown_name)
    spec_class = SPEC_CLASSES.get(_kind_of(text.tree))
    if spec_class is None:
        raise text.invalid([_kind_problem(text.tree)])
    if problems := unknown_keys(text.tree, spec_class):
        raise text.invalid(problems)
    try:
        spec = spec_class.model_validate(text.tree, strict=True)
    except pydantic.ValidationError as error:
        problems = problems_in(error, spec_class, raw=text.tree)
        raise text.invalid([*problems, *_key_combinations(text.tree)]) from None
    except RecursionError:
        raise JobFileInvalid(shown_name, [": the file is nested too deeply."]) from None
    if problems := [*_key_combinations(text.tree), *_value_combinations(spec)]:
        raise text.invalid(problems)
    return spec


def _kind_of(tree: Mapping[str, Any]) -> str:
    kind = tree.get("kind")
    return kind if isinstance(kind, str) else ""


def _kind_problem(tree: Mapping[str, Any]) -> Problem:
    choices = ", ".join(SPEC_CLASSES)
    if "kind" not in tree:
        near = nearest("kind", list(tree)[:100])
        hint = f" (did you mean it by {near[0]!r}?)" if near else ""
        return Problem((), f"kind is missing{hint}; it is one of {choices}.")
    near = nearest(_kind_of(tree), SPEC_CLASSES)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return Problem(("kind",), f"kind = {shown(tree['kind'])}: {hint}It is one of {choices}.")


def _key_combinations(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems with keys that contradict, or need, each other."""
    kind = tree["kind"]
    if kind == "design":
        yield from _exactly_one(tree, ("description", "character"))
    elif kind == "lock":
        yield from _exactly_one(tree, ("from", "audio"))
        has = {key for key, value in tree.items() if value is not None}
        if tree.get("embedding_only") is True and "transcript" in has:
            yield Problem(
                ("transcript",), "transcript and embedding_only cannot be used together: the words would not be used."
            )
        elif "audio" in has and "transcript" not in has and tree.get("embedding_only") is not True:
            what = (
                'the exact words spoken in it; or "auto", which has them heard by a recogniser; '
                "or embedding_only = true, which keeps the sound of the voice alone"
            )
            yield Problem(("audio",), f"audio needs a transcript: {what}.")
        if tree.get("embedding_only") is True and "profile" in has:
            yield Problem(("profile",), "profile needs the words of the recording, which embedding_only leaves out.")
        if {"from", "transcript"} <= has:
            yield Problem(("transcript",), "transcript belongs with audio; the words of a candidate are known already.")
    elif kind == SYNTHESIZE:
        yield from _exactly_one(tree, ("lines", "text", "text_file"))
    elif kind == "master":
        yield from _exactly_one(tree, ("from", "files"))


def _exactly_one(tree: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[Problem]:
    present = [key for key in keys if tree.get(key) is not None]
    choice = " or ".join(keys)
    if not present:
        yield Problem((), f"{choice} is missing.")
    elif len(present) > 1:
        yield Problem((present[1],), f"{' and '.join(present)} cannot be used together; give one of {choice}.")


def _value_combinations(spec: JobSpec) -> Iterator[Problem]:
    if len(json.dumps(spec.metadata)) > MAX_METADATA_BYTES:
        yield Problem(("metadata",), f"metadata is larger than {MAX_METADATA_BYTES:,} bytes.")
    if isinstance(spec, SynthesizeSpec):
        yield from _line_problems(spec)
        yield from _format_problems(spec)
    if isinstance(spec, MasterSpec):
        yield from _master_problems(spec)


def _master_problems(spec: MasterSpec) -> Iterator[Problem]:
    count = len(spec.source_jobs or spec.files or ())
    if spec.titles is not None and len(spec.titles) != count:
        yield Problem(("titles",), f"titles has {len(spec.titles)} entries for {count} chapters.")
    for index, kind in enumerate(spec.formats):
        if kind in spec.formats[:index]:
            yield Problem(("formats", index), f"formats names {kind!r} twice.")


def _format_problems(spec: SynthesizeSpec) -> Iterator[Problem]:
    """Problems with the format of the files, as far as the job itself names one; else the settings decide."""
    if spec.captions is not None and not spec.track:
        yield Problem(
            ("captions",), "captions and track = false cannot be used together: the track times the captions."
        )
    name = spec.format or ("mp3" if spec.mp3_bitrate is not None else None)
    if name is None:
        return
    wanted = FileFormat(format=name, sample_rate_hz=spec.sample_rate or SAMPLE_RATE_HZ, bitrate_kbps=spec.mp3_bitrate)
    try:
        wanted.check()
    except InvalidInput as error:
        key = "sample_rate" if "sample_rate" in error.message else "mp3_bitrate"
        yield Problem((key,), f"{error.message} {error.hint}")


def _line_problems(spec: SynthesizeSpec) -> Iterator[Problem]:
    first_with: dict[str, int] = {}
    for index, line in enumerate(spec.lines or ()):
        path = ("lines", index)
        if line.voice is None and spec.voice is None:
            yield Problem(path, f"{dotted(path)} has no voice, and the job has none either.")
        if line.id is None:
            continue
        first = first_with.setdefault(name_key(line.id), index)
        if first != index:
            yield Problem(
                (*path, "id"), f"{dotted(path)}.id = {shown(line.id)}: {dotted(('lines', first))} has the same id."
            )
    if spec.lines is None and spec.voice is None:
        yield Problem((), "voice is missing.")
    if spec.lines is not None and not any(_speaks(line.text, spec) for line in spec.lines):
        yield Problem(("lines",), "lines hold no word to speak: no letter and no digit.")
    if spec.text is not None and not _speaks(spec.text, spec):
        yield Problem(("text",), "text holds no word to speak: no letter and no digit.")


def _speaks(text: str, spec: SynthesizeSpec) -> bool:
    """Whether there is a word in a text, beside its markup."""
    return speaks(words_in(text, wanted=spec.markup).text)


# The rules of `_key_combinations`, for JSON Schema.
_ALTERNATIVES: dict[str, list[tuple[str, ...]]] = {
    "DesignSpec": [("description",), ("character",)],
    "LockSpec": [("from",), ("audio", "transcript"), ("audio", "embedding_only")],
    "SynthesizeSpec": [("lines",), ("text",), ("text_file",)],
    "MasterSpec": [("from",), ("files",)],
}
_SWITCHES = ("embedding_only",)


def job_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of job files, TOML and JSON alike.

    What a file breaks is told of its own kind alone, since `kind` chooses the rules.
    """
    kinds = Annotated[JobSpec, pydantic.Discriminator("kind")]
    schema = pydantic.TypeAdapter(kinds).json_schema(by_alias=True, mode="validation")
    for name, alternatives in _ALTERNATIVES.items():
        schema["$defs"][name]["oneOf"] = [_requiring(keys) for keys in alternatives]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "voicejobs job file",
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": list(SPEC_CLASSES)}},
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{spec_class.__name__}"},
            }
            for kind, spec_class in SPEC_CLASSES.items()
        ],
        "$defs": schema["$defs"],
    }


def _requiring(keys: tuple[str, ...]) -> dict[str, Any]:
    """An alternative of the JSON Schema; a switch among its keys must be on."""
    switches = {key: {"const": True} for key in keys if key in _SWITCHES}
    return {"required": list(keys), **({"properties": switches} if switches else {})}


def spec_to_json(spec: JobSpec) -> str:
    """Spec as canonical JSON: sorted keys, without defaults. Equal specs give equal text."""
    plain = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return json.dumps({**plain, "kind": spec.kind}, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def spec_from_json(text: str, *, with_texts: bool = True) -> JobSpec:
    """Spec that `spec_to_json` wrote, or all of it but what is to be spoken, which takes a tenth of the time.

    Raises RecordedOtherwise when another version wrote it in another form.
    """
    tree = json.loads(text)
    if not with_texts and tree.get("kind") == SYNTHESIZE:
        tree = {key: value for key, value in tree.items() if key not in ("lines", "text")}
    try:
        return SPEC_CLASSES[tree["kind"]].model_validate(tree)
    except (KeyError, pydantic.ValidationError) as error:
        hint = "Drop the job file again, or go back to the version that recorded it."
        raise RecordedOtherwise(
            "This version of voicejobs cannot read the job as another one recorded it.", hint=hint
        ) from error


def content_sha256(spec_json: str, referenced: Mapping[str, str]) -> str:
    """Digest that is equal for equal drops: of the parsed job, as canonical JSON, and every file that it refers to."""
    files = json.dumps(dict(sorted(referenced.items())), ensure_ascii=False)
    return hashlib.sha256(f"{spec_json}\n{files}".encode()).hexdigest()
