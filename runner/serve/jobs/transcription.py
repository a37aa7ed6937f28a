"""A recording in a folder → the transcribe job that hears it, and its files once it has ended."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from registry.errors import Conflict, NotFound
from registry.jobs import jobs
from registry.jobs.requests import add_request
from registry.jobs.values import CANCEL, OPEN_STATUSES, Job, JobStatus
from registry.storage.session import Session
from runner.serve.context import ServeContext
from runner.serve.errors import NoRunner, NothingHears, RequestRefused
from runner.serve.jobs.dropping import STOPPED_RUNNER_S, drop
from runner.serve.jobs.files import file_start
from runner.submission.drop_writer import job_from_values

PRIORITY = 50  # somebody is waiting
MOST_TEXT_BYTES = 64 << 20
SRT, VTT, WORDS = "captions.srt", "captions.vtt", "words.json"
# Errors of a job → the parameter that is to blame, and the status.
BLAME = {
    "invalid-reference-audio": ("file", 400),
    "unknown-language": ("language", 400),
    "language-not-spoken": ("language", 400),
    "no-recogniser": (None, 503),
}


@dataclass(frozen=True, kw_only=True)
class HeardFile:
    """A transcribe job that is done."""

    context: ServeContext
    job: Job

    @property
    def facts(self) -> dict[str, Any]:
        """Who heard it, its language, its length, and how sure they are."""
        found: dict[str, Any] = self.job.facts["heard"]
        return found

    async def text_of(self, name: str) -> str:
        """One of its text files."""
        read = lambda: file_start(self.context, self.job.name, name, limit_bytes=MOST_TEXT_BYTES)  # noqa: E731
        return (await self.context.in_thread(read)).decode()

    async def words(self) -> list[dict[str, Any]]:
        """Every word with its phrase and times."""
        found: list[dict[str, Any]] = json.loads(await self.text_of(WORDS))
        return found


def require_recogniser(context: ServeContext) -> None:
    """Raises NothingHears where nothing is set that hears."""
    if not context.instance.settings.recogniser:
        raise NothingHears


async def transcribed(context: ServeContext, path: Path, *, language: str | None) -> HeardFile:
    """The words of a file in a folder of ours; when nobody waits any more, the job is cancelled.

    Raises RequestRefused, with what was wrong with the recording.
    """
    require_recogniser(context)
    await context.require_runner()
    await context.require_room()
    values = {"kind": "transcribe", "audio": path.name, "priority": PRIORITY}
    if language is not None:
        values["language"] = language
    job = await context.in_thread(lambda: job_from_values(values, name="transcription", folder=path.parent))
    dropped = await drop(context, job, name="transcription.json")
    try:
        ended = await _ended(context, dropped.job.id)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await context.request(lambda session: _cancel(session, dropped.job))
        raise
    if ended.status != JobStatus.DONE:
        raise _refused(ended)
    return HeardFile(context=context, job=ended)


async def _ended(context: ServeContext, job_id: int) -> Job:
    """The job, once it has its receipt. Raises NoRunner when nobody works on it any more."""
    gone_since_s = math.inf
    async with context.watch.waiting() as waiter:
        while True:
            job = await waiter.ask(lambda session: jobs.get(session, job_id))
            if job.status not in OPEN_STATUSES:
                return job
            now_s = time.monotonic()
            gone_since_s = math.inf if await context.runner_is_active() else min(gone_since_s, now_s)
            if now_s - gone_since_s > STOPPED_RUNNER_S:
                raise NoRunner
            await waiter.change()


def _cancel(session: Session, job: Job) -> None:
    with contextlib.suppress(Conflict, NotFound):  # it has ended
        add_request(session, job.name, CANCEL, now_s=time.time())


def _refused(job: Job) -> RequestRefused:
    if job.error is None:
        return RequestRefused(500, f"The job {job.name!r} is {job.status}.", wire_code="job_failed")
    param, status = BLAME.get(job.error.code, (None, 500))
    code = "invalid_value" if status == 400 else job.error.code.replace("-", "_")
    return RequestRefused(status, job.error.message, hint=job.error.hint, wire_code=code, param=param)


def phrases(words: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Words by the phrase that they are in."""
    found: dict[int, list[dict[str, Any]]] = {}
    for word in words:
        found.setdefault(word["line"], []).append(word)
    return list(found.values())
