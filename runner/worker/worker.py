"""The worker: one `tick(now_s)` obeys requests, records drops, hears the engine and hands it more work.

What the engine has made is recorded, and jobs are ended, in threads meanwhile; `runner/worker/daemon.py` calls it.
All it holds in memory can be made anew from the ledger, which is what it does at its start and after a full disk.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from registry.durable_files import crash_point
from registry.errors import DiskFull, StorageError, VoiceJobsError, storage_error
from registry.jobs import jobs, lines
from registry.jobs.lists import open_jobs
from registry.jobs.ready import ready_jobs
from registry.jobs.requests import open_requests
from registry.jobs.values import OPEN_STATUSES, Job, JobStatus
from runner.engine.client import EngineClient
from runner.engine.model_loader import ModelLoader
from runner.errors import OutboxGone
from runner.inbox.drop import ClaimedDrop
from runner.inbox.scanner import InboxScanner
from runner.names import printable_name
from runner.outbox.outbox import Outbox
from runner.outbox.progress_file import ProgressWriter
from runner.scheduling.admission import Admission
from runner.scheduling.voice_resolution import ModelNames
from runner.worker.context import Context
from runner.worker.dispatcher import Dispatcher
from runner.worker.engine_listener import EngineListener
from runner.worker.exchange_jobs import ExchangeJobs
from runner.worker.finisher import Finisher, may_release
from runner.worker.finisher_thread import FinisherThread
from runner.worker.in_flight import InFlight
from runner.worker.job_requests import JobRequests
from runner.worker.line_tasks import ActiveJob
from runner.worker.lock_jobs import LockJobs
from runner.worker.lock_task import LockTask
from runner.worker.take_eviction import TakeEviction
from runner.worker.take_writer import RecentTakes, TakeWriter
from runner.worker.take_writer_thread import TakeWriterThread

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0
REQUEST_LOOK_S = 1.0  # how long a request of another process may lie unseen
ANSWER_RETRY_S = 5.0  # between two tries at a receipt whose folder cannot be written
TRIES_BEFORE_GIVING_UP = 5  # of `run --once`, when the disk does not let it work


class Worker:
    """Everything between the inbox and the outbox of one instance."""

    def __init__(
        self,
        context: Context,
        *,
        engine: EngineClient,
        scanner: InboxScanner | None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.context, self.engine, self.scanner = context, engine, scanner
        self.outbox = Outbox.of(context.instance)
        self.loader = ModelLoader(context.instance, engine, wake)
        self.in_flight = InFlight(context=context, engine=engine, loader=self.loader)
        recent, trouble = RecentTakes(), self._on_job_trouble
        self.take_writer = TakeWriter(
            context=context, outbox=self.outbox, on_job_trouble=trouble, recent=recent, wake=wake
        )
        self.take_writer_thread = TakeWriterThread(
            take_writer=self.take_writer, in_flight=self.in_flight, on_job_trouble=trouble, wake=wake
        )
        self.finisher = Finisher(
            context=context, outbox=self.outbox, on_job_trouble=trouble, recent=recent, scanner=scanner
        )
        models = ModelNames(context.instance)
        self.lock_jobs = LockJobs(context=context, models=models)
        self.dispatcher = Dispatcher(
            context=context,
            in_flight=self.in_flight,
            loader=self.loader,
            take_writer=self.take_writer,
            finisher=self.finisher,
            models=models,
            lock_jobs=self.lock_jobs,
            folder_of=self._folder_of,
            exchange=ExchangeJobs(context=context, models=models, outbox=self.outbox, finisher=self.finisher),
            ended=self._answer,
            on_job_trouble=trouble,
        )
        self.listener = EngineListener(
            context=context,
            engine=engine,
            loader=self.loader,
            in_flight=self.in_flight,
            dispatcher=self.dispatcher,
            take_writer=self.take_writer,
            progress=ProgressWriter(state_dir=context.instance.state_dir, clock=context.clock),
        )
        self.take_eviction = TakeEviction(context)
        self.is_stopping = False
        self.outcomes: Counter[str] = Counter()  # what the jobs that ended under this worker came to
        self._drops: list[ClaimedDrop] = []  # claimed and not yet recorded
        self._must_recover = False
        self._has_written = False  # whether the present step has put anything on the disk
        self._pause_until_s = 0.0
        self._pauses = 0
        self._trouble: StorageError | None = None
        self._warned: dict[int, str] = {}  # jobs that the trouble sent back, and what to tell their job_of_work
        self._next_scan_s = 0.0
        self._sent_back: Counter[int] = Counter()  # how often a job was, for trouble of its own
        self._unanswered = False  # whether a receipt could not be written
        self._next_answer_s = 0.0
        self.finisher_thread = FinisherThread(finisher=self.finisher, wake=wake)
        self.requests = JobRequests(
            context=context,
            outbox=self.outbox,
            in_flight=self.in_flight,
            take_writer=self.take_writer,
            finisher=self.finisher,
            dispatcher=self.dispatcher,
            finisher_thread=self.finisher_thread,
            end_what_can=self._end_what_can,
            ended=self._answer,
        )

    # ---- starting up -------------------------------------------------------------------------------------------

    def recover(self, now_s: float) -> None:
        """Take up what a dead runner left: call it once before the first tick, which does it."""
        self._must_recover = True
        if self.scanner is not None:
            self._drops += self.scanner.recover(self._is_recorded, now_s=now_s)

    def _recover(self) -> None:
        """Unpublished answers, running jobs, and claims whose job was answered just before the end."""
        with self.context.database.write() as session:
            count = jobs.recover_unowned(session)
            for job_id, warning in self._warned.items():
                jobs.add_warning(session, job_id, warning)
            unpublished = [job.id for job in jobs.unpublished(session)]
        if count:
            logger.info("jobs that were running, and go on: %d", count)
        self._answer(unpublished)
        if self.scanner is not None:
            self._sweep_claims(self.scanner)
        self._must_recover, self._warned, self.dispatcher.may_be_ready = False, {}, True

    def _is_recorded(self, claim_id: str) -> bool:
        with self.context.database.read() as session:
            return jobs.is_recorded(session, claim_id)

    def _sweep_claims(self, scanner: InboxScanner) -> None:
        for claim_id in scanner.claim_ids():
            with self.context.database.read() as session:
                job = jobs.by_claim(session, claim_id)
            if job is not None and job.status not in OPEN_STATUSES and may_release(job):
                scanner.release(claim_id, refused=job.status == JobStatus.REJECTED)

    # ---- one step ----------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """One step of everything; errors of the disk put the work aside for a while, and lose nothing."""
        try:
            if now_s < self._pause_until_s or not self._may_go_on(now_s):
                self.listener.only_loads(now_s)
                return
            if self._must_recover:
                self._recover()
            self._has_written = False
            self._step(now_s)
            # A step that had nothing to write proves nothing: without this, each try would look like the first.
            if self._trouble is not None and (self._has_written or not self.in_flight.jobs):
                logger.info("work goes on")
                self._trouble, self._pauses = None, 0
        except StorageError as error:
            self._put_aside(error, now_s=now_s)
        except OSError as error:
            self._put_aside(storage_error(error, "working"), now_s=now_s)

    def _step(self, now_s: float) -> None:
        self.requests.apply(now_s)
        self._take_drops(now_s)
        self.listener.tick(now_s)
        if not self.is_stopping:
            self.dispatcher.dispatch(now_s)  # first, so that the engine goes on while its answers are recorded
        self._note_recorded(self.take_writer_thread.tick())
        self._end_jobs()
        if self._unanswered and now_s >= self._next_answer_s:
            self._tick_endings(wait=True)  # two threads must not write one receipt
            self._answer_again(now_s)
        if not self.is_stopping and self.take_eviction.is_due(now_s):
            self._note_recorded(self.take_writer_thread.settle())
            self.take_eviction.look(now_s)

    def _note_recorded(self, was_recorded: bool) -> None:
        if was_recorded:
            self.take_eviction.takes_were_added()
            self._has_written = True

    def look_at_inbox(self) -> None:
        """Something has happened in the inbox: the next tick scans it."""
        self._next_scan_s = 0.0

    def next_tick_s(self, now_s: float) -> float:
        """Seconds until another tick is due, if nothing happens before."""
        if now_s < self._pause_until_s:
            return min(self._pause_until_s - now_s, REQUEST_LOOK_S)
        if self.in_flight.results and not self.take_writer_thread:
            return 0.0
        dues = [now_s + REQUEST_LOOK_S]
        if self.scanner is not None and not self.is_stopping:
            dues.append(self._next_scan_s)
        if (load_s := self.loader.next_try_s()) is not None:
            dues.append(load_s)
        return max(0.0, min(dues) - now_s)

    @property
    def is_busy(self) -> bool:
        """Whether the engine holds work of ours, lines are being recorded, or jobs are being ended."""
        return bool(self.in_flight.job_of_work or self.take_writer_thread or self.finisher_thread)

    def is_drained(self) -> bool:
        """Whether nothing is left in inbox and ledger that could be worked on at this moment."""
        if self._must_recover:
            return self._trouble is not None and self._pauses >= TRIES_BEFORE_GIVING_UP
        if (
            self.in_flight.jobs
            or self.in_flight.results
            or self._drops
            or self.take_writer_thread
            or self.finisher_thread
        ):
            return False
        if self.scanner is not None and self.scanner.busy and self.scanner.problem is None:
            return False
        with self.context.database.read() as session:
            now_s = self.context.clock()
            return not self.requests.are_waiting(session) and not ready_jobs(
                session, now_s=now_s, overdue_before_s=0, model=None, limit=1
            )

    def work_waits(self) -> bool:
        """Whether inbox or ledger hold work that is not done."""
        if self._drops or (self.scanner is not None and self.scanner.busy):
            return True
        with self.context.database.read() as session:
            return open_jobs(session) > 0 or bool(open_requests(session))

    def tidy_up(self) -> None:
        """When the work is over: what `run --once` leaves behind fits its limits, too."""
        try:
            self.take_writer_thread.settle()
            self.take_eviction.evict()
        except StorageError as error:
            logger.warning("not all was tidied up at the end: %s", error)

    def close(self) -> None:
        """End the threads; what they were doing is done again by the next runner."""
        self.take_writer.close()
        self.take_writer_thread.close()
        self.finisher_thread.close()

    # ---- trouble with the disk ---------------------------------------------------------------------------------

    def _put_aside(self, error: StorageError, *, now_s: float) -> None:
        """Everything under way goes back to the ledger; after a pause the work begins again from there."""
        if self._trouble is None:
            logger.warning("work is put aside: %s", error)
        self._trouble = error
        self.take_eviction.hurry()
        self.take_writer_thread.give_up()
        self.finisher_thread.give_up()
        self._note_closed()
        self._pause_until_s = now_s + min(LONGEST_PAUSE_S, 0.25 * 2 ** min(self._pauses, 10))
        self._pauses += 1
        warning = f"Work was put aside and went on later: {error.message}"
        self._warned |= {job_id: warning for job_id in self.in_flight.jobs if job_id not in self._warned}
        self.in_flight.clear()
        self.take_writer.forget_all()
        self._must_recover = True

    def _may_go_on(self, now_s: float) -> bool:
        """False while the disk that was full is not free enough to go on, or the outbox is still away."""
        if isinstance(self._trouble, OutboxGone):
            self.outbox.require()
        if not isinstance(self._trouble, DiskFull):
            return True
        if self.take_eviction.is_due(now_s):
            self.take_eviction.look(now_s)
        instance = self.context.instance
        free_bytes = min(shutil.disk_usage(folder).free for folder in (instance.outbox, instance.state_dir))
        if free_bytes >= self.context.settings.min_free_bytes:
            return True
        self._pause_until_s = now_s + REQUEST_LOOK_S
        self._pauses += 1
        return False

    def _on_job_trouble(self, job: Job, error: VoiceJobsError) -> None:
        """One job's folder or takes are out of reach: that job waits, the others go on."""
        logger.warning("job %d (%s) waits: %s", job.id, job.name, error)
        self.in_flight.drop(job.id)
        with self.context.database.write() as session:
            now = jobs.get(session, job.id)
            if now.outcome is not None:
                self._unanswered = True
                return
            self._sent_back[job.id] += 1
            delay_s = min(60.0, 2.0 ** min(self._sent_back[job.id], 6))
            jobs.requeue(session, job.id, not_before_s=self.context.clock() + delay_s, warning=error.message)
        self.dispatcher.may_be_ready = True  # else nobody would look when its time has come

    def _answer_again(self, now_s: float) -> None:
        """Receipts that could not be written are tried again now and then."""
        self._unanswered, self._next_answer_s = False, now_s + ANSWER_RETRY_S
        with self.context.database.read() as session:
            unpublished = [job.id for job in jobs.unpublished(session)]
        self._answer(unpublished)

    # ---- drops -------------------------------------------------------------------------------------------------

    def _take_drops(self, now_s: float) -> None:
        if self.scanner is not None and not self.is_stopping and now_s >= self._next_scan_s:
            self._drops += self.scanner.tick(now_s)
            self._next_scan_s = now_s + self.scanner.next_look_s(now_s)
        if not self._drops:
            return
        taken = self.outbox.names()
        with self.context.database.write() as session:
            admission = Admission(
                session,
                taken=taken,
                now_s=self.context.clock(),
                claimed_dir=self.context.instance.claimed_dir,
                default_model=self.context.settings.model,
            )
            more_to_come = self.scanner is not None and self.scanner.has_more and self.scanner.problem is None
            admitted, later = admission.admit(self._drops, more_to_come=more_to_come)
            freed = {item.freed_claim: False for item in admitted if item.freed_claim is not None}
            if self.scanner is not None:  # before the commit: after it, a runner that dies leaves them as new drops
                self.scanner.release_all(freed)
        crash_point("worker.drops-recorded")
        self._drops = later
        for item in admitted:
            logger.info("job %d (%s): claimed as %s", item.job.id, item.job.name, printable_name(item.job.dropped_name))
        self.dispatcher.may_be_ready = True
        self._answer([item.job.id for item in admitted if item.job.outcome is not None and item.freed_claim is None])

    def _folder_of(self, job: Job) -> Path | None:
        if self.scanner is None or job.claim_id is None:
            return None
        return self.scanner.folder_of(job.claim_id)

    # ---- ending ------------------------------------------------------------------------------------------------

    def _end_jobs(self) -> None:
        """Jobs of which nothing is left: the next model's lines, or the receipt."""
        idle = [active for active in self.in_flight.jobs.values() if active.is_idle]
        if idle:
            with self.context.database.read() as session:
                left = lines.models_left(session, [active.job.id for active in idle])
            for active in idle:
                if active.task is None and (models := left.get(active.job.id)):
                    active.rewind(models[0])
            self._finish([active for active in idle if active.is_idle])
        self._tick_endings(wait=not self.in_flight.job_of_work)  # else the next lines are spoken meanwhile

    def _end_what_can(self) -> None:
        """Record what has come and end the jobs that this completes, instead of speaking on meanwhile."""
        self._note_recorded(self.take_writer_thread.settle())
        self._end_jobs()
        self._tick_endings(wait=True)

    def _tick_endings(self, *, wait: bool) -> None:
        if self.finisher_thread.tick(wait=wait):
            self.dispatcher.may_be_ready = True  # what waited for a closed job, or one that could not be ended
        self._note_closed()

    def _finish(self, ended: Sequence[ActiveJob]) -> None:
        for active in ended:
            del self.in_flight.jobs[active.job.id]
            if active.task is not None:
                self._finish_task(active.job, active.task)
        self.finisher_thread.add([active for active in ended if active.task is None])

    def _finish_task(self, job: Job, task: LockTask) -> None:
        try:
            self.lock_jobs.finish(job, task, finisher=self.finisher, outbox=self.outbox)
        except StorageError as error:
            if error.is_instance_wide:
                raise
            self._on_job_trouble(job, error)
        else:
            self._answer([job.id])

    def _answer(self, job_ids: Sequence[int]) -> None:
        if job_ids:
            self.finisher.publish_receipts(job_ids)
            self._note_closed()

    def _note_closed(self) -> None:
        """Count, and tell of, the jobs whose receipts have come to lie in the outbox."""
        closed = self.finisher.closed
        while closed:
            job = closed.popleft()
            self._has_written = self.dispatcher.may_be_ready = True
            outcome = job.outcome or job.status
            self.outcomes[outcome] += 1
            self.take_writer.forget(job.id)
            self._sent_back.pop(job.id, None)
            level = logging.INFO if outcome == JobStatus.DONE else logging.WARNING
            reason = f": {job.error.message}" if job.error else ""
            logger.log(level, "job %d (%s): %s%s", job.id, job.name, outcome, reason)
