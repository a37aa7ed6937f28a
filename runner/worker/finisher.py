"""Jobs with nothing left to do → their tracks, their outcomes in the ledger, their receipts.

Track and captions appear first, then the outcomes are committed, then each `result.json` appears, then the jobs are
closed, and those that waited for them may start. Many jobs go through each of these steps together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from models.audio.encoder import encode_audio, write_audio_stream
from models.audio.file_format import FileFormat
from models.audio.files import stored_blocks
from models.protocol import SAMPLE_RATE_HZ, Waveform
from registry.durable_files import crash_point
from registry.errors import InvalidInput, NotFound, StorageError, VoiceJobsError
from registry.jobs import dependencies, jobs, lines
from registry.jobs.values import SCRIPT, Job, JobError, JobStatus
from registry.storage.session import Session
from registry.voices.names import name_key
from runner.config.settings import Settings
from runner.errors import DependencyFailed
from runner.hooks.notices import Notices, notices_of
from runner.inbox.scanner import InboxScanner
from runner.jobfile.audio_format import audio_format_of
from runner.jobfile.specs import JobSpec, SynthesizeSpec
from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.listen.track_captions import TrackCaptions
from runner.listen.verifier import mode_of
from runner.outbox import track
from runner.outbox.job_summary import JobSummary, Spoken
from runner.outbox.outbox import RECEIPT, job_file_name, read_job_file, sha256_hex
from runner.outbox.receipt import encoded, receipt
from runner.outbox.take_encoding import (
    LONG_SAMPLES,
    PublishedLine,
    RecentTakes,
    level_of,
    levelled,
    take_waveform,
)
from runner.text_format import counted
from runner.worker.context import Context
from runner.worker.events import Events, JobDelayed, JobEnded
from runner.worker.job_guard import for_job

SHORT_SAMPLES = 60 * SAMPLE_RATE_HZ  # a track up to this is made in memory, together with others
STARTS_WITHOUT = 4  # of a job, waiting for a file that the disk does not give; after twice as many it has no track


@dataclass(kw_only=True)
class JobResult:
    """Outcome, facts and last files of a job that is about to end."""

    job: Job
    outcome: JobStatus
    error: JobError | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)  # still to be published


@dataclass(frozen=True, kw_only=True)
class Finisher:
    """Ends jobs, in any thread."""

    context: Context
    scanner: InboxScanner
    recent: RecentTakes
    events: Events
    notices: Notices
    captions: TrackCaptions

    # ---- from lines to an outcome ------------------------------------------------------------------------------

    def summaries_of(self, ended: Sequence[Job]) -> list[JobSummary]:
        """A summary of each job whose lines are all published, failed or cancelled."""
        with self.context.database.read() as session:
            return [JobSummary.of(lines.of_job(session, job.id)) for job in ended]

    def takes_long(self, job: Job, spec: JobSpec, summary: JobSummary) -> bool:
        """Whether its track takes more than a moment, for which no other job should wait."""
        if summary.samples > SHORT_SAMPLES or not isinstance(spec, SynthesizeSpec):
            return summary.samples > SHORT_SAMPLES
        return self.captions.times_words(summary.parts, kind=captions_of(job, spec, self.context.settings))

    def result_of(self, job: Job, spec: JobSpec, summary: JobSummary) -> JobResult | None:
        """The job's result; a long track is published here. None: its track cannot be made now, and it is queued.

        Takes a while for a job of much speech. Raises the errors that concern the whole instance.
        """
        result = JobResult(job=job, outcome=summary.outcome, error=summary.error, warnings=summary.warnings)
        if self._publishes_again(result, summary):
            return None
        result.facts["voice"] = summary.voice
        if summary.qualities:
            result.facts["ranks"] = summary.ranks
        if isinstance(spec, SynthesizeSpec) and spec.track and summary.speaks:
            try:
                result.facts["track"] = self._track(result, spec, summary.parts)
            except (InvalidInput, NotFound, StorageError) as error:
                if isinstance(error, StorageError) and error.is_instance_wide:
                    raise
                if self._goes_again(job, summary.parts, error):
                    return None
                result.warnings.append(f"No track was made: {error.message}")
        return result

    def _publishes_again(self, result: JobResult, summary: JobSummary) -> bool:
        """Whether a job went back into the queue, once, to publish files again that were removed while it ran."""
        job = result.job
        if summary.lines == 1:  # which was published a moment ago
            return False
        there = self.context.outbox.files_of(job.name)
        gone = [line for line in summary.parts if line.audio_sha256 and name_key(line.file) not in there]
        if not gone:
            return False
        warning = f"{counted(len(gone), 'file')} had been removed before the job ended"
        if job.facts.get("published_again"):
            result.warnings.append(f"{warning}. `voicejobs jobs retry {job.name}` makes them again.")
            return False
        with self.context.database.write() as session:
            for line in gone:
                lines.set_waiting(session, line.line_id)
            jobs.note_facts(session, job.id, published_again=True)
            warning = f"{warning}, and published again."
            jobs.requeue(session, job.id, not_before_s=self.context.clock(), warning=warning)
        return True

    def _goes_again(self, job: Job, spoken: Sequence[Spoken], error: VoiceJobsError) -> bool:
        """Whether the job went back into the queue: to wait for the disk, or to speak lines whose takes are lost."""
        if isinstance(error, InvalidInput):
            return False
        if error.retryable and job.attempts < STARTS_WITHOUT:
            self.events.append(JobDelayed(job, error))
            return True
        takes = self.context.takes.audio
        lost = [line.line_id for line in spoken if line.audio_sha256 and not takes.is_whole(line.audio_sha256)]
        if not lost:  # it was something else, or passed
            self.events.append(JobDelayed(job, error))
            return True
        if job.attempts >= 2 * STARTS_WITHOUT:
            return False
        warning = f"Lines were spoken again, {len(lost)} of them: {error.message}"
        with self.context.database.write() as session:
            for line_id in lost:
                lines.set_waiting(session, line_id)
            jobs.requeue(session, job.id, not_before_s=self.context.clock(), warning=warning)
        return True

    def _track(self, result: JobResult, spec: SynthesizeSpec, spoken: Sequence[Spoken]) -> dict[str, Any]:
        parts = [line.part for line in spoken]
        wanted = audio_format_of(spec, self.context.settings)
        name, total = f"track.{wanted.extension}", track.total_samples(parts)
        sound = track.waveforms(parts, load=lambda number: self._sound(spoken[number], wanted))
        if (only := self._only_line(spoken)) is not None:
            result.files[name], digest = only.content, only.sha256
        elif total <= SHORT_SAMPLES:
            whole = np.concatenate(list(sound))
            result.files[name] = encode_audio(whole, wanted)
            digest = sha256_hex(result.files[name])
        else:
            digest = self._publish_long(result.job, name, sound, total, wanted)
        captions, warnings = self.captions.files_of(spoken, kind=captions_of(result.job, spec, self.context.settings))
        result.files |= captions
        result.warnings += warnings
        return {
            "file": name,
            "duration_s": round(total / SAMPLE_RATE_HZ, 4),
            "sha256": digest,
            "captions": [{"file": file, "sha256": sha256_hex(content)} for file, content in captions.items()],
        }

    def _publish_long(self, job: Job, name: str, sound: Iterable[Waveform], total: int, wanted: FileFormat) -> str:
        def write(file: BinaryIO) -> None:
            write_audio_stream(file, sound, wanted, samples=total)

        return self.context.outbox.publish_stream(job.name, name, write)

    def _sound(self, line: Spoken, wanted: FileFormat) -> Iterator[Waveform]:
        """Samples of a line as its file has them."""
        recent, audio = self.recent.get(line.audio_sha256), self.context.takes.audio
        if recent is not None and recent.waveform is not None:
            yield levelled(recent.waveform, wanted)
        elif line.part.samples > LONG_SAMPLES and audio.is_whole(line.audio_sha256):
            path = audio.path(line.audio_sha256)
            gain, _ = level_of(stored_blocks(path)[1], wanted)
            yield from (block * np.float32(gain) for block in stored_blocks(path)[1])
        else:
            yield levelled(take_waveform(audio.read(line.audio_sha256)), wanted)

    def _only_line(self, spoken: Sequence[Spoken]) -> PublishedLine | None:
        """The file of a job's one line: it is the whole track, when nothing is silent after it."""
        first = spoken[0]
        recent = self.recent.get(first.audio_sha256)
        is_all = len(spoken) == 1 and first.part.pause_samples == first.part.lead_samples == 0
        # Another job may have asked for the same take in another format.
        return recent if is_all and recent is not None and recent.sha256 == first.file_sha256 else None

    # ---- from an outcome to a closed job -----------------------------------------------------------------------

    def finish(self, results: Sequence[JobResult]) -> None:
        """Publish what is left, commit the outcomes, publish the receipts and close the jobs."""
        errors = self._add_job_files(results)
        errors |= self.context.outbox.publish_many(
            {each.job.name: each.files for each in results if each.job.name not in errors}
        )
        self._delay(errors, {result.job.name: result.job for result in results})
        good = [result for result in results if result.job.name not in errors]
        now_s = self.context.clock()
        with self.context.database.write() as session:
            for result in good:
                jobs.set_outcome(
                    session,
                    result.job.id,
                    result.outcome,
                    now_s=now_s,
                    error=result.error,
                    warnings=result.warnings,
                    facts=result.facts,
                )
        self.publish_receipts([result.job.id for result in good], with_job_files=False)

    def _add_job_files(self, results: Sequence[JobResult]) -> dict[str, StorageError]:
        """Add the job files as they were dropped; returns the jobs that wait until theirs can be read."""
        errors: dict[str, StorageError] = {}
        for result in results:
            try:
                result.files |= self._job_file(result.job)
            except StorageError as error:
                if result.job.attempts < STARTS_WITHOUT:
                    errors[result.job.name] = error
                else:
                    result.warnings.append(_without_job_file(error))
        return errors

    def _delay(self, errors: Mapping[str, StorageError], found: Mapping[str, Job]) -> None:
        self.events.extend(JobDelayed(found[name], error) for name, error in errors.items())

    def publish_receipts(self, job_ids: Sequence[int], *, with_job_files: bool = True) -> None:
        """Publish the receipts of jobs that have an outcome, close them, and settle the jobs that waited for them.

        Each closed job is a `JobEnded` at once: an error in a later one must not make it forgotten.
        """
        while job_ids:
            crash_point("finishing.outcome-committed")
            self._note_changes(job_ids)
            ended = self._publish_receipts(job_ids, with_job_files=with_job_files)
            crash_point("finishing.receipt-published")
            told = self.notices.of_ended(ended.values())
            ended_ids = list(ended)
            with self.context.database.write() as session:
                jobs.close(session, ended_ids)
                self.notices.add(session, told)
                settled = dependencies.settle(session, ended_ids)
                lost = [item for item in settled if item.failed_need is not None]
                for item in lost:
                    reason = JobError.of(DependencyFailed(item.failed_need or ""))
                    jobs.set_outcome(session, item.job_id, JobStatus.FAILED, now_s=self.context.clock(), error=reason)
            if told:
                self.notices.wake()
            closed = [job for job, _ in ended.values()]
            self.events.extend(map(JobEnded, closed))
            crash_point("finishing.closed")
            self._release(closed)
            job_ids, with_job_files = [item.job_id for item in lost], True

    def _release(self, closed: Sequence[Job]) -> None:
        """Delete the claims of closed jobs that nothing retries."""
        free = [job for job in closed if may_release(job)]
        self.scanner.release_all(
            {job.claim_id: job.outcome == JobStatus.REJECTED for job in free if job.claim_id is not None}
        )

    def _publish_receipts(self, job_ids: Sequence[int], *, with_job_files: bool) -> dict[int, tuple[Job, bytes]]:
        """Job files first, receipts last; returns the jobs whose folders could be written, with their receipts."""
        files = self._job_files(job_ids) if with_job_files else {}
        with self.context.database.read() as session:
            found = {job.name: job for job in (jobs.get(session, job_id) for job_id in job_ids)}
            receipts = {name: {RECEIPT: self._receipt(session, job)} for name, job in found.items()}
        errors = self.context.outbox.publish_many(files)
        crash_point("publish.before-receipt")
        errors |= self.context.outbox.sweep(
            name for name, job in found.items() if job.attempts > 1 and name not in errors
        )
        errors |= self.context.outbox.publish_many(
            {name: each for name, each in receipts.items() if name not in errors}
        )
        self._delay(errors, found)
        return {job.id: (job, receipts[name][RECEIPT]) for name, job in found.items() if name not in errors}

    def _receipt(self, session: Session, job: Job) -> bytes:
        with for_job(job.id):
            return encoded(receipt(job, lines.of_job(session, job.id)))

    def _job_files(self, job_ids: Sequence[int]) -> dict[str, dict[str, bytes]]:
        """The job files of jobs that did not run to their end; a receipt appears also without one."""
        with self.context.database.read() as session:
            found = [jobs.get(session, job_id) for job_id in job_ids]
        files: dict[str, dict[str, bytes]] = {}
        for job in found:
            try:
                files[job.name] = self._job_file(job)
            except StorageError as error:
                with self.context.database.write() as session:
                    jobs.add_warning(session, job.id, _without_job_file(error))
        return files

    def _job_file(self, job: Job) -> dict[str, bytes]:
        name = job.facts.get("job_file")
        if not name or job.claim_id is None:
            return {}
        content = read_job_file(self.scanner.job_path(job.claim_id, name), limit_bytes=MAX_FILE_BYTES)
        return {} if content is None else {job_file_name(name): content}

    def _note_changes(self, job_ids: Sequence[int]) -> None:
        """Warn of what was changed in the inbox after it had been read."""
        with self.context.database.read() as session:
            claims = {job_id: jobs.get(session, job_id).claim_id for job_id in job_ids}
        for job_id, claim_id in claims.items():
            if claim_id is not None and (changes := self.scanner.changes(claim_id)):
                with self.context.database.write() as session:
                    for change in changes:
                        jobs.add_warning(session, job_id, change)


def build_finisher(
    context: Context, scanner: InboxScanner, recent: RecentTakes, events: Events, captions: TrackCaptions
) -> Finisher:
    """A finisher that also tells the receivers of the settings."""
    notices = notices_of(context.instance, context.database, clock=context.clock)
    return Finisher(context=context, scanner=scanner, recent=recent, events=events, notices=notices, captions=captions)


def _without_job_file(error: StorageError) -> str:
    return f"The job file could not be copied: {error.message}"


def may_release(job: Job) -> bool:
    """Whether nothing retries a closed job, so that its claimed files can go."""
    is_over = (job.outcome or job.status) in (JobStatus.DONE, JobStatus.REJECTED, JobStatus.DUPLICATE)
    return is_over and (job.kind != SCRIPT or job.outcome == JobStatus.REJECTED)  # another cast may be dropped for it


def captions_of(job: Job, spec: SynthesizeSpec, settings: Settings) -> str:
    """Captions of a job's track: `lines`, `words`, or `untimed` where nothing listens to it, or somebody does."""
    if spec.captions == "words":
        return "words"
    return "untimed" if job.live or mode_of(spec, settings) == "off" else "lines"
