"""A master's spec and the ledger → the request for the process that makes its files; its sources are checked first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from models.protocol import SAMPLE_RATE_HZ
from registry.errors import NotFound
from registry.jobs import jobs, lines
from registry.jobs.values import Job, Line
from runner.errors import AttachmentMissing
from runner.jobfile.master_spec import MasterTable, TagsTable
from runner.jobfile.specs import MasterSpec
from runner.master.errors import SoundRefused
from runner.master.presets import PRESETS
from runner.master.request import ChapterSource, MasterRequest, Piece, Tags
from runner.outbox.job_summary import JobSummary
from runner.outbox.outbox import sha256_hex
from runner.text_format import counted
from runner.worker.context import Context


@dataclass(kw_only=True)
class MasterSources:
    """Finds the sound of a master's chapters, in any thread; `warnings` tell what is missing."""

    context: Context
    job: Job
    spec: MasterSpec
    claim: Path | None  # the folder of the files that the job names
    folder: Path  # where the process works
    go_on: Callable[[], None]  # raises when nobody wants it any more
    warnings: list[str] = field(default_factory=list)

    def request(self) -> MasterRequest:
        """The request. Raises SoundRefused, AttachmentMissing, NotFound or StorageError."""
        spec, preset = self.spec, PRESETS[self.spec.preset]
        return MasterRequest(
            folder=str(self.folder),
            runner=os.getpid(),
            preset=spec.preset,
            formats=formats_of(spec),
            split=spec.split or preset.split,
            chapters=list(self._chapters()),
            tags=_tags(spec.tags, title=self.job.name, language=spec.language),
            cover=str(self._attachment(spec.cover)) if spec.cover else None,
            room_tone=spec.room_tone,
        )

    def _attachment(self, name: str) -> Path:
        if self.claim is None:
            raise AttachmentMissing(f"{name} was not taken along with the job.", hint="Drop the job again.")
        return self.claim / name

    def _chapters(self) -> Iterator[ChapterSource]:
        names = self.spec.source_jobs or self.spec.files or []
        titles = self.spec.titles or [Path(name).stem if self.spec.files else name for name in names]
        if self.spec.files:
            for name, title in zip(names, titles, strict=True):
                yield ChapterSource(title=title, file=str(self._attachment(name)))
            return
        for name, title in zip(names, titles, strict=True):
            yield ChapterSource(title=title, pieces=self._pieces(name))

    def _pieces(self, name: str) -> list[Piece]:
        """Lines of a spoken job, in order."""
        with self.context.database.read() as session:
            source = jobs.by_name(session, name)
            spoken = list(lines.of_job(session, source.id))
        summary, by_id = JobSummary.of(spoken), {line.id: line for line in spoken}
        found: list[Piece] = []
        for each in summary.parts:
            self.go_on()
            if each.part.lead_samples:
                found.append(Piece("", "", each.part.lead_samples))
            path, voice = "", ""
            if each.audio_sha256:
                line = by_id[each.line_id]
                path, voice = str(self._audio(source, line)), line.request.voice_digest or line.request.voice.name
            found.append(Piece(path, voice, each.part.pause_samples))
        missing = summary.lines - len(summary.parts)
        if missing:
            self.warnings.append(f"{counted(missing, 'line')} of {name} failed, and {_are(missing)} not heard.")
        if not any(piece.path for piece in found):
            raise SoundRefused(f"The job {name!r} has no line that can be heard.")
        return found

    def _audio(self, source: Job, line: Line) -> Path:
        """File with a line's sound: its take, or where that was evicted, what was published of it."""
        assert line.result is not None
        takes, sha256 = self.context.takes.audio, line.result["audio_sha256"]
        if takes.is_whole(sha256):
            return takes.path(sha256)
        try:
            content = self.context.outbox.read(source.name, line.file)
        except OSError:
            content = b""
        path = self.folder / f"line-{line.id}{Path(line.file).suffix}"
        if sha256_hex(content) == line.result["file_sha256"]:
            path.write_bytes(content)
            with soundfile.SoundFile(path) as file:
                if (file.samplerate, file.channels) == (SAMPLE_RATE_HZ, 1):
                    return path
        raise NotFound(
            f"The sound of {line.file} in the job {source.name!r} is gone from the take store and from the outbox.",
            hint=f"Remove outbox/{source.name}; then `voicejobs jobs retry {source.name}` speaks it again.",
        )


def formats_of(spec: MasterTable) -> Sequence[str]:
    """The formats that a master is made in."""
    return spec.formats or PRESETS[spec.preset].formats


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _tags(given: TagsTable, *, title: str, language: str | None) -> Tags:
    spoken = given.language or (language or "")
    return Tags(
        title=given.title or title,
        author=given.author or "",
        narrator=given.narrator or "",
        year="" if given.year is None else str(given.year),
        genre=given.genre or "",
        description=given.description or "",
        language="" if spoken == "auto" else spoken,
    )
