"""People's requests in the ledger → jobs cancelled or tried again; or why not, as an event of the job."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field

from registry.errors import NotFound, StorageError
from registry.jobs import jobs, lines
from registry.jobs.children import children_of
from registry.jobs.requests import HAVE_FILES, add_request, drop_requests, open_requests
from registry.jobs.values import CANCEL, OPEN_STATUSES, RETRY, RETRYABLE_STATUSES, Job, JobStatus, Request
from registry.storage.session import Session
from runner.errors import RecordedOtherwise
from runner.jobfile.parse import spec_from_json
from runner.scheduling.default_model import renew_model
from runner.worker.books.master_jobs import MasterJobs
from runner.worker.books.script_jobs import ScriptJobs
from runner.worker.context import Context
from runner.worker.events import Events, JobDelayed, OutcomesCommitted, ReadyMayExist
from runner.worker.finisher_thread import FinisherThread
from runner.worker.in_flight import InFlight
from runner.worker.listening.transcribe_jobs import TranscribeJobs
from runner.worker.take_writer import TakeWriter

logger = logging.getLogger(__name__)

RETRY_AGAIN_S = 5.0  # between two tries at a job whose folder does not let it be tried again


@dataclass(frozen=True, kw_only=True)
class JobRequests:
    """Cancels and retries jobs, on the runner's main thread."""

    context: Context
    in_flight: InFlight
    take_writer: TakeWriter
    finisher_thread: FinisherThread
    scripts: ScriptJobs
    transcribes: TranscribeJobs
    masters: MasterJobs
    events: Events
    _put_off: dict[int, float] = field(default_factory=dict)  # requests that could not be met; when to try again

    def due(self, now_s: float) -> list[Request]:
        """The requests that can be met now; those for jobs that others wait for come first."""
        with self.context.database.read() as session:
            due = [item for item in open_requests(session) if self._put_off.get(item.id, now_s) <= now_s]
        return sorted(due, key=lambda item: item.job_id)

    def apply(self, request: Request, *, now_s: float) -> None:
        """Meet one request, or put it off. Raises StorageError when the disk or the database failed."""
        with self.context.database.read() as session:
            job = jobs.get(session, request.job_id)
        if request.request == CANCEL:
            self._cancel(job)
        elif _may_retry(job) and not self._retry(job, request, now_s=now_s):
            return
        with self.context.database.write() as session:
            drop_requests(session, [request.id])

    def are_waiting(self, session: Session) -> bool:
        """Whether there are any that can be met now."""
        return any(request.id not in self._put_off for request in open_requests(session))

    def _cancel(self, job: Job) -> None:
        if job.status not in OPEN_STATUSES or job.outcome is not None or job.id in self.finisher_thread:
            self._note(job, CANCEL, "too late: all its work was done, and it was being finished")
            return
        self.in_flight.drop(job.id)
        self.scripts.drop(job.id)
        self.transcribes.drop(job.id)
        self.masters.drop(job.id)
        delayed: list[JobDelayed] = []
        if job.is_planned:
            with contextlib.suppress(RecordedOtherwise):  # nobody knows any more as what its lines were to be published
                delayed = self.take_writer.republish(job, spec_from_json(job.spec_json, with_texts=False))
        with self.context.database.write() as session:
            for refused in delayed:
                jobs.add_warning(session, job.id, refused.error.message)
            lines.cancel_waiting(session, job.id)
            for _, child in children_of(session, job.id):
                if child.status in OPEN_STATUSES:
                    add_request(session, child.name, CANCEL, now_s=self.context.clock())
            jobs.set_outcome(session, job.id, JobStatus.CANCELLED, now_s=self.context.clock())
        self.events.append(OutcomesCommitted((job.id,)))

    def _retry(self, job: Job, request: Request, *, now_s: float) -> bool:
        """Put a job back into the queue; False when its folder does not allow that now."""
        try:
            self.context.outbox.retire_receipt(job.name)
            there = self.context.outbox.files_of(job.name)
        except StorageError as error:
            if error.is_instance_wide:
                raise
            if request.id not in self._put_off:
                logger.warning("job %d (%s) cannot be tried again yet: %s", job.id, job.name, error)
                self._note(job, RETRY, f"put off: {error.message}")
            self._put_off[request.id] = now_s + RETRY_AGAIN_S
            return False
        self._put_off.pop(request.id, None)
        self.in_flight.loader.try_all_again()
        with self.context.database.write() as session:
            for _, child in children_of(session, job.id):
                if child.status in RETRYABLE_STATUSES:
                    add_request(session, child.name, RETRY, now_s=self.context.clock())
            jobs.reset_for_retry(session, job.id)
            lines.publish_again(session, job.id, unless_in=there)
            model = self._renewed_model(session, job)
            message = f"queued again, by {model}" if model else "queued again"
            jobs.add_event(session, job.id, kind=RETRY, message=message, at_s=self.context.clock())
        self.events.append(ReadyMayExist())
        return True

    def _renewed_model(self, session: Session, job: Job) -> str | None:
        """The model of today's settings, when lines of the job are given to it."""
        try:
            return renew_model(session, job, self.context.models)
        except NotFound as error:  # the setting names none: the job keeps its model
            logger.warning("job %d (%s) keeps its model: %s", job.id, job.name, error)
            return None

    def _note(self, job: Job, kind: str, message: str) -> None:
        with self.context.database.write() as session:
            jobs.add_event(session, job.id, kind=kind, message=message, at_s=self.context.clock())


def _may_retry(job: Job) -> bool:
    """Whether a job can be tried again; one that is done only makes files again that are gone."""
    return job.status in RETRYABLE_STATUSES or (job.status == JobStatus.DONE and job.kind in HAVE_FILES)
