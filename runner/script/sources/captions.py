"""Captions in SRT or WebVTT → a document of one chapter, whose lines keep their times. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from runner.script.document import Document, DocumentBuilder
from runner.script.errors import SourceRefused
from runner.script.sources.cues import cue_name

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_VOICE = re.compile(r"<v(?:\.[\w.-]+)?[ \t]+([^<>\n]{1,200})>")
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,200}>|<\d[\d:.]{3,14}>|\{\\[^{}\n]{0,200}\}")
_NAME = re.compile(r"(?:>>\s*)?([^\W\d_a-zß-öø-ÿ][^:a-zß-öø-ÿ\n]{0,38}[^:\s]?):\s+(?=\S)")
_NOT_NAMES = re.compile(r".*(?:https?|\d{1,2})")


@dataclass(frozen=True, slots=True)
class _Cue:
    line: int
    start_s: float
    end_s: float
    text: str


def read_captions(text: str, *, name: str, is_vtt: bool) -> Document:
    """The document of a file of captions. Raises SourceRefused when there is no cue in it."""
    builder = DocumentBuilder()
    count = 0
    for cue in _cues(text):
        count += 1
        if cue.end_s < cue.start_s:
            raise SourceRefused(f"{name}, line {cue.line}: the cue ends before it begins.")
        for speaker, said, rule in _spoken(cue.text):
            builder.line(
                "dialogue" if speaker else "narration",
                said,
                place=f"line {cue.line}",
                speaker=speaker,
                rule=rule,
                start_s=cue.start_s,
                end_s=cue.end_s,
            )
    if count == 0:
        kind = "WebVTT" if is_vtt else "SubRip"
        raise SourceRefused(
            f"{name} holds no caption: no line such as 00:00:01,000 --> 00:00:02,500, as {kind} has them.",
            hint="Say what it is by `format`.",
        )
    return builder.document("vtt" if is_vtt else "srt")


def _cues(text: str) -> Iterator[_Cue]:
    """Everything between a line of times and the next blank one, or the next cue."""
    times: re.Match[str] | None = None
    at, parts = 0, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        found = _TIMES.fullmatch(line) if "-->" in line else None
        if found is None and line.strip():
            parts.append(line)
            continue
        if times is not None:
            if found is not None and parts and parts[-1].strip().isdigit():
                parts.pop()  # the number of a cue that no blank line parts from the one before
            yield _Cue(at, _seconds(times, 1), _seconds(times, 5), "\n".join(parts))
        times, at, parts = found, number, []


def _seconds(times: re.Match[str], first: int) -> float:
    hours, minutes, seconds, fraction = (times[first + offset] or "0" for offset in range(4))
    return round(int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000, 3)


def _spoken(text: str) -> Iterator[tuple[str | None, str, str]]:
    """(speaker, text, rule) of everyone who speaks in a cue."""
    parts = _VOICE.split(text)
    yield from _by_names(_plain(parts[0]))
    for speaker, said in zip(parts[1::2], parts[2::2], strict=True):
        if plain := _plain(said):
            yield cue_name(html.unescape(speaker)), " ".join(plain.split()), "voice tag"


def _by_names(text: str) -> Iterator[tuple[str | None, str, str]]:
    """The lines of a cue; one that begins with a name in capitals and a colon is spoken by it."""
    speaker, rule, said = None, "", list[str]()
    for line in text.split("\n"):
        named = _NAME.match(line.removeprefix("- ").removeprefix("-"))
        if named is not None and not _NOT_NAMES.fullmatch(named[1]):
            if said:
                yield speaker, " ".join(said), rule
            speaker, rule = cue_name(named[1]), "name"
            said = [line.removeprefix("- ").removeprefix("-")[named.end() :].strip()]
        elif line.strip():
            said.append(line.strip())
    if said:
        yield speaker, " ".join(said), rule


def _plain(text: str) -> str:
    return html.unescape(_TAG.sub("", text)).strip()
