"""The engine process: requests on one pipe → speech on another.

Run as `python -m models.processes.engine LIFELINE READ WRITE`: three inherited file descriptors. Stdin, stdout and
stderr carry no protocol, so stray prints are harmless. The main thread does all engine work, because MLX and eSpeak
want one thread; a second thread reads the pipe and ends the process as soon as it closes, even in the middle of a line.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from models.errors import EngineFailure, ModelChanged, WireError
from models.processes.open_engine import open_engine
from models.processes.requests import Requests, take_pipe, write_all
from models.processes.timed_speech import TimedSpeech
from models.processes.wire import MAX_BLOB_BYTES, Hello, Load, LoadFailed, Ready, Reply, encode
from models.protocol import (
    PROTOCOL_VERSION,
    SAMPLE_RATE_HZ,
    Engine,
    LockDone,
    LockWork,
    Progress,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    Waveform,
    WorkFailed,
)
from registry.errors import VoiceJobsError

PIECE_SAMPLES = 2 * SAMPLE_RATE_HZ
WHOLE_SAMPLES = 60 * SAMPLE_RATE_HZ  # a take up to this, to which nobody listens, crosses in one message: it costs less
MOST_SAMPLES = MAX_BLOB_BYTES // 4  # 46 minutes: far beyond one line
PROGRESS_INTERVAL_S = 0.2  # between two progress messages of one piece of work
CANCELLED = "cancelled"


class EngineProcess:
    """Requests → answers, one after another, with at most one open engine."""

    def __init__(self, *, write_descriptor: int, requests: Requests) -> None:
        self._write_descriptor = write_descriptor
        self._requests = requests
        self._engine: Engine | None = None
        self._running: dict[str, SpeechWork | LockWork] = {}  # work that the engine has started and not answered
        self._sent_samples: dict[str, int] = {}  # of that work, in pieces
        self._timed: dict[str, TimedSpeech] = {}  # by the ids of its parts that the engine has
        self._partly_given: list[TimedSpeech] = []  # has parts that the engine has not
        self._timed_before = 0
        self._reported_s: dict[str, float] = {}  # time of the last message to the runner about a piece of work
        self._has_changed = False  # the model's files are no longer those that were loaded

    def serve(self) -> None:
        """Answer requests until the reading thread ends the process."""
        self._send(Hello(protocol_version=PROTOCOL_VERSION, pid=os.getpid()))
        while True:
            message = self._requests.take()
            if isinstance(message, Load):
                self._load(message)
            elif isinstance(message, LockWork):
                self._lock(message)
            elif isinstance(message, SpeechWork):
                self._speak(message)
            else:
                raise WireError(f"The runner sent a {type(message).__name__}, which is no request.")
            if self._has_changed:
                print("The files of the model have changed: this engine ends, and the next one loads them.", flush=True)
                os._exit(os.EX_TEMPFAIL)

    def _send(self, reply: Reply) -> None:
        self._write(encode(reply))

    def _write(self, content: bytes) -> None:
        write_all(self._write_descriptor, content)

    def _answer(self, answer: SpeechDone | LockDone | WorkFailed) -> None:
        """Send the engine's answer to a piece of work; an invalid one becomes a failure."""
        self._has_changed |= isinstance(answer, WorkFailed) and answer.code == ModelChanged.code
        if answer.id not in self._running:
            raise EngineFailure(f"The engine answered {answer.id!r}, which was not requested or is answered already.")
        try:
            content = encode(self._without_pieces(checked(answer)))
        except EngineFailure as error:
            content = encode(failure_of(answer.id, error))
        del self._running[answer.id]
        self._timed = {part: timed for part, timed in self._timed.items() if timed.work.id != answer.id}
        self._sent_samples.pop(answer.id, None)
        self._reported_s.pop(answer.id, None)
        self._requests.forget(answer.id)
        self._write(content)

    def _without_pieces(self, answer: SpeechDone | LockDone | WorkFailed) -> SpeechDone | LockDone | WorkFailed:
        """The answer, after its waveform has been sent in pieces, where it is live, long, or came in pieces before."""
        if not isinstance(answer, SpeechDone) or answer.finish_reason == CANCELLED:
            return answer
        work, waveform = self._running[answer.id], answer.waveform
        is_live = isinstance(work, SpeechWork) and work.live
        if not (is_live or waveform.size > WHOLE_SAMPLES or answer.id in self._sent_samples):
            return answer
        for start in range(0, waveform.size, PIECE_SAMPLES):
            self._send_piece(SpeechPiece(id=answer.id, waveform=waveform[start : start + PIECE_SAMPLES]))
        return replace(answer, waveform=np.zeros(0, np.float32), piece_samples=self._sent_samples.get(answer.id, 0))

    def _send_piece(self, piece: SpeechPiece) -> None:
        """Send samples of work that goes on. Raises EngineFailure when they break the protocol."""
        if piece.id not in self._running:
            raise EngineFailure(f"The engine speaks {piece.id!r}, which was not requested or is answered already.")
        check_waveform(piece.waveform)
        samples = self._sent_samples.get(piece.id, 0) + piece.waveform.size
        if samples > MOST_SAMPLES:
            raise WireError(f"A take of more than {MOST_SAMPLES} samples is too large for the pipe.")
        self._sent_samples[piece.id] = samples
        self._reported_s[piece.id] = time.monotonic()
        self._send(piece)

    def _load(self, request: Load) -> None:
        try:
            if self._engine is not None:
                self._engine.close()
            self._engine = None
            gc.collect()  # the old model's memory must be free before the new one asks for its own
            self._engine = open_engine(request.choice)
            self._send(Ready(facts=self._engine.facts()))
        except VoiceJobsError as error:
            self._send(LoadFailed(code=error.code, message=error.message, hint=error.hint, retryable=error.retryable))
        except Exception as error:
            traceback.print_exc()
            message = f"Loading {request.choice.model or request.choice.engine} failed: {error!r}."
            self._send(LoadFailed(code=EngineFailure.code, message=message, retryable=True))

    def _opened(self) -> Engine:
        if self._engine is None:
            raise EngineFailure("No model is loaded.")
        return self._engine

    def _start(self, work: SpeechWork | LockWork) -> bool:
        """Tell the runner that this work starts; if it was cancelled before, answer it at once and return false."""
        self._running[work.id] = work
        if self._requests.is_cancelled(work.id):
            self._answer(cancelled(work))
            return False
        self._reported_s[work.id] = time.monotonic()
        self._send(Progress(id=work.id, frames=0))
        return True

    def _lock(self, work: LockWork) -> None:
        if not self._start(work):
            return
        try:
            self._answer(self._opened().lock(work))
        except Exception as error:
            self._fail_running(error)

    def _speak(self, first: SpeechWork) -> None:
        """Render `first`, and whatever speech comes in meanwhile, as one running batch."""
        if not self._start(first):
            return
        failure: Exception = EngineFailure("The engine ended without an answer.")
        try:
            feed = _Feed(self, self._part_of(first))
            for outcome in self._opened().speak(feed, progress=self._progress):
                timed = self._timed.get(outcome.id)
                for answer in timed.add(outcome) if timed is not None else (outcome,):
                    self._pass_on(answer)
        except Exception as error:
            failure = error
        self._fail_running(failure)

    def _pass_on(self, answer: SpeechDone | SpeechPiece | WorkFailed) -> None:
        if isinstance(answer, SpeechPiece):
            self._send_piece(answer)
        else:
            self._answer(answer)

    def _part_of(self, work: SpeechWork) -> SpeechWork:
        """The first part of a text with pauses in it; any other work itself."""
        if not work.pauses:
            return work
        self._timed_before += 1
        timed = TimedSpeech(work=work, number=self._timed_before)
        self._partly_given.append(timed)
        return self._next_part_of(timed)

    def _next_part_of(self, timed: TimedSpeech) -> SpeechWork:
        part = timed.next_part()
        self._timed[part.id] = timed
        return part

    def _next_part(self, *, live: bool = False) -> SpeechWork | None:
        """The next part of a text with pauses that has been begun."""
        self._partly_given = [timed for timed in self._partly_given if timed.waiting]
        timed = next((timed for timed in self._partly_given if timed.work.live or not live), None)
        return self._next_part_of(timed) if timed is not None else None

    def next_speech(self) -> SpeechWork | None:
        """Speech that waits, or None while there are only the running rows.

        Raises StopIteration when something else waits (a lock, another model), when nothing runs any more, and with
        the model.
        """
        while not self._has_changed:
            if (part := self._next_part()) is not None:
                return part
            message = self._requests.peek()
            if isinstance(message, SpeechWork):
                self._requests.take()
                if self._start(message):
                    return self._part_of(message)
            elif message is not None or not self._running:
                break
            else:
                return None
        raise StopIteration

    def next_live(self) -> SpeechWork | None:
        """Live speech that waits."""
        if not self._has_changed and (part := self._next_part(live=True)) is not None:
            return part
        while not self._has_changed and (work := self._requests.take_live()) is not None:
            if self._start(work):
                return self._part_of(work)
        return None

    def _progress(self, work_id: str, frames: int) -> bool:
        now_s = time.monotonic()
        timed = self._timed.get(work_id)
        if timed is not None:
            timed.frames[work_id] = frames
            work_id, frames = timed.work.id, sum(timed.frames.values())
        if now_s - self._reported_s.get(work_id, now_s) >= PROGRESS_INTERVAL_S:
            self._reported_s[work_id] = now_s
            self._send(Progress(id=work_id, frames=frames))
        return not (self._requests.is_cancelled(work_id) or (timed is not None and timed.is_given_up))

    def _fail_running(self, error: Exception) -> None:
        """Answer the work that the engine left unanswered."""
        self._partly_given.clear()
        for work_id in sorted(self._running):
            self._answer(failure_of(work_id, error))


class _Feed:
    """The `WorkFeed` of one running batch."""

    def __init__(self, process: EngineProcess, first: SpeechWork) -> None:
        self._process = process
        self._first: SpeechWork | None = first

    def __iter__(self) -> Iterator[SpeechWork | None]:
        return self

    def __next__(self) -> SpeechWork | None:
        first, self._first = self._first, None
        return first or self._process.next_speech()

    def next_live(self) -> SpeechWork | None:
        return self._process.next_live()


def checked(answer: SpeechDone | LockDone | WorkFailed) -> SpeechDone | LockDone | WorkFailed:
    """The answer itself. Raises EngineFailure when it breaks the protocol."""
    if isinstance(answer, SpeechDone):
        check_waveform(answer.waveform)
        if answer.waveform.size > MOST_SAMPLES:
            raise WireError(f"A take of {answer.waveform.size} samples is too large for the pipe.")
    return answer


def check_waveform(waveform: Waveform) -> None:
    """Raises EngineFailure for anything but float32 `(S,)`."""
    if waveform.dtype != np.float32 or waveform.ndim != 1:
        raise EngineFailure(f"The engine made a waveform of {waveform.dtype} {waveform.shape} instead of float32 (S,).")


def cancelled(work: SpeechWork | LockWork) -> SpeechDone | WorkFailed:
    """The answer to work that was cancelled before it began."""
    if isinstance(work, LockWork):
        return WorkFailed(id=work.id, code=CANCELLED, message="Cancelled before it began.", retryable=True)
    nothing = np.zeros(0, np.float32)
    return SpeechDone(
        id=work.id, waveform=nothing, frames=0, finish_reason=CANCELLED, seed=work.seed, render_s=0.0, batch=1
    )


def failure_of(work_id: str, error: Exception) -> WorkFailed:
    """An exception as the answer to a piece of work. One outside our tree is a bug; its trace is printed."""
    if isinstance(error, VoiceJobsError):
        return WorkFailed.from_error(work_id, error)
    traceback.print_exception(error)
    return WorkFailed(id=work_id, code=EngineFailure.code, message=f"The engine failed: {error!r}.", retryable=True)


def main(arguments: list[str]) -> None:
    """Serve the pipe whose descriptors are given, until it closes."""
    requests, write_descriptor = take_pipe(arguments)
    EngineProcess(write_descriptor=write_descriptor, requests=requests).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
