"""A request for speech → a job of the ledger, and its sound as its lines are finished.

The job's name follows from everything that shapes the sound, so a repeated request finds the earlier job and its
takes, and two at once share one job. A job that nobody listens to any more is cancelled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field

import anyio

from models.store.installed import resolve_model, weights_stamp
from models.store.shared_directory import resolve_models_dir
from registry.errors import Conflict, NotFound, StorageError, VoiceJobsError
from registry.jobs import jobs, lines
from registry.jobs.lists import latest_named, line_counts
from registry.jobs.requests import add_request, open_requests
from registry.jobs.values import CANCEL, OPEN_STATUSES, Job, JobError, JobStatus
from registry.storage.session import Session
from registry.voices.lookup import living_with_digest
from registry.voices.names import DIGEST_PREFIX
from runner.config.instance import Instance
from runner.names import parse_voice_reference, printable_name, speech_request_name
from runner.scheduling.planner import Planner
from runner.scheduling.voice_resolution import ModelNames
from runner.serve.context import ServeContext
from runner.serve.errors import RequestRefused
from runner.serve.jobs.dropping import drop
from runner.serve.openai.audio_encoder import Samples
from runner.serve.openai.job_sound import JobSound, blamed
from runner.serve.openai.speech_request import SpeechRequest
from runner.submission.checked_job import JobOnDisk
from runner.submission.drop_writer import job_from_values
from runner.version import VERSION

logger = logging.getLogger(__name__)


@dataclass
class SpeechJobs:
    """Jobs that clients of this server listen to."""

    context: ServeContext
    _listeners: dict[int, int] = field(default_factory=dict)
    _locks: dict[str, anyio.Lock] = field(default_factory=dict)

    async def find_or_drop(self, request: SpeechRequest) -> Job:
        """The job that speaks a request: an earlier one with the same sound, or a new one. Raises RequestRefused."""
        try:
            job, stem, models = await self.context.read(lambda session: _planned(session, self.context, request))
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
                    await self._mark_used(known)
                    return known
                await self.context.require_runner()
                await self.context.require_models(models)
                await self.context.require_room()
                return (await drop(self.context, job, name=f"{stem}.json", live=True)).job
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._locks.pop(stem, None)

    async def _mark_used(self, job: Job) -> None:
        """Keep the takes of a job that is asked for again from being evicted."""
        try:
            await self.context.request(lambda session: self.context.takes.mark_used(session, job.id, now_s=time.time()))
        except StorageError as error:
            logger.warning("takes that were asked for again may be evicted: %s", error)

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

    def sound(self, job: Job) -> AsyncGenerator[Samples, None]:
        """The sound of a job, as `JobSound.pieces` gives it."""
        return JobSound(context=self.context, job=job).pieces()


def _planned(session: Session, context: ServeContext, request: SpeechRequest) -> tuple[JobOnDisk, str, set[str]]:
    """The job of a request, the name that follows from what its lines will sound like, and their models."""
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
    models = {line.model for line in plan.lines}
    weights = [_weights(name, instance) for name in sorted(models)]  # others may have taken their place
    digest = hashlib.sha256(json.dumps([VERSION, spoken, weights]).encode()).hexdigest()
    return job, speech_request_name(digest), models


def _weights(model: str, instance: Instance) -> list[list[int] | None]:
    directory = resolve_models_dir(configured=instance.models_dir)
    folder = resolve_model(model, directory=directory).folder
    return [] if folder is None else weights_stamp(folder)


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
