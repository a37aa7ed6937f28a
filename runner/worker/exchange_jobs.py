"""Import and export jobs: a voice file beside the job → versions; a voice → a file in the outbox. No engine is asked.

The one exception is an import whose file has a recording and no usable prompt: it becomes a lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.audio.files import decode_audio
from models.audio.reference_check import reference_warnings
from models.voices.vox_archive import MAX_ARCHIVE_BYTES
from registry.jobs import jobs
from registry.jobs.values import Job, JobStatus
from registry.storage.session import Session
from registry.voices.values import NewVersion
from runner.config.model_names import CLONE
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

LONGEST_RECORDING_S = 300.0


@dataclass(frozen=True, kw_only=True)
class ExchangeJobs:
    """Runs jobs that move voices in and out. Every method may be repeated after a crash."""

    context: Context

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

    def bring_in(self, job: Job, spec: ImportSpec, *, folder: Path | None) -> tuple[str, LockTask] | None:
        """Add the file's versions and commit the outcome with them; or return model and task of a lock it needs."""
        if folder is None:
            raise AttachmentMissing(f"{spec.file} was not taken along with the job.")
        content = read_bounded(folder / spec.file)
        found = read_voice_file(
            content, file_name=spec.file, voice=spec.voice, consent=spec.consent, transcript=spec.transcript
        )
        store(self.context.objects, found)
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
        waveform, facts = decode_audio(needed.audio, name=needed.file, max_duration_s=LONGEST_RECORDING_S)
        return LockTask(
            context=self.context,
            job=job,
            waveform=waveform,
            transcript=needed.transcript,
            language=spec.language or needed.language,
            attachments=needed.attachments,
            set_current=spec.set_current,
            warnings=[*found.warnings, *reference_warnings(waveform, transcript=needed.transcript, facts=facts)],
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
