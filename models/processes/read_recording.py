"""`python -m models.processes.read_recording` < request > answer: a recording → its mended sound, or why not.

The request is a line of JSON, `{"name", "path", "transcript", "must_speak", "is_kept"}`, and the recording's bytes
where `path` is null. With `is_kept` it is only decoded, as what was checked before. The answer is a line of JSON,
`{"warnings": […]}` or `{"error": …}` with code, message, hint and retryable, then the samples as float32. A process
of its own, with limits: whatever a hostile file does to the libraries and programs that read it, the runner goes on.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from models.audio.files import decode_audio
from models.audio.reference_check import read_reference
from models.protocol import Waveform
from registry.errors import VoiceJobsError

LONGEST_S = 150  # for all of it; a converter alone may take a minute, and two may be tried
MOST_MEMORY_BYTES = 6 << 30
LONGEST_KEPT_S = 300.0


def main() -> int:
    signal.alarm(LONGEST_S)  # also when nobody is left who would end it
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_S, LONGEST_S))  # of a converter, too
    if sys.platform == "linux":  # macOS knows no such limit
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    request = json.loads(sys.stdin.buffer.readline())
    try:
        waveform, warnings = _read(request)
    except VoiceJobsError as error:
        told = {"code": error.code, "message": error.message, "hint": error.hint, "retryable": error.retryable}
        _answer({"error": told})
        return 0
    _answer({"warnings": warnings}, waveform.tobytes())
    return 0


def _read(request: dict[str, Any]) -> tuple[Waveform, tuple[str, ...]]:
    name, path = request["name"], request["path"]
    source = sys.stdin.buffer.read() if path is None else Path(path)
    if request["is_kept"]:
        content = source if isinstance(source, bytes) else source.read_bytes()
        return decode_audio(content, name=name, max_duration_s=LONGEST_KEPT_S)[0], ()
    return read_reference(source, name=name, transcript=request["transcript"], must_speak=request["must_speak"])


def _answer(header: object, samples: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + samples)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
