"""`python -m models.processes.read_recording` < request > answer: a recording's file → its mended sound, or why not.

The request is JSON: `{"path", "transcript"}`. The answer is a line of JSON, `{"warnings": […]}` or `{"error": …}` with
code, message, hint and retryable, then the samples as float32. A process of its own, with limits: whatever a hostile
file does to the libraries and programs that read it, the runner goes on.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
from pathlib import Path

from models.audio.reference_check import read_reference
from registry.errors import VoiceJobsError

LONGEST_S = 150  # for all of it; a converter alone may take a minute, and two may be tried
MOST_MEMORY_BYTES = 6 << 30


def main() -> int:
    signal.alarm(LONGEST_S)  # also when nobody is left who would end it
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_S, LONGEST_S))  # of a converter, too
    if sys.platform == "linux":  # macOS knows no such limit
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    request = json.load(sys.stdin)
    try:
        waveform, warnings = read_reference(Path(request["path"]), transcript=request["transcript"])
    except VoiceJobsError as error:
        told = {"code": error.code, "message": error.message, "hint": error.hint, "retryable": error.retryable}
        _answer({"error": told})
        return 0
    _answer({"warnings": warnings}, waveform.tobytes())
    return 0


def _answer(header: object, samples: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + samples)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
