"""A recording beside a job → its mended sound, read by a process of its own while the runner goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    warnings: tuple[str, ...] = ()
    error: JobError | None = None


class RecordingProcess:
    """One recording on its way. `poll` never waits."""

    def __init__(self, path: Path, *, transcript: str | None, folder: Path, longest_s: float = LONGEST_S) -> None:
        self._name = path.name
        request = {"path": str(path), "transcript": transcript}
        self._process = ReadingProcess(MODULE, request, folder=folder, longest_s=longest_s)

    def poll(self) -> Recording | None:
        """The recording once it is read. Raises StorageError when the disk refuses the answer."""
        reading = self._process.poll()
        return None if reading is None else self._recording(reading)

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
