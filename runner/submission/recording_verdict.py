"""A lock job on a person's disk → what its recording would be refused for or warned of, read as the runner reads it.

This module starts a process, so that a hostile file costs the caller no memory.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from models.errors import InvalidReferenceAudio
from runner.engine.recording_process import LONGEST_S, RecordingProcess, RecordingRequest
from runner.jobfile.specs import AUTO_TRANSCRIPT, LockSpec


def recording_warnings(spec: LockSpec, *, folder: Path) -> tuple[str, ...]:
    """Sentences on a lock's recording in `folder`; none where it locks a candidate. Raises InvalidReferenceAudio."""
    if spec.audio is None:
        return ()
    transcript = None if spec.transcript == AUTO_TRANSCRIPT else spec.transcript
    path = folder.absolute() / spec.audio
    request = RecordingRequest(source=path, name=path.name, transcript=transcript)
    process = RecordingProcess(request, folder=Path(tempfile.gettempdir()))
    try:
        process.wait(LONGEST_S)
        recording = process.poll()
    finally:
        process.close()
    if recording is None:
        raise InvalidReferenceAudio(f"{path.name} could not be read within {LONGEST_S:g} s.")
    if recording.error is not None:
        raise InvalidReferenceAudio(recording.error.message, hint=recording.error.hint)
    return recording.warnings
