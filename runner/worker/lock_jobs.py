"""Lock and relock jobs: their specs → a LockTask; and its result → a version, an audition, an outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.audio.file_format import FileFormat
from models.audio.files import decode_audio
from models.audio.reference_check import reference_warnings
from models.errors import EngineFailure, InvalidReferenceAudio, UnsupportedRequest
from models.languages import canonical_language
from models.listen.recognisers import check_language
from models.protocol import SAMPLE_RATE_HZ, Waveform
from models.text.pronunciation import checked_table
from models.text.spoken_form import spoken_form
from registry.errors import InvalidInput, StorageError
from registry.jobs import jobs
from registry.jobs.values import Job, JobStatus
from registry.storage.session import Session
from registry.voices.candidates import get_candidate
from registry.voices.lookup import resolve
from registry.voices.values import NewVersion
from registry.voices.versions import add_version
from runner.config.model_names import CLONE
from runner.engine.model_loader import WAITED_FOR
from runner.engine.profile_thread import ProfileThread
from runner.engine.recording_process import Recording, RecordingProcess, RecordingRequest, RecordingThread
from runner.errors import NoRecogniser
from runner.exchange.version_record import without_file
from runner.jobfile.specs import AUTO_TRANSCRIPT, JobSpec, LockSpec, RelockSpec
from runner.listen.verifier import Verifier
from runner.outbox.receipt import heard_entry, version_entry
from runner.outbox.take_encoding import engine_entry, published, take_waveform
from runner.scheduling.voice_resolution import sibling_for
from runner.worker.context import Context
from runner.worker.events import Events, JobDelayed, OutcomesCommitted
from runner.worker.job_guard import for_job
from runner.worker.lock_task import LockTask

AUDITION = "audition.wav"
LONGEST_STORED_S = 300.0  # as a voice file may bring one


@dataclass(frozen=True, kw_only=True)
class LockJobs:
    """Begins and ends jobs that make versions."""

    context: Context
    events: Events
    wake: Callable[[], None]  # called from threads that have something to collect
    hearings: Verifier[LockTask]

    def begin(self, session: Session, job: Job, spec: JobSpec, *, folder: Path | None) -> tuple[str, LockTask]:
        """The model that locks, and the task. Raises an error about the recording or its source."""
        if isinstance(spec, LockSpec) and spec.source is not None:
            return self._from_candidate(session, job, spec)
        if isinstance(spec, LockSpec):
            return self._from_file(job, spec, folder)
        if isinstance(spec, RelockSpec):
            return self._relock(session, job, spec)
        raise UnsupportedRequest(f"Jobs of the kind {job.kind!r} are not run by this version.")

    def _from_candidate(self, session: Session, job: Job, spec: LockSpec) -> tuple[str, LockTask]:
        assert spec.source is not None
        job_made = jobs.find_by_name(session, spec.source.job)
        design = job_made.name if job_made else spec.source.job
        content = get_candidate(session, design, spec.source.candidate).content
        # A candidate is locked by the engine that made it, unless the job says otherwise.
        wanted = spec.model or sibling_for(content.model.model, CLONE)
        return self.context.models.for_ability(CLONE, wanted=wanted), LockTask(
            context=self.context,
            job=job,
            reading=self._stored(content.audio_sha256, transcript=content.transcript),
            transcript="" if spec.embedding_only else content.transcript,
            embedding_only=spec.embedding_only,
            language=spec.language or content.language,
            design_state=self._design_state(content.design_state_sha256),
            make_profile=self._profiled(spec),
            set_current=spec.set_current,
            new_version=partial(
                NewVersion,
                voice=spec.voice,
                description=content.description,
                seed=content.seed,
                sampling=content.sampling,
                character=content.character,
                consent=spec.consent or "self",  # a designed voice is nobody's: its consent is its maker's own
                pronunciations=checked_table(spec.pronunciations),
                provenance={
                    "job": design,
                    "candidate": spec.source.candidate,
                    "model": content.model.model,
                    "model_fingerprint": content.model.model_fingerprint,
                    "engine": content.model.engine,
                },
            ),
        )

    def _from_file(self, job: Job, spec: LockSpec, folder: Path | None) -> tuple[str, LockTask]:
        assert spec.audio is not None  # parse_job has seen to it
        if folder is None:
            raise InvalidReferenceAudio(f"{spec.audio} was not taken along with the job.")
        model = self.context.models.for_ability(CLONE, wanted=spec.model)
        transcript = None if spec.transcript == AUTO_TRANSCRIPT else spec.transcript
        language = spec.language or self.context.settings.language
        listen, warnings = self._listening(spec, expected=transcript or "", language=language)
        asked = RecordingRequest(source=(path := folder / spec.audio), name=path.name, transcript=transcript)
        reading = RecordingProcess(asked, folder=self.context.instance.state_dir)
        return model, LockTask(
            context=self.context,
            job=job,
            reading=reading,
            listen=listen,
            warnings=warnings,
            transcript=transcript or "",
            embedding_only=spec.embedding_only,
            language=language,
            make_profile=self._profiled(spec),
            set_current=spec.set_current,
            new_version=partial(
                NewVersion,
                voice=spec.voice,
                consent=spec.consent or "unknown",
                pronunciations=checked_table(spec.pronunciations),
                provenance={"audio": spec.audio},
            ),
        )

    def _profiled(self, spec: LockSpec) -> Callable[[LockTask, Waveform], ProfileThread] | None:
        """A function that begins a speaker profile, where one is wanted."""
        if spec.profile is None:
            return None

        def begin(task: LockTask, waveform: Waveform) -> ProfileThread:
            return ProfileThread(
                waveform,
                transcript=spoken_form(task.transcript),
                language=canonical_language(task.language),
                instance=self.context.instance,
                wake=self.wake,
            )

        return begin

    def _listening(
        self, spec: LockSpec, *, expected: str, language: str
    ) -> tuple[Callable[[LockTask, Waveform], None] | None, list[str]]:
        """A function that has a recording heard, where there is a reason, or a warning on why it cannot be.

        Raises NoRecogniser, LanguageNotHeard and InvalidInput where its words are wanted.
        """
        recogniser, is_wanted = self.context.settings.recogniser, spec.transcript == AUTO_TRANSCRIPT
        if spec.embedding_only or not (recogniser or is_wanted):
            return None, []
        try:
            if not recogniser:
                raise NoRecogniser
            check_language(recogniser, language)
        except InvalidInput as error:
            if is_wanted:
                raise
            return None, [f"The transcript was not compared with the recording: {error}"]

        def listen(task: LockTask, waveform: Waveform) -> None:
            self.hearings.begin(task, waveform, recogniser=recogniser, language=language, expected=expected)

        return listen, []

    def collect_hearings(self) -> None:
        """Go on with the locks whose recordings were heard."""
        for task, heard in self.hearings.finished():
            with for_job(task.job.id):
                if isinstance(heard, EngineFailure) and heard.code in WAITED_FOR and not task.transcript:
                    self.events.append(JobDelayed(task.job, heard))
                else:
                    task.on_heard(heard)

    def _relock(self, session: Session, job: Job, spec: RelockSpec) -> tuple[str, LockTask]:
        version = resolve(session, spec.voice)
        if version.reference_sha256 is None:
            raise InvalidReferenceAudio(
                f"{version.name} was stored without its recording, so no other prompt can be made from it.",
                hint="Lock the voice again from a recording.",
            )
        return self.context.models.for_ability(CLONE, wanted=spec.model), LockTask(
            context=self.context,
            job=job,
            reading=self._stored(version.reference_sha256),
            transcript=version.transcript,
            embedding_only=not version.transcript,
            language=spec.language or version.language,
            design_state=self._design_state(version.attachments.get("design_state")),
            set_current=spec.set_current,
            new_version=partial(
                NewVersion,
                voice=version.voice,
                origin="relock",
                parent=version.number,
                description=version.description,
                seed=version.seed,
                sampling=version.sampling,
                character=version.character,
                consent=version.consent,
                pronunciations=checked_table(version.pronunciations),
                # What is said of a voice file holds for the version that came in it.
                provenance={**without_file(version.provenance), "relocked_from": version.name},
            ),
        )

    def _stored(self, sha256: str, *, transcript: str | None = None) -> RecordingThread:
        """A recording of the store on its way; with a transcript, it is judged as one to lock from."""

        def read() -> Recording:
            content = self.context.objects.read(sha256)
            waveform, _ = decode_audio(content, name="the stored recording", max_duration_s=LONGEST_STORED_S)
            judged = reference_warnings(waveform, transcript=transcript) if transcript is not None else ()
            return Recording(waveform=waveform, sha256=sha256, warnings=judged)

        return RecordingThread(read, wake=self.wake)

    def _design_state(self, sha256: str | None) -> bytes | None:
        return self.context.objects.read(sha256) if sha256 else None

    def finish(self, job: Job, task: LockTask) -> None:
        """Commit the version and the job's outcome together; the audition clip appears before the receipt."""
        try:
            self._finish(job, task)
        except StorageError as error:
            if error.is_instance_wide:
                raise
            self.events.append(JobDelayed(job, error))
        else:
            self.events.append(OutcomesCommitted((job.id,)))

    def _finish(self, job: Job, task: LockTask) -> None:
        database, now_s = self.context.database, self.context.clock()
        if task.error is not None:
            with database.write() as session:
                jobs.set_outcome(session, job.id, JobStatus.FAILED, now_s=now_s, error=task.error)
            return
        wanted = FileFormat(format="wav", encoding=self.context.settings.wav_encoding)
        clip = published(take_waveform(task.audition), wanted)
        self.context.outbox.publish(job.name, {AUDITION: clip.content})
        new = task.store()
        assert task.engine is not None
        shown = engine_entry(task.engine)
        with database.write() as session:
            version = add_version(session, new, now_s=now_s, set_current=task.set_current)
            facts = {
                "voice": version_entry(version),
                "files": [
                    {"file": AUDITION, "sha256": clip.sha256, "duration_s": round(clip.samples / SAMPLE_RATE_HZ, 4)}
                ],
                "model": task.engine.model,
                "versions": shown.pop("model_facts")["software"],
                "engine": shown,
                **({"heard": heard_entry(task.heard)} if task.heard is not None else {}),
            }
            jobs.set_outcome(session, job.id, JobStatus.DONE, now_s=now_s, warnings=task.warnings, facts=facts)
