"""Transcribe jobs: a recording → its words, heard in a thread → transcript, captions and an outcome.

Nothing of a recording that is half heard is kept: after a crash it is heard again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from models.languages import canonical_language
from models.listen.recognisers import check_language
from registry.errors import StorageError, VoiceJobsError
from registry.jobs import jobs
from registry.jobs.values import Job, JobError, JobStatus
from registry.storage.session import Session
from runner.engine.model_loader import WAITED_FOR
from runner.errors import AttachmentMissing, NoRecogniser
from runner.jobfile.specs import TranscribeSpec
from runner.listen.transcriber import HeardRecording, Transcriber
from runner.outbox.outbox import sha256_hex
from runner.outbox.receipt import heard_entry
from runner.outbox.transcript import transcript_files
from runner.text_format import span
from runner.worker.context import Context
from runner.worker.events import Events, JobDelayed, OutcomesCommitted
from runner.worker.job_guard import for_job

AT_ONCE = 4  # recordings that take turns, so that a short one need not wait for one of hours
NOTHING_HEARD = "No word was heard in the recording: is it silent, or in another language?"


@dataclass
class _Hearing:
    job: Job
    future: Future[HeardRecording]
    stopped: threading.Event
    progress: _Progress
    told: str = ""  # of the progress, in the ledger


@dataclass
class _Progress:
    """How much of a recording has been heard; its thread writes it."""

    heard_s: float = 0.0
    total_s: float = 0.0

    def note(self, heard_s: float, total_s: float) -> None:
        self.heard_s, self.total_s = heard_s, total_s

    def __str__(self) -> str:
        return f"{span(self.heard_s)} of {span(self.total_s)} heard" if self.total_s else ""


@dataclass(frozen=True, kw_only=True)
class TranscribeJobs:
    """Recordings that are heard, on the runner's main thread; true while one is."""

    context: Context
    events: Events
    transcriber: Transcriber
    wake: Callable[[], None]
    _hearings: dict[int, _Hearing] = field(default_factory=dict)
    _pool: Executor = field(default_factory=lambda: ThreadPoolExecutor(AT_ONCE, thread_name_prefix="transcriber"))

    def __bool__(self) -> bool:
        return bool(self._hearings)

    def begin(self, session: Session, job: Job, spec: TranscribeSpec, *, folder: Path | None) -> None:
        """Have a recording heard. Raises NoRecogniser, LanguageNotHeard, AttachmentMissing."""
        if folder is None:
            raise AttachmentMissing(f"{spec.audio} was not taken along with the job.")
        settings = self.context.settings
        if not (recogniser := settings.recogniser):
            raise NoRecogniser
        language = canonical_language(spec.language or settings.language)
        check_language(recogniser, language)
        started = jobs.start(session, job, model=None, now_s=self.context.clock())
        stopped, progress = threading.Event(), _Progress()
        future = self._pool.submit(
            self.transcriber.heard,
            folder / spec.audio,
            recogniser=recogniser,
            language=language,
            stopped=stopped,
            on_progress=progress.note,
        )
        self._hearings[job.id] = _Hearing(started, future, stopped, progress)
        future.add_done_callback(lambda _: self.wake())

    def drop(self, job_id: int) -> None:
        """Forget a recording: its job was cancelled."""
        if (hearing := self._hearings.pop(job_id, None)) is not None:
            hearing.stopped.set()
            hearing.future.cancel()

    def clear(self) -> None:
        """Forget everything; the ledger knows what there was."""
        for job_id in list(self._hearings):
            self.drop(job_id)

    def close(self) -> None:
        """End the threads; the process that they ask has been ended before."""
        self.clear()
        self._pool.shutdown(cancel_futures=True)

    def tick(self) -> None:
        """End the jobs whose recordings were heard, and note how far the others are."""
        self._note_progress()
        for hearing in [hearing for hearing in self._hearings.values() if hearing.future.done()]:
            del self._hearings[hearing.job.id]
            with for_job(hearing.job.id):
                try:
                    self._finish(hearing.job, hearing.future.result())
                except StorageError as error:
                    if error.is_instance_wide:
                        raise
                    self.events.append(JobDelayed(hearing.job, error))
                except VoiceJobsError as error:
                    if error.code in WAITED_FOR:
                        self.events.append(JobDelayed(hearing.job, error))
                    else:
                        self._fail(hearing.job, error)

    def _note_progress(self) -> None:
        news = [hearing for hearing in self._hearings.values() if str(hearing.progress) != hearing.told]
        if not news:
            return
        with self.context.database.write() as session:
            for hearing in news:
                hearing.told = str(hearing.progress)
                jobs.note_facts(session, hearing.job.id, progress=hearing.told)

    def _finish(self, job: Job, recording: HeardRecording) -> None:
        heard = recording.heard
        files = transcript_files(heard.words)
        self.context.outbox.publish(job.name, files)
        facts = {
            "files": [
                {"file": name, "sha256": sha256_hex(content), "size_bytes": len(content)}
                for name, content in files.items()
            ],
            "heard": heard_entry(heard),
            "progress": "",
        }
        warnings = [*recording.said, *([] if heard.words else [NOTHING_HEARD])]
        with self.context.database.write() as session:
            now_s = self.context.clock()
            jobs.set_outcome(session, job.id, JobStatus.DONE, now_s=now_s, warnings=warnings, facts=facts)
        self.events.append(OutcomesCommitted((job.id,)))

    def _fail(self, job: Job, error: VoiceJobsError) -> None:
        with self.context.database.write() as session:
            jobs.set_outcome(session, job.id, JobStatus.FAILED, now_s=self.context.clock(), error=JobError.of(error))
        self.events.append(OutcomesCommitted((job.id,)))
