"""The runner's loop: owns the instance, sleeps until something happens, ticks the worker, and stops when told.

It is woken by file events, by the engine's pipe, by signals, and at the latest when the worker's next step is due.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from registry.durable_files import FileLock
from registry.errors import Busy, RegistryLost
from registry.jobs.values import JobStatus
from registry.storage.held_files import LOOK_S, HeldFiles
from runner.config.instance import Instance
from runner.engine.client import EngineClient, default_memory_limit_bytes
from runner.errors import RunnerActive
from runner.exit_codes import INTERRUPTED, OK, STATUS_EXIT_CODES, TRY_AGAIN
from runner.hooks.rules import TIMEOUT_S
from runner.inbox.scanner import InboxScanner
from runner.inbox.watcher import InboxWatcher
from runner.worker.context import open_context
from runner.worker.worker import build_worker

logger = logging.getLogger(__name__)

DRAIN_S = 1.5  # how long lines in flight may still finish once the runner is told to stop
ENGINE_GRACE_S = 1.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_WITHIN_S = 4.0  # a step that takes longer, a line of minutes to write, is abandoned as by a power cut
WATCH_CHECK_S = 5.0
M_ARENA_MAX = -8  # as in glibc's malloc.h
HEAPS = 2
NOTICES_S = 1.0
UNTIL_LOOK_S = 0.1  # how often a caller is asked whether it has what it waited for


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Outcomes of a run."""

    outcomes: dict[JobStatus, int]  # how many jobs ended how
    work_waits: bool
    interrupted: bool  # stopped by a signal

    @property
    def exit_code_once(self) -> int:
        """Exit code of `run --once`."""
        worst = max((STATUS_EXIT_CODES[outcome] for outcome in self.outcomes), default=OK)
        return worst or (TRY_AGAIN if self.work_waits else OK)


class Waker:
    """A pipe that other threads and signal handlers write to, so that a waiting selector returns."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        return self._read

    def wake(self) -> None:
        """Any thread may call; a full pipe wakes as well as one more byte would."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._write, b"w")

    def clear(self) -> None:
        """Empty the pipe."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


class Runner:
    """One owned instance at work. Use as a context manager; raises RunnerActive when another process owns it."""

    def __init__(self, instance: Instance, *, stopped_code: int = OK) -> None:
        """`stopped_code` is the exit code of a process that SIGTERM ended in the middle of a long step."""
        _share_heaps()
        self.instance, self._stopped_code = instance, stopped_code
        self._lock: FileLock = instance.own()
        settings = instance.settings
        self._waker = Waker()
        self._inbox_events = False
        try:
            self.context = open_context(instance)
        except BaseException:
            self._lock.release()  # this process may live on
            raise
        self._held = HeldFiles(self.context.database, self._lock, root=instance.root)
        self.scanner = InboxScanner(instance)
        self.engine = EngineClient(
            log_path=instance.logs_dir / "engine.log",
            memory_limit_bytes=settings.engine_memory_limit_bytes or default_memory_limit_bytes(),
            unload_after_s=settings.unload_after_s or None,
        )
        self.worker = build_worker(self.context, self.engine, self.scanner, wake=self._waker.wake)
        self._watcher = (
            InboxWatcher(instance.inbox, moved=self.scanner.note_moved, wake=self._on_inbox_event)
            if settings.watch_events
            else None
        )
        self._next_watch_check_s = 0.0
        self._signals = 0
        self._last_resort: threading.Timer | None = None
        self.last_signal: int | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the engine and give the instance back."""
        if self._watcher is not None:
            self._watcher.close()
        self.worker.close()
        self.engine.stop(ENGINE_GRACE_S)
        self.context.database.close()
        self._waker.close()
        self._held.release()
        if self._last_resort is not None:
            self._last_resort.cancel()

    def run(
        self,
        *,
        until: Callable[[], bool] | None = None,
        unless_hopeless: bool = False,
        notices_s: float = NOTICES_S,
    ) -> RunResult:
        """Work until `until()` or a signal says stop; None: until a signal.

        After `until()`, notices may still be delivered for `notices_s`; the next runner delivers the others. With
        `unless_hopeless`, raises the error for which all work is put aside when no further try can help.
        """
        with self._handled_signals():
            gc.freeze()  # what was imported stays: collections need not look at it again and again
            self.worker.recover(time.monotonic())
            while not self._signals:
                self._tick()
                if until is not None and until():
                    break
                pause = self.worker.pause
                if unless_hopeless and pause.is_hopeless and pause.error is not None and not pause.error.retryable:
                    raise pause.error
                due_s = self.worker.next_tick_s(time.monotonic())
                self._sleep(due_s if until is None else min(due_s, UNTIL_LOOK_S))
            if self._signals:
                self._drain()
            else:
                self.worker.tidy_up()
                self.worker.finisher.notices.settle(at_most_s=notices_s)
        return RunResult(
            outcomes=dict(self.worker.outcomes),
            work_waits=self.worker.work_waits(),
            interrupted=self._signals > 0,
        )

    def run_once(self) -> RunResult:
        """Work until nothing is left that can be done now."""
        return self.run(until=self.is_drained, notices_s=TIMEOUT_S + NOTICES_S)

    def is_drained(self) -> bool:
        """Whether inbox and ledger hold nothing that could be worked on at this moment."""
        return self.worker.is_drained()

    def _tick(self) -> None:
        now_s = time.monotonic()
        self._check_held_files(now_s)
        self._watch(now_s)
        if self._inbox_events:
            self._inbox_events = False
            self.worker.look_at_inbox()
        self.worker.tick(now_s)

    def _check_held_files(self, now_s: float) -> None:
        try:
            if mended := self._held.check(now_s):
                logger.warning("%s", mended)
        except Busy as error:
            hint = "One runner is enough: this one stops. Nothing may remove that file."
            raise RunnerActive(f"The lock was replaced under this runner. {error.message}", hint=hint) from None
        except RegistryLost as error:
            logger.critical("%s Stopping.", error)
            raise

    def _sleep(self, seconds: float) -> None:
        seconds = min(seconds, LOOK_S)
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker.fileno(), selectors.EVENT_READ)
            engine = self.engine.fileno()
            if engine is not None:
                selector.register(engine, selectors.EVENT_READ)
            selector.select(max(0.0, seconds))
        self._waker.clear()

    def _watch(self, now_s: float) -> None:
        if self._watcher is not None and now_s >= self._next_watch_check_s:
            self.worker.hears_requests = self._watcher.ensure()
            self._next_watch_check_s = now_s + WATCH_CHECK_S

    def _on_inbox_event(self) -> None:
        self._inbox_events = True
        self._waker.wake()

    def _drain(self) -> None:
        """Let work in flight finish, for a moment; the next runner begins the rest again."""
        self.worker.stop()
        logger.info("stopping")
        end_s = time.monotonic() + DRAIN_S
        while self.worker.is_busy and self._signals < 2:
            self.worker.tick(time.monotonic())
            rest_s = end_s - time.monotonic()
            if rest_s <= 0:
                return
            self._sleep(min(rest_s, self.worker.next_tick_s(time.monotonic())))

    @contextlib.contextmanager
    def _handled_signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP stop the loop; another of the first two ends the process at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # as by nohup
        before = {number: signal.signal(number, self._on_signal) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self._signals:
            return  # a terminal that closes may say so twice
        self._signals += 1
        self.last_signal = number
        if self._signals > 1:
            os._exit(128 + number)  # the ledger is consistent at every moment, and the engine follows its pipe
        code = INTERRUPTED if number == signal.SIGINT else self._stopped_code
        self._last_resort = threading.Timer(STOP_WITHIN_S, os._exit, [code])
        self._last_resort.daemon = True
        self._last_resort.start()
        self._waker.wake()


def _share_heaps() -> None:
    """Have glibc share heaps among threads: else each thread keeps one at its largest size."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library has other habits
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, HEAPS)
