"""An instance → the stores, limits and helpers that every request shares."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.types import Receive

from registry.durable_files import FileLock
from registry.errors import VoiceJobsError
from registry.jobs.lists import waiting_jobs
from registry.jobs.takes import TakeStore
from registry.storage.database import Database
from registry.storage.object_store import ObjectStore
from registry.storage.session import Session
from runner.config.instance import Instance
from runner.config.serve_settings import ServeSettings
from runner.inbox.bell import ring
from runner.outbox.waits_file import NETWORK, Waits, read_waits
from runner.scheduling.pronunciation_file import PronunciationFile
from runner.serve.errors import NoModel, NoRunner, RequestRefused
from runner.serve.ledger_watch import LedgerWatch

Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)

READERS = 8  # threads that read the ledger, the outbox and the take store
RUNNER_LOOK_S = 0.5
RETRY_AFTER_S = 10
JOB_HEADER = "X-Voicejobs-Job"  # names the job that a request has become


@dataclass(frozen=True, kw_only=True)
class RunnerState:
    """The runner as it was a moment ago."""

    is_active: bool
    holder: dict[str, Any] | None  # of the instance's lock: another one is another runner
    waits: Waits
    seen_s: float


@dataclass(kw_only=True)
class ServeContext:
    """One open instance, as the server sees it."""

    instance: Instance
    database: Database
    watch: LedgerWatch
    key: str | None = None
    dropped: set[str] = field(default_factory=set)  # names of drops of ours that no runner has claimed yet
    closing: anyio.Event = field(default_factory=anyio.Event)
    readers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(READERS))
    _runner: RunnerState = RunnerState(is_active=False, holder=None, waits=Waits(), seen_s=-math.inf)
    _runner_looks: anyio.Lock = field(default_factory=anyio.Lock)

    @property
    def settings(self) -> ServeSettings:
        return self.instance.settings.serve

    @functools.cached_property
    def pronunciations(self) -> PronunciationFile:
        return PronunciationFile(self.instance)

    @property
    def takes(self) -> TakeStore:
        return TakeStore(ObjectStore(self.instance.takes_dir))

    @property
    def objects(self) -> ObjectStore:
        return ObjectStore(self.instance.state_dir / "objects")

    async def in_thread(self, work: Callable[[], Answer]) -> Answer:
        """Result of blocking work, done in one of a few threads."""
        return await anyio.to_thread.run_sync(work, limiter=self.readers)

    async def read(self, question: Callable[[Session], Answer]) -> Answer:
        """Answer of the ledger to a question."""

        def ask() -> Answer:
            with self.database.read() as session:
                return question(session)

        return await self.in_thread(ask)

    async def request(self, change: Callable[[Session], Answer]) -> Answer:
        """Result of one of the ledger's own requests to the runner."""

        def ask() -> Answer:
            with self.database.write() as session:
                answer = change(session)
            ring(self.instance.inbox)
            return answer

        return await self.in_thread(ask)

    async def runner(self, *, since_s: float | None = None) -> RunnerState:
        """The runner as of half a second ago at most, or as it was after `since_s`; one look serves all who ask."""
        oldest_s = time.monotonic() - RUNNER_LOOK_S if since_s is None else since_s
        if self._runner.seen_s < oldest_s:
            async with self._runner_looks:
                if self._runner.seen_s < oldest_s:
                    self._runner = await self.in_thread(self._look_at_runner)
        return self._runner

    def _look_at_runner(self) -> RunnerState:
        return RunnerState(
            seen_s=time.monotonic(),  # before the look
            is_active=self.instance.runner_is_active(),
            holder=FileLock(self.instance.lock_path).holder(),
            waits=read_waits(self.instance.state_dir),
        )

    async def runner_is_active(self) -> bool:
        """Whether there is a runner."""
        return (await self.runner()).is_active

    async def require_runner(self) -> None:
        """Raises NoRunner when nobody would do the work."""
        if not await self.runner_is_active():
            raise NoRunner

    async def require_models(self, names: Collection[str | None]) -> None:
        """Raises NoModel when one of these waits for the network."""
        waits = (await self.runner()).waits.models
        for name in names:
            if name is not None and (wait := waits.get(name)) is not None and wait.what == NETWORK:
                raise NoModel(wait.why)

    async def require_room(self) -> None:
        """Raises RequestRefused when as many jobs wait as may."""
        waiting = await self.read(waiting_jobs) + len(self.dropped)
        if waiting >= self.settings.max_waiting:
            raise RequestRefused(
                429,
                f"{waiting} jobs are waiting already.",
                hint="Try again later, or raise max_waiting in voicejobs.toml.",
                wire_code="too_many_waiting",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )


async def for_client(receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Do work for a client, until it is done or the client has gone. Raises the project's errors as they are."""
    error: VoiceJobsError | None = None
    async with anyio.create_task_group() as group:

        async def watch_client() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch_client)
        try:
            await work()
        except VoiceJobsError as raised:  # not through the group, which would wrap it
            error = raised
        group.cancel_scope.cancel()
    if error is not None:
        raise error


def open_serve_context(instance: Instance, *, key: str | None = None) -> ServeContext:
    """An instance opened for the server; folders and database are made when they are missing."""
    instance.prepare()
    database = Database.open(instance.database_path, root=instance.root)
    return ServeContext(instance=instance, database=database, watch=LedgerWatch(database), key=key)
