"""Ended jobs, a full disk, a dead engine → notices in the ledger, and the threads that deliver them."""

from __future__ import annotations

import json
import logging
import math
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from registry.errors import VoiceJobsError
from registry.jobs import hook_deliveries
from registry.jobs.children import scripts_of
from registry.jobs.hook_deliveries import NewDelivery
from registry.jobs.values import Job
from registry.storage.database import Database
from registry.storage.session import Session
from runner.config.hook_settings import HookSettings
from runner.config.instance import Instance
from runner.hooks.rules import events_of, keys_of

if TYPE_CHECKING:
    from runner.hooks.receiver_thread import ReceiverThread

logger = logging.getLogger(__name__)

DISK_LOOK_S = 30.0
QUIET_S = 600.0  # after one about an engine: one that dies again and again is told of once in a while


@dataclass(kw_only=True)
class Notices:
    """All that receivers are told; without receivers nothing is done."""

    instance: Instance
    database: Database
    clock: Callable[[], float]
    hooks: Mapping[str, HookSettings] = field(default_factory=dict)
    _threads: list[ReceiverThread] = field(default_factory=list)
    _has_started: bool = False
    _is_low: bool = False
    _next_disk_look_s: float = -math.inf
    _next_engine_s: float = -math.inf

    # ---- of jobs -----------------------------------------------------------------------------------------------

    def of_ended(self, ended: Iterable[tuple[Job, bytes]]) -> list[NewDelivery]:
        """Notices of jobs with their receipts, to be added when the jobs are closed."""
        if not self.hooks:
            return []
        told = list(ended)
        with self.database.read() as session:
            scripts = scripts_of(session, [job.id for job, _ in told])
        return [
            new
            for job, receipt in told
            for type_ in events_of(job, script=scripts.get(job.id))
            for new in self._new(type_, receipt)
        ]

    def add(self, session: Session, new: list[NewDelivery]) -> None:
        """Add notices to the ledger, in the transaction that makes them true."""
        hook_deliveries.add(session, new)

    def wake(self) -> None:
        """Notices were added and committed."""
        for thread in self._threads:
            thread.wake()

    def _new(self, type_: str, data: bytes) -> list[NewDelivery]:
        at_s = self.clock()
        return [
            NewDelivery(hook=key, webhook_id=f"msg_{secrets.token_hex(12)}", type=type_, at_s=at_s, data=data)
            for key, hook in self.hooks.items()
            if type_ in hook.on
        ]

    # ---- of trouble --------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """Start the threads, and look at the disk now and then; `now_s` is monotonic."""
        if not self.hooks:
            return
        if not self._has_started:
            self._start()
        if now_s >= self._next_disk_look_s:
            self._next_disk_look_s = now_s + DISK_LOOK_S
            self._look_at_disks()

    def engine_died(self, *, model: str | None, reason: str, detail: str, now_s: float) -> None:
        """An engine process was lost."""
        if now_s >= self._next_engine_s and self._tell("engine.dead", model=model, reason=reason, message=detail):
            self._next_engine_s = now_s + QUIET_S

    def _look_at_disks(self) -> None:
        wanted = self.instance.settings.min_free_bytes
        low: dict[str, int] = {}
        for folder in (self.instance.inbox, self.instance.outbox, self.instance.state_dir):
            try:
                free = shutil.disk_usage(folder).free
            except OSError:
                continue  # another part tells of a folder that is gone
            if free < wanted:
                low[str(folder)] = free
        if not low:
            self._is_low = False
        elif not self._is_low:
            fullest = min(low, key=lambda folder: low[folder])
            message = f"Only {low[fullest]:,} bytes are free for {fullest}; min_free_bytes is {wanted:,}."
            self._is_low = self._tell(
                "disk.low", folder=fullest, free_bytes=low[fullest], min_free_bytes=wanted, message=message
            )

    def _tell(self, type_: str, **data: Any) -> bool:
        """Add a notice that concerns no job; False when the ledger cannot be written."""
        new = self._new(type_, json.dumps(data).encode())
        try:
            if new:
                with self.database.write() as session:
                    self.add(session, new)
        except VoiceJobsError as error:
            logger.warning("no receiver is told of %s: %s", type_, error)
            return False
        self.wake()
        return True

    # ---- their threads -----------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Take up what a dead runner left, without that for receivers that are no longer set."""
        try:
            with self.database.write() as session:
                hook_deliveries.withdraw_others(session, list(self.hooks))
        except VoiceJobsError as error:
            logger.warning("notices wait: %s", error)
            return
        from runner.hooks.receiver_thread import ReceiverThread  # not at the top: HTTP and TLS take memory

        self._has_started = True
        self._threads = [
            ReceiverThread(key=key, hook=hook, root=self.instance.root, database=self.database, clock=self.clock)
            for key, hook in self.hooks.items()
        ]
        self.wake()

    def settle(self, *, at_most_s: float) -> None:
        """Wait for what is due now to be delivered or to fail."""
        until_s = time.monotonic() + at_most_s
        for thread in self._threads:
            thread.settle(until_s)

    def close(self) -> None:
        """End all threads."""
        for thread in self._threads:
            thread.close()


def notices_of(instance: Instance, database: Database, *, clock: Callable[[], float]) -> Notices:
    """The notices of an instance, by its settings."""
    hooks = instance.settings.hooks
    keys = dict(zip(keys_of(hooks), hooks, strict=True))
    return Notices(instance=instance, database=database, clock=clock, hooks=keys)
