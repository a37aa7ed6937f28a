"""An instance → its runner in this process; a dropped file → its job once that has ended.

Waiting for a job runs the instance while no other runner does, also after that one has ended.
"""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Callable, Sequence

from registry.errors import VoiceJobsError, storage_error
from registry.jobs import jobs
from registry.jobs.lists import find_drop, listed, show_job
from registry.jobs.requests import open_requests
from registry.jobs.values import OPEN_STATUSES, Job, ListedJob
from registry.storage.database import Database
from runner.config.instance import Instance
from runner.errors import RunnerActive, Unforeseen
from runner.exit_codes import INTERRUPTED, OK, TRY_AGAIN
from runner.outbox.progress_file import NOTHING, UnderWay, lines_under_way
from runner.outbox.waits_file import Wait, read_waits
from runner.submission.drop_writer import Submitted
from runner.worker.daemon import Runner

POLL_S = 0.1
SERVICE_RETRY_S = 20.0  # after an error that somebody has to correct
TOLD_AGAIN_S = 3600.0
ANSWERED_WITHIN_S = 3.0  # a runner reads requests every second, between its steps

OnProgress = Callable[[ListedJob, UnderWay, Wait | None], None]


def run_daemon(instance: Instance) -> int:
    """Work until a signal; returns the exit code: 0 on SIGTERM, 130 on Ctrl-C. Raises RunnerActive."""
    with Runner(instance) as runner:
        runner.run()
        return INTERRUPTED if runner.last_signal == signal.SIGINT else OK


def run_once(instance: Instance) -> int:
    """Work until nothing is left that can be done now; returns the exit code. Raises RunnerActive."""
    with Runner(instance) as runner:
        result = runner.run_once()
        if result.interrupted:
            return INTERRUPTED if runner.last_signal == signal.SIGINT else OK
        return result.exit_code_once


def run_service(start: Callable[[], int], *, tell: Callable[[VoiceJobsError], object]) -> int:
    """Exit code of `start`, which is called again after each error: a person corrects its cause, and work goes on.

    An error that lasts is told once an hour, so that no log grows. Errors that nobody foresaw are raised.
    """
    told, told_at_s = "", 0.0
    while True:
        try:
            return start()
        except (VoiceJobsError, OSError) as raised:
            error = storage_error(raised, f"using {raised.filename}") if isinstance(raised, OSError) else raised
            if isinstance(error, Unforeseen):
                raise
            now_s = time.monotonic()
            if error.message != told or now_s - told_at_s >= TOLD_AGAIN_S:
                tell(error)
                told, told_at_s = error.message, now_s
        time.sleep(SERVICE_RETRY_S)


class JobWaiter:
    """Wait for the job of one dropped file."""

    def __init__(self, instance: Instance, submitted: Submitted) -> None:
        self._instance, self._submitted = instance, submitted
        self._job_id: int | None = None
        self._next_look_s = 0.0
        self.job: Job | None = None  # as last seen

    def wait(self, *, on_progress: OnProgress | None = None) -> Job | None:
        """The job once it has ended; None after a signal."""
        self._instance.prepare()
        with Database.open(self._instance.database_path, root=self._instance.root) as database:
            has_ended = functools.partial(self._look, database, on_progress)
            while not has_ended():
                try:
                    with Runner(self._instance, stopped_code=TRY_AGAIN) as runner:
                        if runner.run(until=has_ended, unless_hopeless=True).interrupted:
                            break
                except RunnerActive:
                    time.sleep(POLL_S)
            self._next_look_s = 0.0
            return self.job if self._look(database, None) else None

    def _look(self, database: Database, on_progress: OnProgress | None) -> bool:
        """Ask the ledger, a few times a second; True when the job has ended."""
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return self.job is not None and self.job.status not in OPEN_STATUSES
        self._next_look_s = now_s + POLL_S
        with database.read() as snapshot:
            if self._job_id is None:
                drop = self._submitted
                self.job = find_drop(snapshot, drop.path.name, key=drop.key, since=drop.since)
            else:
                self.job = jobs.find(snapshot, self._job_id)
            if self.job is None:
                return False
            self._job_id = self.job.id
            if on_progress is not None:
                state_dir = self._instance.state_dir
                under_way = lines_under_way(state_dir, now_s=time.time()).get(self.job.id, NOTHING)
                found = listed(snapshot, [self.job])[0]
                on_progress(found, under_way, read_waits(state_dir).of(found, now_s=time.time()))
        return self.job.status not in OPEN_STATUSES


def answers_to_requests(database: Database, asked: Sequence[Job]) -> dict[int, str]:
    """Answers of the active runner to the latest requests about jobs, by ledger id; those that it gave in time."""
    deadline_s = time.monotonic() + ANSWERED_WITHIN_S
    while True:
        with database.read() as snapshot:
            unanswered = {request.job_id for request in open_requests(snapshot)}
            answered = [job for job in asked if job.id not in unanswered]
            if len(answered) == len(asked) or time.monotonic() >= deadline_s:
                return {job.id: show_job(snapshot, job.name, lines=0).events[-1].message for job in answered}
        time.sleep(POLL_S)
