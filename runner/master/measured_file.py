"""An audio file → everything that is measured of it, as `mastering.json` and `voicejobs master check` show it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.audio.levels import LevelMeter, Levels
from runner.master.errors import SoundRefused
from runner.master.sound_source import SoundSource, open_sound


def measured_file(path: Path, *, on_progress: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The numbers of an audio file, without a judgement. Raises as `open_sound`."""
    source = open_sound(path)
    meter = LevelMeter(source.sample_rate_hz, channels=source.channels)
    for block in source.blocks():
        meter.add(block)
        on_progress()
    levels = meter.levels()
    if not levels.frames:
        raise SoundRefused(f"{path.name} holds no samples.")
    return measured(source, levels)


def measured(source: SoundSource, levels: Levels) -> dict[str, Any]:
    """Form and levels of a file by the names that they have in `mastering.json`."""
    loudness = levels.integrated_lufs
    return {
        "file": source.name,
        "duration_s": round(levels.frames / source.sample_rate_hz, 3),
        "rms_db": round(levels.rms_db, 2),
        "peak_db": round(levels.peak_db, 2),
        "true_peak_db": round(levels.true_peak_db, 2),
        "integrated_lufs": None if loudness is None else round(loudness, 2),
        "noise_floor_db": round(levels.noise_floor_db, 2),
        "head_s": round(levels.head_s, 3),
        "tail_s": round(levels.tail_s, 3),
        "sample_rate_hz": source.sample_rate_hz,
        "channels": source.channels,
        "bit_rate_kbps": round(source.bit_rate_kbps, 1),
        "constant_rate": source.constant_rate,
    }
