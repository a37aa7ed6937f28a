"""`--with-runner` → a process `voicejobs run` of our own, started again when it dies; another's runner is left alone.

This module starts a process.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from runner.config.instance import Instance
from runner.exit_codes import NEEDS_ACTION, RUNNER_ACTIVE, USAGE

logger = logging.getLogger(__name__)

LOOK_S = 0.5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
STABLE_S = 60.0  # a runner that lived so long was all right
STOP_WITHIN_S = 6.0


@dataclass(kw_only=True)
class RunnerProcess:
    """The runner that this server keeps alive while no other process is the instance's runner."""

    instance: Instance
    arguments: Sequence[str] = ()  # of voicejobs, before `run`
    _process: subprocess.Popen[bytes] | None = None
    _pause_s: float = FIRST_PAUSE_S
    _next_start_s: float = 0.0
    _started_s: float = 0.0
    _is_stopping: bool = field(default=False)

    async def run(self) -> None:
        """Look after the runner until cancelled."""
        while not self._is_stopping:
            self._look()
            await anyio.sleep(LOOK_S)

    def _look(self) -> None:
        now_s = time.monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._process = None
            self._after(code, now_s)
        if now_s >= self._next_start_s and not self.instance.runner_is_active():
            self._start(now_s)

    def _start(self, now_s: float) -> None:
        command = [sys.executable, "-m", "runner", *self.arguments, "run", "--quiet"]
        self._started_s = now_s
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        logger.info("started a runner: process %d", self._process.pid)

    def _after(self, code: int, now_s: float) -> None:
        """Decide when the next one is started: later and later, while they end soon."""
        if code == RUNNER_ACTIVE:
            logger.info("another runner is active; it is used")
            self._pause_s = FIRST_PAUSE_S
        elif now_s - self._started_s > STABLE_S:
            self._pause_s = FIRST_PAUSE_S
        else:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        if code in (USAGE, NEEDS_ACTION):
            self._pause_s = LONGEST_PAUSE_S
        self._next_start_s = now_s + self._pause_s
        logger.warning("the runner ended with %d; looking again in %.1f s", code, self._pause_s)

    def ask_to_stop(self) -> None:
        """Tell our runner to stop, and start no other."""
        self._is_stopping = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """End our runner; the next one finds everything as after a power cut if it does not end by itself."""
        self.ask_to_stop()
        if self._process is None:
            return
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
