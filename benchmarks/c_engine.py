"""The C engine (gabriele-mastrapasqua/qwen3-tts) and a text → frames and seconds, as its own output states them.

Each line is a process of its own, which maps the checkpoint anew; only what it says it took for the prompt, the frames
and the rest of the decoder counts. Its prompt and sampling are its own.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FRAMES_PER_SECOND = 12.5
MODES = {"bfloat16": (), "int8": ("--int8",), "int4": ("--int4",), "mixed": ("--quant-mixed-cpu",)}
TIMEOUT_S = 1_800

_FRAMES = re.compile(r"Generated (\d+) frames")
_FIRST_AUDIO = re.compile(r"TTFA: (\d+) ms")
_WHOLE = re.compile(r"generated in ([\d.]+) ?s")
# Milliseconds of the parts that follow one another; the decoder runs beside them but for what is left at the end.
_PARTS = {
    "prompt": re.compile(r"Prefill: (\d+) ms"),
    "talker": re.compile(r"Talker step: (\d+) ms"),
    "predictor": re.compile(r"Code Predictor: (\d+) ms"),
    "embeddings": re.compile(r"Embed: (\d+) ms"),
    "head": re.compile(r"Codec head\+sampling: (\d+) ms"),
    "rest of the decoder": re.compile(r"\((\d+) ms drain"),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One line, as the engine reports it."""

    frames: int
    took_s: float
    first_audio_s: float | None


def run_of(output: str) -> Run:
    """The engine's report. Raises ValueError when it has none."""
    frames = _FRAMES.search(output)
    parts = [found.group(1) for part in _PARTS.values() if (found := part.search(output))]
    whole, first = _WHOLE.search(output), _FIRST_AUDIO.search(output)
    if frames is None or (len(parts) < len(_PARTS) and whole is None):
        raise ValueError(f"the C engine's output states no frames or no times: {output[-500:]!r}")
    # The whole is rounded to tenths of a second, so the parts are better where all are there.
    took_s = sum(map(int, parts)) / 1_000 if len(parts) == len(_PARTS) or whole is None else float(whole.group(1))
    return Run(frames=int(frames.group(1)), took_s=took_s, first_audio_s=int(first.group(1)) / 1_000 if first else None)


@dataclass(frozen=True, kw_only=True)
class CEngine:
    """One binary, one checkpoint, one way of quantising."""

    binary: str
    folder: Path
    mode: str

    def speak(self, text: str, *, speaker: str, frames: int, options: Sequence[str] = ()) -> Run:
        """Raises RuntimeError when the binary fails."""
        with tempfile.TemporaryDirectory() as folder:
            command = [
                self.binary, "-d", str(self.folder), "--text", text, "-s", speaker, "-l", "English", "--seed", "1",
                "--max-duration", f"{frames / FRAMES_PER_SECOND:g}", "-o", str(Path(folder) / "line.wav"),
                *MODES[self.mode], *options,
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode != 0:
            raise RuntimeError(f"{self.binary} ended with status {done.returncode}: {done.stderr[-500:]}")
        return run_of(done.stderr + done.stdout)
