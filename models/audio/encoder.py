"""A mono waveform, whole or in parts → wav, flac, mp3, ogg-opus or ogg-vorbis bytes, at any rate.

Encoded bytes are a pure function of the samples, so that a publication may be repeated with the same bytes.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from models.audio.file_format import FileFormat, mp3_bitrates
from models.protocol import SAMPLE_RATE_HZ, Waveform
from registry.errors import InvalidInput

BLOCK_SAMPLES = 1 << 16  # libsndfile's ogg writer overflows its stack on one huge block

SOUNDFILE_KINDS = {
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "ogg": ("OGG", "OPUS"),
    "vorbis": ("OGG", "VORBIS"),
}
SAMPLE_BYTES = {"pcm16": 2, "pcm24": 3, "float": 4}

LARGEST_LEVEL = 0.999  # libsndfile refuses 1 with a constant bit rate
WAV = FileFormat()
_OGG_SERIAL = b"vjob"
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def encode_audio(waveform: npt.NDArray[np.floating[Any]], wanted: FileFormat = WAV) -> bytes:
    """A mono waveform `(S,)` at 24 kHz as a whole audio file; equal samples give equal bytes.

    Samples beyond ±1 are clamped. Raises InvalidInput for NaN, infinity, no samples, or an impossible combination.
    """
    wanted.check()
    if waveform.ndim != 1 or waveform.size == 0:
        raise InvalidInput(f"A waveform of shape {waveform.shape} cannot be encoded; it must be (S,) with S > 0.")
    if not all(np.isfinite(block).all() for block in _blocks([waveform])):
        raise InvalidInput("The waveform holds samples that are not finite numbers.")
    content = io.BytesIO()
    write_audio_stream(content, [waveform], wanted, samples=waveform.size)
    return content.getvalue()


def write_audio_stream(
    file: BinaryIO, waveforms: Iterable[npt.NDArray[np.floating[Any]]], wanted: FileFormat = WAV, *, samples: int
) -> None:
    """Write `waveforms` (each `(S,)` at 24 kHz) into an open, empty, seekable file; `samples` is their total.

    Raises InvalidInput when a format cannot hold as much, or the total is not what was announced, and OSError.
    """
    blocks = _counted(waveforms, samples)
    if wanted.sample_rate_hz != SAMPLE_RATE_HZ:
        total = resampled_samples(samples, wanted.sample_rate_hz)
        blocks, samples = _resampled(blocks, wanted.sample_rate_hz, samples=total), total
    clamped = (np.clip(block, -1.0, 1.0).astype(np.float32, copy=False) for block in blocks)
    if wanted.format == "wav":
        data_bytes = samples * SAMPLE_BYTES[wanted.encoding]
        file.write(_wav_header(data_bytes, encoding=wanted.encoding, sample_rate_hz=wanted.sample_rate_hz))
        for block in clamped:
            file.write(_pcm_bytes(block, encoding=wanted.encoding))
        file.write(b"\0" * (data_bytes % 2))
        return
    watched = WatchedFile(file)
    try:
        _encode(watched, clamped, wanted)
    except (soundfile.SoundFileError, AssertionError) as error:  # the latter, when not all samples were written
        raise watched.error or InvalidInput(f"libsndfile cannot write this as {wanted.format}: {error}.") from error
    if watched.error is not None:
        raise watched.error
    if SOUNDFILE_KINDS[wanted.format][0] == "OGG":
        _fix_ogg_serial(file)


def check_can_write(format: str) -> None:  # noqa: A002 - as above
    """Raises InvalidInput for a format that this system's libsndfile cannot write; WAV needs none."""
    if format != "wav" and not soundfile.check_format(*SOUNDFILE_KINDS[format]):
        hint = "`pip install --upgrade soundfile`, or choose another format; wav always works."
        raise InvalidInput(f"This system's libsndfile cannot write {format}.", hint=hint)


def resampled_samples(samples: int, rate_hz: int) -> int:
    """Length at another rate of so many samples at 24 kHz."""
    return max(1, round(samples * rate_hz / SAMPLE_RATE_HZ))


def _blocks(waveforms: Iterable[npt.NDArray[np.floating[Any]]]) -> Iterator[npt.NDArray[np.floating[Any]]]:
    """The samples in blocks: a line of half an hour must not take its memory several times."""
    for waveform in waveforms:
        for start in range(0, waveform.size, BLOCK_SAMPLES):
            yield waveform[start : start + BLOCK_SAMPLES]


def _counted(waveforms: Iterable[npt.NDArray[np.floating[Any]]], samples: int) -> Iterator[Waveform]:
    seen = 0
    for block in _blocks(waveforms):
        seen += block.size
        yield block.astype(np.float32, copy=False)
    if seen != samples:
        raise InvalidInput(f"The parts hold {seen} samples; {samples} were announced.")


def _resampled(blocks: Iterator[Waveform], rate_hz: int, *, samples: int) -> Iterator[Waveform]:
    """The same sound at another rate, of exactly so many samples."""
    stream = soxr.ResampleStream(SAMPLE_RATE_HZ, rate_hz, 1, dtype="float32", quality="HQ")
    left = samples
    for block in blocks:
        piece = stream.resample_chunk(block)[:left]
        left -= piece.size
        yield piece
    piece = stream.resample_chunk(np.zeros(0, np.float32), last=True)[:left]
    yield piece
    yield np.zeros(left - piece.size, np.float32)


class WatchedFile:
    """A file whose errors are remembered: libsndfile hears of them, and may go on as if nothing had happened.

    For libsndfile it begins where it is now.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._begin = file, file.tell()
        self.error: OSError | None = None
        self.read = file.read

    def tell(self) -> int:
        return self._file.tell() - self._begin

    def write(self, content: bytes) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = self.error or error
            return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            self._file.seek(offset + self._begin if whence == 0 else offset, whence)
        except OSError as error:  # what was written before goes to the disk first
            self.error = self.error or error
        return self.tell()


def _encode(file: WatchedFile, blocks: Iterator[Waveform], wanted: FileFormat) -> None:
    bits = 24 if wanted.encoding == "pcm24" else 16
    is_flac = wanted.format == "flac"
    major, subtype = ("FLAC", f"PCM_{bits}") if is_flac else SOUNDFILE_KINDS[wanted.format]
    options = {} if wanted.bitrate_kbps is None else _constant_rate(wanted.bitrate_kbps, wanted.sample_rate_hz)
    with soundfile.SoundFile(file, "w", wanted.sample_rate_hz, 1, subtype, format=major, **options) as encoder:
        for block in blocks:
            if file.error is not None:
                return
            # Integers, so that a FLAC and a WAV of one waveform hold the same samples; libsndfile reads the top bits.
            encoder.write(integers(block, bits=bits) << (32 - bits) if is_flac else block)


def _constant_rate(bitrate_kbps: int, sample_rate_hz: int) -> dict[str, Any]:
    """libsndfile takes a level between the highest bit rate of MP3 at this sampling rate, 0, and the lowest, 1."""
    lowest, *_, highest = mp3_bitrates(sample_rate_hz)
    level = (highest - bitrate_kbps) / (highest - lowest)
    return {"bitrate_mode": "CONSTANT", "compression_level": min(level, LARGEST_LEVEL)}


def integers(clamped: Waveform, *, bits: int) -> npt.NDArray[np.int32]:
    """Samples within ±1 as whole numbers of `bits` bits."""
    scaled = np.multiply(clamped, 2.0 ** (bits - 1) - 1, dtype=np.float64)
    return np.rint(scaled, out=scaled).astype(np.int32)


def _wav_header(data_bytes: int, *, encoding: str, sample_rate_hz: int) -> bytes:
    """The bytes before `data_bytes` of samples in a WAV file; an odd number of them is padded with one zero.

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


def _pcm_bytes(clamped: Waveform, *, encoding: str) -> bytes:
    """Samples within ±1 as the bytes of a WAV file's data, little-endian."""
    if encoding == "float":
        return clamped.astype("<f4").tobytes()
    if encoding == "pcm24":
        little = integers(clamped, bits=24).astype("<i4").view(np.uint8).reshape(-1, 4)
        return little[:, :3].tobytes()
    return integers(clamped, bits=16).astype("<i2").tobytes()


def _fix_ogg_serial(file: BinaryIO) -> None:
    """Give an Ogg stream our serial number, page by page: libsndfile takes one from the clock, and equal audio must
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
    """Ogg's CRC-32: most significant bit first from zero, and so the mirror image of zlib's, which is fast."""
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
