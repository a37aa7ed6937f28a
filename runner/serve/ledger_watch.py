"""The ledger → a wake-up for whoever waits for a change in it. Nobody waits: nothing is done."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio

from registry.errors import StorageError
from registry.storage.database import Changes, Database

LOOK_S, CLOSE_LOOK_S = 0.02, 0.005
PER_WAITER_S = 0.0005  # all of them ask the ledger after each change
WAKE_ANYWAY_S = 1.0  # what a waiter looks at besides the ledger: its runner, its client


@dataclass
class LedgerWatch:
    """A look at the database's own counter of changes, many times a second while somebody waits."""

    database: Database
    _changes: Changes | None = None
    _waiters: int = 0
    _close_waiters: int = 0
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _came: anyio.Event = field(default_factory=anyio.Event)

    @property
    def look_s(self) -> float:
        """Time between two looks; the more wait, the longer."""
        return max(CLOSE_LOOK_S if self._close_waiters else LOOK_S, PER_WAITER_S * self._waiters)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            if not self._waiters:
                self._forget()
                await self._came.wait()
            if self._has_changed():
                self._changed.set()
                self._changed = anyio.Event()
            await anyio.sleep(self.look_s)

    def _has_changed(self) -> bool:
        try:
            if self._changes is None:
                self._changes = self.database.changes()
                return True
            return self._changes.since_last_look()
        except StorageError:
            self._forget()
            return True  # whoever asks the ledger now meets the error itself

    def _forget(self) -> None:
        if self._changes is not None:
            self._changes.close()
            self._changes = None

    @contextlib.asynccontextmanager
    async def waiting(self, *, closely: bool = False) -> AsyncIterator[Waiter]:
        """A waiter for changes, from now on; `closely` where somebody listens, and hundredths of a second count."""
        self._waiters += 1
        self._close_waiters += closely
        self._came.set()
        try:
            yield Waiter(self, self._changed)
        finally:
            self._waiters -= 1
            self._close_waiters -= closely
            if not self._waiters:
                self._came = anyio.Event()


@dataclass
class Waiter:
    """One who waits; a change between two waits is not missed."""

    watch: LedgerWatch
    _next: anyio.Event

    async def change(self, *, at_most_s: float = WAKE_ANYWAY_S) -> bool:
        """Wait for a change since the last wait, or for a while; returns whether there was one."""
        with anyio.move_on_after(at_most_s):
            await self._next.wait()
        has_changed = self._next.is_set()
        self._next = self.watch._changed
        return has_changed
