"""Import and export jobs: a voice file beside the job → versions; a voice → a file in the outbox. No engine is asked.

The one exception is an import whose file has a recording and no usable prompt: it becomes a lock. Voice files are read
in a thread, one after another, and the recordings in them by processes: no other job waits for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from models.errors import InvalidReferenceAudio
from models.protocol import Waveform
from models.voices.vox_archive import MAX_ARCHIVE_BYTES
from registry.errors import StorageError
from registry.jobs import jobs
from registry.jobs.values import Job, JobStatus
from registry.storage.session import Session
from registry.voices.values import NewVersion
from runner.config.model_names import CLONE
from runner.engine.recording_process import RecordingProcess, RecordingRequest
from runner.errors import AttachmentMissing
from runner.exchange.exporter import export_prompt, export_voice
from runner.exchange.importer import add_versions, read_voice_file, store
from runner.exchange.voice_file_names import PROMPT_SUFFIXES, VOX_SUFFIX
from runner.exchange.voice_import import LockNeeded, VoiceImport
from runner.inbox.attachments import lost_or_refused
from runner.jobfile.specs import ExportSpec, ImportSpec
from runner.outbox.outbox import sha256_hex
from runner.outbox.receipt import version_entry
from runner.worker.context import Context
from runner.worker.lock_task import LockTask

STOP_LOOK_S = 0.2


@dataclass(kw_only=True)
class ExchangeJobs:
    """Runs jobs that move voices in and out. Every method may be repeated after a crash."""

    context: Context
    wake: Callable[[], None]
    held: set[int] = field(default_factory=set)  # imports that wait until another one is read
    _reading: tuple[int, Future[VoiceImport]] | None = None
    _pool: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="importer"))
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __bool__(self) -> bool:
        """Whether a voice file is being read."""
        return self._reading is not None

    def read_apart(self, job: Job, spec: ImportSpec, *, folder: Path | None) -> bool:
        """Have a voice file read in the thread; False when it waits for another one."""
        self.held.add(job.id)
        if self._reading is not None:
            return False
        self._reading = (job.id, self._pool.submit(self._read, spec, folder))
        self._reading[1].add_done_callback(lambda _: self.wake())
        return True

    def finished(self) -> int | None:
        """A job whose file is read: `bring_in` may be called."""
        return self._reading[0] if self._reading is not None and self._reading[1].done() else None

    def forget_reading(self) -> None:
        """Forget what is being read, as after an error: the ledger knows the jobs."""
        self.held.clear()
        self._reading = None

    def close(self) -> None:
        """End the thread and its processes; nobody waits for them any more."""
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def _read(self, spec: ImportSpec, folder: Path | None) -> VoiceImport:
        """In the thread: the voice of a file, and its bytes in the store."""
        if folder is None:
            raise AttachmentMissing(f"{spec.file} was not taken along with the job.")
        found = read_voice_file(
            read_bounded(folder / spec.file),
            file_name=spec.file,
            voice=spec.voice,
            consent=spec.consent,
            transcript=spec.transcript,
            decode=self._decoded,
        )
        store(self.context.objects, found)
        return found

    def _decoded(self, content: bytes, name: str) -> Waveform:
        """A recording's samples, decoded by a process. Raises InvalidReferenceAudio."""
        request = RecordingRequest(source=content, name=name, is_kept=True)
        process = RecordingProcess(request, folder=self.context.instance.state_dir)
        try:
            while (read := process.poll()) is None:
                if self._stopped.is_set():
                    raise StorageError(f"{name} was not read to its end: the runner stops.")
                process.wait(STOP_LOOK_S)
        finally:
            process.close()
        if read.waveform is None:
            assert read.error is not None
            raise InvalidReferenceAudio(read.error.message, hint=read.error.hint)
        return read.waveform

    def export(self, job: Job, spec: ExportSpec) -> None:
        """Publish the voice's file, then commit the outcome. Raises ConsentMissing, NotFound, …"""
        name = file_name_of(spec)
        with self.context.database.read() as session:
            export = export_prompt if name.lower().endswith(PROMPT_SUFFIXES) else export_voice
            voice = export(session, self.context.objects, spec.voice)
        name = name or voice.file_name
        self.context.outbox.publish(job.name, {name: voice.content})
        with self.context.database.write() as session:
            self._begin(session, job)
            file = {"file": name, "sha256": sha256_hex(voice.content), "size_bytes": len(voice.content)}
            facts = {"voice": version_entry(voice.version), "files": [file]}
            now_s = self.context.clock()
            jobs.set_outcome(session, job.id, JobStatus.DONE, now_s=now_s, warnings=voice.warnings, facts=facts)

    def bring_in(self, job: Job, spec: ImportSpec) -> tuple[str, LockTask] | None:
        """Add the versions of the file that was read, and commit the outcome with them.

        Or return model and task of a lock that it needs. Raises what was wrong with the file.
        """
        assert self._reading is not None
        future = self._reading[1]
        self.forget_reading()  # who is next is for the scheduler to say
        found = future.result()
        if found.needs_lock is not None:
            return self.context.models.for_ability(CLONE, wanted=spec.model), self._lock(
                job, spec, found, found.needs_lock
            )
        now_s = self.context.clock()
        with self.context.database.write() as session:
            self._begin(session, job)
            result = add_versions(session, found, now_s=now_s, set_current=spec.set_current, made_by_job=job.name)
            facts = {"voice": version_entry(result.chosen)}
            jobs.set_outcome(session, job.id, JobStatus.DONE, now_s=now_s, warnings=result.warnings, facts=facts)
        return None

    def _begin(self, session: Session, job: Job) -> None:
        jobs.start(session, job, model=None, now_s=self.context.clock())

    def _lock(self, job: Job, spec: ImportSpec, found: VoiceImport, needed: LockNeeded) -> LockTask:
        asked = RecordingRequest(source=needed.audio, name=needed.file, transcript=needed.transcript, must_speak=False)
        return LockTask(
            context=self.context,
            job=job,
            reading=RecordingProcess(asked, folder=self.context.instance.state_dir),
            transcript=needed.transcript,
            language=spec.language or needed.language,
            attachments=needed.attachments,
            set_current=spec.set_current,
            warnings=[*found.warnings],
            new_version=partial(
                NewVersion,
                voice=found.voice,
                origin="import",
                description=needed.description,
                consent=needed.consent,
                provenance=needed.provenance,
            ),
        )


def file_name_of(spec: ExportSpec) -> str:
    """File name that an export asks for, with a suffix; "" for the voice's own name."""
    if not spec.file or spec.file.lower().endswith((VOX_SUFFIX, *PROMPT_SUFFIXES)):
        return spec.file or ""
    return spec.file + VOX_SUFFIX


def read_bounded(path: Path) -> bytes:
    """A voice file's bytes; of one that is too large, just enough to be refused."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_ARCHIVE_BYTES + 1)
    except OSError as error:
        raise lost_or_refused(path, error) from error
