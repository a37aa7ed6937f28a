"""A lock or relock job, step by step: reference → clone prompt → audition → the next version of the voice.

The steps are done by the engine; between them this holds a few megabytes in memory. A crash begins it anew, and the
version's idempotency key makes a second insert find the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.audio.encoder import encode_audio
from models.audio.quality import expected_duration_s, measure
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
from models.text.pronunciation import checked_table
from registry.jobs.values import JobError
from registry.storage.session import Session
from registry.voices.values import NewVersion, Version
from registry.voices.versions import add_version
from runner.jobfile.specs import DEFAULT_CANDIDATE_TEXT
from runner.outbox.take_encoding import model_facts
from runner.scheduling.line_plan import MAX_CRASHES, MAX_FAILURES, derived_seed, retry_seed
from runner.worker.context import Context


@dataclass(frozen=True, kw_only=True)
class ReferenceRecording:
    """What a voice is locked from."""

    waveform: Waveform
    transcript: str
    language: str = "auto"
    design_state: bytes | None = None
    description: str | None = None
    seed: int | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    character: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    attachments: Mapping[str, str] = field(default_factory=dict)  # name -> sha256 of what else is kept with it
    warnings: tuple[str, ...] = ()


@dataclass(kw_only=True)
class LockTask:
    """One voice being locked."""

    context: Context
    job_id: int
    job_name: str
    voice: str
    reference: ReferenceRecording
    origin: str = "lock"
    parent: int | None = None
    consent: str = "unknown"
    set_current: bool = True
    pronunciations: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    error: JobError | None = None
    warnings: list[str] = field(default_factory=list)
    _locked: LockDone | None = None
    _facts: EngineFacts | None = None
    _audition: bytes | None = None
    _in_flight: bool = False
    _attempt: int = 1
    _crash_count: int = 0
    _failures: int = 0

    @property
    def has_work(self) -> bool:
        return not self.is_over and not self._in_flight

    @property
    def is_over(self) -> bool:
        return self.error is not None or self._audition is not None

    @property
    def work_id(self) -> str:
        return f"lock-{self.job_id}-{self._attempt}"

    @property
    def expected_s(self) -> float:
        return max(self.reference.waveform.size / SAMPLE_RATE_HZ, expected_duration_s(self.audition_text))

    @property
    def audition_text(self) -> str:
        """What the new version says first: a pangram in English, else the words that it was locked from."""
        is_english = self.reference.language in ("auto", "english") and self.reference.transcript.isascii()
        return DEFAULT_CANDIDATE_TEXT if is_english else self.reference.transcript

    def next_work(self) -> SpeechWork | LockWork | None:
        """The clone prompt first, then a clip spoken with it."""
        if not self.has_work:
            return None
        self._in_flight = True
        if self._locked is None:
            return LockWork(
                id=self.work_id,
                transcript=self.reference.transcript,
                waveform=self.reference.waveform,
                design_state=self.reference.design_state,
                language=self.reference.language,
            )
        prompt = self._locked.prompt
        seed = derived_seed({"audition": self.audition_text}, job_seed=None, ordinal=0)
        voice = LockedVoice(prompt=prompt, prompt_sha256=self.context.objects.put(prompt))
        return SpeechWork(
            id=self.work_id,
            text=self.audition_text,
            voice=voice,
            seed=retry_seed(seed, attempt=self._attempt),
            language=self.reference.language,
            max_seconds=self.context.settings.sampling.max_seconds,
        )

    def on_lock(self, done: LockDone, facts: EngineFacts) -> None:
        """The prompt is made."""
        self._in_flight = False
        self._locked, self._facts = done, facts
        self.warnings += [*self.reference.warnings, *done.warnings]

    def on_speech(self, done: SpeechDone) -> None:
        """The version has spoken; silence would mean that the lock is good for nothing."""
        self._in_flight = False
        quality = measure(done.waveform, text=self.audition_text, finish_reason=done.finish_reason)
        if not quality.passed and self._attempt < self.context.settings.max_takes:
            self._attempt += 1
        elif quality.usable:
            self._audition = encode_audio(done.waveform, format="flac", encoding="pcm24")
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
        """Put everything into the object store, durably; what comes back is ready to be committed."""
        assert self._locked is not None and self._facts is not None and self._audition is not None
        reference, objects = self.reference, self.context.objects
        embedding = self._locked.speaker_embedding
        return NewVersion(
            voice=self.voice,
            model=model_facts(self._facts),
            prompt_sha256=objects.put(self._locked.prompt),
            transcript=reference.transcript,
            origin=self.origin,
            made_by_job=self.job_name,
            idempotency_key=f"{self.job_name}#{self.job_id}",
            parent=self.parent,
            prompt_facts=self._locked.facts,
            speaker_embedding=[float(value) for value in embedding] if embedding is not None else None,
            reference_sha256=objects.put(encode_audio(reference.waveform, format="flac", encoding="pcm24")),
            reference_duration_s=reference.waveform.size / SAMPLE_RATE_HZ,
            audition_sha256=objects.put(self._audition),
            attachments={**reference.attachments, **self._design_state()},
            description=reference.description,
            language=reference.language,
            seed=reference.seed,
            sampling=reference.sampling,
            consent=self.consent,
            character=reference.character,
            metadata=self.metadata,
            provenance=reference.provenance,
            pronunciations=checked_table(self.pronunciations),
        )

    def _design_state(self) -> dict[str, str]:
        state = self.reference.design_state
        return {"design_state": self.context.objects.put(state)} if state else {}

    def commit(self, session: Session, new: NewVersion, *, now_s: float) -> Version:
        """The next version of the voice."""
        return add_version(session, new, now_s=now_s, set_current=self.set_current)

    @property
    def audition(self) -> bytes:
        """The audition clip as the registry keeps it."""
        assert self._audition is not None
        return self._audition

    @property
    def engine(self) -> EngineFacts | None:
        return self._facts
