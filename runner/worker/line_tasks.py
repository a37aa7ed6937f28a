"""A line of the ledger → work for the engine; its takes → the best of them, another try, or an error.

Values and pure decisions: a job's lines in memory, and batches of results to be written down.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from models.audio.quality import Quality, measure
from models.audio.sound import Samples, Sound
from models.audio.speech_detector import find_detector
from models.errors import EngineFailure
from models.protocol import (
    DescribedVoice,
    EngineFacts,
    LockedVoice,
    PresetVoice,
    SpeechDone,
    SpeechWork,
)
from models.protocol import VoiceSource as EngineVoice
from models.text.spoken_time import SpokenTime, spoken_time
from registry.errors import VoiceJobsError
from registry.jobs.line_request import VoiceSource
from registry.jobs.values import Job, JobError, Line, NewAttempt, TakeFacts
from registry.storage.digests import take_key
from registry.storage.object_store import ObjectStore
from runner.jobfile.specs import JobSpec
from runner.outbox.take_encoding import LONG_SAMPLES, NewTake, engine_entry, take_waveform
from runner.scheduling.line_plan import MAX_CRASHES, retry_seed
from runner.worker.events import JobDelayed
from runner.worker.lock_task import LockTask


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """One take of a line and how good it is."""

    done: SpeechDone
    sound: Sound
    quality: Quality
    attempt: int


@dataclass(kw_only=True)
class LineTask:
    """A line to be spoken, perhaps not for the first time."""

    line: Line
    attempt: int = 1
    best: Rendered | None = None
    isolated: bool = False  # the engine died over it: nothing else is rendered with it
    attempts: list[NewAttempt] = field(default_factory=list)  # not yet written down
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

    @property
    def sound(self) -> Sound:
        """The best take's samples `(S,)`."""
        assert self.best is not None
        return self.best.sound

    def work(self, voice: EngineVoice, *, live: bool = False) -> SpeechWork:
        """The line as the engine is asked for it."""
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
            live=live,
            pauses=request.pauses,
        )

    def expected(self) -> SpokenTime:
        """How long the line lasts: progress and deadlines follow from it."""
        request = self.line.request
        return spoken_time(request.spoken, request.language).with_silence(sum(pause_s for _, pause_s in request.pauses))

    def measured(self, done: SpeechDone, sound: Sound, *, is_seeded: bool, verify: str) -> Quality:
        """Quality of a take of this line."""
        request = self.line.request
        return measure(
            sound,
            text=request.spoken,
            language=request.language,
            finish_reason=done.finish_reason,
            is_seeded=is_seeded,
            speech_end=None if verify == "off" else find_detector(),
            pauses_s=[pause_s for _, pause_s in request.pauses],
        )

    def add_result(
        self, done: SpeechDone, sound: Sound, quality: Quality, *, max_takes: int, is_seeded: bool, now_s: float
    ) -> bool:
        """Add a take; True when the line needs no further one, or another seed would make no other."""
        rendered = Rendered(done=done, sound=sound, quality=quality, attempt=self.attempt)
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
        if quality.passed or not is_seeded or self.attempt >= max_takes:
            return True
        self.attempt += 1
        return False

    def take_facts(self, engine: EngineFacts) -> TakeFacts:
        """Facts that the take store keeps about the best take."""
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
            quality={**quality.figures(), "batch": done.batch, "warnings": [*done.warnings, *quality.warnings()]},
            engine=engine_entry(engine),
        )


def key_of(line: Line, facts: EngineFacts, *, live: bool) -> str:
    """Key of the take that this line would be, from this model."""
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
        render_version=(facts.live_render_version if live else "") or facts.render_version,
        pauses=request.pauses,
    )


def engine_voice(voice: VoiceSource, *, prompt: bytes = b"") -> EngineVoice:
    """A line's voice as the engine takes it; `prompt` holds a lock's bytes."""
    if voice.kind == "preset":
        return PresetVoice(name=voice.name)
    if voice.kind == "description":
        return DescribedVoice(description=voice.description)
    return LockedVoice(prompt=prompt, prompt_sha256=voice.prompt)


@dataclass(eq=False, kw_only=True)
class Hearing:
    """A measured take that a recogniser listens to before it is accepted."""

    active: ActiveJob
    task: LineTask
    done: SpeechDone
    sound: Sound
    quality: Quality
    facts: EngineFacts


@dataclass(eq=False, frozen=True, kw_only=True)
class StoredTake:
    """A take of the store that nobody has listened to, of a job whose takes are heard; read when it is its turn."""

    active: ActiveJob
    line: Line
    key: str
    audio_sha256: str
    audio: ObjectStore

    @property
    def size(self) -> int:
        return self[:].size

    def __getitem__(self, part: slice) -> Samples:
        try:
            return take_waveform(self.audio.read(self.audio_sha256))[part]
        except VoiceJobsError as error:
            raise EngineFailure(f"A stored take could not be read: {error}") from error


@dataclass(eq=False, kw_only=True)
class Accepted:
    """A line with a take that is good enough."""

    active: ActiveJob
    task: LineTask
    facts: EngineFacts
    encoding: Future[NewTake]  # the take as it will be stored

    @property
    def takes_a_while(self) -> bool:
        """Whether its encoding goes on for more than a moment."""
        return self.is_long and not self.encoding.done()

    @property
    def is_long(self) -> bool:
        return self.samples > LONG_SAMPLES

    @property
    def samples(self) -> int:
        return self.task.sound.size


@dataclass(kw_only=True)
class ResultBatch:
    """Lines and what has come of them, to be written down."""

    accepted: list[Accepted] = field(default_factory=list)
    reused: list[Reused] = field(default_factory=list)
    failed: list[tuple[ActiveJob, LineTask, JobError]] = field(default_factory=list)
    crashed: list[LineTask] = field(default_factory=list)  # the engine died over them
    to_retry: list[LineTask] = field(default_factory=list)  # failed, and to be tried again

    def __bool__(self) -> bool:
        return self.has_news or bool(self.reused)

    @property
    def has_news(self) -> bool:
        """Whether it holds anything from the engine that can be written now."""
        news = self.failed or self.crashed or self.to_retry
        return bool(news) or any(not item.takes_a_while for item in self.accepted)

    def take_out(self) -> ResultBatch:
        """Everything that can be written now; only takes whose encoding takes a while stay."""
        ready: list[Accepted] = []
        slow: list[Accepted] = []
        for item in self.accepted:
            (slow if item.takes_a_while else ready).append(item)
        taken = replace(self, accepted=ready)
        self.accepted, self.reused, self.failed, self.crashed, self.to_retry = slow, [], [], [], []
        return taken

    def forget(self, active: ActiveJob) -> list[str]:
        """Leave out what a job need not have written at once: it is dropped. Returns the work ids of takes."""
        self.reused = [item for item in self.reused if item[0] is not active]
        forgotten = [item for item in self.accepted if item.is_long and item.active is active]
        self.accepted = [item for item in self.accepted if item not in forgotten]
        return [item.task.work_id for item in forgotten]


@dataclass(frozen=True, kw_only=True)
class Written:
    """Lines of a batch after its writing."""

    settled: list[ActiveJob] = field(default_factory=list)  # once for every line that was written down
    gone: list[tuple[ActiveJob, Line]] = field(default_factory=list)  # whose stored take could not be used
    left: list[Reused] = field(default_factory=list)  # for another time
    delayed: list[JobDelayed] = field(default_factory=list)
    recorded: list[str] = field(default_factory=list)  # work ids of the new takes


@dataclass(kw_only=True)
class ActiveJob:
    """A running job in memory; everything in here can be made again from the ledger."""

    job: Job
    spec: JobSpec
    model: str | None
    last_scheduled_s: float  # when it was claimed, or last got the engine (epoch seconds): it waits since then
    cursor: int = 0  # position of the last line that was fetched for this model
    pending: deque[LineTask] = field(default_factory=deque)  # fetched, and waiting to be rendered
    in_flight: dict[str, LineTask] = field(default_factory=dict)
    unwritten: int = 0  # lines with a result that is not written down
    warned: set[str] = field(default_factory=set)  # what the receipt says already
    drained: bool = False  # the ledger has no further lines for this model
    lock_task: LockTask | None = None  # of a job that locks a voice, and has no lines

    def rewind(self, model: str | None) -> None:
        """Go on with the lines of another model."""
        self.model, self.cursor, self.drained = model, 0, False

    @property
    def is_reading(self) -> bool:
        """Whether the recording that it locks is being read."""
        return self.lock_task is not None and self.lock_task.reading is not None

    def close(self) -> None:
        """End what is under way outside the engine."""
        if self.lock_task is not None:
            self.lock_task.close()

    @property
    def has_one_line(self) -> bool:
        """Whether the job's first line is also the last for this model."""
        return self.drained and self.cursor == 1

    @property
    def has_work(self) -> bool:
        """Whether something can be handed to the engine now."""
        if self.lock_task is not None:
            return self.lock_task.has_work
        return bool(self.pending) or not self.drained

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, and the ledger has no more for this model."""
        if self.lock_task is not None:
            return self.lock_task.is_over
        return not self.pending and not self.in_flight and not self.unwritten and self.drained


Reused = tuple[ActiveJob, Line, str]  # a line whose take exists, and the key of that take


def no_usable_take(task: LineTask) -> JobError:
    """The error of a line of which no take was speech."""
    assert task.best is not None
    gates = ", ".join(task.best.quality.failed)
    takes = f"{task.attempt} takes" if task.attempt > 1 else "the only take"
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
