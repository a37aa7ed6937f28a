"""Audio files in any format that libsndfile reads → mono float32 waveforms at 24 kHz.

This module reads files.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from models.audio.mending import mixed
from models.audio.wave_header import WaveFault, kind_of, with_true_lengths, with_usual_chunks
from models.errors import InvalidReferenceAudio
from models.protocol import SAMPLE_RATE_HZ, Waveform
from registry.durable_files import open_regular
from registry.errors import DamagedData

MAX_FILE_BYTES = 1 << 30
MAX_DURATION_S = 3600.0
MAX_CHANNELS = 32
SOURCE_RATES_HZ = range(1_000, 768_001)
MAX_SAMPLES = 48_000_000  # of all channels of a recording that is mended: two minutes of stereo at 192 kHz
BLOCK_FRAMES = 1 << 16
UNKNOWN_FRAMES = 1 << 40  # a length that libsndfile does not know is a huge number
BAD_NUMBERS = "its header has an impossible sample rate, number of channels or length"
CAUSES = {  # libsndfile's words that name its own insides, or something that is not so
    "Internal error : SF_INFO struct incomplete": BAD_NUMBERS,
    "Unspecified internal error": "it is damaged",
    "Error : flac decoder lost sync": "it is damaged, or was cut short",
    "File does not exist or is not a regular file (possibly a pipe?)": "Format not recognised",
}


class _ForwardSound(soundfile.SoundFile):  # type: ignore[misc]
    """A file read from beginning to end: a FLAC stream without a length in its header refuses every seek to its end."""

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class AudioFacts:
    """Form of a file's sound, before it became a 24 kHz mono waveform."""

    sample_rate_hz: int
    channels: int
    duration_s: float
    format: str  # "WAV", "FLAC", "MP3", …
    encoding: str  # "PCM_16", "PCM_24", "FLOAT", …
    said: tuple[str, ...] = ()  # on what was mended when it was read


def read_audio(path: Path, *, max_duration_s: float = MAX_DURATION_S) -> tuple[Waveform, AudioFacts]:
    """A file's sound as mono float32 `(S,)` at 24 kHz, and the form it had in the file.

    Raises InvalidReferenceAudio when it is no regular file, no audio, empty, too long or not finite.
    """
    return decode_audio(read_bytes(path), name=path.name, max_duration_s=max_duration_s)


def read_bytes(path: Path, *, at_most: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file of bounded size. Raises InvalidReferenceAudio."""
    try:
        with open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > at_most:
                raise InvalidReferenceAudio(f"{path.name} has {size_bytes} bytes; at most {at_most} are read.")
            return file.read(at_most)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise InvalidReferenceAudio(f"{path.name} is not a regular file.") from error
        raise InvalidReferenceAudio(f"{path.name} cannot be read: {error.strerror or error}.") from error


def decode_audio(
    content: bytes, *, name: str = "the audio", max_duration_s: float = MAX_DURATION_S, mends: bool = False
) -> tuple[Waveform, AudioFacts]:
    """`read_audio` for bytes that are in memory already; `mends` brings channels together by what they hold."""
    sound = _Sound.of(content, name=name, max_duration_s=max_duration_s, mends=mends)
    mono = np.concatenate(list(sound.blocks()))
    facts = replace(sound.facts, duration_s=mono.size / sound.facts.sample_rate_hz)
    return resample(mono, facts.sample_rate_hz, SAMPLE_RATE_HZ), facts


def decode_in_blocks(
    content: bytes, write: Callable[[Waveform], object], *, name: str, max_duration_s: float
) -> tuple[str, ...]:
    """Hand a sound of any length on in blocks, mono at 24 kHz; returns what was mended. Raises InvalidReferenceAudio.

    No more than a block is held beside the file.
    """
    sound = _Sound.of(content, name=name, max_duration_s=max_duration_s, mends=True, most_samples=None)
    stream = soxr.ResampleStream(sound.facts.sample_rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
    for block in sound.blocks():
        write(stream.resample_chunk(np.ascontiguousarray(block, np.float32)))
    write(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    return sound.facts.said


@dataclass(frozen=True)
class _Sound:
    """A file's sound on its way to mono; every error of reading it is InvalidReferenceAudio."""

    content: bytes
    name: str
    facts: AudioFacts
    limit: int  # frames
    weights: Waveform | None

    @classmethod
    def of(
        cls, content: bytes, *, name: str, max_duration_s: float, mends: bool, most_samples: int | None = MAX_SAMPLES
    ) -> _Sound:
        try:
            content, missing = with_true_lengths(with_usual_chunks(content))
        except WaveFault as fault:
            hint = f"Export the recording again. {kind_of(content)[1]}"
            raise InvalidReferenceAudio(f"{name} is a WAV file that {fault}.", hint=hint) from None
        said: tuple[str, ...] = ()
        weights: Waveform | None = None
        with _refusals(content, name), _ForwardSound(io.BytesIO(content)) as file:
            facts = _checked_facts(file, name=name, max_duration_s=max_duration_s)
            limit = int(max_duration_s * facts.sample_rate_hz) + 1
            if mends and most_samples is not None:
                limit = min(limit, most_samples // facts.channels)
            if mends and facts.channels > 1:
                weights, said = mixed(_blocks(file, max_frames=limit))
        if missing:
            said = (f"{missing} % of what its header announces is missing: the file was cut short.", *said)
        return cls(content, name, replace(facts, said=said), limit, weights if said else None)

    def blocks(self) -> Iterator[Waveform]:
        """Blocks `(n,)`, at the file's own rate."""
        frames = 0
        with _refusals(self.content, self.name), _ForwardSound(io.BytesIO(self.content)) as file:
            for block in _blocks(file, max_frames=self.limit):
                if not np.isfinite(block).all():
                    raise InvalidReferenceAudio(f"{self.name} holds samples that are not finite numbers.")
                frames += len(block)
                yield _mono(block, self.weights)
        if not frames:
            raise InvalidReferenceAudio(f"{self.name} holds no samples.")
        if frames >= self.limit:
            longest_s = (self.limit - 1) / self.facts.sample_rate_hz
            raise InvalidReferenceAudio(f"{self.name} lasts longer than the {longest_s:g} s that are read.")


@contextlib.contextmanager
def _refusals(content: bytes, name: str) -> Iterator[None]:
    try:
        yield
    except (soundfile.SoundFileError, TypeError, RuntimeError) as error:  # TypeError: headerless "RAW" files
        told = str(getattr(error, "error_string", error)).rstrip(".")  # else it names a Python object
        cause = CAUSES.get(told, told)
        kind, hint = kind_of(content)
        fact = f"{name} is {kind}" if kind else f"{name} is not audio that can be read ({cause})"
        raise InvalidReferenceAudio(f"{fact}.", hint=hint) from error


def stored_blocks(path: Path, *, start: int = 0, block_frames: int = BLOCK_FRAMES) -> tuple[int, Iterator[Waveform]]:
    """Number of samples of a mono file at 24 kHz that we wrote, and those from `start` in blocks.

    Raises DamagedData.
    """

    def blocks() -> Iterator[Waveform]:
        with file:
            yield from (_mono(block, None) for block in _blocks(file, max_frames=file.frames, most=block_frames))

    try:
        file = soundfile.SoundFile(path)
        if start:
            file.seek(start)
    except soundfile.SoundFileError as error:
        raise DamagedData(f"{path} cannot be read: {error}.") from error
    return file.frames, blocks()


def kept_blocks(path: Path) -> tuple[int, int, Iterator[Waveform]]:
    """Sample rate, number of samples, and the samples in blocks, mixed to mono, of a file that we keep.

    Raises DamagedData.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate_hz = file.samplerate
    except soundfile.SoundFileError as error:
        raise DamagedData(f"{path} cannot be read: {error}.") from error
    samples, blocks = stored_blocks(path)
    return rate_hz, samples, blocks


def _checked_facts(file: Any, *, name: str, max_duration_s: float) -> AudioFacts:
    if file.samplerate not in SOURCE_RATES_HZ:
        raise InvalidReferenceAudio(f"{name} has a sample rate of {file.samplerate} Hz, which no recording has.")
    if file.channels > MAX_CHANNELS:
        raise InvalidReferenceAudio(f"{name} has {file.channels} channels; at most {MAX_CHANNELS} are read.")
    duration_s = file.frames / file.samplerate
    if max_duration_s < duration_s and file.frames < UNKNOWN_FRAMES:
        raise InvalidReferenceAudio(f"{name} lasts {duration_s:.1f} s; at most {max_duration_s:g} s are read.")
    return AudioFacts(
        sample_rate_hz=file.samplerate,
        channels=file.channels,
        duration_s=duration_s,
        format=file.format,
        encoding=file.subtype,
    )


def _blocks(file: Any, *, max_frames: int, most: int = BLOCK_FRAMES) -> Iterator[Waveform]:
    """The sound in blocks `(n, C)`: memory for what a header promises is not allocated before it has been read."""
    frames = 0
    while frames < max_frames:
        block = file.read(min(most, max_frames - frames), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        frames += len(block)
        yield block


def _mono(block: Waveform, weights: Waveform | None) -> Waveform:
    """Channels averaged, or by their weights."""
    return block.mean(axis=1, dtype=np.float32) if weights is None else block @ weights


def resample(waveform: npt.NDArray[np.floating[Any]], from_hz: int, to_hz: int) -> Waveform:
    """The same sound at another rate, `(S,)` -> `(S * to_hz / from_hz,)` float32, by soxr at high quality."""
    samples = np.ascontiguousarray(waveform, dtype=np.float32)
    if from_hz == to_hz:
        return samples
    resampled: Waveform = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    return resampled
