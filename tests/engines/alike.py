"""An engine whose first locks all sound like one speaker."""

from dataclasses import replace

import numpy as np

from tests.engines.noop import NoopEngine


class AlikeEngine(NoopEngine):
    def __init__(self, choice, *, alike):
        super().__init__(choice)
        self._alike, self._locks = alike, 0

    def lock(self, work):
        done = super().lock(work)
        self._locks += 1
        embedding = np.zeros(32, np.float32)
        embedding[max(0, self._locks - self._alike)] = 1.0
        return replace(done, speaker_embedding=embedding)
