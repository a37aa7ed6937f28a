"""An audio file of any kind → its form, and its sound in blocks, never as a whole. Reads files.

libsndfile reads WAV, FLAC, MP3, Ogg, AIFF and others; M4B, M4A, Opus in WebM and the like need PyAV, which is the
extra `master`.
"""

from __future__ import annotations

import importlib.util
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from models.audio.files import SOURCE_RATES_HZ, UNKNOWN_FRAMES
from models.audio.foreign_formats import foreign_format
from models.audio.sound import Samples
from models.audio.wave_header import kind_of
from models.named_paths import kind_of as named_kind
from models.named_paths import shown_path, status_of
from registry.errors import NotFound, storage_error
from runner.errors import ExtraMissing
from runner.master.errors import SoundRefused
from runner.master.mp3_frames import bit_rate_of

BLOCK_FRAMES = 1 << 16
MOST_CHANNELS = 8
HEAD_BYTES = 4_096


@dataclass(frozen=True, kw_only=True)
class SoundSource:
    """A file's form; `blocks()` gives its sound from the beginning, as finite float32 `(n, C)`."""

    name: str
    sample_rate_hz: int
    channels: int
    bit_rate_kbps: float
    constant_rate: bool
    blocks: Callable[[], Iterator[Samples]]


def has_pyav() -> bool:
    """Whether the extra `master` is installed."""
    return importlib.util.find_spec("av") is not None


def check_formats(formats: Collection[str]) -> None:
    """Raises ExtraMissing for a format that cannot be written here."""
    if "m4b" in formats and not has_pyav():
        raise pyav_missing("An M4B file")


def pyav_missing(part: str) -> ExtraMissing:
    """Error for a part that needs PyAV."""
    return ExtraMissing(part, extra="master", packages=["av"])


def open_sound(path: Path) -> SoundSource:
    """A file's form and sound. Raises NotFound, SoundRefused, ExtraMissing or StorageError."""
    status = status_of(path)
    if status is None:
        raise NotFound(f"There is no file {shown_path(path)}.")
    if not stat.S_ISREG(status.st_mode):
        raise SoundRefused(f"{shown_path(path)} is {named_kind(status)}, and not an audio file.")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise storage_error(error, f"reading {shown_path(path)}") from error
    foreign = foreign_format(head)
    if foreign is None:
        return _with_soundfile(path, head)
    if not has_pyav():
        raise pyav_missing(f"{path.name} is {foreign.kind}: reading it")
    return _with_pyav(path)


def _with_soundfile(path: Path, head: bytes) -> SoundSource:
    try:
        with soundfile.SoundFile(path) as file:
            form, size_bytes = file.format, path.stat().st_size
            rate, channels, frames, subtype = file.samplerate, file.channels, file.frames, file.subtype
    except (soundfile.SoundFileError, TypeError, RuntimeError) as error:  # TypeError: headerless "RAW" files
        kind, hint = kind_of(head)
        cause = str(getattr(error, "error_string", error)).rstrip(".")
        fact = f"is {kind}" if kind else f"is not audio that can be read ({cause})"
        raise SoundRefused(f"{path.name} {fact}.", hint=hint) from error
    _check_form(path, rate, channels)
    if form in ("MP3", "MPEG"):
        kbps, constant = bit_rate_of(path)
    else:
        known = 0 < frames < UNKNOWN_FRAMES
        kbps, constant = (
            (size_bytes * 8 / 1000 * rate / frames if known else 0.0),
            form != "FLAC" and not _is_compressed(subtype),
        )

    def blocks() -> Iterator[Samples]:
        with soundfile.SoundFile(path) as file:
            while len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                yield block

    return _source(path, rate, channels, kbps, constant, blocks)


def _is_compressed(subtype: str) -> bool:
    return not subtype.startswith(("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW"))


def _with_pyav(path: Path) -> SoundSource:
    import av

    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.audio), None)
            if stream is None:
                raise SoundRefused(f"{path.name} holds no sound.")
            rate, channels = stream.rate, stream.channels
            kbps = (stream.bit_rate or container.bit_rate or 0) / 1000
    except av.error.FFmpegError as error:
        raise SoundRefused(f"{path.name} is not audio that can be read ({error.strerror}).") from error
    _check_form(path, rate, channels)

    def blocks() -> Iterator[Samples]:
        with av.open(str(path)) as container:
            planar = av.AudioResampler(format="fltp")
            held: list[Samples] = []
            try:
                for decoded in container.decode(audio=0):
                    held += [frame.to_ndarray().T for frame in planar.resample(decoded)]
                    if sum(map(len, held)) >= BLOCK_FRAMES:  # a frame alone is too short to be filtered fast
                        yield np.concatenate(held)
                        held = []
            except av.error.FFmpegError as error:
                raise SoundRefused(f"{path.name} is damaged ({error.strerror}).") from error
            if held:
                yield np.concatenate(held)

    return _source(path, rate, channels, kbps, False, blocks)


def _check_form(path: Path, rate_hz: int, channels: int) -> None:
    if rate_hz not in SOURCE_RATES_HZ:
        raise SoundRefused(f"{path.name} has a sample rate of {rate_hz} Hz, which no recording has.")
    if not 1 <= channels <= MOST_CHANNELS:
        raise SoundRefused(f"{path.name} has {channels} channels; at most {MOST_CHANNELS} are read.")


def _source(
    path: Path,
    rate_hz: int,
    channels: int,
    kbps: float,
    constant: bool,
    blocks: Callable[[], Iterator[Any]],
) -> SoundSource:
    def checked() -> Iterator[Samples]:
        for block in blocks():
            if not np.isfinite(block).all():
                raise SoundRefused(f"{path.name} holds samples that are not finite numbers.")
            yield block

    return SoundSource(
        name=path.name,
        sample_rate_hz=rate_hz,
        channels=channels,
        bit_rate_kbps=kbps,
        constant_rate=constant,
        blocks=checked,
    )
