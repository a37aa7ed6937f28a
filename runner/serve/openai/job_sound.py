"""A job's lines, one after another → their sound: of a live line while it is spoken, of others from the take store.

What has been heard of a line in the spool is what its take holds, so that the rest of it may come from there.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.audio.encoder import integers
from models.audio.files import stored_blocks
from models.protocol import SAMPLE_RATE_HZ, Waveform
from registry.jobs import jobs, lines
from registry.jobs.lists import line_counts
from registry.jobs.values import OPEN_STATUSES, Job, JobError, JobStatus, Line, LineStatus
from registry.storage.session import Session
from runner.engine.spool import NOTHING, SpoolReader, SpoolState
from runner.outbox.track import pause_samples
from runner.serve.context import ServeContext
from runner.serve.errors import NoRunner, RequestRefused
from runner.serve.ledger_watch import Waiter
from runner.serve.openai.audio_encoder import Samples

PIECE_SAMPLES = SAMPLE_RATE_HZ // 2  # all that is held for a client that reads slowly
HELD_OPEN_SAMPLES = 60 * SAMPLE_RATE_HZ
LOOK_S = 0.2  # between two looks at the ledger that nothing has called for
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


@dataclass(kw_only=True)
class JobSound:
    """The sound of one job for one listener."""

    context: ServeContext
    job: Job
    _position: int = 1
    _heard: int = 0  # samples of the line at this position
    _reader: SpoolReader | None = None
    _holder: object = None

    async def pieces(self) -> AsyncGenerator[Samples, None]:
        """The sound, piece by piece. Raises RequestRefused when the job fails, NoRunner when its runner dies."""
        self._holder = (await self.context.runner(since_s=time.monotonic())).holder
        try:
            async with self.context.watch.waiting(closely=True) as waiter:
                while (line := await self._next_line(waiter)) is not None:
                    if line.status in READY:
                        async for piece in self._stored(line):
                            yield piece
                        self._forget_reader()
                        self._position, self._heard = self._position + 1, 0
                    elif (piece := as_integers(await self._live_piece(waiter))).size:
                        self._heard += piece.size
                        yield piece
        finally:
            self._forget_reader()

    async def _next_line(self, waiter: Waiter) -> Line | None:
        """The line to be heard next, which is ready or live; None at the end. Raises RequestRefused and NoRunner."""
        while True:
            job, line, total = await waiter.ask(functools.partial(_state, self.job.id, self._position))
            if job is None:
                raise blamed(JobError(code="job-not-found", message=f"The job {self.job.name!r} was removed."))
            if line is not None and line.status in READY:
                return line
            if line is not None and line.error is not None:
                raise blamed(line.error)
            status, is_over = job.outcome or job.status, bool(total) and self._position > total
            if status not in OPEN_STATUSES and not (is_over and status == JobStatus.DONE):
                raise _ending(job)
            if is_over:
                return None  # all is spoken; its receipt may be on its way
            await self._require_same_runner()
            await self.context.require_models([line.model if line is not None else job.model])
            if line is not None and job.live:
                return line
            await waiter.change(at_most_s=LOOK_S)

    # ---- of a line that is being spoken ------------------------------------------------------------------------

    async def _live_piece(self, waiter: Waiter) -> Waveform:
        """Sound of a live line that has come since the last call; nothing when the ledger may know more.

        Raises RequestRefused when it is begun again, since what was heard cannot be taken back.
        """
        if self._reader is None:
            self._reader = SpoolReader(self.context.instance.spool_dir, job_id=self.job.id, position=self._position)
        end_s = time.monotonic() + LOOK_S
        while True:
            piece = await self.context.in_thread(self._reader.read) if self._reader.has_more() else NOTHING
            if piece.size:
                return piece
            if self._reader.end is SpoolState.DIED:
                raise NoRunner
            if self._reader.end not in (None, SpoolState.FINISHED):
                if self._heard:
                    raise _broken_off(self.job)
                self._forget_reader()
                return piece
            if await waiter.change(at_most_s=self.context.watch.look_s) or time.monotonic() > end_s:
                return piece

    def _forget_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def _require_same_runner(self) -> None:
        runner = await self.context.runner()
        if not runner.is_active or runner.holder != self._holder:
            raise NoRunner

    # ---- of a line whose take is in the store ------------------------------------------------------------------

    async def _stored(self, line: Line) -> AsyncIterator[Samples]:
        """Sound of a line that has not been heard yet, and the pause after it."""
        if not line.request.is_pause:
            assert line.result is not None
            if line.result["samples"] > self._heard:
                async for piece in self._take(line.result["audio_sha256"], line.result["samples"]):
                    yield piece
        rest = pause_samples(line.request.pause_after_s)
        while rest > 0:
            yield np.zeros(min(rest, PIECE_SAMPLES), np.int16)
            rest -= PIECE_SAMPLES

    async def _take(self, audio_sha256: str, samples: int) -> AsyncIterator[Samples]:
        path = await self.context.in_thread(lambda: self.context.takes.audio.whole(audio_sha256))
        pieces = _stored_pieces(path, start=self._heard, stop=samples)
        while (piece := await self.context.in_thread(lambda: next(pieces, None))) is not None:
            yield piece


def _stored_pieces(path: Path, *, start: int, stop: int) -> Iterator[Samples]:
    """Sound of a stored take, piece by piece; between two pieces of a short one no decoder is held."""
    if stop > HELD_OPEN_SAMPLES:  # finding a place in it takes long
        yield from map(as_integers, stored_blocks(path, start=start, block_frames=PIECE_SAMPLES)[1])
        return
    for at in range(start, stop, PIECE_SAMPLES):
        yield as_integers(next(stored_blocks(path, start=at, block_frames=PIECE_SAMPLES)[1], NOTHING))


def as_integers(waveform: Waveform) -> Samples:
    """Samples as they are encoded."""
    return integers(np.clip(waveform, -1.0, 1.0), bits=16).astype(np.int16)


def _state(job_id: int, position: int, session: Session) -> tuple[Job | None, Line | None, int]:
    """A job, its line at a position, and how many lines it has; none before it has begun."""
    total = line_counts(session, job_id).total
    return jobs.find(session, job_id), lines.at(session, job_id, position), total


def _ending(job: Job) -> RequestRefused:
    if job.error is not None:
        return blamed(job.error)
    said = f"The job {job.name!r} ended without its sound: {job.outcome or job.status}."
    return RequestRefused(500, said, wire_code="job_failed")


def _broken_off(job: Job) -> RequestRefused:
    said = f"A line of the job {job.name!r} broke off and is spoken again."
    return RequestRefused(500, said, hint="Ask again: the job goes on.", wire_code="broken_off")


def blamed(error: JobError) -> RequestRefused:
    """The answer for an error of a job or of its planning."""
    param, code, status = BLAME.get(error.code, (None, error.code.replace("-", "_"), 500))
    return RequestRefused(status, error.message, hint=error.hint, wire_code=code, param=param)
