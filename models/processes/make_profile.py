"""`python -m models.processes.make_profile` < request > answer: a recording and its words → a prompt with a profile.

The request is a line of JSON, `{"transcript", "language", "hub_cache"}`, and the samples as float32. The answer is a
line of JSON, `{}` or an error as `models/processes/one_answer.py` tells it, then the bytes of the prompt, with the
speaker profile of OuteTTS.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from models.mlx_audio.load import prepare_process
from models.mlx_audio.outetts import profile_of
from models.processes.one_answer import answer_one
from models.protocol import LockWork
from models.voices.recorded_prompt import RecordedPrompt

LONGEST_S = 280
MOST_MEMORY_BYTES = 32 << 30


def main() -> int:
    return answer_one(_answer, longest_s=LONGEST_S, most_memory_bytes=MOST_MEMORY_BYTES)


def _answer(request: dict[str, Any]) -> tuple[object, bytes]:
    waveform = np.frombuffer(sys.stdin.buffer.read(), np.float32)
    transcript, language = request["transcript"], request["language"]
    prepare_process(Path(request["hub_cache"]))
    with contextlib.redirect_stdout(sys.stderr):  # models print, and the answer is on standard output
        profile = profile_of(LockWork(id="profile", transcript=transcript, waveform=waveform, language=language))
    return {}, RecordedPrompt(waveform=waveform, transcript=transcript, profile=profile).to_bytes()


if __name__ == "__main__":
    sys.exit(main())
