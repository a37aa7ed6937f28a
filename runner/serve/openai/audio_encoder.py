"""Samples as they come → the bytes of an audio format; equal samples give equal bytes, however they are cut."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
import numpy.typing as npt

from models.protocol import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.int16]  # mono, at SAMPLE_RATE_HZ
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
SLOWEST_STEP = 0.5  # of one atempo filter
UNKNOWN_BYTES = 0xFFFFFFFF  # in the header of a stream that has no end yet
# Container, codec and the container's options. An Xing header would promise a length; Ogg's serial number is random
# and its pages a second long by default.
CODED: dict[str, tuple[str, str, dict[str, str]]] = {
    "mp3": ("mp3", "libmp3lame", {"write_xing": "0", "id3v2_version": "0"}),
    "opus": ("ogg", "libopus", {"fflags": "+bitexact", "page_duration": "200000"}),
    "aac": ("adts", "aac", {}),
    "flac": ("flac", "flac", {"fflags": "+bitexact"}),
}


class _Growing:
    """A file that is only ever appended to, and emptied by whoever sends it."""

    def __init__(self) -> None:
        self._content = bytearray()

    def write(self, content: bytes) -> int:
        self._content += content
        return len(content)

    def taken(self) -> bytes:
        content = bytes(self._content)
        self._content.clear()
        return content


class StreamEncoder:
    """An encoder of one stream, at another speed of the same pitch if wanted."""

    def __init__(self, format: str, *, speed: float = 1.0) -> None:  # noqa: A002 - the field's word
        self._tempo = Tempo(speed) if speed != 1.0 else None
        self._file = _Growing()
        self._container: Any = None
        if format in CODED:
            name, codec, options = CODED[format]
            self._container = av.open(self._file, "w", format=name, options=options)
            self._stream = self._container.add_stream(codec, rate=SAMPLE_RATE_HZ, layout="mono")
        elif format == "wav":
            self._file.write(_wav_header())
        self._position = 0

    @property
    def is_quick(self) -> bool:
        """Whether samples only change their form, which needs no thread."""
        return self._container is None and self._tempo is None

    def add(self, samples: Samples) -> bytes:
        """Bytes that are ready after these samples."""
        for piece in self._tempo.add(samples) if self._tempo else (samples,):
            self._encode(piece)
        return self._file.taken()

    def end(self) -> bytes:
        """The last bytes."""
        for piece in self._tempo.end() if self._tempo else ():
            self._encode(piece)
        if self._container is not None:
            for packet in self._stream.encode(None):
                self._container.mux(packet)
            self._container.close()
        return self._file.taken()

    def _encode(self, samples: Samples) -> None:
        if self._container is None:
            self._file.write(samples.astype("<i2", copy=False).tobytes())
        elif samples.size:
            for packet in self._stream.encode(_frame(samples, self._position)):
                self._container.mux(packet)
            self._position += samples.size


class Tempo:
    """FFmpeg's filter that changes the speed of speech and keeps its pitch."""

    def __init__(self, speed: float) -> None:
        self._graph = av.filter.Graph()
        base = Fraction(1, SAMPLE_RATE_HZ)
        last = self._graph.add_abuffer(format="s16", sample_rate=SAMPLE_RATE_HZ, layout="mono", time_base=base)
        while speed < SLOWEST_STEP:
            last = self._linked(last, SLOWEST_STEP)
            speed /= SLOWEST_STEP
        last = self._linked(last, speed)
        last.link_to(self._graph.add("abuffersink"))
        self._graph.configure()
        self._position = 0

    def _linked(self, before: Any, speed: float) -> Any:
        step = self._graph.add("atempo", f"{speed:.6f}")
        before.link_to(step)
        return step

    def add(self, samples: Samples) -> Iterator[Samples]:
        """Samples that are ready after these."""
        if samples.size:
            self._graph.push(_frame(samples, self._position))
            self._position += samples.size
        yield from self._ready()

    def end(self) -> Iterator[Samples]:
        """The last samples."""
        self._graph.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[Samples]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, av.AudioFrame)
            yield frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)


def _frame(samples: Samples, position: int) -> Any:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE_HZ
    frame.pts = position
    return frame


def _wav_header() -> bytes:
    layout = struct.pack("<IHHIIHH", 16, 1, 1, SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ, 2, 16)
    riff, data = (struct.pack("<4sI", name, UNKNOWN_BYTES) for name in (b"RIFF", b"data"))
    return riff + b"WAVEfmt " + layout + data
