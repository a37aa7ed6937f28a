"""Script jobs: their sources are read by processes of their own, then a thread takes each step of their making.

Between two steps a script waits for the jobs that were made, as any job waits for another.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import StorageError, VoiceJobsError
from registry.jobs import jobs
from registry.jobs.values import Job, JobError, JobStatus
from registry.storage.session import Session
from runner.errors import AttachmentMissing
from runner.jobfile.specs import ScriptSpec
from runner.master.sound_source import check_formats
from runner.reading_process import Reading, ReadingProcess
from runner.script.production import reading_request, script_from
from runner.script.read_script import LONGEST_S, MODULE, ReadScript
from runner.worker.books.master_sources import formats_of
from runner.worker.books.script_step import ScriptStep
from runner.worker.context import Context
from runner.worker.events import Events, JobDelayed, OutcomesCommitted, ReadyMayExist
from runner.worker.job_guard import for_job

READ_AT_ONCE = 2  # sources; the next scripts wait for their turn
GRACE_S = 20.0  # that a process may take to start and to answer
KEPT = 4  # documents that are kept until their scripts end


@dataclass
class _Script:
    job: Job
    spec: ScriptSpec
    folder: Path
    process: ReadingProcess | None = None
    future: Future[tuple[ReadScript, bool]] | None = None
    is_dropped: bool = False


@dataclass(frozen=True, kw_only=True)
class ScriptJobs:
    """Scripts that are under way; true while one is. All methods belong to the runner's main thread."""

    context: Context
    events: Events
    pool: Executor  # which also plans large jobs: one of them at a time is enough work beside the main thread
    wake: Callable[[], None]
    _scripts: dict[int, _Script] = field(default_factory=dict)
    _documents: dict[int, ReadScript] = field(default_factory=dict)  # by job; made again when they are forgotten

    def __bool__(self) -> bool:
        return bool(self._scripts)

    @property
    def is_reading(self) -> bool:
        """Whether a process reads a source, and is to be looked at."""
        return any(script.future is None for script in self._scripts.values())

    def begin(self, session: Session, job: Job, spec: ScriptSpec, *, folder: Path | None) -> None:
        """Take a script's next step, soon. Raises AttachmentMissing or ExtraMissing."""
        if folder is None:
            raise AttachmentMissing(f"{spec.source} was not taken along with the job.")
        if spec.master is not None:
            check_formats(formats_of(spec.master))  # before days of speech
        started = jobs.start(session, job, model=None, now_s=self.context.clock(), is_attempt=not job.is_planned)
        self._scripts[job.id] = _Script(started, spec, folder)

    def drop(self, job_id: int) -> None:
        """Forget a script that was cancelled; a step that is being taken makes nothing more."""
        if (script := self._scripts.pop(job_id, None)) is not None:
            script.is_dropped = True
            if script.process is not None:
                script.process.close()
        self._documents.pop(job_id, None)

    def clear(self) -> None:
        """Forget everything; the ledger knows what there was."""
        for job_id in list(self._scripts):
            self.drop(job_id)

    def tick(self) -> None:
        """Start reading, have the next steps taken, and note those that were."""
        for script in list(self._scripts.values()):
            with for_job(script.job.id):
                try:
                    if script.future is None:
                        self._go_on(script)
                    elif script.future.done():
                        del self._scripts[script.job.id]
                        self._note(script.job, script.future)
                except VoiceJobsError as error:
                    self._scripts.pop(script.job.id, None)
                    self._end_with(script.job, error)

    def _go_on(self, script: _Script) -> None:
        """Have the step taken, as soon as the source is read."""
        known: ReadScript | Reading | None = self._documents.get(script.job.id)
        if known is None:
            reading = sum(other.process is not None and other.future is None for other in self._scripts.values())
            if script.process is None and reading < READ_AT_ONCE:
                script.process = self._started(script)
            known = script.process.poll() if script.process is not None else None
        if known is not None:
            script.future = self.pool.submit(self._take, script, known)
            script.future.add_done_callback(lambda _: self.wake())

    def _started(self, script: _Script) -> ReadingProcess:
        request = reading_request(script.spec, script.folder)
        return ReadingProcess(MODULE, request, folder=self.context.instance.state_dir, longest_s=LONGEST_S + GRACE_S)

    def _take(self, script: _Script, known: ReadScript | Reading) -> tuple[ReadScript, bool]:
        """In the thread."""
        read = known if isinstance(known, ReadScript) else script_from(known, script.spec.source)
        step = ScriptStep(
            context=self.context,
            job=script.job,
            spec=script.spec,
            folder=script.folder,
            read=read,
            is_dropped=lambda: script.is_dropped,
        )
        return read, step.take()

    def _note(self, job: Job, future: Future[tuple[ReadScript, bool]]) -> None:
        read, is_over = future.result()
        while len(self._documents) >= KEPT:
            self._documents.pop(next(iter(self._documents)))
        self._documents[job.id] = read
        self.events.append(ReadyMayExist())
        if is_over:
            self._documents.pop(job.id)
            self.events.append(OutcomesCommitted((job.id,)))

    def _end_with(self, job: Job, error: VoiceJobsError) -> None:
        if isinstance(error, StorageError) and error.is_instance_wide:
            raise error
        if error.retryable:
            self.events.append(JobDelayed(job, error))
            return
        with self.context.database.write() as session:
            reason = JobError.of(error)
            jobs.set_outcome(session, job.id, JobStatus.FAILED, now_s=self.context.clock(), error=reason)
        self.events.append(OutcomesCommitted((job.id,)))
