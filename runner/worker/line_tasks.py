"""Lines between the ledger and the engine: what is in flight, what came back, what is tried again.

Values and pure decisions; the worker records and publishes what they lead to.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from models.audio.quality import Quality, expected_duration_s, measure
from models.protocol import (
    SAMPLE_RATE_HZ,
    DescribedVoice,
    EngineFacts,
    LockedVoice,
    PresetVoice,
    SpeechDone,
    SpeechWork,
)
from models.protocol import VoiceSource as EngineVoice
from registry.jobs.line_request import VoiceSource
from registry.jobs.values import Job, JobError, Line, NewAttempt
from registry.storage.digests import take_key
from registry.voices.values import TakeFacts
from runner.jobfile.specs import JobSpec
from runner.outbox.take_encoding import NewTake, engine_entry
from runner.scheduling.line_plan import MAX_CRASHES, retry_seed
from runner.worker.lock_task import LockTask

LONG_SAMPLES = 60 * SAMPLE_RATE_HZ  # a minute takes a second to code as MP3


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """One take of a line and how good it is."""

    done: SpeechDone
    quality: Quality
    attempt: int


@dataclass(kw_only=True)
class LineTask:
    """A line that is being spoken, perhaps not for the first time."""

    line: Line
    attempt: int = 1
    best: Rendered | None = None
    isolated: bool = False  # the engine died over it: nothing else is rendered with it
    attempts: list[NewAttempt] = field(default_factory=list)  # not yet recorded
    crash_count: int = 0
    failures: int = 0

    @classmethod
    def of(cls, line: Line) -> LineTask:
        """A line as the ledger knows it: what killed an engine before is rendered by itself."""
        return cls(line=line, isolated=line.crash_count > 0, crash_count=line.crash_count, failures=line.failures)

    @property
    def work_id(self) -> str:
        return f"line-{self.line.id}"

    @property
    def seed(self) -> int:
        return retry_seed(self.line.seed, attempt=self.attempt)

    def work(self, voice: EngineVoice) -> SpeechWork:
        """What the engine is asked for."""
        request = self.line.request
        return SpeechWork(
            id=self.work_id,
            text=request.spoken,
            voice=voice,
            seed=self.seed,
            language=request.language,
            instruct=request.instruct,
            sampling=request.sampling,
            max_seconds=request.max_seconds,
        )

    def expected_s(self) -> float:
        """How long the line lasts, roughly: deadlines follow from it."""
        return expected_duration_s(self.line.request.spoken)

    def add_result(self, done: SpeechDone, *, max_takes: int, now_s: float) -> bool:
        """Measure a take; True when the line needs no further one."""
        text = self.line.request.spoken
        quality = measure(done.waveform, text=text, finish_reason=done.finish_reason)
        rendered = Rendered(done=done, quality=quality, attempt=self.attempt)
        if self.best is None or quality.badness() < self.best.quality.badness():
            self.best = rendered
        self.attempts.append(
            NewAttempt(
                line_id=self.line.id,
                number=self.attempt,
                seed=done.seed,
                outcome="passed" if quality.passed else "failed-gates",
                finished_s=now_s,
                detail={
                    "failed_gates": list(quality.failed),
                    "duration_s": round(quality.duration_s, 3),
                    "finish_reason": done.finish_reason,
                    "render_s": round(done.render_s, 4),
                    **quality.figures(),
                },
            )
        )
        if quality.passed or self.attempt >= max_takes:
            return True
        self.attempt += 1
        return False

    def take_facts(self, engine: EngineFacts) -> TakeFacts:
        """What the take store keeps about the best take."""
        assert self.best is not None
        done, quality = self.best.done, self.best.quality
        return TakeFacts(
            requested_seed=self.line.seed,
            accepted_seed=done.seed,
            finish_reason=done.finish_reason,
            frames=done.frames,
            duration_s=round(quality.duration_s, 6),
            render_s=round(done.render_s, 6),
            attempts=self.attempt,
            failed_gates=quality.failed,
            quality={**quality.figures(), "batch": done.batch, "warnings": list(done.warnings)},
            engine=engine_entry(engine),
        )


def key_of(line: Line, facts: EngineFacts) -> str:
    """The take that this line would be, from this model."""
    request = line.request
    sampling = dict(request.sampling)
    if request.max_seconds is not None:
        sampling["max_seconds"] = request.max_seconds
    return take_key(
        voice_digest=request.voice_digest,
        text=request.spoken,
        instruct=request.instruct,
        language=request.language,
        sampling=sampling,
        seed=line.seed,
        model_fingerprint=facts.model_fingerprint,
        render_version=facts.render_version,
    )


def engine_voice(voice: VoiceSource, *, prompt: bytes = b"") -> EngineVoice:
    """A line's voice as the engine takes it; `prompt` holds a lock's bytes."""
    if voice.kind == "preset":
        return PresetVoice(name=voice.name)
    if voice.kind == "description":
        return DescribedVoice(description=voice.description)
    return LockedVoice(prompt=prompt, prompt_sha256=voice.prompt)


@dataclass(kw_only=True)
class Accepted:
    """A line with a take that is good enough."""

    active: ActiveJob
    work: LineTask
    facts: EngineFacts
    encoding: Future[NewTake] | None = None  # the take as it will be stored, once its making has begun

    @property
    def is_long(self) -> bool:
        return self.work.best is not None and self.work.best.done.waveform.size > LONG_SAMPLES

    @property
    def takes_a_while(self) -> bool:
        """Whether it is still being coded, and not for a moment only."""
        return self.is_long and self.encoding is not None and not self.encoding.done()


@dataclass(kw_only=True)
class ResultBatch:
    """What has come of lines and is not recorded yet."""

    accepted: list[Accepted] = field(default_factory=list)
    reused: list[Reused] = field(default_factory=list)
    failed: list[tuple[ActiveJob, LineTask, JobError]] = field(default_factory=list)
    crashed: list[LineTask] = field(default_factory=list)  # the engine died over them
    to_retry: list[LineTask] = field(default_factory=list)  # failed, and to be tried again

    def __bool__(self) -> bool:
        return self.holds_news or bool(self.reused)

    @property
    def holds_news(self) -> bool:
        """Whether anything in it came from the engine, and from nowhere else."""
        return bool(self.accepted or self.failed or self.crashed or self.to_retry)


@dataclass(kw_only=True)
class ActiveJob:
    """A running job as the worker holds it in memory; everything in here can be made anew from the ledger."""

    job: Job
    spec: JobSpec
    model: str | None
    last_scheduled_s: float  # when it was claimed, or last got the engine (epoch seconds): it waits since then
    cursor: int = 0  # position of the last line that was fetched for this model
    pending: deque[LineTask] = field(default_factory=deque)  # fetched, and waiting to be rendered
    in_flight: dict[str, LineTask] = field(default_factory=dict)
    unwritten: int = 0  # lines in the batch
    drained: bool = False  # the ledger has no further lines for this model
    task: LockTask | None = None  # of a job that locks a voice, and has no lines

    def rewind(self, model: str | None) -> None:
        """Begin again with the lines of another model."""
        self.model, self.cursor, self.drained = model, 0, False

    @property
    def has_one_line(self) -> bool:
        """Whether the job's first line is also the last for this model."""
        return self.drained and self.cursor == 1

    @property
    def has_work(self) -> bool:
        """Whether something can be handed to the engine now."""
        if self.task is not None:
            return self.task.has_work
        return bool(self.pending) or not self.drained

    @property
    def is_idle(self) -> bool:
        """Nothing is under way, and the ledger has no more for this model."""
        if self.task is not None:
            return self.task.is_over
        return not self.pending and not self.in_flight and not self.unwritten and self.drained


Reused = tuple[ActiveJob, Line, str]  # a line whose take exists, and the key of that take


def no_usable_take(work: LineTask) -> JobError:
    """The error of a line of which no take was speech."""
    assert work.best is not None
    gates = ", ".join(work.best.quality.failed)
    takes = f"{work.attempt} takes" if work.attempt > 1 else "the only take"
    return JobError(
        code="no-usable-take",
        message=f"No usable audio in {takes}: {gates}.",
        hint="Check that the text holds words in the line's language.",
    )


def quarantined(detail: str) -> JobError:
    """The error of a line that has killed the engine too often."""
    return JobError(
        code="quarantined",
        message=f"The engine died {MAX_CRASHES} times over this line; it is not tried again. {detail}".strip(),
        hint="Change the text, or report it with the engine's log.",
    )
