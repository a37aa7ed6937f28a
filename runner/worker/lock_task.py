"""A lock or relock job, step by step: reference → clone prompt → audition → the next version of the voice.

The steps are done by the engine; between them this holds a few megabytes in memory. A crash begins it anew, and the
version's idempotency key makes a second insert find the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.audio.files import AudioFacts, decode_audio, encode_audio, read_audio
from models.audio.quality import expected_duration_s, loudest_rms, measure
from models.errors import InvalidReferenceAudio
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
from registry.storage.database import Session
from registry.voices.values import NewVersion, Version
from registry.voices.versions import add_version
from runner.jobfile.specs import DEFAULT_CANDIDATE_TEXT
from runner.outbox.take_encoding import model_facts
from runner.scheduling.line_plan import MAX_CRASHES, MAX_FAILURES, derived_seed, retry_seed
from runner.worker.context import Context

SHORTEST_S, LONGEST_S = 1.0, 60.0  # hard bounds of a reference recording
RECOMMENDED_S = (3.0, 30.0)
LOWEST_RATE_HZ = 8_000
RECOMMENDED_RATE_HZ = 16_000
CLIPPED_SHARE, CLIPPED_WARNING = 0.02, 0.001
SILENT_RMS = 0.003
# Characters a second: a transcript far off the clip's length makes cloning repeat itself or collapse.
FASTEST, SLOWEST = 3.0, 0.2


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


def reference_warnings(waveform: Waveform, *, transcript: str, facts: AudioFacts | None = None) -> tuple[str, ...]:
    """What could be better about a recording `(S,)` at 24 kHz. Raises InvalidReferenceAudio when it cannot be used."""
    duration_s = waveform.size / SAMPLE_RATE_HZ
    if not SHORTEST_S <= duration_s <= LONGEST_S:
        raise InvalidReferenceAudio(
            f"The recording lasts {duration_s:.1f} s; {SHORTEST_S:g} to {LONGEST_S:g} s can be used.",
            hint=f"{RECOMMENDED_S[0]:g} to {RECOMMENDED_S[1]:g} s of clear speech work best.",
        )
    if loudest_rms(waveform) < SILENT_RMS:
        raise InvalidReferenceAudio("The recording is silent.", hint="Check the microphone, or the file.")
    clipped = float((np.abs(waveform) >= 0.999).mean())
    if clipped > CLIPPED_SHARE:
        raise InvalidReferenceAudio(f"{clipped:.0%} of the recording is clipped.", hint="Record it less loudly.")
    _check_transcript(transcript, duration_s)
    return tuple(_softer_warnings(duration_s, clipped, facts))


def _check_transcript(transcript: str, duration_s: float) -> None:
    expected_s = expected_duration_s(transcript)
    if expected_s > duration_s * FASTEST:
        raise InvalidReferenceAudio(
            f"The transcript takes about {expected_s:.0f} s to say, and the recording lasts {duration_s:.1f} s.",
            hint="The transcript must hold exactly the words spoken in the recording.",
        )
    if expected_s < duration_s * SLOWEST:
        raise InvalidReferenceAudio(
            f"The transcript takes about {expected_s:.1f} s to say, and the recording lasts {duration_s:.0f} s.",
            hint="Write down every word that is spoken in it, or cut the recording.",
        )


def _softer_warnings(duration_s: float, clipped: float, facts: AudioFacts | None) -> list[str]:
    warnings = []
    low_s, high_s = RECOMMENDED_S
    if not low_s <= duration_s <= high_s:
        warnings.append(f"The recording lasts {duration_s:.1f} s; {low_s:g} to {high_s:g} s are recommended.")
    if clipped > CLIPPED_WARNING:
        warnings.append(f"{clipped:.1%} of the recording is clipped.")
    if facts is not None and facts.sample_rate_hz < LOWEST_RATE_HZ:
        raise InvalidReferenceAudio(f"A sample rate of {facts.sample_rate_hz} Hz is too low; 16 kHz or more is needed.")
    if facts is not None and facts.sample_rate_hz < RECOMMENDED_RATE_HZ:
        warnings.append(f"The sample rate is {facts.sample_rate_hz} Hz; 16 kHz or more is recommended.")
    return warnings


def read_reference(path: Path, *, transcript: str) -> tuple[Waveform, tuple[str, ...]]:
    """A recording from a file, checked. Raises InvalidReferenceAudio."""
    waveform, facts = read_audio(path)
    return waveform, reference_warnings(waveform, transcript=transcript, facts=facts)


def stored_reference(content: bytes) -> Waveform:
    """A recording as the registry keeps it."""
    waveform, _ = decode_audio(content, name="the stored recording")
    return waveform


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
