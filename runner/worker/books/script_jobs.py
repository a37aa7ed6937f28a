"""Script jobs: their sources are read by processes of their own, then a thread takes each step of their making.

Between two steps a script waits for the jobs that were made, as any job waits for another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import StorageError, VoiceJobsError
from registry.jobs import jobs
from registry.jobs.values import Job, JobError, JobStatus
from registry.storage.session import Session
from runner.config.analyzer_settings import AnalyzerSettings
from runner.errors import AttachmentMissing
from runner.jobfile.specs import ScriptSpec
from runner.master.sound_source import check_formats
from runner.reading_process import Reading, ReadingProcess
from runner.script.analyzer.analyses import FOLDER, Analyses
from runner.script.analyzer.describe import MODULE as DESCRIBE
from runner.script.analyzer.language_model import check_installed
from runner.script.cast.parts import Part
from runner.script.production import reading_request, script_from
from runner.script.read_script import LONGEST_S, MODULE, ReadScript
from runner.worker.books.local_analysis import LanguageModels, LocalAnalysis
from runner.worker.books.master_sources import formats_of
from runner.worker.books.script_step import ScriptStep
from runner.worker.context import Context
from runner.worker.events import Events, JobDelayed, OutcomesCommitted, ReadyMayExist
from runner.worker.job_guard import for_job

READ_AT_ONCE = 2  # sources; the next scripts wait for their turn
GRACE_S = 20.0  # that a process may take to start and to answer
BY_RULES = "by_rules"  # in the facts of a script: parts that an analyzer was asked about in vain
KEPT = 4  # documents that are kept until their scripts end


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """A step that was taken, or what it waits for."""

    read: ReadScript
    is_over: bool = False
    unknown: Sequence[Part] = ()  # whose descriptions are to be asked for first


@dataclass
class _Script:
    job: Job
    spec: ScriptSpec
    folder: Path
    analyzer: AnalyzerSettings
    process: ReadingProcess | LocalAnalysis | None = None  # which reads the source, and later asks an analyzer
    asked: Sequence[Part] = ()  # about whom it asks
    future: Future[_Taken] | None = None
    is_dropped: bool = False


@dataclass(frozen=True, kw_only=True)
class ScriptJobs:
    """Scripts that are under way; true while one is. All methods belong to the runner's main thread."""

    context: Context
    events: Events
    pool: Executor  # which also plans large jobs: one of them at a time is enough work beside the main thread
    wake: Callable[[], None]
    language_models: LanguageModels
    _scripts: dict[int, _Script] = field(default_factory=dict)
    _documents: dict[int, ReadScript] = field(default_factory=dict)  # by job; made again when they are forgotten

    def __bool__(self) -> bool:
        return bool(self._scripts)

    @property
    def is_reading(self) -> bool:
        """Whether a process reads a source, and is to be looked at."""
        return any(script.future is None for script in self._scripts.values())

    def begin(self, session: Session, job: Job, spec: ScriptSpec, *, folder: Path | None) -> None:
        """Take a script's next step, soon. Raises AttachmentMissing, ExtraMissing or InvalidInput."""
        if folder is None:
            raise AttachmentMissing(f"{spec.source} was not taken along with the job.")
        if spec.master is not None:
            check_formats(formats_of(spec.master))  # before days of speech
        analyzer = self.context.settings.analyzer.with_keys(spec.analyzer.model_dump())
        if analyzer.backend == "mlx":
            check_installed()
        started = jobs.start(session, job, model=None, now_s=self.context.clock(), is_attempt=not job.is_planned)
        self._scripts[job.id] = _Script(started, spec, folder, analyzer)

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
                        self._note(script, script.future.result())
                except VoiceJobsError as error:
                    self._scripts.pop(script.job.id, None)
                    self._end_with(script.job, error)

    def _go_on(self, script: _Script) -> None:
        """Have the step taken, as soon as the source is read, and an analyzer has been asked."""
        known: ReadScript | Reading | None = self._documents.get(script.job.id)
        answer: Reading | None = None
        if script.asked:
            answer = script.process.poll() if script.process is not None else None
            if answer is None:
                return
        elif known is None:
            reading = sum(other.process is not None and other.future is None for other in self._scripts.values())
            if script.process is None and reading < READ_AT_ONCE:
                script.process = self._started(script)
            known = script.process.poll() if script.process is not None else None
        if known is not None:
            script.process = None
            script.future = self.pool.submit(self._take, script, known, answer)
            script.future.add_done_callback(lambda _: self.wake())

    def _started(self, script: _Script) -> ReadingProcess:
        request = reading_request(script.spec, script.folder)
        return ReadingProcess(MODULE, request, folder=self.context.instance.state_dir, longest_s=LONGEST_S + GRACE_S)

    def _take(self, script: _Script, known: ReadScript | Reading, answer: Reading | None) -> _Taken:
        """In the thread."""
        read = known if isinstance(known, ReadScript) else script_from(known, script.spec.source)
        if answer is not None:
            self._keep(script, answer)
        step = ScriptStep(
            context=self.context,
            job=script.job,
            spec=script.spec,
            folder=script.folder,
            read=read,
            analyses=self._analyses(script),
            is_dropped=lambda: script.is_dropped,
        )
        if unknown := step.unknown_parts():
            return _Taken(read=read, unknown=unknown)
        return _Taken(read=read, is_over=step.take())

    def _analyses(self, script: _Script) -> Analyses:
        return Analyses(
            folder=self.context.instance.state_dir / FOLDER,
            settings=script.analyzer,
            job=script.job.name,
            by_rules=frozenset(script.job.facts.get(BY_RULES, ())),
        )

    def _keep(self, script: _Script, answer: Reading) -> None:
        """Keep what an analyzer said, and note about whom it said nothing. Raises AnalyzerFailed."""
        left, warning = self._analyses(script).keep(answer, script.asked)
        script.asked = ()
        if left:
            by_rules = sorted({*script.job.facts.get(BY_RULES, ()), *left})
            with self.context.database.write() as session:
                jobs.note_facts(session, script.job.id, **{BY_RULES: by_rules})
                jobs.add_warning(session, script.job.id, warning)
                script.job = jobs.get(session, script.job.id)

    def _note(self, script: _Script, taken: _Taken) -> None:
        while len(self._documents) >= KEPT:
            self._documents.pop(next(iter(self._documents)))
        job_id = script.job.id
        self._documents[job_id] = taken.read
        if taken.unknown:
            script.future, script.asked = None, taken.unknown
            request = self._analyses(script).request(taken.unknown)
            if script.analyzer.backend == "mlx":
                script.process = self.language_models.ask(request)
                return
            longest_s = GRACE_S + 2 * script.analyzer.timeout_s * len(taken.unknown)
            folder = self.context.instance.state_dir
            script.process = ReadingProcess(DESCRIBE, request, folder=folder, longest_s=longest_s)
            return
        del self._scripts[job_id]
        self.events.append(ReadyMayExist())
        if taken.is_over:
            self._documents.pop(job_id)
            self.events.append(OutcomesCommitted((job_id,)))

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
