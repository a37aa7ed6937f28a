"""Audio files in any format that libsndfile reads → mono float32 waveforms at 24 kHz.

This module reads files.
"""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from models.errors import InvalidReferenceAudio
from models.protocol import SAMPLE_RATE_HZ, Waveform

MAX_FILE_BYTES = 1 << 30
MAX_DURATION_S = 3600.0
MAX_CHANNELS = 32
SOURCE_RATES_HZ = range(1_000, 768_001)
BLOCK_FRAMES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class AudioFacts:
    """Form of a file's sound, before it became a 24 kHz mono waveform."""

    sample_rate_hz: int
    channels: int
    duration_s: float
    format: str  # "WAV", "FLAC", "MP3", …
    encoding: str  # "PCM_16", "PCM_24", "FLOAT", …


def read_audio(path: Path) -> tuple[Waveform, AudioFacts]:
    """A file's sound as mono float32 `(S,)` at 24 kHz, and the form it had in the file.

    Raises InvalidReferenceAudio when it is no regular file, no audio, empty, too long or not finite.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise InvalidReferenceAudio(f"{path.name} is not a regular file.")
        if info.st_size > MAX_FILE_BYTES:
            raise InvalidReferenceAudio(f"{path.name} has {info.st_size} bytes; at most {MAX_FILE_BYTES} are read.")
        content = path.read_bytes()
    except OSError as error:
        raise InvalidReferenceAudio(f"{path.name} cannot be read: {error.strerror or error}.") from error
    return decode_audio(content, name=path.name)


def decode_audio(
    content: bytes, *, name: str = "the audio", max_duration_s: float = MAX_DURATION_S
) -> tuple[Waveform, AudioFacts]:
    """`read_audio` for bytes that are in memory already."""
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            facts = _checked_facts(file, name=name, max_duration_s=max_duration_s)
            blocks = _mono_blocks(file, max_frames=int(max_duration_s * facts.sample_rate_hz) + 1)
    except (soundfile.SoundFileError, TypeError, RuntimeError) as error:  # TypeError: headerless "RAW" files
        cause = str(getattr(error, "error_string", error)).rstrip(".")  # else it names a Python object
        raise InvalidReferenceAudio(
            f"{name} is not audio that can be read ({cause}).", hint="Give WAV, FLAC, MP3, OGG or AIFF."
        ) from error
    if not blocks:
        raise InvalidReferenceAudio(f"{name} holds no samples.")
    mono = np.concatenate(blocks)
    if not np.isfinite(mono).all():
        raise InvalidReferenceAudio(f"{name} holds samples that are not finite numbers.")
    return resample(mono, facts.sample_rate_hz, SAMPLE_RATE_HZ), facts


def _checked_facts(file: Any, *, name: str, max_duration_s: float) -> AudioFacts:
    if file.samplerate not in SOURCE_RATES_HZ:
        raise InvalidReferenceAudio(f"{name} has a sample rate of {file.samplerate} Hz, which no recording has.")
    if file.channels > MAX_CHANNELS:
        raise InvalidReferenceAudio(f"{name} has {file.channels} channels; at most {MAX_CHANNELS} are read.")
    duration_s = file.frames / file.samplerate
    if duration_s > max_duration_s:
        raise InvalidReferenceAudio(f"{name} lasts {duration_s:.1f} s; at most {max_duration_s:g} s are read.")
    return AudioFacts(
        sample_rate_hz=file.samplerate,
        channels=file.channels,
        duration_s=duration_s,
        format=file.format,
        encoding=file.subtype,
    )


def _mono_blocks(file: Any, *, max_frames: int) -> list[Waveform]:
    """Channels averaged, in blocks: memory for what a header promises is not allocated before it has been read."""
    blocks: list[Waveform] = []
    frames = 0
    while frames < max_frames:
        block = file.read(min(BLOCK_FRAMES, max_frames - frames), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        frames += len(block)
        blocks.append(block.mean(axis=1, dtype=np.float32))
    return blocks


def resample(waveform: npt.NDArray[np.floating[Any]], from_hz: int, to_hz: int) -> Waveform:
    """The same sound at another rate, `(S,)` -> `(S * to_hz / from_hz,)` float32, by soxr at high quality."""
    samples = np.ascontiguousarray(waveform, dtype=np.float32)
    if from_hz == to_hz:
        return samples
    resampled: Waveform = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    return resampled
