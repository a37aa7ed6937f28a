"""A recording → its sound, read by a process of its own, or by a thread where it is ours, while the runner goes on.

Request and answer are files without a name, so nothing is left behind, whoever dies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import InvalidReferenceAudio
from models.protocol import Waveform
from registry.jobs.values import JobError
from runner.reading_process import Reading, ReadingProcess

LONGEST_S = 180.0
MODULE = "models.processes.read_recording"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording `(S,)` at 24 kHz, and what could be better about it; or why it cannot be used."""

    waveform: Waveform | None = None
    sha256: str | None = None  # of the object that it was read from, where it is in the store already
    warnings: tuple[str, ...] = ()
    error: JobError | None = None


@dataclass(frozen=True, kw_only=True)
class RecordingRequest:
    """A recording that somebody gave, as a file or its bytes, and what it is to be."""

    source: Path | bytes
    name: str
    transcript: str | None = None  # its words; None where they are not needed
    must_speak: bool = True  # else a sound that is no speech is only warned of
    is_kept: bool = False  # it is kept as it is: decoded, and neither mended nor judged

    def asked(self) -> dict[str, Any]:
        """Request as the process reads it; bytes of a recording follow it."""
        return {
            "name": self.name,
            "path": str(self.source) if isinstance(self.source, Path) else None,
            "transcript": self.transcript,
            "must_speak": self.must_speak,
            "is_kept": self.is_kept,
        }


class RecordingProcess:
    """One recording on its way. `poll` never waits."""

    def __init__(self, request: RecordingRequest, *, folder: Path, longest_s: float = LONGEST_S) -> None:
        self._name = request.name
        content = request.source if isinstance(request.source, bytes) else b""
        self._process = ReadingProcess(MODULE, request.asked(), content=content, folder=folder, longest_s=longest_s)

    def poll(self) -> Recording | None:
        """The recording once it is read. Raises StorageError when the disk refuses the answer."""
        reading = self._process.poll()
        return None if reading is None else self._recording(reading)

    def wait(self, longest_s: float) -> None:
        """Wait until `poll` has an answer, but not for longer."""
        self._process.wait_for_end(longest_s)

    def _recording(self, reading: Reading) -> Recording:
        if reading.header is not None:
            samples = np.frombuffer(reading.content, np.float32)
            return Recording(waveform=samples, warnings=tuple(reading.header["warnings"]))
        if reading.error is not None:
            return Recording(error=reading.error)
        message = f"The process that reads recordings could not read {self._name}: {reading.failure}."
        hint = "Convert it to WAV, and drop the job again."
        return Recording(error=JobError(code=InvalidReferenceAudio.code, message=message, hint=hint))

    def close(self) -> None:
        """End the process; what it has read is forgotten."""
        self._process.close()


class RecordingThread:
    """One recording of our own store on its way, as a RecordingProcess: it was checked before it came there."""

    def __init__(self, read: Callable[[], Recording], *, wake: Callable[[], None]) -> None:
        self._future: Future[Recording] = Future()
        self._thread = threading.Thread(target=self._run, args=(read, wake), name="recording", daemon=True)
        self._thread.start()

    def _run(self, read: Callable[[], Recording], wake: Callable[[], None]) -> None:
        try:
            self._future.set_result(read())
        except InvalidReferenceAudio as error:
            self._future.set_result(Recording(error=JobError.of(error)))
        except Exception as error:  # told by `poll`
            self._future.set_exception(error)
        wake()

    def poll(self) -> Recording | None:
        """The recording once it is read. Raises StorageError, NotFound, …"""
        return self._future.result() if self._future.done() else None

    def wait(self, longest_s: float) -> None:
        """Wait until `poll` has an answer, but not for longer."""
        self._thread.join(longest_s)

    def close(self) -> None:
        """Do nothing: it ends by itself, and nobody listens."""
