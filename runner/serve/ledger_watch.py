"""The ledger → a wake-up for whoever waits for a change in it, and their answers, all in one look.

Nobody waits: nothing is done.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread

from registry.errors import StorageError, VoiceJobsError
from registry.storage.database import Changes, Database
from registry.storage.session import Session

Answer = TypeVar("Answer")

LOOK_S, CLOSE_LOOK_S = 0.02, 0.005
PER_WAITER_S = 0.0005  # all of them are answered after each change
WAKE_ANYWAY_S = 1.0  # what a waiter looks at besides the ledger: its runner, its client


@dataclass
class _Question:
    ask: Callable[[Session], Any]
    answer: Any = None
    error: Exception | None = None
    is_answered: anyio.Event = field(default_factory=anyio.Event)


@dataclass
class LedgerWatch:
    """A look at the database's own counter of changes, many times a second while somebody waits."""

    database: Database
    _changes: Changes | None = None
    _waiters: int = 0
    _close_waiters: int = 0
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _came: anyio.Event = field(default_factory=anyio.Event)
    _asked: list[_Question] = field(default_factory=list)
    _was_asked: anyio.Event = field(default_factory=anyio.Event)
    _reader: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

    @property
    def look_s(self) -> float:
        """Time between two looks; the more wait, the longer."""
        return max(CLOSE_LOOK_S if self._close_waiters else LOOK_S, PER_WAITER_S * self._waiters)

    async def run(self) -> None:
        """Watch and answer until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._answer_questions)
            await self._watch()

    async def _watch(self) -> None:
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

    async def _answer_questions(self) -> None:
        while True:
            await self._was_asked.wait()
            self._was_asked = anyio.Event()
            asked, self._asked = self._asked, []
            await anyio.to_thread.run_sync(self._answer, asked, limiter=self._reader)
            for question in asked:
                question.is_answered.set()

    def _answer(self, asked: list[_Question]) -> None:
        try:
            with self.database.read() as session:
                for question in asked:
                    try:
                        question.answer = question.ask(session)
                    except Exception as error:  # who asked gets it
                        question.error = error
        except VoiceJobsError as error:
            for question in asked:
                question.error = question.error or error

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

    async def ask(self, question: Callable[[Session], Answer]) -> Answer:
        """Answer to a quick question, read together with those of all others who ask at this moment."""
        asked = _Question(question)
        self.watch._asked.append(asked)
        self.watch._was_asked.set()
        await asked.is_answered.wait()
        if asked.error is not None:
            raise asked.error
        return cast(Answer, asked.answer)

    async def change(self, *, at_most_s: float = WAKE_ANYWAY_S) -> bool:
        """Wait for a change since the last wait, or for a while; returns whether there was one."""
        with anyio.move_on_after(at_most_s):
            await self._next.wait()
        has_changed = self._next.is_set()
        self._next = self.watch._changed
        return has_changed
