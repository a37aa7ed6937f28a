"""Levelled chapters → one finished file: written, read back, and written again where coding has moved its levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.audio.sound import Samples
from runner.master import m4b
from runner.master.cover import Cover
from runner.master.errors import MasteringFailed
from runner.master.file_tags import Chapter, FileTags
from runner.master.levelling import LevelledChapter, OutputForm
from runner.master.measured_file import measured_file
from runner.master.presets import Preset, judged
from runner.master.sound_files import write_flac, write_mp3, write_wav

LOSSY = ("mp3", "m4b")
MOST_TRIES = 4
NEAR_ENOUGH_DB, SAFETY_DB = 0.2, 0.1
OVERDONE = 1.5  # peaks that coding adds do not fall as much as the ceiling
MOST_MOVED_DB = 1.5  # by coding; more is the sound's own, such as peaks that leave no room
SAME_S = 0.1  # by which times that are read back may differ

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """A file to be written, and the chapters in it."""

    name: str
    format: str
    chapters: Sequence[LevelledChapter]
    tags: FileTags
    form: OutputForm

    @property
    def marks(self) -> list[Chapter]:
        return marks_of(self.chapters)

    @property
    def duration_s(self) -> float:
        return sum(chapter.duration_s for chapter in self.chapters)


def marks_of(chapters: Sequence[LevelledChapter]) -> list[Chapter]:
    """Where each chapter begins and ends when they follow one another."""
    found, at_s = [], 0.0
    for chapter in chapters:
        found.append(Chapter(title=chapter.title, start_s=at_s, end_s=at_s + chapter.duration_s))
        at_s += chapter.duration_s
    return found


@dataclass(frozen=True, kw_only=True)
class FileWriter:
    """Writes finished files into a folder."""

    folder: Path
    preset: Preset
    cover: Cover | None
    room_tone: bool
    on_progress: Progress

    def written(self, file: OutputFile, *, channels_of_all: int | None) -> dict[str, Any]:
        """Entry of a file for `mastering.json`. Raises MasteringFailed, InvalidInput or OSError."""
        path = self.folder / file.name
        trim_db, ceiling_db = 0.0, self.preset.ceiling_db if self.preset.changes_levels else None
        for tries_left in reversed(range(MOST_TRIES)):
            self._write(path, file, trim_db=trim_db, ceiling_db=ceiling_db)
            entry = self._read_back(path, file, channels_of_all=channels_of_all)
            if ceiling_db is None or file.format not in LOSSY or not tries_left:
                break
            missing_db, too_high_db = self._missing_db(file, entry), _too_high_db(entry)
            if not missing_db and not too_high_db:
                break
            if too_high_db:  # louder, it would be too high again
                missing_db = min(missing_db, 0.0)
            trim_db, ceiling_db = trim_db + missing_db, ceiling_db - too_high_db
        return entry

    def _write(self, path: Path, file: OutputFile, *, trim_db: float, ceiling_db: float | None) -> None:
        blocks, form, tags, cover = self._blocks(file, trim_db, ceiling_db), file.form, file.tags, self.cover
        if file.format == "wav":
            write_wav(path, blocks, form, tags, duration_s=file.duration_s)
        elif file.format == "flac":
            write_flac(path, blocks, form, tags, cover=cover)
        elif file.format == "mp3":
            constant = self.preset.constant_rate
            write_mp3(path, blocks, form, tags, cover=cover, chapters=file.marks, constant_rate=constant)
        else:
            m4b.write_m4b(path, blocks, form, tags, cover=cover, chapters=file.marks)

    def _blocks(self, file: OutputFile, trim_db: float, ceiling_db: float | None) -> Iterator[Samples]:
        frames, total = 0, max(1.0, file.duration_s * file.form.sample_rate_hz)
        for chapter in file.chapters:
            rendered = chapter.rendered(file.form, ceiling_db=ceiling_db, trim_db=trim_db, room_tone=self.room_tone)
            for block in rendered:
                yield block
                frames += len(block)
                self.on_progress(f"writing {file.name}, {min(99, 100 * frames / total):.0f} %")

    def _read_back(self, path: Path, file: OutputFile, *, channels_of_all: int | None) -> dict[str, Any]:
        entry = measured_file(path, on_progress=lambda: self.on_progress(f"checking {file.name}"))
        if abs(entry["duration_s"] - file.duration_s) > SAME_S:
            raise _differs(file, f"{entry['duration_s']:.2f} s instead of {file.duration_s:.2f} s")
        if file.format == "m4b":
            _compare(path, file, has_cover=self.cover is not None)
        return judged(self.preset, entry, channels_of_all=channels_of_all)

    def _missing_db(self, file: OutputFile, entry: dict[str, Any]) -> float:
        """Gain that a coded file lacks."""
        target = self.preset.target_lufs(channels=file.form.channels)
        level, wanted = (entry["rms_db"], self.preset.rms_db) if target is None else (entry["integrated_lufs"], target)
        if level is None or wanted is None or any(chapter.is_silent for chapter in file.chapters):
            return 0.0
        missing_db = float(wanted - level)
        return missing_db if NEAR_ENOUGH_DB < abs(missing_db) < MOST_MOVED_DB else 0.0


def _too_high_db(entry: dict[str, Any]) -> float:
    """By how much the ceiling must be lower for the peaks of a coded file to be allowed."""
    peaks = [rule for rule in entry["rules"] if rule["rule"] in ("peak", "true-peak") and not rule["passed"]]
    return max((OVERDONE * (rule["value"] - rule["limit"][1]) + SAFETY_DB for rule in peaks), default=0.0)


def _compare(path: Path, file: OutputFile, *, has_cover: bool) -> None:
    """Raises MasteringFailed when chapters, title or cover, read back, are not those that were written."""
    chapters, tags, shows_cover = m4b.read_back(path)
    wanted = file.marks
    if len(chapters) != len(wanted):
        raise _differs(file, f"{len(chapters)} chapters instead of {len(wanted)}")
    for one, other in zip(wanted, chapters, strict=True):
        if one.title != other.title or abs(one.start_s - other.start_s) > SAME_S:
            found = f"{other.title!r} at {other.start_s:.2f} s"
            raise _differs(file, f"the chapter {found} instead of {one.title!r} at {one.start_s:.2f} s")
    if tags.get("title", "") != file.tags.title or tags.get("artist", "") != file.tags.author:
        raise _differs(file, "another title or author")
    if shows_cover != has_cover:
        raise _differs(file, "no cover" if has_cover else "a cover that nobody gave")


def _differs(file: OutputFile, what: str) -> MasteringFailed:
    return MasteringFailed(f"{file.name}, read back, has {what}.", hint="Please report it, with the job file.")
