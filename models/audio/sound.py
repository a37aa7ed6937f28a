"""Samples of any length → blocks of them, so that a line of half an hour is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.floating[Any]]


class Sound(Protocol):
    """Samples `(S,)`: an array, or what reads parts of a longer one from the disk."""

    @property
    def size(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Samples: ...


def blocks_of(sound: Sound, block_samples: int, *, start: int = 0, stop: int | None = None) -> Iterator[Samples]:
    """The samples from `start` to `stop` in blocks; only the last one may be shorter."""
    stop = sound.size if stop is None else stop
    for at in range(start, stop, block_samples):
        yield sound[at : min(at + block_samples, stop)]
