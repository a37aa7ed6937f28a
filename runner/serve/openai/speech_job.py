"""A request for speech → a job of the ledger, and its sound as its lines are finished.

The job's name follows from everything that shapes the sound, so a repeated request finds the earlier job and its
takes, and two at once share one job. A job that nobody listens to any more is cancelled.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field

import anyio
import numpy as np

from models.audio.encoder import integers
from registry.durable_files import FileLock
from registry.errors import Conflict, NotFound, VoiceJobsError
from registry.jobs import jobs, lines
from registry.jobs.lists import latest_named, line_counts
from registry.jobs.requests import add_request, open_requests
from registry.jobs.values import CANCEL, OPEN_STATUSES, Job, JobError, JobStatus, Line, LineStatus
from registry.storage.session import Session
from registry.voices.lookup import living_with_digest
from registry.voices.names import DIGEST_PREFIX
from runner.names import parse_voice_reference, printable_name
from runner.outbox.take_encoding import take_waveform
from runner.outbox.track import pause_samples
from runner.scheduling.planner import Planner
from runner.scheduling.voice_resolution import ModelNames
from runner.serve.context import ServeContext
from runner.serve.errors import NoRunner, RequestRefused
from runner.serve.jobs.dropping import drop
from runner.serve.openai.audio_encoder import Samples
from runner.serve.openai.speech_request import SpeechRequest
from runner.submission.checked_job import JobOnDisk
from runner.submission.drop_writer import job_from_values
from runner.version import VERSION

PIECE_SAMPLES = 24_000
LOOK_S = 0.2
READY = (LineStatus.TAKEN, LineStatus.PUBLISHED)
# Errors of a job → the parameter that is to blame, OpenAI's code and the status.
BLAME = {
    "unknown-speaker": ("voice", "voice_not_found", 404),
    "voice-not-found": ("voice", "voice_not_found", 404),
    "version-not-found": ("voice", "voice_not_found", 404),
    "alias-not-found": ("voice", "voice_not_found", 404),
    "dependency-unknown": ("voice", "voice_not_found", 404),
    "unknown-model": ("model", "model_not_found", 404),
    "model-not-installed": ("model", "model_not_found", 404),
    "prompt-model-mismatch": ("model", "invalid_value", 400),
    "unknown-language": ("language", "invalid_value", 400),
    "language-not-spoken": ("language", "invalid_value", 400),
    "invalid-job-file": ("input", "invalid_value", 400),
    "invalid-voice-reference": ("voice", "voice_not_found", 404),
    "invalid-voice-name": ("voice", "voice_not_found", 404),
    "ambiguous-digest": ("voice", "invalid_value", 400),
    "invalid-input": ("input", "invalid_value", 400),
}


@dataclass
class SpeechJobs:
    """Jobs that clients of this server listen to."""

    context: ServeContext
    _listeners: dict[int, int] = field(default_factory=dict)
    _locks: dict[str, anyio.Lock] = field(default_factory=dict)

    async def find_or_drop(self, request: SpeechRequest) -> Job:
        """The job that speaks a request: an earlier one with the same sound, or a new one. Raises RequestRefused."""
        try:
            job, stem = await self.context.read(lambda session: _planned(session, self.context, request))
        except RequestRefused:
            raise
        except VoiceJobsError as error:
            raise blamed(JobError.of(error)) from None
        lock = self._locks.setdefault(stem, anyio.Lock())
        try:
            async with lock:
                takes = self.context.takes
                known = await self.context.read(lambda session: _known(session, stem, takes.audio.is_whole))
                if known is not None:
                    return known
                await self.context.require_runner()
                await self.context.require_room()
                return (await drop(self.context, job, name=f"{stem}.json")).job
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._locks.pop(stem, None)

    @contextlib.asynccontextmanager
    async def listening(self, job: Job) -> AsyncIterator[None]:
        """Be one who wants a job; the last to go before all is spoken has it cancelled."""
        self._listeners[job.id] = self._listeners.get(job.id, 0) + 1
        try:
            yield
        finally:
            self._listeners[job.id] -= 1
            if not self._listeners[job.id]:
                del self._listeners[job.id]
                with anyio.CancelScope(shield=True):
                    await self._cancel(job)

    async def _cancel(self, job: Job) -> None:
        def ask(session: Session) -> None:
            with contextlib.suppress(Conflict, NotFound):  # it has ended
                add_request(session, job.name, CANCEL, now_s=time.time())

        if await self.context.read(lambda session: _is_unspoken(session, job.id)):
            await self.context.request(ask)

    async def sound(self, job: Job) -> AsyncGenerator[Samples, None]:
        """The sound of a job, piece by piece. Raises RequestRefused when it fails, NoRunner when its runner dies."""
        holder = FileLock(self.context.instance.lock_path).holder()
        position = 1
        async with self.context.watch.waiting() as waiter:
            while True:
                found, line, total = await self.context.read(functools.partial(_state, job.id, position))
                if found is None:
                    raise blamed(JobError(code="job-not-found", message=f"The job {job.name!r} was removed."))
                if line is not None and line.status in READY:
                    async for piece in self._pieces(line):
                        yield piece
                    position += 1
                elif line is not None and line.error is not None:
                    raise blamed(line.error)
                elif (found.outcome or found.status) not in OPEN_STATUSES:
                    if total and position > total and (found.outcome or found.status) == JobStatus.DONE:
                        return
                    raise _ending(found)
                elif total and position > total:
                    return  # all is spoken; its receipt is being written
                else:
                    await self._require_same_runner(holder)
                    await waiter.change(at_most_s=LOOK_S)

    async def _require_same_runner(self, holder: object) -> None:
        if not await self.context.runner_is_active() or FileLock(self.context.instance.lock_path).holder() != holder:
            raise NoRunner

    async def _pieces(self, line: Line) -> AsyncIterator[Samples]:
        if not line.request.is_pause:
            assert line.result is not None
            digest = line.result["audio_sha256"]
            samples = await self.context.in_thread(lambda: self._take(digest))
            for start in range(0, samples.size, PIECE_SAMPLES):
                yield samples[start : start + PIECE_SAMPLES]
        rest = pause_samples(line.request.pause_after_s)
        while rest > 0:
            yield np.zeros(min(rest, PIECE_SAMPLES), np.int16)
            rest -= PIECE_SAMPLES

    def _take(self, audio_sha256: str) -> Samples:
        waveform = take_waveform(self.context.takes.audio.read(audio_sha256))
        return integers(np.clip(waveform, -1.0, 1.0), bits=16).astype(np.int16)


def _planned(session: Session, context: ServeContext, request: SpeechRequest) -> tuple[JobOnDisk, str]:
    """The job of a request, and the name that follows from what its lines will sound like."""
    values = request.job_values()
    if request.voice.startswith(DIGEST_PREFIX):
        values["voice"] = _by_digest(session, request.voice)
    try:
        parse_voice_reference(values["voice"])
    except ValueError as error:
        said = f"{printable_name(request.voice)[:80]!r} names no voice: {error}."
        raise RequestRefused(404, said, wire_code="voice_not_found", param="voice") from None
    instance = context.instance
    job = job_from_values(values, name="speech")
    planner = Planner(
        settings=instance.settings,
        models=ModelNames(instance),
        random_seed=lambda: 0,
        pronunciations=context.pronunciations.respellings(),
    )
    plan = planner.synthesize(job.spec, session=session, folder=None)  # type: ignore[arg-type]
    spoken = [[line.request_json, line.seed, line.model] for line in plan.lines]
    digest = hashlib.sha256(json.dumps([VERSION, spoken]).encode()).hexdigest()
    return job, f"speech-{digest[:20]}"


def _by_digest(session: Session, wanted: str) -> str:
    """A version named by its digest alone. Raises RequestRefused."""
    digits = wanted.removeprefix(DIGEST_PREFIX)
    is_hex = len(digits) >= 8 and all(digit in "0123456789abcdef" for digit in digits)
    found = living_with_digest(session, digits) if is_hex else None
    if found is None:
        raise RequestRefused(404, f"There is no voice {wanted!r}.", wire_code="voice_not_found", param="voice")
    return found


def _known(session: Session, stem: str, is_whole: Callable[[str], bool]) -> Job | None:
    """The latest job of this name that still speaks, or of which every take is there."""
    job = latest_named(session, stem)
    if job is None:
        return None
    if job.status in OPEN_STATUSES:
        is_wanted = all(request.job_id != job.id for request in open_requests(session))  # nobody has it cancelled
        return job if is_wanted and job.outcome in (None, JobStatus.DONE) else None
    if job.status != JobStatus.DONE:
        return None
    digests = [line.result["audio_sha256"] for line in lines.of_job(session, job.id) if line.result is not None]
    return job if digests and all(map(is_whole, digests)) else None


def _is_unspoken(session: Session, job_id: int) -> bool:
    """Whether a job has lines that nobody has spoken yet; when only its receipt is missing, it may as well end."""
    job = jobs.find(session, job_id)
    if job is None or job.status not in OPEN_STATUSES or job.outcome is not None:
        return False
    counts = line_counts(session, job_id)
    return not counts.total or counts.waiting > 0


def _state(job_id: int, position: int, session: Session) -> tuple[Job | None, Line | None, int]:
    """A job, its line at a position, and how many lines it has; none before it has begun."""
    total = line_counts(session, job_id).total
    return jobs.find(session, job_id), lines.at(session, job_id, position), total


def _ending(job: Job) -> RequestRefused:
    if job.error is not None:
        return blamed(job.error)
    said = f"The job {job.name!r} ended without its sound: {job.outcome or job.status}."
    return RequestRefused(500, said, wire_code="job_failed")


def blamed(error: JobError) -> RequestRefused:
    """The answer for an error of a job or of its planning."""
    param, code, status = BLAME.get(error.code, (None, error.code.replace("-", "_"), 500))
    return RequestRefused(status, error.message, hint=error.hint, wire_code=code, param=param)
