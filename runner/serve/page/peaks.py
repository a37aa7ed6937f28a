"""A stored recording → the peaks of its waveform, computed once while the server runs, and its loudness.

Touches the disk.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.audio.files import kept_blocks
from models.audio.loudness import LoudnessMeter
from registry.storage.object_store import ObjectStore
from runner.serve.context import ServeContext

BARS = 160
KEPT = 5_000  # recordings; some 300 bytes each


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How a recording looks and how loud it is."""

    peaks: tuple[int, ...]  # 0 to 100, of its loudest moment
    duration_s: float
    loudness_lufs: float | None  # None when it is silent


@dataclass
class Pictures:
    """Pictures of recordings by their SHA-256."""

    context: ServeContext
    _known: OrderedDict[str, Picture] = field(default_factory=OrderedDict)

    async def of(self, store: ObjectStore, sha256: str) -> Picture:
        """The picture of a recording in a store. Raises ObjectMissing and ObjectDamaged."""
        if (known := self._known.get(sha256)) is None:
            known = await self.context.in_thread(lambda: picture_of(store.whole(sha256)))
            self._known[sha256] = known
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(sha256)
        return known


def picture_of(path: Path) -> Picture:
    """The picture of a recording, which is read block by block."""
    rate_hz, samples, blocks = kept_blocks(path)
    loudest = np.zeros(min(BARS, samples), np.float32)
    meter, position = LoudnessMeter(rate_hz, channels=1), 0
    for block in blocks:
        bars = np.arange(position, position + block.size) * loudest.size // samples
        np.maximum.at(loudest, bars, np.abs(block))
        meter.add(block[:, None])
        position += block.size
    top = float(loudest.max(initial=0.0))
    peaks = tuple(int(value) for value in np.rint(loudest * (100 / top))) if top > 0 else (0,) * loudest.size
    return Picture(peaks=peaks, duration_s=samples / rate_hz, loudness_lufs=meter.integrated_lufs())
