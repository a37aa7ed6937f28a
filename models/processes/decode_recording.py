"""`python -m models.processes.decode_recording` < request > answer: a recording of any length → a file of its samples.

The request is a line of JSON, `{"name", "path", "target"}`; the target appears with 16-bit samples, mono at 24 kHz, or
with `null` the recording is only judged. The answer is `{"said": […]}`, or an error as
`models/processes/one_answer.py` tells it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from models.audio.files import decode_in_blocks, read_bytes
from models.audio.foreign_formats import Conversion, converted_file, foreign_format
from models.processes.one_answer import answer_one
from models.protocol import Waveform
from registry.errors import storage_error

LONGEST_RECORDING_S = 6 * 3600.0
LONGEST_S = 900  # for all of it: sound is decoded some hundred times as fast as it is spoken
MOST_MEMORY_BYTES = 6 << 30


def main() -> int:
    return answer_one(_answer, longest_s=LONGEST_S, most_memory_bytes=MOST_MEMORY_BYTES)


def _answer(request: dict[str, Any]) -> tuple[object, bytes]:
    name = request["name"]
    content = _content(Path(request["path"]), name)
    if request["target"] is None:
        return {"said": decode_in_blocks(content, _forget, name=name, max_duration_s=LONGEST_RECORDING_S)}, b""
    target = Path(request["target"])
    try:
        with target.open("xb") as file:

            def write(block: Waveform) -> None:
                file.write((np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())

            said = decode_in_blocks(content, write, name=name, max_duration_s=LONGEST_RECORDING_S)
    except OSError as error:
        raise storage_error(error, f"writing the samples of {name}") from error
    return {"said": said}, b""


def _forget(_block: Waveform) -> None:
    """Nothing is kept of a recording that is only judged."""


def _content(path: Path, name: str) -> bytes:
    """The file, or where libsndfile does not read its kind, a WAV file made of it."""
    content = read_bytes(path)
    if (foreign := foreign_format(content)) is None:
        return content
    del content  # the converter reads the file itself
    wanted = Conversion(longest_s=LONGEST_RECORDING_S, is_speech=True)
    with converted_file(path, foreign, wanted, name=name) as wav:
        return read_bytes(wav, at_most=wanted.most_bytes + (1 << 20))


if __name__ == "__main__":
    sys.exit(main())
