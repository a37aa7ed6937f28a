"""Master jobs: their files are made by a process of their own, one job after another, and published by a thread.

A master that is interrupted begins again: nothing of it counts before all its files are in the outbox.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from registry.durable_files import crash_point
from registry.errors import StorageError, VoiceJobsError, storage_error
from registry.jobs import jobs
from registry.jobs.values import Job, JobError, JobStatus
from registry.storage.session import Session
from runner.jobfile.specs import MasterSpec
from runner.master.make_master import LONGEST_S, MODULE, PROGRESS
from runner.master.sound_source import check_formats
from runner.outbox.outbox import sha256_hex
from runner.reading_process import Reading, ReadingProcess
from runner.worker.books.master_sources import MasterSources, formats_of
from runner.worker.context import Context
from runner.worker.events import Events, JobDelayed, OutcomesCommitted
from runner.worker.job_guard import for_job

WORK_FOLDER = "masters"  # in the state folder
MASTERING_FILE = "mastering.json"
LOOK_S = 0.25
PROGRESS_EVERY_S = 3.0
COPY_BYTES = 1 << 20
GRACE_S = 60.0


class _Stopped(Exception):
    """The job was cancelled, or the runner stops."""


@dataclass(frozen=True, kw_only=True)
class _Made:
    """The published files of a master, or why there are none."""

    files: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: JobError | None = None


@dataclass(kw_only=True)
class _Master:
    job: Job
    spec: MasterSpec
    claim: Path | None
    stopped: threading.Event = field(default_factory=threading.Event)
    future: Future[_Made] | None = None

    def go_on(self) -> None:
        """Raises _Stopped when nobody wants it any more."""
        if self.stopped.is_set():
            raise _Stopped


@dataclass(kw_only=True)
class MasterJobs:
    """Masters that are under way; true while one is. All methods belong to the runner's main thread."""

    context: Context
    events: Events
    wake: Callable[[], None]
    _masters: dict[int, _Master] = field(default_factory=dict)
    _pool: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="master"))

    def __bool__(self) -> bool:
        return bool(self._masters)

    def recover(self) -> None:
        """Remove what a dead runner left half made."""
        shutil.rmtree(self._work_folder, ignore_errors=True)

    @property
    def _work_folder(self) -> Path:
        return self.context.instance.state_dir / WORK_FOLDER

    def begin(self, session: Session, job: Job, spec: MasterSpec, *, claim: Path | None) -> None:
        """Have a master made, when those before it are. Raises ExtraMissing."""
        check_formats(formats_of(spec))
        started = jobs.start(session, job, model=None, now_s=self.context.clock())
        self._masters[job.id] = _Master(job=started, spec=spec, claim=claim)

    def tick(self) -> None:
        """Hand over what has begun, and take what is made."""
        for master in list(self._masters.values()):
            with for_job(master.job.id):
                if master.future is None:
                    master.future = self._pool.submit(self._make, master)
                    master.future.add_done_callback(lambda _: self.wake())
                elif master.future.done():
                    del self._masters[master.job.id]
                    self._end(master.job, master.future)

    def _end(self, job: Job, future: Future[_Made]) -> None:
        try:
            made = future.result()
        except _Stopped:
            return  # the ledger knows the job
        except VoiceJobsError as error:
            if isinstance(error, StorageError) and error.is_instance_wide:
                raise
            if error.retryable:
                self.events.append(JobDelayed(job, error))
                return
            made = _Made(error=JobError.of(error))
        with self.context.database.write() as session:
            if jobs.get(session, job.id).outcome is not None:
                return
            jobs.set_outcome(
                session,
                job.id,
                JobStatus.DONE if made.error is None else JobStatus.FAILED,
                now_s=self.context.clock(),
                error=made.error,
                warnings=made.warnings,
                facts={"files": made.files, "progress": ""},
            )
        crash_point("masters.outcome-committed")
        self.events.append(OutcomesCommitted((job.id,)))

    def drop(self, job_id: int) -> None:
        """Forget a master that was cancelled; its process ends at once."""
        if (master := self._masters.pop(job_id, None)) is not None:
            self._stop(master)

    def clear(self) -> None:
        """Forget everything; the ledger knows what there was."""
        for job_id in list(self._masters):
            self.drop(job_id)

    def _stop(self, master: _Master) -> None:
        master.stopped.set()
        if master.future is not None and not master.future.cancel():
            with contextlib.suppress(Exception):  # it is not asked what came of it
                master.future.exception()  # waits: nothing may be published any more

    def close(self) -> None:
        """End the thread and its process; what they were doing begins again with the next runner."""
        self.clear()
        self._pool.shutdown(cancel_futures=True)

    # ---- in the thread -----------------------------------------------------------------------------------------

    def _make(self, master: _Master) -> _Made:
        with self._folder() as folder:
            sources = MasterSources(
                context=self.context,
                job=master.job,
                spec=master.spec,
                claim=master.claim,
                folder=folder,
                go_on=master.go_on,
            )
            request = sources.request()
            reading = self._run(master, folder, request.to_json())
            if reading.error is not None:
                return _Made(error=reading.error, warnings=sources.warnings)
            if reading.header is None:
                message = f"The process that makes finished files could not: {reading.failure}."
                hint = f"`voicejobs jobs retry {master.job.name}` tries it again."
                return _Made(error=JobError(code="mastering-failed", message=message, hint=hint))
            crash_point("masters.made")
            files = self._publish(master, folder, reading.header)
            return _Made(files=files, warnings=[*sources.warnings, *reading.header["warnings"]])

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        try:
            self._work_folder.mkdir(mode=0o700, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self._work_folder))
        except OSError as error:
            raise storage_error(error, f"writing into {self._work_folder}") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, master: _Master, folder: Path, request: dict[str, Any]) -> Reading:
        process = ReadingProcess(MODULE, request, folder=folder, longest_s=LONGEST_S + GRACE_S)
        next_s, told = time.monotonic() + PROGRESS_EVERY_S, ""
        try:
            while (reading := process.poll()) is None:
                master.go_on()
                process.wait_for_end(LOOK_S)
                if time.monotonic() >= next_s:
                    next_s, told = time.monotonic() + PROGRESS_EVERY_S, self._tell(master.job, folder, told)
            return reading
        finally:
            process.close()

    def _tell(self, job: Job, folder: Path, told: str) -> str:
        """Note how far the process is, where people look."""
        with contextlib.suppress(OSError):
            doing = (folder / PROGRESS).read_text(encoding="utf-8", errors="replace")
            if doing != told:
                with self.context.database.write() as session:
                    jobs.note_facts(session, job.id, progress=doing)
            return doing
        return told

    def _publish(self, master: _Master, folder: Path, made: Mapping[str, Any]) -> list[dict[str, Any]]:
        files = []
        for name in made["files"]:
            copy = partial(self._copy, master, folder / name)
            digest = self.context.outbox.publish_stream(master.job.name, name, copy)
            files.append({"file": name, "sha256": digest, "size_bytes": (folder / name).stat().st_size})
            crash_point("masters.file-published")
        content = (json.dumps(made["mastering"], ensure_ascii=False, indent=1) + "\n").encode()
        self.context.outbox.publish(master.job.name, {MASTERING_FILE: content})
        return [*files, {"file": MASTERING_FILE, "sha256": sha256_hex(content), "size_bytes": len(content)}]

    def _copy(self, master: _Master, path: Path, file: BinaryIO) -> None:
        with path.open("rb") as source:
            while chunk := source.read(COPY_BYTES):
                master.go_on()
                file.write(chunk)
