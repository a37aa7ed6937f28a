"""The source of a chapter → its sound in blocks, voice by voice, in the form that a finished file has. Reads files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from models.audio.files import stored_blocks
from models.audio.sound import Samples
from models.protocol import SAMPLE_RATE_HZ
from runner.master.errors import SoundRefused
from runner.master.request import ChapterSource, Piece
from runner.master.sound_source import open_sound

SILENCE = np.zeros((SAMPLE_RATE_HZ, 1), np.float32)
CENTRE = 0.7071  # how much of a channel between two others goes to each of them
# Front left and right, centre, low-frequency effects (left out), surrounds: what goes to the left.
LEFT = {3: (1, 0, CENTRE), 4: (1, 0, CENTRE, 0), 5: (1, 0, CENTRE, CENTRE, 0), 6: (1, 0, CENTRE, 0, CENTRE, 0)}
RIGHT = {3: (0, 1, CENTRE), 4: (0, 1, 0, CENTRE), 5: (0, 1, CENTRE, 0, CENTRE), 6: (0, 1, CENTRE, 0, 0, CENTRE)}


@dataclass(frozen=True, kw_only=True)
class ChapterSound:
    """Sound of a chapter; `parts()` gives it from the beginning, as (voice, block `(n, C)`)."""

    title: str
    sample_rate_hz: int
    channels: int
    parts: Callable[[], Iterator[tuple[str, Samples]]]
    voices: frozenset[str] = frozenset()  # where it is known who speaks

    def blocks(self, gains: Mapping[str, float]) -> Iterator[Samples]:
        """The sound with each voice's own gain."""
        for voice, block in self.parts():
            gain = gains.get(voice, 1.0)
            yield block if gain == 1.0 else block * np.float32(gain)


def chapter_sound(source: ChapterSource) -> ChapterSound:
    """Sound of a chapter. Raises SoundRefused, NotFound, ExtraMissing, DamagedData or StorageError."""
    if source.file is None:
        return ChapterSound(
            title=source.title,
            sample_rate_hz=SAMPLE_RATE_HZ,
            channels=1,
            parts=lambda: _spoken(source.pieces),
            voices=frozenset(piece.voice for piece in source.pieces if piece.path),
        )
    found = open_sound(Path(source.file))

    def parts() -> Iterator[tuple[str, Samples]]:
        is_empty = True
        for block in found.blocks():
            is_empty = False
            yield "", block
        if is_empty:
            raise SoundRefused(f"{found.name} holds no samples.")

    return ChapterSound(title=source.title, sample_rate_hz=found.sample_rate_hz, channels=found.channels, parts=parts)


def _spoken(pieces: Iterable[Piece]) -> Iterator[tuple[str, Samples]]:
    for piece in pieces:
        if piece.path:
            for block in stored_blocks(Path(piece.path))[1]:
                yield piece.voice, block[:, None]
        rest = piece.pause_samples
        while rest > 0:
            yield "", SILENCE[:rest]
            rest -= len(SILENCE)


def with_channels(blocks: Iterable[Samples], channels: int) -> Iterator[Samples]:
    """The same sound with one or two channels."""
    for block in blocks:
        has = block.shape[1]
        if has == channels:
            yield block
        elif channels == 1:
            yield block.mean(axis=1, keepdims=True)
        elif has in LEFT:
            weights = np.array([LEFT[has], RIGHT[has]], np.float32)
            yield (block @ (weights / weights.sum(axis=1, keepdims=True)).T).astype(np.float32)
        else:
            yield np.repeat(block.mean(axis=1, keepdims=True), 2, axis=1)


def resampled(blocks: Iterable[Samples], from_hz: int, to_hz: int, *, channels: int) -> Iterator[Samples]:
    """The same sound at another rate, by soxr at high quality."""
    if from_hz == to_hz:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block, np.float32)).reshape(-1, channels)
    rest = np.zeros((0, channels) if channels > 1 else 0, np.float32)
    yield stream.resample_chunk(rest, last=True).reshape(-1, channels)


def cut(blocks: Iterable[Samples], *, start: int, stop: int) -> Iterator[Samples]:
    """The frames from `start` to `stop`."""
    at = 0
    for block in blocks:
        part = block[max(0, start - at) : max(0, stop - at)]
        at += len(block)
        if len(part):
            yield part
