"""Jobs with nothing left to do → a thread that makes their tracks and receipts, while the next lines are spoken.

One batch is finished at a time; jobs that end meanwhile wait for the next, so that syncs and commits are shared. The
track of a long job, of many lines, of much speech or with words to be timed, takes a while, and is made in a thread of
its own before the job joins a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from runner.outbox.job_summary import JobSummary
from runner.worker.events import Events, ReadyMayExist
from runner.worker.finisher import Finisher, JobResult
from runner.worker.job_guard import for_job
from runner.worker.line_tasks import ActiveJob

SHORT_LINES = 200  # a job of more lines is long, without a look at them
MOST_WAITING = 64  # jobs that may wait for the next batch
LONG_TRACKS_AT_ONCE = 2  # so that a track of minutes need not wait for one of ten hours


class FinisherThread:
    """Jobs that are being finished; true while there are any. All methods belong to the runner's main thread."""

    def __init__(self, *, finisher: Finisher, events: Events, wake: Callable[[], None]) -> None:
        self._finisher, self._events, self._wake = finisher, events, wake
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="finisher")
        self._long_pool = ThreadPoolExecutor(LONG_TRACKS_AT_ONCE, thread_name_prefix="long-track")
        self._waiting: list[ActiveJob] = []
        self._ended: list[int] = []  # ledger ids of jobs that have an outcome, and want their receipts
        self._making: dict[Future[JobResult | None], int] = {}  # long jobs, by their ledger ids
        self._made: list[JobResult] = []
        self._batch: Future[list[tuple[ActiveJob, JobSummary]]] | None = None
        self._batch_ids: set[int] = set()
        self._batch_is_long = False

    def __bool__(self) -> bool:
        return bool(self._waiting or self._making or self._made or self._ended or self._batch)

    def __contains__(self, job_id: int) -> bool:
        waiting = {active.job.id for active in self._waiting} | {result.job.id for result in self._made}
        known = waiting | self._batch_ids | {*self._ended, *self._making.values()}
        return job_id in known

    def add(self, ended: Sequence[ActiveJob]) -> None:
        """Have these jobs finished."""
        for active in ended:
            if active.cursor <= SHORT_LINES:
                self._waiting.append(active)
            else:
                self._make(active)

    def add_ended(self, job_ids: Iterable[int]) -> None:
        """Have the receipts of jobs that have an outcome published."""
        self._ended += [job_id for job_id in job_ids if job_id not in self]

    def _make(self, active: ActiveJob, summary: JobSummary | None = None) -> None:
        future = self._long_pool.submit(self._result_of, active, summary)
        self._making[future] = active.job.id
        future.add_done_callback(lambda _: self._wake())

    def _result_of(self, active: ActiveJob, summary: JobSummary | None) -> JobResult | None:
        with for_job(active.job.id):
            if summary is None:
                [summary] = self._finisher.summaries_of([active.job])
            return self._finisher.result_of(active.job, active.spec, summary)

    def tick(self, *, wait: bool = False, is_idle: bool = False) -> None:
        """Collect what the threads have done and begin the next batch.

        `wait` for all but tracks of long jobs; `is_idle`: nobody speaks meanwhile, so a batch of short jobs is waited
        for. Raises StorageError when the disk or the database failed.
        """
        for future in [future for future in self._making if future.done()]:
            self._events.append(ReadyMayExist())  # a job that could not be finished is queued
            del self._making[future]
            if (result := future.result()) is not None:
                self._made.append(result)
        while self._batch is not None or self._waiting or self._made or self._ended:
            wait = wait or len(self._waiting) >= MOST_WAITING
            if self._batch is None:
                self._begin()
            elif wait or (is_idle and not self._batch_is_long) or self._batch.done():
                self._collect(self._batch)
                self._events.append(ReadyMayExist())  # jobs that waited for a closed one
            else:
                break

    def _begin(self) -> None:
        ended, self._waiting = self._waiting, []
        made, self._made = self._made, []
        over, self._ended = self._ended, []
        self._batch_ids = {active.job.id for active in ended} | {result.job.id for result in made} | set(over)
        self._batch_is_long = bool(made or over)  # those that have ended may be of any length
        self._batch = self._pool.submit(self._end, ended, made, over)
        self._batch.add_done_callback(lambda _: self._wake())

    def _collect(self, batch: Future[list[tuple[ActiveJob, JobSummary]]]) -> None:
        try:
            for active, summary in batch.result():
                self._make(active, summary)
        finally:
            self._batch, self._batch_ids = None, set()

    def _end(
        self, ended: Sequence[ActiveJob], made: Sequence[JobResult], over: Sequence[int]
    ) -> list[tuple[ActiveJob, JobSummary]]:
        """In the thread: do everything that is left; returns the jobs that turn out to be long."""
        self._finisher.publish_receipts(over)
        summaries = self._finisher.summaries_of([active.job for active in ended])
        short: list[tuple[ActiveJob, JobSummary]] = []
        long: list[tuple[ActiveJob, JobSummary]] = []
        for active, summary in zip(ended, summaries, strict=True):
            takes_long = self._finisher.takes_long(active.job, active.spec, summary)
            (long if takes_long else short).append((active, summary))
        results = [self._result_of(*pair) for pair in short]
        self._finisher.finish([*made, *(result for result in results if result is not None)])
        return long

    def give_up(self) -> None:
        """Forget the jobs that are not finished: the ledger knows them. Waits for the threads."""
        if self._batch is not None and self._batch.exception() is None:
            self._collect(self._batch)
        self._batch, self._batch_ids = None, set()
        for future in self._making:
            future.exception()  # waits
        self._waiting, self._made, self._making, self._ended = [], [], {}, []

    def close(self) -> None:
        """Let the threads end what they have begun: nobody else may own the instance meanwhile."""
        for pool in (self._pool, self._long_pool):
            pool.shutdown(cancel_futures=True)
