"""Waveforms one after another → one audio file that never lies in memory as a whole.

The bytes equal those of `models.audio.files.encode_audio` for WAV; for every format they depend on the samples alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from models.audio.files import (
    BLOCK_FRAMES,
    SAMPLE_BYTES,
    SOUNDFILE_KINDS,
    fix_ogg_serial,
    integers,
    pcm_bytes,
    wav_header,
)
from models.protocol import SAMPLE_RATE_HZ, Waveform
from registry.errors import InvalidInput


def write_audio_stream(
    file: BinaryIO,
    waveforms: Iterable[Waveform],
    *,
    samples: int,
    format: str,  # noqa: A002 - the word that job files use
    encoding: str = "pcm16",
) -> None:
    """Write `waveforms` (each `(S,)` at 24 kHz) into an open, empty, seekable file; `samples` is their total.

    Raises InvalidInput when a format cannot hold as much, or the total is not what was announced, and OSError.
    """
    blocks = _counted(waveforms, samples)
    if format == "wav":
        file.write(wav_header(samples * SAMPLE_BYTES[encoding], encoding=encoding))
        for block in blocks:
            file.write(pcm_bytes(block, encoding=encoding))
        file.write(b"\0" * (samples * SAMPLE_BYTES[encoding] % 2))
        return
    watched = _Watched(file)
    try:
        _encode(watched, blocks, format=format, encoding=encoding)
    except (soundfile.SoundFileError, AssertionError) as error:  # the latter, when not all samples were written
        raise watched.error or InvalidInput(f"libsndfile cannot write this as {format}: {error}.") from error
    if watched.error is not None:
        raise watched.error
    if format == "ogg":
        fix_ogg_serial(file)


class _Watched:
    """A file whose errors are remembered: libsndfile is told of them, and may go on as if nothing had happened."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.tell, self.read = file.tell, file.read

    def write(self, content: bytes) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = self.error or error
            return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:  # what was written before goes to the disk first
            self.error = self.error or error
            return self._file.tell()


def _encode(file: _Watched, blocks: Iterator[Waveform], *, format: str, encoding: str) -> None:  # noqa: A002 - as above
    bits = 24 if encoding == "pcm24" else 16
    major, subtype = ("FLAC", f"PCM_{bits}") if format == "flac" else SOUNDFILE_KINDS[format]
    with soundfile.SoundFile(file, "w", SAMPLE_RATE_HZ, 1, subtype, format=major) as encoder:
        for block in blocks:
            if file.error is not None:
                return
            # libsndfile reads the top bits
            encoder.write(integers(block, bits=bits) << (32 - bits) if format == "flac" else block)


def _counted(waveforms: Iterable[Waveform], samples: int) -> Iterator[Waveform]:
    seen = 0
    for waveform in waveforms:
        clamped = np.clip(waveform, -1.0, 1.0).astype(np.float32, copy=False)
        seen += clamped.size
        for start in range(0, clamped.size, BLOCK_FRAMES):
            yield clamped[start : start + BLOCK_FRAMES]
    if seen != samples:
        raise InvalidInput(f"The parts hold {seen} samples; {samples} were announced.")
