"""The notices of one receiver → deliveries, one after another, in a thread of its own: a hanging one holds up no other.

Whatever goes wrong here is tried again or logged; nothing of it reaches the jobs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from registry.durable_files import crash_point
from registry.errors import VoiceJobsError
from registry.jobs import hook_deliveries
from registry.jobs.hook_deliveries import Delivery
from registry.storage.database import Database
from runner.config.hook_settings import HookSettings
from runner.hooks.delivery import Attempt, NotDelivered
from runner.hooks.rules import GIVEN_UP_AFTER_S, pause_s

logger = logging.getLogger(__name__)

LOOK_S = 3_600.0  # without a notice; each new one wakes the thread
AFTER_TROUBLE_S = 5.0  # with the ledger
JOIN_S = 1.0


@dataclass(kw_only=True)
class ReceiverThread:
    """One receiver's thread; it starts when it is first woken."""

    key: str
    hook: HookSettings
    root: Path
    database: Database
    clock: Callable[[], float]
    _thread: threading.Thread | None = None
    _wake: threading.Event = field(default_factory=threading.Event)
    _is_idle: threading.Event = field(default_factory=threading.Event)
    _attempt: Attempt | None = None
    _is_stopping: bool = False
    _delivered: list[int] = field(default_factory=list)  # and not yet forgotten by the ledger

    def wake(self) -> None:
        """There is a new notice, or there may be."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"hook-{self.key}", daemon=True)
            self._thread.start()
        self._is_idle.clear()
        self._wake.set()

    def settle(self, until_s: float) -> None:
        """Wait until nothing is due, but not beyond a time of the monotonic clock."""
        if self._thread is not None:
            self._is_idle.wait(max(0.0, until_s - time.monotonic()))

    def close(self) -> None:
        """End; what was being delivered is delivered again by the next runner."""
        self._is_stopping = True
        self._wake.set()
        if self._attempt is not None:
            self._attempt.abort()
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            try:
                wait_s = self._round()
            except VoiceJobsError as error:
                logger.warning("notices to %s wait: %s", self.hook.receiver, error)
                wait_s = AFTER_TROUBLE_S
            except Exception:  # the edge of a thread: nobody above would hear of it
                if self._is_stopping:
                    return
                logger.exception("notices to %s wait after an error that nobody foresaw", self.hook.receiver)
                wait_s = LOOK_S
            if wait_s > 0:
                self._is_idle.set()
                if self._wake.is_set():
                    self._is_idle.clear()
                self._wake.wait(wait_s)

    def _round(self) -> float:
        """Deliver what has been due longest; returns how long nothing is due."""
        self._forget_delivered()
        now_s = self.clock()
        with self.database.read() as session:
            due, next_s = hook_deliveries.next_due(session, self.key, now_s=now_s)
        if due is None:
            return LOOK_S if next_s is None else max(0.01, min(next_s - now_s, LOOK_S))
        crash_point("hooks.before-delivery")
        self._attempt = Attempt(self.hook, self.root)
        try:
            if self._is_stopping:
                return 0.0
            self._attempt.deliver(due)
        except NotDelivered as error:
            if not self._is_stopping:
                self._note_failure(due, str(error))
            return 0.0
        finally:
            self._attempt = None
        crash_point("hooks.delivered")
        self._delivered.append(due.id)
        self._forget_delivered()
        return 0.0

    def _forget_delivered(self) -> None:
        """While the ledger cannot be written, nothing is delivered twice: its error ends the round."""
        if self._delivered:
            with self.database.write() as session:
                hook_deliveries.set_delivered(session, self._delivered)
            self._delivered.clear()

    def _note_failure(self, delivery: Delivery, error: str) -> None:
        now_s = self.clock()
        is_last = now_s - delivery.at_s >= GIVEN_UP_AFTER_S
        with self.database.write() as session:
            if is_last:
                hook_deliveries.give_up(session, delivery.id, error=error, now_s=now_s)
            else:
                next_s = now_s + pause_s(delivery.attempts + 1)
                hook_deliveries.set_failed(session, delivery.id, error=error, next_s=next_s)
        if is_last or delivery.attempts == 0:
            fate = "it is given up" if is_last else "it is tried again for a day"
            logger.warning("%s was not told of %s: %s; %s", self.hook.receiver, delivery.type, error, fate)
