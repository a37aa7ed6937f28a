"""A module that reads a file from outside → its answer, from a process of its own while the runner goes on.

Request and answer are files without a name, so nothing is left behind, whoever dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from models.errors import InvalidReferenceAudio
from registry.errors import StorageError, storage_error
from registry.jobs.values import JobError

DECODING = "models.processes.decode_recording"
LONGEST_DECODING_S = 960.0
PACKAGE_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A process's answer: a header and what follows it; or the error that it told; or why it told nothing."""

    header: Mapping[str, Any] | None = None
    content: bytes = b""
    error: JobError | None = None
    failure: str = ""


def refused_recording(reading: Reading, name: str) -> InvalidReferenceAudio:
    """The error of a recording that a process did not read."""
    if reading.error is not None:
        return InvalidReferenceAudio(reading.error.message, hint=reading.error.hint)
    message = f"The process that reads recordings could not read {name}: {reading.failure}."
    return InvalidReferenceAudio(message, hint="Convert it to WAV, and drop the job again.")


class ReadingProcess:
    """One file on its way. `poll` never waits."""

    def __init__(
        self,
        module: str,
        request: Mapping[str, Any],
        *,
        content: bytes = b"",
        folder: Path,
        longest_s: float,
        command: Sequence[str] | None = None,
    ) -> None:
        """Ask with a line of JSON and perhaps bytes; the answer is a line, `{"error": …}` or any other, and bytes.

        `command` runs the module in another environment than that of voicejobs.

        Raises StorageError.
        """
        self._ends_s = time.monotonic() + longest_s
        try:
            self._answer, self._said = _unnamed(folder), _unnamed(folder)
            with _unnamed(folder) as asked:
                asked.write(json.dumps(request).encode() + b"\n" + content)
                asked.seek(0)
                self._process = subprocess.Popen(
                    command or [sys.executable, "-m", module],
                    stdin=asked,
                    stdout=self._answer,
                    stderr=self._said,
                    cwd=PACKAGE_ROOT,  # not the instance: a folder `models` there would shadow our package
                    start_new_session=True,  # so that a converter is ended with it
                )
        except OSError as error:
            raise storage_error(error, "starting a process that reads") from error

    def poll(self) -> Reading | None:
        """The answer once it is there. Raises StorageError when the disk refused something."""
        code = self._process.poll()
        if code is None and time.monotonic() < self._ends_s:
            return None
        if code is None:
            self.close()
            return Reading(failure="it took too long")
        try:
            return self._read(code)
        finally:
            self.close()

    def wait(self) -> Reading:
        """The answer, for somebody who has nothing else to do."""
        self.wait_for_end(max(0.0, self._ends_s - time.monotonic()))
        reading = self.poll()
        assert reading is not None
        return reading

    def wait_for_end(self, longest_s: float) -> None:
        """Wait until `poll` has an answer, but not for longer."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(longest_s)

    def _read(self, code: int) -> Reading:
        self._answer.seek(0)
        try:
            header: dict[str, Any] = json.loads(self._answer.readline())
        except ValueError:
            self._said.seek(0)
            last = self._said.read()[-1000:].decode("utf-8", "replace").strip().splitlines()[-1:]
            return Reading(failure=last[0] if last else f"it ended with {code}")
        if (told := header.get("error")) is None:
            return Reading(header=header, content=self._answer.read())
        if told["retryable"]:
            raise StorageError(told["message"], hint=told["hint"])
        return Reading(error=JobError(code=told["code"], message=told["message"], hint=told["hint"]))

    def close(self) -> None:
        """End the process; what it has read is forgotten."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._answer.close()
        self._said.close()


def _unnamed(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder)
