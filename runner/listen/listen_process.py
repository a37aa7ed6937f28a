"""Takes → when their words are spoken, by a process of its own that is started when it is needed.

Any thread may ask and waits for the answer; questions take turns. A process that dies, hangs or grows too large is
ended, and another one asked the same; when that ends over it too, the question gets an error.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from models.errors import EngineFailure, WireError
from models.listen.recognisers import check_aligner, memory_bytes
from models.listen.values import Hear, Heard, TimedWord, TimeWords, WordsTimed
from models.processes.wire import Hello, Message, Request
from models.protocol import SAMPLE_RATE_HZ, Waveform, WorkFailed
from registry.errors import VoiceJobsError
from runner.engine.pipe import LISTEN, EnginePipe, command_of
from runner.listen.weights import Weights

LONGEST_START_S, LONGEST_S, LONGEST_PER_SECOND = 60.0, 60.0, 2.0
LOOK_S = 0.5
LEAST_MEMORY_BYTES, MEMORY_PER_SAMPLE_BYTES = 6 << 30, 64  # the largest Whisper model takes 4 GB


class ListeningFailed(EngineFailure):
    """An error of the recogniser's own, or of its weights; the process lives."""

    def __init__(self, message: str, *, hint: str, code: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]  # the receipt names it


class ListenProcess:
    """The process that listens to takes, where one is running."""

    def __init__(
        self,
        *,
        log_path: Path,
        unload_after_s: float | None,
        weights: Weights,
        wake: Callable[[], None],
        memory_factor: float = 1.0,
        aligner: str = "",
    ) -> None:
        self._log_path, self._unload_after_s = log_path, unload_after_s
        self._weights, self._wake, self._memory_factor = weights, wake, memory_factor
        self.aligner = aligner  # of words; "" = eSpeak NG
        self._room = threading.Condition()
        self._waiting: list[int] = []  # bytes that each hearing needs which waits for its turn
        self._hearings = 0
        self.may_hear = False  # the main thread says when
        self._turn = threading.Lock()
        self._pipe: EnginePipe | None = None
        self._asked = 0
        self._used_s = 0.0
        self.is_closed = False

    def word_times(self, take: Path, *, samples: int, text: str, spoken: str, language: str) -> tuple[TimedWord, ...]:
        """The words of a text in a take's file of so many samples. Raises EngineFailure."""
        ready = self._ready(self.aligner, what="aligner")
        with self._turn_of(ready):
            answer = self._ask(
                lambda number: TimeWords(
                    id=number, path=str(take), text=text, spoken=spoken, language=language, aligner=ready
                ),
                samples,
                recogniser=ready,
            )
        assert isinstance(answer, WordsTimed)
        return answer.words

    def hear(
        self,
        waveform: Waveform,
        *,
        recogniser: str,
        language: str = "auto",
        expected: str = "",
        rates: bool = False,
        finds_end: bool = False,
    ) -> Heard:
        """Words in `(S,)`, compared with the text that it should say, where one is given, and rated if wanted.

        Raises EngineFailure, with the recogniser's own sentence where it cannot be opened.
        """
        ready = self._ready(recogniser, what="recogniser")
        try:
            with self._turn_of(ready):
                answer = self._ask(
                    lambda number: Hear(
                        id=number,
                        waveform=waveform,
                        recogniser=ready,
                        language=language,
                        expected=expected,
                        rates=rates,
                        finds_end=finds_end,
                    ),
                    waveform.size,
                    recogniser=ready,
                )
        except ListeningFailed:
            self._weights.forget(recogniser)
            raise
        assert isinstance(answer, Heard)
        return answer

    def _ready(self, name: str, *, what: str) -> str:
        """The model with the folder of its weights; "" where none is asked for."""
        try:
            if name and what == "aligner":
                check_aligner(name)
            return self._weights.ready(name, is_stopping=lambda: self.is_closed) if name else ""
        except EngineFailure:
            raise
        except VoiceJobsError as error:
            message = f"The {what} {name} cannot be used: {error.message}"
            raise ListeningFailed(message, hint=error.hint, code=error.code) from error

    # ---- memory for a recogniser, beside that for a speech model ------------------------------------------------

    def _turn_of(self, recogniser: str) -> contextlib.AbstractContextManager[None]:
        """Wait until a recogniser may be in memory. Raises EngineFailure when the runner stops."""
        if not recogniser:
            return contextlib.nullcontext()  # what rates alone is small
        return self.turn(memory_bytes(recogniser))

    @contextlib.contextmanager
    def turn(self, model_bytes: int, *, is_over: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Wait until a model of so many bytes may be in memory. Raises EngineFailure when the runner stops."""
        needed_bytes = round(model_bytes * self._memory_factor)
        with self._room:
            self._waiting.append(needed_bytes)
            try:
                self._wake()
                while not self.may_hear:
                    if self.is_closed or is_over():
                        raise EngineFailure("The runner is stopping.")
                    self._room.wait(LOOK_S)
            finally:
                self._waiting.remove(needed_bytes)
            self._hearings += 1
        try:
            yield
        finally:
            with self._room:
                self._hearings -= 1

    @property
    def wanted_bytes(self) -> int | None:
        """Memory for the recogniser that somebody waits for; None where nobody does."""
        with self._room:
            return max(self._waiting, default=None)

    @property
    def is_wanted(self) -> bool:
        """Whether something is being heard, or is to be."""
        with self._room:
            return bool(self._waiting or self._hearings)

    def begin_turn(self) -> None:
        """Let those go on who wait for a recogniser."""
        with self._room:
            self.may_hear = True
            self._room.notify_all()

    def end_turn(self) -> bool:
        """End the process, and with it its recogniser; False while something is being heard."""
        with self._room:
            if self._hearings or not self._turn.acquire(blocking=False):
                return False
            self.may_hear = False
        try:
            self._end()
        finally:
            self._turn.release()
        return True

    def tick(self, now_s: float) -> None:
        """End a process that nobody has asked for a while."""
        is_idle = self._unload_after_s is not None and now_s - self._used_s > self._unload_after_s
        if is_idle and self._pipe is not None:
            self.end_turn()

    def close(self) -> None:
        """End the process at once, also under a question: it fails."""
        self.is_closed = True
        if (pipe := self._pipe) is not None:
            pipe.kill()
        with self._turn:
            self._end()

    def __del__(self) -> None:
        self._end()  # a process does not outlive who would ask it

    def _ask(self, question: Callable[[str], Request], samples: int, *, recogniser: str = "") -> Message:
        """The answer to a question about so many samples; a process that ends over it is replaced once."""
        with self._turn:
            try:
                answer = self._answered(question, samples, recogniser)
            except EngineFailure:
                if self.is_closed:
                    raise
                answer = self._answered(question, samples, recogniser)
            self._used_s = time.monotonic()
        if isinstance(answer, WorkFailed):
            raise ListeningFailed(answer.message, hint=answer.hint, code=answer.code)
        return answer

    def _answered(self, question: Callable[[str], Request], samples: int, recogniser: str) -> Message:
        if self.is_closed:
            raise EngineFailure("The runner is stopping.")
        try:
            self._asked += 1
            pipe = self._started(recogniser)
            pipe.send(question(f"listen-{self._asked}"))
            longest_s = LONGEST_S + LONGEST_PER_SECOND * samples / SAMPLE_RATE_HZ
            weights_bytes = memory_bytes(recogniser) if recogniser else 0
            most_bytes = max(LEAST_MEMORY_BYTES, 2 * weights_bytes) + MEMORY_PER_SAMPLE_BYTES * samples
            return self._received(pipe, longest_s, most_bytes)
        except BaseException:
            self._end()
            raise

    def _started(self, recogniser: str) -> EnginePipe:
        """The running process; another one where a recogniser needs another Python. What needs none takes any."""
        python = self._weights.python_of(recogniser) if recogniser else None
        command = command_of(LISTEN, None if python is None else str(python))
        if self._pipe is not None and recogniser and self._pipe.command != command:
            self._end()
        if self._pipe is None:
            self._pipe = EnginePipe(command=command, log_path=self._log_path)
            if not isinstance(self._received(self._pipe, LONGEST_START_S, LEAST_MEMORY_BYTES), Hello):
                raise WireError("The process that listens did not say hello.")
        return self._pipe

    def _received(self, pipe: EnginePipe, longest_s: float, most_bytes: int) -> Message:
        """The next message. Raises EngineFailure when the process dies, hangs or grows too large before."""
        ends_s = time.monotonic() + longest_s
        while time.monotonic() < ends_s:
            select.select([pipe.fileno()], [], [], LOOK_S)
            for message in pipe.receive():
                return message
            if self.is_closed:
                raise EngineFailure("The runner is stopping.")
            if pipe.is_closed_by_engine:
                last = pipe.log_tail().splitlines()[-1:]
                raise EngineFailure(f"The process that listens died. {' '.join(last)}".strip())
            if (memory_bytes := pipe.memory_bytes()) > most_bytes:
                raise EngineFailure(f"The process that listens took {memory_bytes >> 20} MB, and was ended.")
        raise EngineFailure(f"The process that listens gave no answer in {longest_s:.0f} s.")

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.kill()
            self._pipe.close()
            self._pipe = None
