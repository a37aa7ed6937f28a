"""The floor's basket → a thread that records it, while the engine is heard and fed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from registry.errors import StorageError
from runner.worker.in_flight import Floor
from runner.worker.line_tasks import Accepted, Basket, LineAtWork
from runner.worker.take_writer import OnJobTrouble, Recorded, Recorder


class BackgroundRecorder:
    """Records one basket at a time; it is true while it does. All methods belong to the runner's main thread."""

    def __init__(
        self, *, recorder: Recorder, floor: Floor, on_job_trouble: OnJobTrouble, wake: Callable[[], None]
    ) -> None:
        self._recorder, self._floor, self._on_job_trouble, self._wake = recorder, floor, on_job_trouble, wake
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="recording")
        self._under_way: Future[Recorded] | None = None
        self._long: list[Accepted] = []  # takes that are still being coded, which takes a while

    def __bool__(self) -> bool:
        return self._under_way is not None

    def tick(self) -> bool:
        """Take note of what was recorded and have the rest begun; whether anything was recorded.

        What comes while a basket is recorded goes into the next one, so that syncs and commits are shared. Waits only
        when too much has come. Raises StorageError when the disk or the database failed.
        """
        self._set_long_ones_aside()
        done = self._under_way is not None and (self._under_way.done() or self._floor.holds_much)
        if done:
            self._collect()
        if self._under_way is None and self._floor.basket:
            self._begin()
        return done

    def settle(self) -> bool:
        """Wait until what has been spoken is recorded; what is reused takes longer and may be left, as long takes may.

        Returns and raises as `tick`.
        """
        done = False
        while self._under_way is not None or self._floor.basket.holds_news:
            if self._under_way is None:
                self._begin()
            self._collect()
            done = True
        return done

    def _set_long_ones_aside(self) -> None:
        """Keep long takes out of the basket until they are coded: nothing else need wait for them."""
        basket = self._floor.basket
        # Of a job that was cancelled or dropped meanwhile, nothing is wanted any more.
        wanted = [item for item in self._long if self._floor.jobs.get(item.active.job.id) is item.active]
        came, basket.accepted, self._long = [*basket.accepted, *wanted], [], []
        for item in came:
            (self._long if item.takes_a_while else basket.accepted).append(item)

    def _begin(self) -> None:
        basket, self._floor.basket = self._floor.basket, Basket()
        self._under_way = self._pool.submit(self._recorder.record, basket)
        self._under_way.add_done_callback(lambda _: self._wake())

    def _collect(self) -> None:
        """Waits for the thread."""
        assert self._under_way is not None
        under_way, self._under_way = self._under_way, None
        recorded = under_way.result()
        for active in recorded.settled:
            active.unrecorded -= 1
        for active, line in recorded.again:
            active.unrecorded -= 1
            active.again.append(LineAtWork.of(line))
        self._floor.put_back(recorded.left)
        for job, error in recorded.troubles:
            self._on_job_trouble(job, error)

    def rest(self) -> None:
        """Wait for the thread; the next `tick` takes note of what it has done."""
        if self._under_way is not None:
            self._under_way.exception()

    def give_up(self) -> None:
        """Forget what is not recorded: the ledger knows it. Waits for the thread."""
        if self._under_way is not None:
            with contextlib.suppress(StorageError, OSError):
                self._under_way.result()
        self._under_way, self._long = None, []

    def close(self) -> None:
        """Let the thread end what it has begun: nobody else may own the instance meanwhile."""
        self._pool.shutdown(cancel_futures=True)
