"""A script's document and cast → `script.json` and `cast.toml`, as people and programs read them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runner.jobfile.specs import Narrate
from runner.script.cast.casting import Cast, CastMember
from runner.script.document import Document, is_spoken

SCHEMA = 1
SCRIPT_FILE, CAST_FILE = "script.json", "cast.toml"
Source = Mapping[str, str]  # file, format, encoding, sha256


def script_content(
    document: Document, *, job: str | None, book: str, source: Source, narrate: Narrate, warnings: Sequence[str]
) -> dict[str, Any]:
    """Every line of the document: chapter, speaker, rule, confidence, and whether it is spoken."""
    lines = []
    for index, line in enumerate(document.lines, start=1):
        entry = {
            "index": index,
            "chapter": line.chapter,
            "kind": line.kind,
            "speaker": line.speaker,
            "text": line.text,
            "direction": line.direction,
            "spoken": is_spoken(line, narrate=narrate, is_screenplay=document.is_screenplay),
            "rule": line.rule,
            "confidence": line.confidence,
            "place": line.place,
        }
        if line.start_s is not None:
            entry |= {"start_s": line.start_s, "end_s": line.end_s}
        lines.append(entry)
    return {
        "schema": SCHEMA,
        "job": job,
        "book": book,
        "source": dict(source),
        "title": document.title,
        "author": document.author,
        "language": document.language,
        "chapters": [{"index": chapter.index, "title": chapter.title} for chapter in document.chapters],
        "lines": lines,
        "warnings": list(warnings),
    }


def cast_entries(cast: Cast) -> list[dict[str, Any]]:
    """The parts as `cast.toml` and `script check --json` have them."""
    return [_entry(member) for member in cast.members]


def _entry(member: CastMember) -> dict[str, Any]:
    part, profile = member.part, member.profile
    entry: dict[str, Any] = {
        "name": part.name,
        "aliases": list(part.aliases),
        "lines": part.lines,
        "voice": member.voice,
        "candidate": member.candidate,
        "shares": member.shares or None,
    }
    if profile is not None:
        entry |= {
            "gender": profile.gender,
            "age_range": profile.age_range,
            "voice_traits": list(profile.voice_traits),
            "summary": profile.summary,
            "description": profile.description or None,
            "analyzer": profile.analyzer,
        }
    evidence = part.evidence
    entry["evidence"] = {
        "speeches": list(evidence.speeches),
        "directions": list(evidence.directions),
        "scenes": list(evidence.scenes),
        "mentions": list(evidence.mentions),
    }
    return entry


def cast_toml(cast: Cast, *, job: str | None, book: str, narrator: str, waits: bool) -> str:
    """The cast as a job file: with `candidate` or `voice` filled in and dropped, it casts the script anew.

    While candidates wait to be heard (`waits`), new voices stand as comments: what is filled in is the choice.
    """
    lines = [
        "# The cast. To change it, fill in `voice` (or `candidate`, a number of its design), and drop this file.",
        'kind = "cast"',
        *([f"job = {_text(job)}"] if job else []),
        f"book = {_text(book)}",
        "",
        "[narrator]",
        f"voice = {_text(narrator)}",
    ]
    for entry, member in zip(cast_entries(cast), cast.members, strict=True):
        lines += ["", "[[parts]]", *_part_lines(entry, is_open=waits and (member.is_new or bool(member.shares)))]
    return "\n".join(lines) + "\n"


def _part_lines(entry: dict[str, Any], *, is_open: bool) -> Iterator[str]:
    for key, value in entry.items():
        if key == "evidence":
            continue
        if key == "candidate" and value is None:
            yield "# candidate = 1"
        elif value is not None and value != []:
            yield f"{'# ' if key == 'voice' and is_open else ''}{key} = {_value(value)}"
    yield "[parts.evidence]"
    for key, value in entry["evidence"].items():
        if value:
            yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    return _text(value) if isinstance(value, str) else str(value)


def _text(text: str) -> str:
    """A basic string of TOML; JSON's escapes are the same, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
