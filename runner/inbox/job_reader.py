"""The bytes of a job file → the job in them, checked, and its texts judged: at once, or in a thread when it is much.

Some megabytes take seconds, in which the runner goes on with everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from registry.durable_files import crash_point
from runner.inbox.line_texts import JudgedTexts, check_texts
from runner.jobfile.parse import parse_job, spec_to_json
from runner.jobfile.specs import JobSpec, SynthesizeSpec

LARGE_BYTES = 50_000  # some 20 ms of parsing

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class ReadJob:
    """A checked job, and what is asked of it more than once."""

    spec: JobSpec
    spec_json: str
    names_needed: frozenset[str]

    @classmethod
    def of(cls, spec: JobSpec) -> ReadJob:
        return cls(spec=spec, spec_json=spec_to_json(spec), names_needed=frozenset(spec.names_needed()))


class JobReader:
    """Reads job files; of large ones one at a time, since in memory a job takes twenty times as much."""

    def __init__(self, pool: Callable[[], Executor] = lambda: ThreadPoolExecutor(1, "job-reader")) -> None:
        self._make_pool = pool
        self._pool: Executor | None = None
        self._large: Future[Any] | None = None

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether a file of this size can be read now."""
        return size_bytes <= LARGE_BYTES or self._large is None or self._large.done()

    def read(self, content: bytes, *, file_name: str) -> Future[ReadJob]:
        """The job in a file, or the error that says why there is none, once it is done."""
        return self._do(lambda: _read(content, file_name), size_bytes=len(content))

    def judge(self, spec: SynthesizeSpec, *, folder: Path, size_bytes: int) -> Future[JudgedTexts | None]:
        """Facts about a job's texts, or the error that says why they cannot be spoken, once it is done."""
        return self._do(lambda: check_texts(spec, folder=folder), size_bytes=size_bytes)

    def _do(self, work: Callable[[], Result], *, size_bytes: int) -> Future[Result]:
        if size_bytes > LARGE_BYTES:
            self._pool = self._pool or self._make_pool()
            self._large = large = self._pool.submit(work)
            return large
        done: Future[Result] = Future()
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)
        return done

    def close(self) -> None:
        """Wait for what is being read."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _read(content: bytes, file_name: str) -> ReadJob:
    crash_point("intake.job-being-read")
    return ReadJob.of(parse_job(content, file_name=file_name))
