"""Versions of voices → their auditions spoken again by today's engine, and how far they are from the stored ones.

Starts an engine process beside any runner; nothing is downloaded, and nothing is stored.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from models.errors import EngineFailure
from models.processes.wire import LoadFailed
from models.protocol import (
    SAMPLE_RATE_HZ,
    LockDone,
    LockedVoice,
    LockWork,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    Waveform,
)
from models.protocol import WorkFailed as EngineRefused
from registry.errors import VoiceJobsError
from registry.storage.object_store import ObjectStore
from registry.voices.lookup import cosine_of
from registry.voices.values import Version
from runner.config.instance import Instance
from runner.config.model_names import engine_choice
from runner.doctor.engine_trial import model_folder
from runner.engine.client import EngineClient, EngineLost, EngineReady
from runner.outbox.take_encoding import as_stored, take_waveform
from runner.scheduling.voice_resolution import ModelNames, locked_voice
from runner.worker.listening.audition import MARGIN, Audition, kept_audition, spoken_first

LONGEST_S = 1_800.0
POLL_S = 0.02
EQUAL, UNEQUAL, UNKNOWN = "equal", "unequal", "unknown"


@dataclass(frozen=True, kw_only=True)
class VoiceReport:
    """One version, then and now. Similarities are those of the audition with the lock."""

    voice: str
    model: str
    moved: bool = False
    similarity: float | None = None
    similarity_then: float | None = None
    codes: str = UNKNOWN
    audio: str = UNKNOWN
    duration_s: float | None = None
    duration_then_s: float | None = None
    problem: str = ""  # why it could not be checked
    hint: str = ""


def checked_voices(instance: Instance, versions: Sequence[Version]) -> Iterator[VoiceReport]:
    """A report on each version, those of one model one after another."""
    names = ModelNames(instance)
    with _engine() as engine:
        for version in sorted(versions, key=lambda version: version.model.model):
            report = VoiceReport(voice=version.name, model=version.model.model)
            try:
                model = names.for_voice(locked_voice(version), wanted=None)
                yield _checked(instance, engine, version, model, report)
            except VoiceJobsError as error:
                yield replace(report, problem=error.message, hint=error.hint)


def _checked(instance: Instance, engine: _Engine, version: Version, model: str, report: VoiceReport) -> VoiceReport:
    if version.audition_sha256 is None:
        return replace(report, problem="No audition was stored with it.", hint="Relock it to have one.")
    objects = ObjectStore(instance.objects_dir)
    stored = take_waveform(objects.read(version.audition_sha256))
    audition = kept_audition(version) or spoken_first(version, max_seconds=instance.settings.sampling.max_seconds)
    engine.load(instance, model)
    done = engine.spoken(audition, LockedVoice(prompt=objects.read(version.prompt_sha256),
                                               prompt_sha256=version.prompt_sha256))  # fmt: skip
    then = audition.similarity
    if then is None and done.similarity is not None:
        then = cosine_of(engine.embedding(stored), version.speaker_embedding)
    return compared(report, done, stored=stored, then=then, codes_then=audition.codes_sha256)


def compared(
    report: VoiceReport, done: SpeechDone, *, stored: Waveform, then: float | None, codes_then: str
) -> VoiceReport:
    """An audition spoken again beside the stored one; what is spoken in the same way has not moved."""
    is_same = np.array_equal(as_stored(done.waveform), stored)
    knows_codes = bool(codes_then and done.codes_sha256)
    is_same_codes = knows_codes and codes_then == done.codes_sha256
    is_alike = done.similarity is not None and done.similarity >= (1.0 if then is None else then) - MARGIN
    moved = not (is_same or is_same_codes or is_alike)
    return replace(
        report,
        moved=moved,
        similarity=_rounded(done.similarity),
        similarity_then=_rounded(then),
        codes=UNKNOWN if not knows_codes else EQUAL if is_same_codes else UNEQUAL,
        audio=EQUAL if is_same else UNEQUAL,
        duration_s=_rounded(done.waveform.size / SAMPLE_RATE_HZ),
        duration_then_s=_rounded(stored.size / SAMPLE_RATE_HZ),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


@dataclass
class _Engine:
    """An engine process that is asked one thing after another."""

    client: EngineClient
    _loaded: str | None = None
    _pieces: list[Waveform] = field(default_factory=list)
    _asked: int = 0

    def load(self, instance: Instance, model: str) -> None:
        """Raises EngineFailure, ModelNotInstalled, …"""
        if model == self._loaded:
            return
        self._loaded = None
        folder = model_folder(instance, model)
        self.client.load(engine_choice(model, instance=instance, folder=folder))
        self._wait_for(EngineReady)
        self._loaded = model

    def spoken(self, audition: Audition, voice: LockedVoice) -> SpeechDone:
        """An audition, whole."""
        self._pieces.clear()
        work = SpeechWork(
            id=self._next_id(),
            text=audition.text,
            voice=voice,
            seed=audition.seed,
            language=audition.language,
            max_seconds=audition.max_seconds,
        )
        self.client.submit(work, expected_s=LONGEST_S)
        done = self._wait_for(SpeechDone)
        assert isinstance(done, SpeechDone)
        return replace(done, waveform=np.concatenate([*self._pieces, done.waveform]))

    def embedding(self, waveform: Waveform) -> tuple[float, ...] | None:
        """The speaker embedding of a sound."""
        work = LockWork(id=self._next_id(), transcript="", waveform=waveform, embedding_only=True)
        self.client.submit(work, expected_s=LONGEST_S)
        done = self._wait_for(LockDone)
        assert isinstance(done, LockDone)
        return None if done.speaker_embedding is None else tuple(map(float, done.speaker_embedding))

    def _next_id(self) -> str:
        self._asked += 1
        return f"check-{self._asked}"

    def _wait_for(self, kind: type[EngineReady | SpeechDone | LockDone]) -> object:
        end_s = time.monotonic() + LONGEST_S
        while (now_s := time.monotonic()) < end_s:
            for event in self.client.tick(now_s):
                if isinstance(event, kind):
                    return event
                if isinstance(event, SpeechPiece):
                    self._pieces.append(event.waveform)
                elif isinstance(event, LoadFailed | EngineRefused):
                    raise EngineFailure(event.message, hint=event.hint)
                elif isinstance(event, EngineLost):
                    self._loaded = None
                    raise EngineFailure(event.detail)
            time.sleep(POLL_S)
        raise EngineFailure(f"The engine did not answer within {LONGEST_S:.0f} s.")


@contextmanager
def _engine() -> Iterator[_Engine]:
    with tempfile.TemporaryDirectory(prefix="voicejobs-check-") as logs:
        client = EngineClient(log_path=Path(logs) / "engine.log", unload_after_s=None)
        try:
            yield _Engine(client)
        finally:
            client.stop()
