"""A request → the finished files of a book in a folder, and the content of `mastering.json`.

Everything is streamed: chapters are rendered again for each file, and none is ever held whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.master.chapter_sound import ChapterSound, chapter_sound
from runner.master.cover import read_cover
from runner.master.file_tags import clean, file_name, file_tags
from runner.master.levelling import LevelledChapter, OutputForm, levelled, voice_gains
from runner.master.presets import PRESETS, Preset, limit_text
from runner.master.request import MasterRequest
from runner.master.sound_files import coded_form
from runner.master.sound_source import check_formats
from runner.master.written_file import LOSSY, FileWriter, OutputFile, Progress, marks_of

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class FinishedBook:
    """Names of the files that are in the folder, the content of `mastering.json`, and what could be better."""

    files: list[str]
    mastering: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def make_book(request: MasterRequest, *, on_progress: Progress) -> FinishedBook:
    """Write all files of a request into its folder. Raises SoundRefused, CoverRefused, ExtraMissing, …"""
    check_formats(request.formats)
    preset = PRESETS[request.preset]
    cover = read_cover(Path(request.cover)) if request.cover else None
    title = clean(request.tags.title)
    sounds = [chapter_sound(replace(each, title=clean(each.title) or title)) for each in request.chapters]
    form = _form(sounds, preset)
    chapters = _levelled(sounds, request, preset, form, on_progress)
    writer = FileWriter(
        folder=Path(request.folder), preset=preset, cover=cover, room_tone=request.room_tone, on_progress=on_progress
    )
    entries: list[dict[str, Any]] = []
    for file in _files(chapters, request, form):
        entries.append(writer.written(file, channels_of_all=entries[0]["channels"] if entries else None))
    marks = [
        {"title": mark.title, "start_s": round(mark.start_s, 3), "end_s": round(mark.end_s, 3)}
        for mark in marks_of(chapters)
    ]
    silent = [f"Chapter {each.number} ({each.title}) is silent." for each in chapters if each.is_silent]
    return FinishedBook(
        files=[entry["file"] for entry in entries],
        mastering={"schema": SCHEMA, "preset": preset.name, "files": entries, "chapters": marks},
        warnings=[*silent, *(warning for entry in entries for warning in _warnings(entry))],
    )


def _form(sounds: Sequence[ChapterSound], preset: Preset) -> OutputForm:
    return OutputForm(
        sample_rate_hz=preset.sample_rate_hz or max(sound.sample_rate_hz for sound in sounds),
        channels=1 if all(sound.channels == 1 for sound in sounds) else 2,
    )


def _levelled(
    sounds: Sequence[ChapterSound], request: MasterRequest, preset: Preset, form: OutputForm, on_progress: Progress
) -> list[LevelledChapter]:
    gains: dict[str, float] = {}
    if preset.changes_levels:
        gains = voice_gains(sounds, on_progress=lambda: on_progress("measuring voices"))
    found = []
    for number, sound in enumerate(sounds, start=1):
        doing = f"levelling chapter {number} of {len(sounds)}"
        chapter = levelled(
            sound,
            number=number,
            preset=preset,
            gains=gains,
            form=form,
            room_tone=request.room_tone,
            on_progress=lambda doing=doing: on_progress(doing),  # type: ignore[misc]
        )
        found.append(chapter)
    return found


def _files(chapters: Sequence[LevelledChapter], request: MasterRequest, plain: OutputForm) -> Iterator[OutputFile]:
    tags, title = request.tags, clean(request.tags.title)
    for kind in request.formats:
        form = coded_form(plain) if kind in LOSSY else plain
        if kind == "m4b" or request.split == "none":
            whole = file_tags(tags, title=title)
            yield OutputFile(name=file_name(title, kind), format=kind, chapters=chapters, tags=whole, form=form)
            continue
        count = len(chapters)
        for chapter in chapters:
            name = file_name(chapter.title, kind, track=chapter.number, tracks=count)
            own = file_tags(tags, title=chapter.title, track=chapter.number, tracks=count)
            yield OutputFile(name=name, format=kind, chapters=[chapter], tags=own, form=form)


def _warnings(entry: dict[str, Any]) -> Iterator[str]:
    for rule in entry["rules"]:
        if not rule["passed"]:
            value = "no" if rule["value"] is False else "none" if rule["value"] is None else f"{rule['value']:g}"
            yield f"{entry['file']} breaks the rule {rule['rule']}: {value} ({limit_text(rule['limit'])})."
