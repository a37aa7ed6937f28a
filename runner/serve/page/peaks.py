"""A stored recording → the peaks of its waveform, computed once while the server runs, and its loudness.

Touches the disk.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from models.audio.loudness import loudness_lufs
from models.protocol import SAMPLE_RATE_HZ
from registry.storage.object_store import ObjectStore
from runner.outbox.take_encoding import take_waveform
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
            known = await self.context.in_thread(lambda: picture_of(store.read(sha256)))
            self._known[sha256] = known
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(sha256)
        return known


def picture_of(content: bytes) -> Picture:
    """The picture of an audio file's bytes."""
    waveform = take_waveform(content)
    edges = np.linspace(0, waveform.size, BARS + 1, dtype=np.int64)[:-1]
    loudest = np.maximum.reduceat(np.abs(waveform), edges) if waveform.size >= BARS else np.abs(waveform)
    top = float(loudest.max()) if loudest.size else 0.0
    peaks = tuple(int(value) for value in np.rint(loudest * (100 / top))) if top > 0 else (0,) * loudest.size
    return Picture(peaks=peaks, duration_s=waveform.size / SAMPLE_RATE_HZ, loudness_lufs=loudness_lufs(waveform))
