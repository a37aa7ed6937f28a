"""A job with nothing left to do → its track, its outcome in the ledger, its receipt; then those that waited for it.

Track and captions appear first, then the outcome is committed, then `result.json` appears, then the job is closed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from sqlmodel import Session

from models.audio_stream import write_audio_stream
from models.protocol import Waveform
from registry import jobs, lines
from registry.errors import InvalidInput, NotFound
from registry.files import crash_point
from registry.job_values import (
    DONE,
    FAILED,
    PARTIAL,
    PUBLISHED,
    REJECTED,
    Job,
    JobError,
    JsonObject,
    Line,
)
from registry.tables import TakeRow
from runner import track
from runner.context import Context
from runner.jobfile import MAX_FILE_BYTES, JobSpec, SynthesizeSpec
from runner.preparing import file_format, take_waveform
from runner.publish import Outbox, job_file_name, read_job_file, sha256_hex
from runner.receipt import encoded, receipt, summary_error, voice_entry

SRT, VTT = "captions.srt", "captions.vtt"


@dataclass(frozen=True, kw_only=True)
class Finisher:
    """Ends jobs."""

    context: Context
    outbox: Outbox

    def prepare(self, job: Job, spec: JobSpec) -> None:
        """Publish the track and set the outcome of a job whose lines are all published or failed."""
        with self.context.database.read() as session:
            entries = [line for page in lines.pages(session, job.id) for line in page]
        published = [line for line in entries if line.status == PUBLISHED]
        facts: dict[str, Any] = {"voice": the_voice(entries)}
        warnings: list[str] = []
        if isinstance(spec, SynthesizeSpec) and published:
            facts["track"] = self._publish_track(job, spec, published, warnings)
        with self.context.database.write() as session:
            for warning in warnings:
                jobs.add_warning(session, job.id, warning)
            self.set_outcome(session, job.id, outcome_of(entries), error=summary_error(entries), facts=facts)

    def set_outcome(
        self,
        session: Session,
        job_id: int,
        outcome: str,
        *,
        error: JobError | None = None,
        facts: JsonObject | None = None,
    ) -> None:
        """Commit what a job has come to; `answer` must follow."""
        now_s = self.context.clock()
        jobs.set_outcome(session, job_id, outcome, now_s=now_s, error=error, facts=facts or {})
        jobs.add_event(session, job_id, kind=outcome, message=error.message if error else outcome, at_s=now_s)

    def answer(self, job_ids: Sequence[int]) -> list[Job]:
        """Publish the receipts of jobs that have an outcome, close them, and settle the jobs that waited for them."""
        answered = []
        while job_ids:
            crash_point("finishing.outcome-committed")
            answered += [self._publish_answer(job_id) for job_id in job_ids]
            with self.context.database.write() as session:
                for job_id in job_ids:
                    jobs.close(session, job_id)
                settled = jobs.settle_dependents(session, job_ids)
                lost = [item for item in settled if item.failed_need is not None]
                for item in lost:
                    self.set_outcome(session, item.job_id, FAILED, error=dependency_failed(item.failed_need or ""))
            crash_point("finishing.closed")
            job_ids = [item.job_id for item in lost]
        return answered

    def _publish_answer(self, job_id: int) -> Job:
        with self.context.database.read() as session:
            job = jobs.get(session, job_id)
            entries = [line for page in lines.pages(session, job_id) for line in page]
        name = job.facts.get("job_file")
        content = self._job_file(job)
        if name and content is not None:
            self.outbox.publish(job.name, {job_file_name(name): content})
        self.outbox.publish_receipt(job.name, encoded(receipt(job, entries)))
        return job

    def _job_file(self, job: Job) -> bytes | None:
        path = job.facts.get("job_path")
        if not path:
            return None
        return read_job_file(self.context.instance.claimed_dir / path, limit_bytes=MAX_FILE_BYTES)

    # ---- the track ---------------------------------------------------------------------------------------------

    def _publish_track(
        self, job: Job, spec: SynthesizeSpec, published: Sequence[Line], warnings: list[str]
    ) -> dict[str, Any] | None:
        parts = [
            track.TrackLine(
                text=line.request["text"],
                samples=(line.result or {})["samples"],
                pause_samples=track.pause_samples(line.request["pause_after_s"]),
            )
            for line in published
        ]
        settings = self.context.settings
        wanted = file_format(spec.format or settings.format, wav_encoding=settings.wav_encoding)
        total = track.total_samples(parts)

        def write(file: BinaryIO) -> None:
            sound = track.waveforms(parts, load=lambda number: self._waveform(published[number]))
            write_audio_stream(file, sound, samples=total, format=wanted.format, encoding=wanted.encoding)

        name = f"track.{wanted.format}"
        try:
            digest = self.outbox.publish_stream(job.name, name, write)
        except (InvalidInput, NotFound) as error:
            warnings.append(f"No track was made: {error.message}")
            return None
        captions = list(track.cues(parts))
        texts = {SRT: track.srt(captions).encode(), VTT: track.vtt(captions).encode()}
        self.outbox.publish(job.name, texts)
        return {
            "file": name,
            "duration_s": round(total / 24_000, 4),
            "sha256": digest,
            "captions": [{"file": file, "sha256": sha256_hex(content)} for file, content in texts.items()],
        }

    def _waveform(self, line: Line) -> Waveform:
        with self.context.database.read() as session:
            row = session.get(TakeRow, line.take_key)
            sha256 = row.audio_sha256 if row else None
        if sha256 is None:
            raise NotFound(f"The take of {line.file} is gone.")
        return take_waveform(self.context.takes.audio.read(sha256))


def outcome_of(entries: Sequence[Line]) -> str:
    """done, partial or failed, by what became of the lines."""
    done = sum(line.status == PUBLISHED for line in entries)
    if done == len(entries):
        return DONE
    return PARTIAL if done else FAILED


def the_voice(entries: Sequence[Line]) -> dict[str, Any] | None:
    """The one voice of all lines as the receipt names it; None when there are several."""
    voices = {json.dumps(line.request["voice"], sort_keys=True): line.request["voice"] for line in entries}
    return voice_entry(next(iter(voices.values()))) if len(voices) == 1 else None


def dependency_failed(name: str) -> JobError:
    """The error of a job that needed another one's result."""
    return JobError(
        code="dependency-failed",
        message=f"It needs the job {name!r}, which did not succeed.",
        hint=f"`voicejobs jobs show {name}` says why; retry that job, then this one.",
    )


def may_release(job: Job) -> bool:
    """Whether the claimed files of a closed job are needed no more: nothing retries it."""
    return (job.outcome or job.status) in (DONE, REJECTED, "duplicate")
