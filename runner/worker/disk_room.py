"""Room on the disk → old takes evicted, and a pause, longer each time, while an error concerns all work."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass

from registry.errors import DiskFull, StorageError, VoiceJobsError
from registry.jobs import jobs
from runner.errors import OutboxGone
from runner.worker.context import Context

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0  # monotonic; a look sums up the sizes of all takes
ON_THE_WAY_S = 3_600.0  # a half-written file this young may belong to another process
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0
DISK_LOOK_S = 1.0
TRIES_BEFORE_GIVING_UP = 5  # of `run --once`


class TakeEviction:
    """Evicts takes. Only the worker's own thread calls it, between steps, so no take is being added meanwhile."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._may_have_grown = True
        self._next_look_s = 0.0

    def takes_were_added(self) -> None:
        """The next look is worth its time."""
        self._may_have_grown = True

    def hurry(self) -> None:
        """Look at the next opportunity."""
        self._may_have_grown, self._next_look_s = True, 0.0

    def is_due(self, now_s: float) -> bool:
        """Whether takes were added since the last look, and that is a while ago."""
        return self._may_have_grown and now_s >= self._next_look_s

    def look(self, now_s: float) -> None:
        """Evict takes above the limit. Raises errors that concern the whole instance."""
        self._next_look_s = now_s + LOOK_EVERY_S
        try:
            self.evict()
        except StorageError as error:
            if error.is_instance_wide:
                raise
            logger.warning("old takes were not evicted: %s", error)  # which is no reason to stop working

    def evict(self) -> None:
        """Forget takes, least recently used first, until they fit; those of open jobs stay. Raises StorageError."""
        with self._context.database.read() as session:
            pinned = jobs.open_take_keys(session)
        max_bytes, clock = self._context.settings.takes_max_bytes, self._context.clock
        done = self._context.takes.evict(
            self._context.database, max_bytes=max_bytes, pinned=pinned, now_s=clock(), just_put_s=0.0
        )
        for store in (self._context.objects, self._context.takes.audio):
            store.sweep(older_than_s=clock() - ON_THE_WAY_S)
        self._may_have_grown = done.left_bytes > max_bytes
        if done.takes:
            logger.info("%d old takes evicted, %d bytes freed", done.takes, done.freed_bytes)


@dataclass(kw_only=True)
class DiskPause:
    """The present error, if there is one, and when to try again."""

    context: Context
    take_eviction: TakeEviction
    error: VoiceJobsError | None = None
    until_s: float = 0.0
    _tries: int = 0

    def begin(self, error: VoiceJobsError, *, now_s: float) -> None:
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
