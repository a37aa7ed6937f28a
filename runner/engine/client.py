"""The one supervised engine process: work goes in, events come out, and its death is an ordinary event.

`tick` never waits. Time is given by the caller as `time.monotonic()`, which does not run while the machine sleeps
on Linux (CLOCK_MONOTONIC) and on macOS (mach_absolute_time); beyond that, one tick never counts for more than
`longest_tick_gap_s` of silence, so that a frozen runner does not blame its engine.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from models.errors import WireError
from models.processes.wire import Cancel, Hello, Load, LoadFailed, Message, Ready
from models.protocol import (
    PROTOCOL_VERSION,
    EngineFacts,
    LockDone,
    LockWork,
    ModelChoice,
    Progress,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    WorkFailed,
)
from models.store.memory import total_bytes
from runner.engine.pipe import ENGINE, EnginePipe, command_of

State: TypeAlias = Literal["stopped", "loading", "ready", "empty", "stopping"]
LossReason: TypeAlias = Literal["died", "silent", "memory", "protocol"]

MEMORY_LOOK_INTERVAL_S = 1.0
DEATH_WAIT_S = 1.0  # a dying process closes its pipe a moment before its exit status is known
STOP_WAIT_S = 2.0  # what the engine promises when its pipe closes
MAX_LOG_BYTES = 4 << 20
MEMORY_SHARE = 0.85  # of the machine's memory, where nobody set a limit: beyond it the system kills, and not only us


@dataclass(frozen=True, kw_only=True)
class EngineReady:
    """The model asked for is loaded."""

    facts: EngineFacts


@dataclass(frozen=True, kw_only=True)
class EngineLost:
    """The engine process is gone, with everything in flight. The next `load` starts another."""

    reason: LossReason
    detail: str  # one sentence: exit status or signal, or what was exceeded
    in_flight: tuple[str, ...]  # every work without an answer, in order of submission
    started: tuple[str, ...]  # those of them the engine had begun: the ones that may be to blame
    was_loading: bool = False
    output: str = ""  # the last lines it printed, such as a traceback


EngineEvent: TypeAlias = (
    EngineReady | LoadFailed | Progress | SpeechPiece | SpeechDone | LockDone | WorkFailed | EngineLost
)


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Times that an engine may be silent before it counts as hanging."""

    load_s: float = 900.0  # the largest model from a slow disk, with compilation
    silence_s: float = 60.0  # at least this much between two signs of life
    silence_per_expected: float = 4.0  # and this often the longest expected time of what is in flight
    longest_tick_gap_s: float = 10.0


@dataclass
class _InFlight:
    """A piece of work that has no answer yet."""

    expected_s: float
    has_started: bool = False
    is_cancelled: bool = False
    piece_samples: int = 0
    resubmitted: tuple[SpeechWork | LockWork, float] | None = None  # before the cancelled one was answered


@dataclass
class _Watch:
    """Observations of the present process."""

    silent_s: float = 0.0
    idle_s: float = 0.0
    stopping_s: float = 0.0
    last_tick_s: float | None = None
    next_look_s: float = 0.0
    loads_unanswered: int = 0
    in_flight: dict[str, _InFlight] = field(default_factory=dict)


class EngineClient:
    """Starts, feeds, watches and ends engine processes, at most one at a time."""

    def __init__(
        self,
        *,
        log_path: Path,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        memory_limit_bytes: int | None = None,
        unload_after_s: float | None = 300.0,
        deadlines: Deadlines | None = None,
    ) -> None:
        self._log_path = log_path
        self._command = command
        self._environment = environment
        self._memory_limit_bytes = memory_limit_bytes
        self._unload_after_s = unload_after_s
        self._deadlines = deadlines or Deadlines()
        self._pipe: EnginePipe | None = None
        self._watch = _Watch()
        self._events: list[EngineEvent] = []
        self._unreaped: list[EnginePipe] = []
        self.state: State = "stopped"
        self.choice: ModelChoice | None = None  # what is loaded, or being loaded
        self.facts: EngineFacts | None = None  # of what is loaded

    @property
    def in_flight(self) -> tuple[str, ...]:
        """Ids of the work without an answer, in order of submission."""
        return tuple(self._watch.in_flight)

    @property
    def pid(self) -> int | None:
        return self._pipe.pid if self._pipe else None

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when `tick` has news; None while no process runs."""
        return self._pipe.fileno() if self._pipe else None

    def load(self, choice: ModelChoice) -> None:
        """Have this model loaded, starting a process where none runs. `EngineReady` or `LoadFailed` will tell.

        Work submitted before is still done by the model it was meant for; none may be in flight where the other model
        needs another Python, and so another process.
        """
        command = tuple(self._command or command_of(ENGINE, choice.python))
        if self.state == "stopping" or (self._pipe is not None and self._pipe.command != command):
            self._drop_process()
        self.choice, self.facts, self.state = choice, None, "loading"
        self._watch.silent_s = 0.0
        try:
            if self._pipe is None:
                self._pipe = EnginePipe(command=command, log_path=self._log_path, environment=self._environment)
                self._watch = _Watch()
            self._pipe.send(Load(choice=choice))
            self._watch.loads_unanswered += 1
        except OSError as error:
            self._lose("died", f"The engine process could not be started: {error}.")

    def submit(self, work: SpeechWork | LockWork, *, expected_s: float = 0.0) -> None:
        """Give the engine work. `expected_s` is how long it should take; far longer silence counts as hanging.

        Cancelled work may be submitted again at once: it is begun when the engine has let go of it, and answered once.
        Raises ValueError when no model is loaded or being loaded, or the id is in flight already.
        """
        if self._pipe is None or self.state not in ("loading", "ready"):
            raise ValueError(f"work was submitted to an engine that is {self.state}")
        if (known := self._watch.in_flight.get(work.id)) is not None:
            if not known.is_cancelled or known.resubmitted is not None:
                raise ValueError(f"work {work.id!r} is in flight already")
            known.resubmitted = (work, expected_s)
            return
        self._pipe.send(work)
        if not self._watch.in_flight:
            self._watch.silent_s = 0.0
        self._watch.in_flight[work.id] = _InFlight(expected_s=expected_s)

    def cancel(self, work_id: str) -> None:
        """Ask for an end of this work alone; it is still answered. Nothing happens when it is not in flight."""
        work = self._watch.in_flight.get(work_id)
        if self._pipe is None or work is None:
            return
        work.resubmitted = None
        if not work.is_cancelled:
            work.is_cancelled = True
            self._pipe.send(Cancel(id=work_id))

    def tick(self, now_s: float) -> list[EngineEvent]:
        """Everything that has happened since the last tick; never waits. Enforces the deadlines."""
        self._reap()
        pipe = self._pipe
        if pipe is not None:
            gap_s = now_s - (self._watch.last_tick_s if self._watch.last_tick_s is not None else now_s)
            self._watch.last_tick_s = now_s
            self._pass_time(min(max(gap_s, 0.0), self._deadlines.longest_tick_gap_s))
            self._listen(pipe)
        if self._pipe is not None:
            self._enforce(self._pipe, now_s=now_s)
        events, self._events = self._events, []
        return events

    def unload(self) -> None:
        """Have an engine that has nothing to do exit, which gives all its memory back."""
        if self._pipe is None or self._watch.in_flight or self.state == "loading":
            return
        if self.state != "stopping":
            self._pipe.hang_up()
        self.state, self.choice, self.facts = "stopping", None, None

    def stop(self, grace_s: float = STOP_WAIT_S) -> None:
        """End the engine, whatever it is doing: its pipe closes, and after `grace_s` it is killed. Waits for that."""
        if self._pipe is not None:
            self._pipe.hang_up()
            self._pipe.wait(grace_s)
            self._drop_process()
        self._reap()

    def _pass_time(self, gap_s: float) -> None:
        watch = self._watch
        busy = bool(watch.in_flight) or self.state == "loading"
        watch.silent_s = watch.silent_s + gap_s if busy else 0.0
        watch.idle_s = 0.0 if busy else watch.idle_s + gap_s
        watch.stopping_s = watch.stopping_s + gap_s if self.state == "stopping" else 0.0

    def _listen(self, pipe: EnginePipe) -> None:
        try:
            for message in pipe.receive():
                self._watch.silent_s = 0.0
                self._hear(message)
        except WireError as error:
            self._lose("protocol", error.message)
            return
        if pipe.is_closed_by_engine or pipe.exit_status is not None:
            self._bury(pipe)

    def _hear(self, message: Message) -> None:
        """Take in one message. Raises WireError for what the engine may not say now."""
        if isinstance(message, Hello):
            if message.protocol_version != PROTOCOL_VERSION:
                raise WireError(
                    f"The engine speaks protocol {message.protocol_version}, the runner {PROTOCOL_VERSION}.",
                    hint="voicejobs was updated while it ran; restart the runner.",
                )
        elif isinstance(message, Ready | LoadFailed):
            self._hear_about_load(message)
        elif isinstance(message, Progress | SpeechPiece | SpeechDone | LockDone | WorkFailed):
            self._hear_about_work(message)
        else:
            raise WireError(f"The engine sent a {type(message).__name__}, which is no answer.")

    def _hear_about_load(self, message: Ready | LoadFailed) -> None:
        if self._watch.loads_unanswered == 0:
            raise WireError("The engine says it has loaded a model that nobody asked for.")
        self._watch.loads_unanswered -= 1
        if self._watch.loads_unanswered:
            return  # the answer to an earlier wish; the last one counts
        if isinstance(message, Ready):
            self.state, self.facts = "ready", message.facts
            self._events.append(EngineReady(facts=message.facts))
        else:
            self.state, self.choice = "empty", None
            self._events.append(message)

    def _hear_about_work(self, message: Progress | SpeechPiece | SpeechDone | LockDone | WorkFailed) -> None:
        work = self._watch.in_flight.get(message.id)
        if work is None:
            raise WireError(f"The engine answered {message.id!r}, which is not in flight.")
        if isinstance(message, SpeechPiece):
            work.piece_samples += message.waveform.size
        elif isinstance(message, Progress):
            work.has_started = True
        else:
            if isinstance(message, SpeechDone) and message.piece_samples not in (0, work.piece_samples):
                raise WireError(f"The engine lost samples of {message.id!r} on the way.")
            del self._watch.in_flight[message.id]
        if work.resubmitted is None:
            self._events.append(message)
        elif message.id not in self._watch.in_flight:
            self._resubmit(*work.resubmitted)

    def _resubmit(self, work: SpeechWork | LockWork, expected_s: float) -> None:
        if self._pipe is not None:
            self._pipe.send(work)
            self._watch.in_flight[work.id] = _InFlight(expected_s=expected_s)

    def _bury(self, pipe: EnginePipe) -> None:
        """The process has closed its pipe or exited."""
        expected = self.state == "stopping"
        status = pipe.wait(DEATH_WAIT_S)
        if expected:
            self._drop_process()
        else:
            self._lose("died", describe_exit(status))

    def _enforce(self, pipe: EnginePipe, *, now_s: float) -> None:
        if now_s >= self._watch.next_look_s:
            self._watch.next_look_s = now_s + MEMORY_LOOK_INTERVAL_S
            self._look_at(pipe)
        allowed_s = self._allowed_silence_s()
        if self._pipe is None:
            return
        if self._watch.silent_s > allowed_s:
            self._lose("silent", f"The engine said nothing for {allowed_s:.0f} s and was killed.")
        elif self.state == "stopping" and self._watch.stopping_s > STOP_WAIT_S:
            self._drop_process()
        elif self._unload_after_s is not None and self._watch.idle_s >= self._unload_after_s:
            self.unload()

    def _look_at(self, pipe: EnginePipe) -> None:
        pipe.trim_log(MAX_LOG_BYTES)
        limit = self._memory_limit_bytes
        if limit is not None and (used := pipe.memory_bytes()) > limit:
            self._lose("memory", f"The engine grew to {used >> 20} MiB; its limit is {limit >> 20} MiB.")

    def _allowed_silence_s(self) -> float:
        if self.state == "loading" and not self._watch.in_flight:
            return self._deadlines.load_s
        longest_s = max((work.expected_s for work in self._watch.in_flight.values()), default=0.0)
        allowed_s = max(self._deadlines.silence_s, longest_s * self._deadlines.silence_per_expected)
        return max(allowed_s, self._deadlines.load_s) if self.state == "loading" else allowed_s

    def _lose(self, reason: LossReason, what: str) -> None:
        """Kill what is left of the process and report the loss."""
        works = self._watch.in_flight
        self._events.append(
            EngineLost(
                reason=reason,
                detail=what,
                in_flight=tuple(works),
                started=tuple(id_ for id_, work in works.items() if work.has_started),
                was_loading=self.state == "loading",
                output=self._pipe.log_tail() if self._pipe else "",
            )
        )
        self._drop_process()

    def _drop_process(self) -> None:
        if self._pipe is not None:
            if self._pipe.kill() is None:
                self._unreaped.append(self._pipe)  # stuck in the kernel; it dies when the kernel lets go
            self._pipe.close()
        self._pipe = None
        self._watch = _Watch()
        self.state, self.choice, self.facts = "stopped", None, None

    def _reap(self) -> None:
        self._unreaped = [pipe for pipe in self._unreaped if pipe.exit_status is None]


def default_memory_limit_bytes() -> int:
    """Limit of the engine's memory where the settings leave it to a rule."""
    return int(total_bytes() * MEMORY_SHARE)


def describe_exit(status: int | None) -> str:
    """The end of a process, in words."""
    if status is None:
        return "The engine closed its pipe and was killed."
    if status >= 0:
        return f"The engine exited with status {status}."
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    killed_by_system = " (often the system, short of memory)" if name == "SIGKILL" else ""
    return f"The engine was killed by {name}{killed_by_system}."
