"""Batches of results → a thread that writes them down, while the engine is listened to and given more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from runner.worker.events import Events, TakesWritten
from runner.worker.in_flight import InFlight
from runner.worker.line_tasks import Written
from runner.worker.take_writer import TakeWriter


class TakeWriterThread:
    """Writes one batch at a time; true while it does. All methods belong to the runner's main thread."""

    def __init__(
        self, *, take_writer: TakeWriter, in_flight: InFlight, events: Events, wake: Callable[[], None]
    ) -> None:
        self._take_writer, self._in_flight, self._events, self._wake = take_writer, in_flight, events, wake
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="take-writer")
        self._batch: Future[Written] | None = None

    def __bool__(self) -> bool:
        return self._batch is not None

    def tick(self) -> None:
        """Collect what was written and begin the next batch.

        Results that come while a batch is written go into the next one, so that syncs and commits are shared. Waits
        only when too much has come. Raises StorageError when the disk or the database failed.
        """
        if self._batch is not None and (self._batch.done() or self._in_flight.holds_much):
            self._collect(self._batch)
        if self._batch is None and self._in_flight.results:
            self._batch = self._begin()

    def settle(self) -> None:
        """Wait until what has been spoken is written; reused and long takes may be left, since they take longer.

        Raises as `tick`.
        """
        while self._batch is not None or self._in_flight.results.has_news:
            self._collect(self._batch or self._begin())

    def _begin(self) -> Future[Written]:
        batch = self._pool.submit(self._take_writer.write, self._in_flight.results.take_out())
        batch.add_done_callback(lambda _: self._wake())
        return batch

    def _collect(self, batch: Future[Written]) -> None:
        """Waits for the thread."""
        self._batch = None
        written = batch.result()
        self._in_flight.note_written(written)
        self._events.extend(written.delayed)
        self._events.append(TakesWritten())

    def rest(self) -> None:
        """Wait for the thread; the next `tick` collects what it has done."""
        if self._batch is not None:
            self._batch.exception()

    def give_up(self) -> None:
        """Forget what is not written: the ledger knows it. Waits for the thread."""
        self.rest()
        self._batch = None

    def close(self) -> None:
        """Let the thread end what it has begun: nobody else may own the instance meanwhile."""
        self._pool.shutdown(cancel_futures=True)
