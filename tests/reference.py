"""The recorded results of the official package, as arrays: `golden("base", "prompt_en")["mel.0"]`.

The format is described in `tests/data/reference/README.md`; `tests/parity/make_golden.py` writes it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from safetensors.numpy import load_file

REFERENCE = Path(__file__).parent / "data" / "reference"
CHECKPOINTS = ("base", "voice_design", "custom_voice")


@functools.cache
def manifest(checkpoint: str) -> dict[str, Any]:
    """The manifest of one checkpoint's goldens: `["cases"][case]` holds `case`, `info`, `file` and `tensors`."""
    loaded: dict[str, Any] = json.loads((REFERENCE / "goldens" / checkpoint / "manifest.json").read_text("utf-8"))
    return loaded


def golden(checkpoint: str, case: str) -> dict[str, npt.NDArray[Any]]:
    """Every recorded array of one case, by its name in the manifest."""
    name = manifest(checkpoint)["cases"][case]["file"]
    return load_file(REFERENCE / "goldens" / checkpoint / name)


def cases(checkpoint: str, kind: str) -> list[str]:
    """The ids of one checkpoint's cases of one kind: tts, prompt, codec, tokenizer, sampler, error or defaults."""
    return [name for name, entry in manifest(checkpoint)["cases"].items() if entry["case"]["kind"] == kind]


def info(checkpoint: str, case: str) -> dict[str, Any]:
    """The recorded scalars of one case."""
    scalars: dict[str, Any] = manifest(checkpoint)["cases"][case]["info"]
    return scalars


def call(checkpoint: str, case: str) -> dict[str, Any]:
    """How the official package was called for one case."""
    arguments: dict[str, Any] = manifest(checkpoint)["cases"][case]["case"]
    return arguments


def audio(name: str) -> tuple[npt.NDArray[np.float32], int]:
    """A reference clip as mono float32 samples `(S,)`, and its sample rate in Hz."""
    samples, sample_rate_hz = soundfile.read(REFERENCE / "audio" / name, dtype="float32")
    return samples, sample_rate_hz


def recorded_windows(case: dict[str, Any], *, frames: int) -> Iterator[tuple[int, int]]:
    """The frame ranges whose samples a case's `wave.i` holds, in order: whole, both ends (2 frames each), or as listed.

    A wave of at most four frames is always recorded whole.
    """
    wave = case.get("wave", "full")
    if wave == "none":
        return
    if isinstance(wave, list):
        yield from ((first, last) for first, last in wave)
    elif wave == "ends" and frames > 4:
        yield from ((0, 2), (frames - 2, frames))
    else:
        yield (0, frames)


def worst_gap(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> float:
    """The largest absolute difference of two arrays of one shape."""
    assert ours.shape == theirs.shape, f"shape {ours.shape}, recorded {theirs.shape}"
    return float(np.max(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)))) if ours.size else 0.0


def assert_close(ours: npt.NDArray[Any], theirs: npt.NDArray[Any], *, atol: float, what: str) -> None:
    """Fail, printing the worst gap and where it is, when the arrays differ by more than `atol`."""
    gap = worst_gap(ours, theirs)
    print(f"{what}: worst gap {gap:.2e} (allowed {atol:.0e})")
    if gap > atol:
        place = np.unravel_index(np.argmax(np.abs(ours - theirs)), ours.shape)
        raise AssertionError(f"{what}: off by {gap:.2e} at {tuple(map(int, place))}, allowed {atol:.0e}")
