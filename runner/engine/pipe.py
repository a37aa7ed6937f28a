"""One engine process and its two pipes: start it, send and receive messages without ever waiting, kill it.

This module starts processes. Nothing here knows about deadlines; that is `runner/engine/client.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import psutil

import models
from models.processes.wire import FrameReader, Message, Request, encode
from registry.durable_files import open_regular, regular_opener
from registry.errors import IN_THE_WAY

logger = logging.getLogger(__name__)

PACKAGE_ROOT = Path(models.__file__).parent.parent
ENGINE, LISTEN = "models.processes.engine", "models.processes.listen"
READ_BYTES = 1 << 18
RECEIVED_AT_ONCE_BYTES = 2 << 20
WIDE_PIPE_BYTES = 1 << 20
KILL_WAIT_S = 5.0
LOG_TAIL_BYTES = 4096


def command_of(module: str, python: str | None = None) -> tuple[str, ...]:
    """The command that runs a module of ours in a process, by voicejobs' own Python or by another one."""
    if python is None:
        return sys.executable, "-X", "faulthandler", "-m", module
    return python, "-I", "-X", "faulthandler", str(PACKAGE_ROOT / "models" / "processes" / "run_module.py"), module


class EnginePipe:
    """A running engine process. Messages go out through a thread, since a hanging engine never empties its pipe."""

    def __init__(self, *, command: Sequence[str], log_path: Path, environment: Mapping[str, str] | None = None) -> None:
        self.command, self.log_path = tuple(command), log_path
        self._log_start_bytes = log_path.stat().st_size if log_path.exists() else 0
        self._reader = FrameReader()
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.is_closed_by_engine = False
        lifeline, our_lifeline = os.pipe()
        requests_read, requests_write = os.pipe()
        self._replies_read, replies_write = os.pipe()
        os.set_blocking(self._replies_read, False)
        _widen(self._replies_read)
        try:
            self._process = self._start(command, (lifeline, requests_read, replies_write), environment)
        except BaseException:
            for descriptor in (our_lifeline, requests_write, self._replies_read):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (lifeline, requests_read, replies_write):
                os.close(descriptor)
        threading.Thread(
            target=_write_all, args=(self._outgoing, requests_write, our_lifeline), name="engine-writer", daemon=True
        ).start()

    def _start(
        self, command: Sequence[str], descriptors: tuple[int, ...], environment: Mapping[str, str] | None
    ) -> subprocess.Popen[bytes]:
        with self._opened_log() as log:
            return subprocess.Popen(
                [*command, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                close_fds=True,
                pass_fds=descriptors,
                cwd=PACKAGE_ROOT,  # not the instance: a folder `models` there would shadow our package
                env=environment,
                start_new_session=True,  # Ctrl-C is the runner's business; and the whole group can be killed
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while the process lives; then its exit status, negative for a signal. Reaps it."""
        return self._process.poll()

    def fileno(self) -> int:
        """A descriptor that is readable when the engine has sent something or is gone."""
        return self._replies_read

    def send(self, request: Request) -> None:
        """Send without waiting. Raises WireError for what cannot cross."""
        self._outgoing.put(encode(request))

    def receive(self) -> Iterator[Message]:
        """Messages that have arrived, up to a few megabytes: a fast engine must not fill the runner's memory.

        The pipe stays readable when there are more. Raises WireError when the engine sent rubbish.
        """
        received_bytes = 0
        while not self.is_closed_by_engine and received_bytes < RECEIVED_AT_ONCE_BYTES:
            try:
                content = os.read(self._replies_read, READ_BYTES)
            except BlockingIOError:
                return
            if not content:
                self.is_closed_by_engine = True
                return
            received_bytes += len(content)
            yield from self._reader.feed(content)

    def hang_up(self) -> None:
        """Close our writing end, which makes the engine exit at once."""
        self._outgoing.put(None)

    def kill(self) -> int | None:
        """End the process and whatever it started; returns its exit status, or None when even that hangs."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.hang_up()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_WAIT_S)
        return self._process.returncode

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, waiting for it for up to `timeout_s`; None when the process lives on."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self._process.returncode

    def close(self) -> None:
        """Close our reading end; call it last."""
        os.close(self._replies_read)

    def memory_bytes(self) -> int:
        """Resident memory of the process and its children; 0 when it is gone."""
        try:
            process = psutil.Process(self.pid)
            family = [process, *process.children(recursive=True)]
            return sum(member.memory_info().rss for member in family)
        except psutil.Error:
            return 0  # it died between two looks, which the pipe tells

    def _opened_log(self) -> BinaryIO:
        """Log to append to; nowhere, where something else has its name: work goes on, and the doctor names it."""
        try:
            return open(self.log_path, "ab", opener=regular_opener)
        except OSError as error:
            if error.errno not in IN_THE_WAY:
                raise
            logger.warning("what the engine prints is lost: %s: %s", self.log_path, error.strerror)
            return open(os.devnull, "ab")  # noqa: PTH123 - no path of ours

    def log_tail(self) -> str:
        """The last lines this process printed, for error messages."""
        try:
            with open_regular(self.log_path) as log:
                size = log.seek(0, os.SEEK_END)
                start = self._log_start_bytes if self._log_start_bytes <= size else 0
                log.seek(max(start, size - LOG_TAIL_BYTES))
                return log.read().decode("utf-8", "replace").strip()
        except OSError as error:
            return f"(no log: {error})"

    def trim_log(self, max_bytes: int) -> None:
        """Start the log again from its tail when it has outgrown `max_bytes`; the engine goes on appending."""
        try:
            if self.log_path.stat().st_size <= max_bytes:
                return
            tail = self.log_tail().encode()
            with open(self.log_path, "r+b", opener=regular_opener) as log:
                log.truncate(0)
                log.write(tail + b"\n")
        except OSError:
            return  # a log that cannot be trimmed now is tried again at the next look
        self._log_start_bytes = 0


def _widen(descriptor: int) -> None:
    """Let a pipe hold a whole line of speech, where the system allows it, so that the engine need not wait."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # beyond the user's quota: the usual size works too
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, WIDE_PIPE_BYTES)


def _write_all(outgoing: queue.SimpleQueue[bytes | None], descriptor: int, lifeline: int) -> None:
    """The writing thread: send frames until told to hang up, or until the engine is gone; then let go of it."""
    try:
        while (content := outgoing.get()) is not None:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
    except OSError:
        pass  # the engine died; whoever reads its pipe notices and says so
    finally:
        os.close(descriptor)
        os.close(lifeline)
