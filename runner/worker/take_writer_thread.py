"""The floor's batch → a thread that records it, while the engine is heard and fed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from registry.errors import StorageError
from runner.worker.in_flight import InFlight
from runner.worker.line_tasks import Accepted, LineTask, ResultBatch
from runner.worker.take_writer import OnJobTrouble, TakeWriter, Written


class TakeWriterThread:
    """Records one batch at a time; it is true while it does. All methods belong to the runner's main thread."""

    def __init__(
        self, *, take_writer: TakeWriter, in_flight: InFlight, on_job_trouble: OnJobTrouble, wake: Callable[[], None]
    ) -> None:
        self._take_writer, self._in_flight, self._on_job_trouble, self._wake = (
            take_writer,
            in_flight,
            on_job_trouble,
            wake,
        )
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="take-writer")
        self._under_way: Future[Written] | None = None
        self._long: list[Accepted] = []  # takes that are still being coded, which takes a while

    def __bool__(self) -> bool:
        return self._under_way is not None

    def tick(self) -> bool:
        """Take note of what was written and have the rest begun; whether anything was written.

        What comes while a batch is written goes into the next one, so that syncs and commits are shared. Waits only
        when too much has come. Raises StorageError when the disk or the database failed.
        """
        self._set_long_ones_aside()
        done = self._under_way is not None and (self._under_way.done() or self._in_flight.holds_much)
        if done:
            self._collect()
        if self._under_way is None and self._in_flight.results:
            self._begin()
        return done

    def settle(self) -> bool:
        """Wait until what has been spoken is written; what is reused takes longer and may be left, as long takes may.

        Returns and raises as `tick`.
        """
        done = False
        while self._under_way is not None or self._in_flight.results.holds_news:
            if self._under_way is None:
                self._begin()
            self._collect()
            done = True
        return done

    def _set_long_ones_aside(self) -> None:
        """Keep long takes out of the batch until they are coded: nothing else need wait for them."""
        batch = self._in_flight.results
        # Of a job that was cancelled or dropped meanwhile, nothing is wanted any more.
        wanted = [item for item in self._long if self._in_flight.jobs.get(item.active.job.id) is item.active]
        came, batch.accepted, self._long = [*batch.accepted, *wanted], [], []
        for item in came:
            (self._long if item.takes_a_while else batch.accepted).append(item)

    def _begin(self) -> None:
        batch, self._in_flight.results = self._in_flight.results, ResultBatch()
        self._under_way = self._pool.submit(self._take_writer.write, batch)
        self._under_way.add_done_callback(lambda _: self._wake())

    def _collect(self) -> None:
        """Waits for the thread."""
        assert self._under_way is not None
        under_way, self._under_way = self._under_way, None
        written = under_way.result()
        for active in written.settled:
            active.unwritten -= 1
        for active, line in written.pending:
            active.unwritten -= 1
            active.pending.append(LineTask.of(line))
        self._in_flight.put_back(written.left)
        for job, error in written.troubles:
            self._on_job_trouble(job, error)

    def rest(self) -> None:
        """Wait for the thread; the next `tick` takes note of what it has done."""
        if self._under_way is not None:
            self._under_way.exception()

    def give_up(self) -> None:
        """Forget what is not written: the ledger knows it. Waits for the thread."""
        if self._under_way is not None:
            with contextlib.suppress(StorageError, OSError):
                self._under_way.result()
        self._under_way, self._long = None, []

    def close(self) -> None:
        """Let the thread end what it has begun: nobody else may own the instance meanwhile."""
        self._pool.shutdown(cancel_futures=True)
