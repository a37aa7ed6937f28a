"""The store of takes → kept below `takes_max_bytes`, now and then while the worker works and once when it is done."""

from __future__ import annotations

import logging

from registry.errors import StorageError
from registry.jobs import jobs
from runner.worker.context import Context

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0  # monotonic; a look sums up the sizes of all takes

ON_THE_WAY_S = 3_600.0  # a half-written file this young may belong to another process


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
