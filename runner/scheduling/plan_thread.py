"""Jobs too large to be planned between two steps of the runner → their plans in the ledger, made in a thread.

A job is planned whole, in one transaction, or not at all: after a crash it is begun again, as any queued job.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from registry.durable_files import crash_point
from registry.jobs import jobs
from registry.jobs.values import Job
from registry.storage.database import Database
from runner.jobfile.parse import SYNTHESIZE, spec_from_json
from runner.jobfile.specs import SynthesizeSpec
from runner.scheduling.planner import Planner

LARGE_CHARACTERS = 40_000  # of a job as it is recorded, or bytes of its text file: some 50 ms of planning


@dataclass(kw_only=True)
class PlanThread:
    """Plans one large job at a time; true while it does. All methods belong to the runner's main thread."""

    database: Database
    planner: Callable[[], Planner]
    folder_of: Callable[[Job], Path | None]
    wake: Callable[[], None]
    pool: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="planner"))
    held: set[int] = field(default_factory=set)  # large jobs that wait for their plans: the others go on
    _future: Future[None] | None = None
    _job_id: int | None = None

    def __bool__(self) -> bool:
        return self._future is not None

    def keep(self, job: Job) -> bool:
        """Whether a job is one for this thread: it is planned here, as soon as no other one is."""
        if job.kind != SYNTHESIZE or job.is_planned:
            return False
        if len(job.spec_json) <= LARGE_CHARACTERS and not self._has_large_text(job):
            return False
        self.held.add(job.id)
        if self._future is None:
            self._job_id = job.id
            self._future = self.pool.submit(self._plan, job)
            self._future.add_done_callback(lambda _: self.wake())
        return True

    def _has_large_text(self, job: Job) -> bool:
        name, folder = json.loads(job.spec_json).get("text_file"), self.folder_of(job)
        if name is None or folder is None:
            return False
        with contextlib.suppress(OSError):  # planning says what is wrong with it
            size_bytes: int = (folder / name).stat().st_size
            return size_bytes > LARGE_CHARACTERS
        return False

    def finished(self) -> tuple[int, Future[None]] | None:
        """A job that is planned, or could not be, once; the future raises why."""
        if self._future is None or self._job_id is None or not self._future.done():
            return None
        job_id, future = self._job_id, self._future
        self._future, self._job_id = None, None
        self.held.clear()  # who is next is for the scheduler to say
        return job_id, future

    def _plan(self, job: Job) -> None:
        """In the thread."""
        spec = spec_from_json(job.spec_json)
        assert isinstance(spec, SynthesizeSpec)
        with self.database.read() as session:
            plan = self.planner().plan(spec, session=session, folder=self.folder_of(job))
        crash_point("worker.job-planned")
        with self.database.write() as session:
            jobs.set_plan(session, job.id, plan=plan.plan, model=plan.model, lines=plan.lines, warnings=plan.warnings)

    def give_up(self) -> None:
        """Forget everything; what the thread still writes is whole, and is found in the ledger."""
        self.held.clear()
        self._future, self._job_id = None, None

    def close(self) -> None:
        """Let the thread end what it has begun: nobody else may own the instance meanwhile."""
        self.pool.shutdown(cancel_futures=True)
