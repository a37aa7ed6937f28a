"""A recording beside a job → its mended sound, read by a process of its own while the runner goes on.

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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from models.errors import InvalidReferenceAudio
from models.protocol import Waveform
from registry.errors import StorageError, storage_error
from registry.jobs.values import JobError
from runner.engine.pipe import PACKAGE_ROOT

LONGEST_S = 180.0
MODULE = "models.processes.read_recording"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording `(S,)` at 24 kHz, and what could be better about it; or why it cannot be used."""

    waveform: Waveform | None = None
    warnings: tuple[str, ...] = ()
    error: JobError | None = None


class RecordingProcess:
    """One recording on its way. `poll` never waits."""

    def __init__(self, path: Path, *, transcript: str | None, folder: Path, longest_s: float = LONGEST_S) -> None:
        self._name = path.name
        self._ends_s = time.monotonic() + longest_s
        try:
            self._answer, self._said = _unnamed(folder), _unnamed(folder)
            with _unnamed(folder) as request:
                request.write(json.dumps({"path": str(path), "transcript": transcript}).encode())
                request.seek(0)
                self._process = subprocess.Popen(
                    [sys.executable, "-m", MODULE],
                    stdin=request,
                    stdout=self._answer,
                    stderr=self._said,
                    cwd=PACKAGE_ROOT,  # not the instance: a folder `models` there would shadow our package
                    start_new_session=True,  # so that a converter is ended with it
                )
        except OSError as error:
            raise storage_error(error, f"reading {path.name}") from error

    def poll(self) -> Recording | None:
        """The recording once it is read. Raises StorageError when the disk refuses the answer."""
        code = self._process.poll()
        if code is None and time.monotonic() < self._ends_s:
            return None
        if code is None:
            self.close()
            return self._failed("it took too long")
        try:
            return self._read(code)
        finally:
            self.close()

    def _read(self, code: int) -> Recording:
        self._answer.seek(0)
        try:
            header: dict[str, Any] = json.loads(self._answer.readline())
        except ValueError:
            self._said.seek(0)
            last = self._said.read()[-1000:].decode("utf-8", "replace").strip().splitlines()[-1:]
            return self._failed(last[0] if last else f"it ended with {code}")
        if (told := header.get("error")) is not None:
            if told["retryable"]:
                raise StorageError(told["message"], hint=told["hint"])
            return Recording(error=JobError(code=told["code"], message=told["message"], hint=told["hint"]))
        samples = np.frombuffer(self._answer.read(), np.float32)
        return Recording(waveform=samples, warnings=tuple(header["warnings"]))

    def _failed(self, why: str) -> Recording:
        message = f"The process that reads recordings could not read {self._name}: {why}."
        hint = "Convert it to WAV, and drop the job again."
        return Recording(error=JobError(code=InvalidReferenceAudio.code, message=message, hint=hint))

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
