"""A lock or relock job, step by step: reference → clone prompt → audition → the next version of the voice.

The steps are done by the engine; between them this holds a few megabytes in memory. After a crash it begins again, and
the version's idempotency key makes a second insert find the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from models.audio.quality import measure
from models.audio.speech_detector import find_detector
from models.errors import EngineFailure, InvalidReferenceAudio
from models.listen.values import Heard
from models.protocol import (
    SAMPLE_RATE_HZ,
    EngineFacts,
    LockDone,
    LockedVoice,
    LockWork,
    SpeechDone,
    SpeechWork,
    Waveform,
)
from models.text.spoken_form import spoken_form
from models.text.spoken_time import spoken_time
from models.voices.recorded_prompt import PROFILED_PROMPT
from registry.jobs.values import Job, JobError
from registry.voices.values import NewVersion
from runner.engine.profile_thread import Profile, ProfileThread
from runner.engine.recording_process import RecordingProcess, RecordingThread
from runner.listen.transcript_check import machine_made, transcript_doubt
from runner.outbox.take_encoding import as_stored, model_facts, take_content
from runner.scheduling.line_plan import MAX_CRASHES, MAX_FAILURES, retry_seed
from runner.worker.context import Context
from runner.worker.listening.audition import AUDITION, Audition, first_seed, first_words, language_of_first_words

NO_WORDS = "No word was heard in the recording, so there is no transcript."
NO_WORDS_HINT = "Write down what is said in it; or embedding_only = true keeps the sound of the voice alone."


@dataclass(kw_only=True)
class LockTask:
    """One voice being locked from a recording and its transcript."""

    context: Context
    job: Job
    transcript: str  # "" with embedding_only
    language: str
    new_version: partial[NewVersion]  # with all else that is known before the engine begins
    waveform: Waveform | None = None  # None while it is read
    reading: RecordingProcess | RecordingThread | ProfileThread | None = None
    listen: Callable[[LockTask, Waveform], None] | None = None  # has the recording heard before it is locked
    make_profile: Callable[[LockTask, Waveform], ProfileThread] | None = None  # once its words are known
    embedding_only: bool = False
    design_state: bytes | None = None
    attachments: Mapping[str, str] = field(default_factory=dict)  # name -> sha256 of what else is kept with it
    set_current: bool = True
    heard: Heard | None = None  # by which the transcript came to be
    error: JobError | None = None
    warnings: list[str] = field(default_factory=list)
    engine: EngineFacts | None = None
    audition: bytes = b""  # a clip to listen to, as the registry keeps it
    _locked: LockDone | None = None
    _auditioned: SpeechDone | None = None
    _read: Waveform | None = None  # the recording before it is stored
    _stored_sha256: str | None = None
    _in_flight: bool = False
    _is_listened_to: bool = False
    _attempt: int = 1
    _crash_count: int = 0
    _failures: int = 0

    def look_at_reading(self) -> None:
        """Take the recording or its profile, once it is read, or why it cannot be used. Raises StorageError."""
        if self.reading is None or (read := self.reading.poll()) is None:
            return
        self.reading, self.error = None, read.error
        if isinstance(read, Profile):
            if read.error is None:
                self.attachments = {**self.attachments, PROFILED_PROMPT: self.context.objects.put(read.prompt)}
            return
        self.warnings += read.warnings
        if read.waveform is not None:
            # The prompt is made from exactly what is kept, so that it can be made again. Storing a sound twice
            # would change it by a bit: what is in the store stays as it is.
            self._read, self._stored_sha256 = read.waveform, read.sha256
            self.waveform = as_stored(read.waveform) if read.sha256 is None else read.waveform
            if self.listen is not None:
                self._is_listened_to = True
                self.listen(self, self.waveform)
            else:
                self._begin_profile()

    def _begin_profile(self) -> None:
        if self.make_profile is not None and self.waveform is not None and self.error is None:
            self.reading = self.make_profile(self, self.waveform)

    def on_heard(self, heard: Heard | EngineFailure) -> None:
        """Take the words of the recording, or compare them with the transcript that was given."""
        self._is_listened_to = False
        if isinstance(heard, EngineFailure) and not self.transcript:
            self.error = JobError.of(heard)
        elif isinstance(heard, EngineFailure):
            self.warnings.append(f"The transcript was not compared with the recording: {heard}")
        elif self.transcript:
            doubt = transcript_doubt(heard, self.transcript)
            self.warnings += [doubt] if doubt else []
        elif heard.words:
            self.transcript, self.heard = heard.transcript, heard
            self.warnings.append(machine_made(heard))
        else:
            self.error = JobError(code=InvalidReferenceAudio.code, message=NO_WORDS, hint=NO_WORDS_HINT)
        self._begin_profile()

    def close(self) -> None:
        """End what is under way outside the engine."""
        if self.reading is not None:
            self.reading.close()
            self.reading = None

    @property
    def has_work(self) -> bool:
        is_ready = self.waveform is not None and self.reading is None and not self._is_listened_to
        return is_ready and not self.is_over and not self._in_flight

    @property
    def is_over(self) -> bool:
        return self.error is not None or bool(self.audition)

    @property
    def work_id(self) -> str:
        return f"lock-{self.job.id}-{self._attempt}"

    @property
    def expected_s(self) -> float:
        recorded_s = 0.0 if self.waveform is None else self.waveform.size / SAMPLE_RATE_HZ
        return max(recorded_s, spoken_time(self.audition_text).high_s)

    @property
    def audition_text(self) -> str:
        """First words of the new version."""
        return first_words(self.transcript, self.language)

    @property
    def audition_language(self) -> str:
        """Language of the audition."""
        return language_of_first_words(self.transcript, self.language)

    def next_work(self) -> SpeechWork | LockWork | None:
        """The clone prompt first, then a clip spoken with it."""
        if not self.has_work:
            return None
        self._in_flight = True
        if self._locked is None:
            return LockWork(
                id=self.work_id,
                transcript=spoken_form(self.transcript),
                waveform=self.waveform,
                design_state=self.design_state,
                language=self.language,
                embedding_only=self.embedding_only,
            )
        prompt = self._locked.prompt
        voice = LockedVoice(prompt=prompt, prompt_sha256=self.context.objects.put(prompt))
        return SpeechWork(
            id=self.work_id,
            text=self.audition_text,
            voice=voice,
            seed=retry_seed(first_seed(self.audition_text), attempt=self._attempt),
            language=self.audition_language,
            max_seconds=self.context.settings.sampling.max_seconds,
        )

    def on_lock(self, done: LockDone, facts: EngineFacts) -> None:
        """The prompt is made."""
        self._in_flight = False
        self._locked, self.engine = done, facts
        self.warnings += done.warnings

    def on_speech(self, done: SpeechDone) -> None:
        """The version has spoken; silence would mean that the lock is good for nothing."""
        self._in_flight = False
        assert self.engine is not None  # it speaks with the prompt that was made
        quality = measure(
            done.waveform,
            text=self.audition_text,
            language=self.audition_language,
            finish_reason=done.finish_reason,
            is_seeded=self.engine.is_seeded,
            speech_end=find_detector(),
        )
        if not quality.passed and self.engine.is_seeded and self._attempt < self.context.settings.max_takes:
            self._attempt += 1
        elif quality.usable:
            self.audition = take_content(done.waveform)
            self._auditioned = done
            if quality.failed:
                self.warnings.append(f"The audition clip failed {', '.join(quality.failed)}.")
        else:
            message = f"The locked voice made no usable speech ({', '.join(quality.failed)})."
            self.error = JobError(code="no-usable-take", message=message, hint="Lock another recording.")

    def on_failed(self, error: JobError, *, retryable: bool) -> None:
        """The engine could not do it, and lives."""
        self._in_flight = False
        self._failures += 1
        if not retryable or self._failures >= MAX_FAILURES:
            self.error = error

    def on_lost(self, *, suspected: bool, detail: str) -> None:
        """The engine died."""
        self._in_flight = False
        self._crash_count += suspected
        if self._crash_count >= MAX_CRASHES:
            message = f"The engine died {MAX_CRASHES} times while it locked this recording. {detail}"
            self.error = JobError(code="quarantined", message=message, hint="Lock another recording.")

    def store(self) -> NewVersion:
        """The version, ready to be committed: its objects are durable in the store."""
        assert self._locked is not None and self.engine is not None and self.audition
        assert self.waveform is not None and self._read is not None
        objects, embedding = self.context.objects, self._locked.speaker_embedding
        state = {"design_state": objects.put(self.design_state)} if self.design_state else {}
        provenance = self.new_version.keywords.get("provenance", {})
        if (done := self._auditioned) is not None:
            spoken = Audition(
                text=self.audition_text,
                language=self.audition_language,
                seed=done.seed,
                max_seconds=self.context.settings.sampling.max_seconds,
                similarity=None if done.similarity is None else round(done.similarity, 4),
                codes_sha256=done.codes_sha256,
            )
            provenance = {**provenance, AUDITION: spoken.to_json()}
        if self.heard is not None:
            by = {"heard_by": self.heard.recogniser, "confidence": self.heard.confidence}
            provenance = {**provenance, "transcript": by}
        return self.new_version(
            provenance=provenance,
            model=model_facts(self.engine),
            prompt_sha256=objects.put(self._locked.prompt),
            prompt_facts=self._locked.facts,
            speaker_embedding=[float(value) for value in embedding] if embedding is not None else None,
            transcript=self.transcript,
            language=self.language,
            made_by_job=self.job.name,
            idempotency_key=f"{self.job.name}#{self.job.id}",
            reference_sha256=self._stored_sha256 or objects.put(take_content(self._read)),
            reference_duration_s=self.waveform.size / SAMPLE_RATE_HZ,
            audition_sha256=objects.put(self.audition),
            attachments={**self.attachments, **state},
        )
