"""`python -m models.processes.read_recording` < request > answer: a recording → its mended sound, or why not.

The request is a line of JSON, `{"name", "path", "transcript", "must_speak", "is_kept"}`, and the recording's bytes
where `path` is null. With `is_kept` it is only decoded, as what was checked before. The answer is a line of JSON,
`{"warnings": […]}` or an error as `models/processes/one_answer.py` tells it, then the samples as float32.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from models.audio.files import decode_audio
from models.audio.reference_check import read_reference
from models.processes.one_answer import answer_one
from models.protocol import Waveform

LONGEST_S = 150  # for all of it; a converter alone may take a minute, and two may be tried
MOST_MEMORY_BYTES = 6 << 30
LONGEST_KEPT_S = 300.0


def main() -> int:
    return answer_one(_answer, longest_s=LONGEST_S, most_memory_bytes=MOST_MEMORY_BYTES)


def _answer(request: dict[str, Any]) -> tuple[object, bytes]:
    waveform, warnings = _read(request)
    return {"warnings": warnings}, waveform.tobytes()


def _read(request: dict[str, Any]) -> tuple[Waveform, tuple[str, ...]]:
    name, path = request["name"], request["path"]
    source = sys.stdin.buffer.read() if path is None else Path(path)
    if request["is_kept"]:
        content = source if isinstance(source, bytes) else source.read_bytes()
        return decode_audio(content, name=name, max_duration_s=LONGEST_KEPT_S)[0], ()
    return read_reference(source, name=name, transcript=request["transcript"], must_speak=request["must_speak"])


if __name__ == "__main__":
    sys.exit(main())
