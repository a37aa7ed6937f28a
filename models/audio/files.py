"""Audio files ↔ waveforms: any format libsndfile reads → mono float32 at 24 kHz → wav, flac, mp3 or ogg-opus bytes.

Encoded bytes are a pure function of the samples, so that a publication may be repeated with the same bytes.
This module reads files; it writes none.
"""

from __future__ import annotations

import io
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from models.errors import InvalidReferenceAudio
from models.protocol import SAMPLE_RATE_HZ, Waveform
from registry.errors import InvalidInput

MAX_FILE_BYTES = 1 << 30
MAX_DURATION_S = 3600.0
MAX_CHANNELS = 32
SOURCE_RATES_HZ = range(1_000, 768_001)
BLOCK_FRAMES = 1 << 16  # libsndfile's ogg writer overflows its stack on one huge block

FORMATS = ("wav", "flac", "mp3", "ogg")
SOUNDFILE_KINDS = {"flac": ("FLAC", "PCM_16"), "mp3": ("MP3", "MPEG_LAYER_III"), "ogg": ("OGG", "OPUS")}
ENCODINGS = ("pcm16", "pcm24", "float")
SAMPLE_BYTES = {"pcm16": 2, "pcm24": 3, "float": 4}


@dataclass(frozen=True, kw_only=True)
class AudioFacts:
    """What a file held before it became a 24 kHz mono waveform."""

    sample_rate_hz: int
    channels: int
    duration_s: float
    format: str  # "WAV", "FLAC", "MP3", …
    encoding: str  # "PCM_16", "PCM_24", "FLOAT", …


def read_audio(path: Path) -> tuple[Waveform, AudioFacts]:
    """A file's sound as mono float32 `(S,)` at 24 kHz, and what it was before.

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
    """The same as `read_audio`, for bytes that are in memory already."""
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            facts = _checked_facts(file, name=name, max_duration_s=max_duration_s)
            blocks = _mono_blocks(file, max_frames=int(max_duration_s * facts.sample_rate_hz) + 1)
    except (soundfile.SoundFileError, TypeError, RuntimeError) as error:  # TypeError: headerless "RAW" files
        cause = str(getattr(error, "error_string", error)).rstrip(".")  # else it names a Python object
        raise InvalidReferenceAudio(
            f"{name} is no audio that can be read ({cause}).", hint="Give WAV, FLAC, MP3, OGG or AIFF."
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
    """Channels averaged, piece by piece: what a header promises is not allocated before it has been seen."""
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


def encode_audio(
    waveform: npt.NDArray[np.floating[Any]],
    *,
    format: str = "wav",  # noqa: A002 - the word that job files use
    encoding: str = "pcm16",
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> bytes:
    """A mono waveform `(S,)` as a whole audio file; equal samples give equal bytes.

    `format` is wav, flac, mp3 or ogg (Opus); `encoding` pcm16, pcm24 or float, where the format has a choice.
    Samples beyond ±1 are clamped. Raises InvalidInput for NaN, infinity, no samples, or an impossible combination.
    """
    _check_combination(format, encoding)
    if waveform.ndim != 1 or waveform.size == 0:
        raise InvalidInput(f"A waveform of shape {waveform.shape} cannot be encoded; it must be (S,) with S > 0.")
    if not all(np.isfinite(block).all() for block in _blocks(waveform)):
        raise InvalidInput("The waveform holds samples that are not finite numbers.")
    clamped = (np.clip(block, -1.0, 1.0).astype(np.float32) for block in _blocks(waveform))
    if format == "wav":
        return _wav_bytes(clamped, encoding=encoding, sample_rate_hz=sample_rate_hz)
    if format == "flac":
        # Integers, so that a FLAC and a WAV of one waveform hold the same samples.
        bits = 24 if encoding == "pcm24" else 16
        samples = (integers(block, bits=bits) << (32 - bits) for block in clamped)  # libsndfile reads the top bits
        return _soundfile_bytes(samples, ("FLAC", f"PCM_{bits}"), sample_rate_hz=sample_rate_hz)
    if format == "mp3":
        return _soundfile_bytes(clamped, SOUNDFILE_KINDS["mp3"], sample_rate_hz=sample_rate_hz)
    return _with_fixed_serial(_soundfile_bytes(clamped, SOUNDFILE_KINDS["ogg"], sample_rate_hz=sample_rate_hz))


def _blocks(waveform: npt.NDArray[np.floating[Any]]) -> Iterator[npt.NDArray[np.floating[Any]]]:
    """The samples piece by piece: a line of half an hour must not take its memory several times."""
    for start in range(0, waveform.size, BLOCK_FRAMES):
        yield waveform[start : start + BLOCK_FRAMES]


def check_can_write(format: str) -> None:  # noqa: A002 - as above
    """Raises InvalidInput for a format that this system's libsndfile cannot write; WAV needs none."""
    if format != "wav" and not soundfile.check_format(*SOUNDFILE_KINDS[format]):
        hint = "`pip install --upgrade soundfile`, or choose another format; wav always works."
        raise InvalidInput(f"This system's libsndfile cannot write {format}.", hint=hint)


def _check_combination(format: str, encoding: str) -> None:  # noqa: A002 - as above
    if format not in FORMATS:
        raise InvalidInput(f"Unknown audio format {format!r}.", hint=f"Choose {', '.join(FORMATS)}.")
    if encoding not in ENCODINGS:
        raise InvalidInput(f"Unknown audio encoding {encoding!r}.", hint=f"Choose {', '.join(ENCODINGS)}.")
    if format == "flac" and encoding == "float":
        raise InvalidInput("FLAC holds no floating-point samples.", hint="Choose pcm24, or wav.")
    if format in ("mp3", "ogg") and encoding != "pcm16":
        raise InvalidInput(f"{format} has no encoding {encoding!r}.", hint="Leave the encoding out, or choose wav.")


def integers(clamped: Waveform, *, bits: int) -> npt.NDArray[np.int32]:
    """Samples within ±1 as whole numbers of `bits` bits."""
    scaled = np.multiply(clamped, 2.0 ** (bits - 1) - 1, dtype=np.float64)
    return np.rint(scaled, out=scaled).astype(np.int32)


def _wav_bytes(blocks: Iterable[Waveform], *, encoding: str, sample_rate_hz: int) -> bytes:
    parts = [pcm_bytes(block, encoding=encoding) for block in blocks]
    data_bytes = sum(map(len, parts))
    header = wav_header(data_bytes, encoding=encoding, sample_rate_hz=sample_rate_hz)
    return b"".join([header, *parts, b"\0" * (data_bytes % 2)])


def wav_header(data_bytes: int, *, encoding: str, sample_rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """What stands before `data_bytes` of samples in a WAV file; an odd number of them is padded with one zero.

    Written by hand: the plain 44-byte header that every tool strips, and no PEAK chunk with the time of day.
    Raises InvalidInput for more than a WAV file can hold.
    """
    sample_bytes = SAMPLE_BYTES[encoding]
    is_float = encoding == "float"
    # the standard asks for a `fact` chunk with anything but PCM
    extra = struct.pack("<H4sII", 0, b"fact", 4, data_bytes // sample_bytes) if is_float else b""
    kind, kind_bytes = (3, 18) if is_float else (1, 16)
    layout = struct.pack(
        "<IHHIIHH", kind_bytes, kind, 1, sample_rate_hz, sample_rate_hz * sample_bytes, sample_bytes, 8 * sample_bytes
    )
    body = b"WAVEfmt " + layout + extra + b"data"
    riff_bytes = len(body) + 4 + data_bytes + data_bytes % 2
    if riff_bytes >= 1 << 32:
        raise InvalidInput("The audio is longer than a WAV file can hold.", hint="Choose flac.")
    return b"RIFF" + struct.pack("<I", riff_bytes) + body + struct.pack("<I", data_bytes)


def pcm_bytes(clamped: Waveform, *, encoding: str) -> bytes:
    """Samples within ±1 as the bytes of a WAV file's data, little-endian."""
    if encoding == "float":
        return clamped.astype("<f4").tobytes()
    if encoding == "pcm24":
        little = integers(clamped, bits=24).astype("<i4").view(np.uint8).reshape(-1, 4)
        return little[:, :3].tobytes()
    return integers(clamped, bits=16).astype("<i2").tobytes()


def _soundfile_bytes(
    blocks: Iterable[npt.NDArray[np.float32] | npt.NDArray[np.int32]], kind: tuple[str, str], *, sample_rate_hz: int
) -> bytes:
    content = io.BytesIO()
    major, subtype = kind
    try:
        with soundfile.SoundFile(content, "w", sample_rate_hz, 1, subtype, format=major) as file:
            for block in blocks:
                file.write(block)
    except soundfile.SoundFileError as error:
        raise InvalidInput(f"This system's libsndfile cannot write {major}/{subtype}: {error}.") from error
    return content.getvalue()


_OGG_SERIAL = b"vjob"
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _with_fixed_serial(ogg: bytes) -> bytes:
    content = io.BytesIO(ogg)
    fix_ogg_serial(content)
    return content.getvalue()


def fix_ogg_serial(file: BinaryIO) -> None:
    """Give an Ogg stream our serial number, page by page: libsndfile draws one by the clock, and equal audio must
    be equal."""
    start = 0
    while True:
        file.seek(start)
        page = bytearray(file.read(27))
        if len(page) < 27:
            return
        page += file.read(page[26])
        page += file.read(sum(page[27:]))
        page[14:18] = _OGG_SERIAL
        page[22:26] = bytes(4)  # the checksum is taken with its own field empty
        page[22:26] = struct.pack("<I", _ogg_crc(bytes(page)))
        file.seek(start)
        file.write(page)
        start += len(page)


def _ogg_crc(page: bytes) -> int:
    """Ogg's CRC-32 runs most significant bit first from zero; zlib's is its mirror image, and fast."""
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
