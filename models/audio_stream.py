"""Waveforms one after another → one audio file that never lies in memory as a whole.

The bytes equal those of `models.audio.encode_audio` for WAV; for every format they depend on the samples alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from models.audio import BLOCK_FRAMES, fix_ogg_serial, integers, pcm_bytes, wav_header
from models.protocol import SAMPLE_RATE_HZ, Waveform
from registry.errors import InvalidInput

SAMPLE_BYTES = {"pcm16": 2, "pcm24": 3, "float": 4}


def write_audio_stream(
    file: BinaryIO,
    waveforms: Iterable[Waveform],
    *,
    samples: int,
    format: str,  # noqa: A002 - the word that job files use
    encoding: str = "pcm16",
) -> None:
    """Write `waveforms` (each `(S,)` at 24 kHz) into an open, empty, seekable file; `samples` is their total.

    Raises InvalidInput when a format cannot hold as much, or the total is not what was announced.
    """
    blocks = _counted(waveforms, samples)
    if format == "wav":
        file.write(wav_header(samples * SAMPLE_BYTES[encoding], encoding=encoding))
        for block in blocks:
            file.write(pcm_bytes(block, encoding=encoding))
        file.write(b"\0" * (samples * SAMPLE_BYTES[encoding] % 2))
        return
    kind = {"flac": ("FLAC", "PCM_24" if encoding == "pcm24" else "PCM_16"), "mp3": ("MP3", "MPEG_LAYER_III")}
    major, subtype = kind.get(format, ("OGG", "OPUS"))
    with soundfile.SoundFile(file, "w", SAMPLE_RATE_HZ, 1, subtype, format=major) as encoder:
        for block in blocks:
            if format == "flac":
                bits = 24 if encoding == "pcm24" else 16
                encoder.write(integers(block, bits=bits) << (32 - bits))  # libsndfile reads the top bits
            else:
                encoder.write(block)
    if major == "OGG":
        fix_ogg_serial(file)


def _counted(waveforms: Iterable[Waveform], samples: int) -> Iterator[Waveform]:
    seen = 0
    for waveform in waveforms:
        clamped = np.clip(waveform, -1.0, 1.0).astype(np.float32, copy=False)
        seen += clamped.size
        for start in range(0, clamped.size, BLOCK_FRAMES):
            yield clamped[start : start + BLOCK_FRAMES]
    if seen != samples:
        raise InvalidInput(f"The parts hold {seen} samples; {samples} were announced.")
