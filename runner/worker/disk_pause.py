"""An error of the disk that concerns all work → a pause, longer each time, until the disk lets work go on."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass

from registry.errors import DiskFull, StorageError
from runner.errors import OutboxGone
from runner.worker.context import Context
from runner.worker.take_eviction import TakeEviction

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0
DISK_LOOK_S = 1.0
TRIES_BEFORE_GIVING_UP = 5  # of `run --once`


@dataclass(kw_only=True)
class DiskPause:
    """The present error of the disk, if there is one, and when to try again."""

    context: Context
    take_eviction: TakeEviction
    error: StorageError | None = None
    until_s: float = 0.0
    _tries: int = 0

    def begin(self, error: StorageError, *, now_s: float) -> None:
        """Rest for a while, twice as long as the last time."""
        if self.error is None:
            logger.warning("work is put aside: %s", error)
        self.error = error
        self.take_eviction.hurry()  # too many takes may be what fills the disk
        self.until_s = now_s + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._tries, 10))
        self._tries += 1

    def end(self) -> None:
        """Something was written: work goes on."""
        if self.error is not None:
            logger.info("work goes on")
        self.error, self._tries = None, 0

    def is_over(self, now_s: float) -> bool:
        """Whether to try again. Raises OutboxGone while the outbox is still away."""
        if now_s < self.until_s:
            return False
        if isinstance(self.error, OutboxGone):
            self.context.outbox.require()
        if not isinstance(self.error, DiskFull) or self._has_room(now_s):
            return True
        self.until_s = now_s + DISK_LOOK_S
        self._tries += 1
        return False

    def _has_room(self, now_s: float) -> bool:
        if self.take_eviction.is_due(now_s):
            self.take_eviction.look(now_s)
        instance = self.context.instance
        free_bytes = min(shutil.disk_usage(folder).free for folder in (instance.outbox, instance.state_dir))
        return free_bytes >= self.context.settings.min_free_bytes

    @property
    def is_hopeless(self) -> bool:
        """Whether so many tries have failed that `run --once` gives up."""
        return self.error is not None and self._tries >= TRIES_BEFORE_GIVING_UP
