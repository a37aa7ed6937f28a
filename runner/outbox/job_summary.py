"""The lines of a job, read once → its outcome, and the parts of its track; small, however many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.text.markup_found import markup_warning
from registry.jobs.line_request import VoiceSource
from registry.jobs.values import JobError, JobStatus, JsonObject, Line, LineStatus
from runner.outbox import track
from runner.outbox.ranking import ranks
from runner.outbox.receipt import gates_warning, summary_error, voice_entry
from runner.text_format import counted

LEAST_LATE_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """A line that is published, or a pause."""

    line_id: int
    file: str
    part: track.TrackLine
    audio_sha256: str = ""
    file_sha256: str = ""
    said: str = ""  # its text as it was read, where that is otherwise
    language: str = ""
    start_s: float | None = None  # where in the track it is to begin


@dataclass(kw_only=True)
class JobSummary:
    """Everything of a job's lines that is needed to end it."""

    lines: int = 0
    pauses: int = 0
    parts: list[Spoken] = field(default_factory=list)  # of the track
    errors: list[JobError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # which a job that is tried again has forgotten
    voices: set[VoiceSource] = field(default_factory=set)
    qualities: dict[int, JsonObject] = field(default_factory=dict)  # of candidates, by position
    markup: dict[int, Sequence[str]] = field(default_factory=dict)  # by position: spoken as it stands

    @classmethod
    def of(cls, lines: Iterable[Line]) -> JobSummary:
        """From all lines of a job, in order."""
        summary = cls()
        said: dict[str, list[str]] = {}
        for line in lines:
            summary.lines += 1
            summary.voices.add(line.request.voice)
            if line.request.markup:
                summary.markup[line.position] = line.request.markup
            if line.error:
                summary.errors.append(line.error)
            if line.request.is_pause:
                summary.pauses += 1
                summary.parts.append(_pause(line))
            elif line.status == LineStatus.PUBLISHED and line.result is not None:
                summary.parts.append(_spoken(line, line.result))
                if line.request.voice.kind == "description":
                    summary.qualities[line.position] = line.result["quality"]
                if failed := line.result["quality"]["failed_gates"]:
                    attempts = line.result["attempts"]
                    summary.warnings.append(gates_warning(line.file, attempts=attempts, failed=failed))
                for warning in line.result["warnings"]:
                    said.setdefault(warning, []).append(line.file)
        summary._place()
        summary.warnings += [_of_files(files, warning) for warning, files in said.items()]
        if summary.markup:
            summary.warnings.append(markup_warning(summary.markup))
        return summary

    def _place(self) -> None:
        """Put lines that have a place in the track there, and warn of those that come too late."""
        if all(line.start_s is None for line in self.parts):
            return
        parts, late_s = track.placed([line.part for line in self.parts], [line.start_s for line in self.parts])
        self.parts = [replace(line, part=part) for line, part in zip(self.parts, parts, strict=True)]
        late_s = {number: seconds for number, seconds in late_s.items() if seconds >= LEAST_LATE_S}
        if late_s:
            number, seconds = max(late_s.items(), key=lambda item: item[1])
            lines = "1 line begins" if len(late_s) == 1 else f"{len(late_s)} lines begin"
            self.warnings.append(
                f"{lines} later than asked for, since what is before takes longer: line {number} by {seconds:.1f} s."
            )

    @property
    def ranks(self) -> dict[str, int]:
        """The rank of each candidate, by its position."""
        return dict(zip(map(str, self.qualities), ranks(list(self.qualities.values())), strict=True))

    @property
    def samples(self) -> int:
        """Length of the track."""
        return track.total_samples(line.part for line in self.parts)

    @property
    def outcome(self) -> JobStatus:
        """done, partial or failed."""
        if len(self.parts) == self.lines:
            return JobStatus.DONE
        return JobStatus.PARTIAL if self.speaks else JobStatus.FAILED

    @property
    def speaks(self) -> bool:
        """Whether any line of it is heard."""
        return len(self.parts) > self.pauses

    @property
    def error(self) -> JobError | None:
        return summary_error(self.errors, lines=self.lines)

    @property
    def voice(self) -> dict[str, Any] | None:
        """The one voice of all lines as the receipt names it; None when there are several."""
        return voice_entry(*self.voices) if len(self.voices) == 1 else None


def _of_files(files: Sequence[str], warning: str) -> str:
    """A warning about one line, or many."""
    more = f" and {counted(len(files) - 1, 'more line')}" if len(files) > 1 else ""
    return f"{files[0]}{more}: {warning}"


def _spoken(line: Line, result: JsonObject) -> Spoken:
    request = line.request
    return Spoken(
        line_id=line.id,
        file=line.file,
        part=_part(line, samples=result["samples"]),
        audio_sha256=result["audio_sha256"],
        file_sha256=result["file_sha256"],
        said=request.spoken if request.spoken != request.text else "",
        language=request.language,
        start_s=request.start_s,
    )


def _pause(line: Line) -> Spoken:
    return Spoken(line_id=line.id, file=line.file, part=_part(line, samples=0), start_s=line.request.start_s)


def _part(line: Line, *, samples: int) -> track.TrackLine:
    return track.TrackLine(
        number=line.position,
        text=line.request.text,
        samples=samples,
        pause_samples=track.pause_samples(line.request.pause_after_s),
    )
