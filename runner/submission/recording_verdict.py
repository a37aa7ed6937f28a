"""A job with a recording on a person's disk → what that would be refused for or warned of, read as the runner does.

This module starts a process, so that a hostile file costs the caller no memory.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from models.errors import InvalidReferenceAudio
from runner.engine.recording_process import LONGEST_S, Recording, RecordingProcess, RecordingRequest
from runner.jobfile.specs import AUTO_TRANSCRIPT, LockSpec, TranscribeSpec
from runner.reading_process import DECODING, LONGEST_DECODING_S, ReadingProcess, refused_recording


def recording_warnings(spec: LockSpec | TranscribeSpec, *, folder: Path) -> tuple[str, ...]:
    """Sentences on a job's recording in `folder`; none where it locks a candidate. Raises InvalidReferenceAudio."""
    if isinstance(spec, TranscribeSpec):
        return _said_of(folder.absolute() / spec.audio)
    if spec.audio is None:
        return ()
    transcript = None if spec.transcript == AUTO_TRANSCRIPT else spec.transcript
    path = folder.absolute() / spec.audio
    return read_recording(RecordingRequest(source=path, name=path.name, transcript=transcript)).warnings


def read_recording(request: RecordingRequest) -> Recording:
    """A recording, read by a process for somebody who waits. Raises InvalidReferenceAudio."""
    process = RecordingProcess(request, folder=Path(tempfile.gettempdir()))
    try:
        process.wait(LONGEST_S)
        recording = process.poll()
    finally:
        process.close()
    if recording is None:
        raise InvalidReferenceAudio(f"{request.name} could not be read within {LONGEST_S:g} s.")
    if recording.error is not None:
        raise InvalidReferenceAudio(recording.error.message, hint=recording.error.hint)
    return recording


def _said_of(path: Path) -> tuple[str, ...]:
    """Sentences on a recording that is to be transcribed, all of which is read."""
    request = {"name": path.name, "path": str(path), "target": None}
    folder = Path(tempfile.gettempdir())
    reading = ReadingProcess(DECODING, request, folder=folder, longest_s=LONGEST_DECODING_S).wait()
    if reading.header is None:
        raise refused_recording(reading, path.name)
    return tuple(reading.header["said"])
