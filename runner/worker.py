"""The worker: one `tick(now_s)` obeys requests, records drops, hears the engine, records, publishes and hands over.

It owns no thread and waits for nothing; `runner/loop.py` calls it. All it holds in memory can be made anew from
the ledger, which is what it does after a crash, and after the disk was full.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.protocol import EngineFacts, LockDone, SpeechDone
from models.protocol import WorkFailed as EngineWorkFailed
from models.wire import LoadFailed
from registry import jobs, lines
from registry.errors import DiskFull, StorageError, VoiceJobsError, storage_error
from registry.files import crash_point
from registry.job_values import (
    CANCEL,
    CANCELLED,
    DONE,
    FAILED,
    OPEN_STATUSES,
    REJECTED,
    RETRYABLE_STATUSES,
    Job,
    JobError,
)
from runner.admission import Admission, error_of
from runner.context import Context
from runner.engine_client import EngineClient, EngineLost, EngineReady
from runner.exchange_jobs import ExchangeJobs
from runner.finishing import Finisher, may_release
from runner.floor import Floor
from runner.intake import ClaimedDrop, Intake
from runner.jobfile import DesignSpec, ExportSpec, ImportSpec, SynthesizeSpec, spec_from_json
from runner.lines_at_work import ActiveJob
from runner.lock_jobs import LockJobs
from runner.locking import LockTask
from runner.model_loader import ModelLoader
from runner.names import printable_name
from runner.publish import Outbox
from runner.recording import Recorder
from runner.resolution import ModelNames
from runner.scheduler import Choice, in_order
from runner.starting import Planned, Planner

logger = logging.getLogger(__name__)

JOBS_AT_ONCE = 64  # running jobs held in memory
STARTS_AT_ONCE = 16  # jobs that are started in one transaction
LONGEST_PAUSE_S = 30.0
FREE_SPACE_LOOK_S = 1.0
REQUEST_LOOK_S = 1.0  # how long a request of another process may lie unseen
TRIES_BEFORE_GIVING_UP = 5  # of `run --once`, when the disk does not let it work


class Worker:
    """Everything between the inbox and the outbox of one instance."""

    def __init__(
        self, context: Context, *, engine: EngineClient, intake: Intake | None, wake: Callable[[], None] = lambda: None
    ) -> None:
        self.context = context
        self.engine = engine
        self.intake = intake
        self.outbox = Outbox(context.instance.outbox)
        self.loader = ModelLoader(context.instance, engine, wake)
        self.floor = Floor(context=context, engine=engine, loader=self.loader)
        self.finisher = Finisher(context=context, outbox=self.outbox)
        self.recorder = Recorder(context=context, outbox=self.outbox, on_job_trouble=self._on_job_trouble)
        self.models = ModelNames(context.instance)
        self.lock_jobs = LockJobs(context=context, models=self.models)
        self.exchange = ExchangeJobs(context=context, models=self.models, outbox=self.outbox, finisher=self.finisher)
        self.is_stopping = False
        self.outcomes: Counter[str] = Counter()  # what the jobs that ended under this worker came to
        self._drops: list[ClaimedDrop] = []  # claimed and not yet recorded
        self._facts: EngineFacts | None = None  # of the model that was loaded last
        self._wanted: str | None = None  # the model that was last asked for
        self._pause_until_s = 0.0
        self._pauses = 0
        self._trouble: StorageError | None = None
        self._warned: dict[int, str] = {}  # jobs that the trouble sent back, and what to tell their owners
        self._may_be_ready = True  # whether the ledger may hold jobs to start
        self._next_space_look_s = 0.0
        self._next_scan_s = 0.0

    # ---- starting up -------------------------------------------------------------------------------------------

    def recover(self, now_s: float) -> None:
        """What a dead runner left: unpublished answers, running jobs, claims that were never recorded."""
        with self.context.database.write() as session:
            count = jobs.recover_unowned(session)
            unpublished = [job.id for job in jobs.unpublished(session)]
        if count:
            logger.info("%d jobs were running when the last runner ended; they go on", count)
        if unpublished:
            self._answer(unpublished)
        if self.intake is not None:
            self._drops += self.intake.recover(self._is_recorded, now_s=now_s)
            self._sweep_claims(self.intake)
        self._may_be_ready = True

    def _is_recorded(self, claim_id: str) -> bool:
        with self.context.database.read() as session:
            return jobs.is_recorded(session, claim_id)

    def _sweep_claims(self, intake: Intake) -> None:
        """Remove claims whose job was answered just before the last runner died."""
        for claim_id in intake.claim_ids():
            with self.context.database.read() as session:
                job = jobs.by_claim(session, claim_id)
            if job is not None and job.status not in OPEN_STATUSES and may_release(job):
                intake.release(claim_id, refused=job.status == REJECTED)

    # ---- one step ----------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """One step of everything; errors of the disk put the work aside for a while, and lose nothing."""
        try:
            if now_s >= self._pause_until_s:
                self._resume(now_s)
                self._step(now_s)
            else:
                self._ignore_engine(now_s)
        except StorageError as error:
            self._put_aside(error, now_s=now_s)
        except OSError as error:
            self._put_aside(storage_error(error, "working"), now_s=now_s)

    def _step(self, now_s: float) -> None:
        self._obey_requests()
        self._take_drops(now_s)
        self._hear(now_s)
        if self.floor.basket:
            basket, self.floor.basket = self.floor.basket, type(self.floor.basket)()
            self.recorder.record(basket)
        self._end_jobs()
        self._feed(now_s)
        if self.floor.basket:  # takes that were found in the store
            basket, self.floor.basket = self.floor.basket, type(self.floor.basket)()
            self.recorder.record(basket)
            self._end_jobs()
        self._pauses = 0

    def look_at_inbox(self) -> None:
        """Something has happened in the inbox: the next tick scans it."""
        self._next_scan_s = 0.0

    def next_tick_s(self, now_s: float) -> float:
        """Seconds until another tick is due, if nothing happens before."""
        if now_s < self._pause_until_s:
            return min(self._pause_until_s - now_s, REQUEST_LOOK_S)
        dues = [now_s + REQUEST_LOOK_S]
        if self.intake is not None and not self.is_stopping:
            dues.append(self._next_scan_s)
        if (load_s := self.loader.next_try_s()) is not None:
            dues.append(load_s)
        return max(0.0, min(dues) - now_s)

    @property
    def is_busy(self) -> bool:
        """Whether the engine holds work of ours."""
        return bool(self.floor.owners)

    def is_drained(self) -> bool:
        """Whether nothing is left in inbox and ledger that could be worked on at this moment."""
        if self._trouble is not None:
            return self._pauses >= TRIES_BEFORE_GIVING_UP
        if self.floor.jobs or self.floor.basket or self._drops:
            return False
        if self.intake is not None and self.intake.busy and self.intake.problem is None:
            return False
        with self.context.database.read() as session:
            now_s = self.context.clock()
            return not jobs.requests(session) and not jobs.ready(
                session, now_s=now_s, overdue_before_s=0, model=None, limit=1
            )

    def work_waits(self) -> bool:
        """Whether inbox or ledger hold work that is not done."""
        if self._drops or (self.intake is not None and self.intake.busy):
            return True
        with self.context.database.read() as session:
            counts = jobs.counts_by_status(session)
        return any(counts.get(status) for status in OPEN_STATUSES)

    # ---- trouble with the disk ---------------------------------------------------------------------------------

    def _put_aside(self, error: StorageError, *, now_s: float) -> None:
        """Everything under way goes back to the ledger; after a pause the work begins again from there."""
        if self._trouble is None:
            logger.warning("work is put aside: %s", error)
        self._trouble = error
        self._pause_until_s = now_s + min(LONGEST_PAUSE_S, 0.25 * 2 ** min(self._pauses, 10))
        self._pauses += 1
        warning = f"Work was put aside and went on later: {error.message}"
        self._warned |= {job_id: warning for job_id in self.floor.jobs if job_id not in self._warned}
        self.floor.clear()

    def _resume(self, now_s: float) -> None:
        if self._trouble is None:
            return
        if isinstance(self._trouble, DiskFull) and self._free_bytes() < self.context.settings.min_free_bytes:
            self._pause_until_s = now_s + FREE_SPACE_LOOK_S
            raise self._trouble
        with self.context.database.write() as session:
            jobs.recover_unowned(session)
            for job_id, warning in self._warned.items():
                jobs.add_warning(session, job_id, warning)
            unpublished = [job.id for job in jobs.unpublished(session)]
        self._answer(unpublished)
        logger.info("work goes on")
        self._trouble, self._warned, self._may_be_ready = None, {}, True

    def _ignore_engine(self, now_s: float) -> None:
        for event in self.engine.tick(now_s):
            if isinstance(event, EngineReady):
                self.loader.on_ready()
                self._facts = event.facts
            elif isinstance(event, EngineLost):
                self.loader.on_lost(event, now_s=now_s)

    def _free_bytes(self) -> int:
        instance = self.context.instance
        folders = (instance.outbox, instance.state_dir)
        return min(shutil.disk_usage(folder).free for folder in folders)

    def _on_job_trouble(self, job: Job, error: StorageError) -> None:
        """One job's folder cannot be written: that job waits, the others go on."""
        logger.warning("job %d (%s) waits: %s", job.id, job.name, error)
        now_s = self.context.clock()
        delay_s = min(60.0, 2.0 ** min(job.attempts, 6))
        with self.context.database.write() as session:
            jobs.requeue(session, job.id, not_before_s=now_s + delay_s, warning=error.message)
        self.floor.drop(job.id)

    # ---- requests ----------------------------------------------------------------------------------------------

    def _obey_requests(self) -> None:
        with self.context.database.read() as session:
            asked = jobs.requests(session)
        for request in asked:
            with self.context.database.read() as session:
                job = jobs.get(session, request.job_id)
            if request.request == CANCEL:
                self._cancel(job)
            elif job.status in RETRYABLE_STATUSES:
                self._retry(job)
            with self.context.database.write() as session:
                jobs.drop_requests(session, [request.id])

    def _cancel(self, job: Job) -> None:
        if job.status not in OPEN_STATUSES or job.outcome is not None:
            return
        self.floor.drop(job.id)
        if job.plan is not None:
            self.recorder.republish(job, spec_from_json(job.spec_json))
        with self.context.database.write() as session:
            lines.cancel_waiting(session, job.id)
            self.finisher.set_outcome(session, job.id, CANCELLED)
        self._answer([job.id])

    def _retry(self, job: Job) -> None:
        self.outbox.retire_receipt(job.name)
        with self.context.database.write() as session:
            jobs.reset_for_retry(session, job.id)
            jobs.add_event(session, job.id, kind="retry", message="tried again", at_s=self.context.clock())
        self._may_be_ready = True

    # ---- drops -------------------------------------------------------------------------------------------------

    def _take_drops(self, now_s: float) -> None:
        if self.intake is not None and not self.is_stopping and now_s >= self._next_scan_s:
            self._drops += self.intake.tick(now_s)
            self._next_scan_s = now_s + self.intake.next_look_s(now_s)
        if not self._drops:
            return
        taken = self.outbox.names()
        with self.context.database.write() as session:
            admission = Admission(
                session, taken=taken, now_s=self.context.clock(), claimed_dir=self.context.instance.claimed_dir
            )
            admitted = admission.admit(self._drops)
        crash_point("worker.drops-recorded")
        self._drops = []
        for item in admitted:
            logger.info("job %d (%s): claimed as %s", item.job.id, item.job.name, printable_name(item.job.dropped_name))
            if item.freed_claim is not None and self.intake is not None:
                self.intake.release(item.freed_claim)
        self._may_be_ready = True
        self._answer([item.job.id for item in admitted if item.job.outcome is not None and item.freed_claim is None])

    def _answer(self, job_ids: Sequence[int]) -> None:
        for job in self.finisher.answer(job_ids):
            outcome = job.outcome or job.status
            self.outcomes[outcome] += 1
            level = logging.INFO if outcome == DONE else logging.WARNING
            logger.log(level, "job %d (%s): %s %s", job.id, job.name, outcome, job.error.message if job.error else "")
            if self.intake is not None and job.claim_id is not None and may_release(job):
                self.intake.release(job.claim_id, refused=outcome == REJECTED)
        if job_ids:
            self._may_be_ready = True

    # ---- the engine --------------------------------------------------------------------------------------------

    def _hear(self, now_s: float) -> None:
        self._on_load_error(self.loader.tick(now_s=now_s))
        for event in self.engine.tick(now_s):
            if isinstance(event, EngineReady):
                self.loader.on_ready()
                self._facts = event.facts
            elif isinstance(event, LoadFailed):
                error = JobError(code=event.code, message=event.message, hint=event.hint)
                wanted = self.loader.wanted
                self._on_load_error(self.loader.on_failed(error, retryable=event.retryable, now_s=now_s), wanted)
            elif isinstance(event, EngineLost):
                wanted = self.loader.wanted
                self.floor.on_lost(event)
                self._on_load_error(self.loader.on_lost(event, now_s=now_s), wanted)
            elif isinstance(event, SpeechDone | LockDone | EngineWorkFailed):
                self._on_answer(event)

    def _on_answer(self, event: SpeechDone | LockDone | EngineWorkFailed) -> None:
        if isinstance(event, EngineWorkFailed):
            self.floor.on_work_failed(event)
            return
        # The engine may have died since it answered, so the client cannot be asked which model it was.
        assert self._facts is not None
        if isinstance(event, SpeechDone):
            self.floor.on_speech(event, self._facts)
        else:
            self.floor.on_lock(event, self._facts)

    def _on_load_error(self, error: JobError | None, model: str | None = None) -> None:
        """A model cannot be had: the jobs that are to be spoken with it now learn why."""
        if error is None:
            return
        for active in [active for active in self.floor.jobs.values() if active.model == (model or self._wanted)]:
            with self.context.database.write() as session:
                if active.task is None:
                    lines.fail_waiting(session, active.job.id, error, model=active.model)
            if active.task is not None:
                active.task.error = error
            active.again.clear()
            active.drained = True

    # ---- handing over ------------------------------------------------------------------------------------------

    def _feed(self, now_s: float) -> None:
        """Give the engine work: of the job whose turn it is, then of the next that its model can speak."""
        if self.is_stopping:
            return
        passed: set[int] = set()
        while not self.floor.holds_a_suspect:
            choice = self._next_choice(passed)
            if choice is None:
                return
            if choice.id not in self.floor.jobs:
                self._start([choice.id])
                continue
            active = self.floor.jobs[choice.id]
            if active.model is None or not self._is_loaded(active.model, now_s):
                return
            if self.floor.capacity <= 0:
                return
            if not self.floor.hand_over(active):
                if active.again:
                    return  # a suspect waits for the engine to be free
                passed.add(choice.id)

    def _next_choice(self, passed: set[int]) -> Choice | None:
        wall_s = self.context.clock()
        max_wait_s = self.context.settings.max_wait_s
        choices = [
            Choice(id=active.job.id, priority=active.job.priority, model=active.model, claimed_s=active.job.claimed_s)
            for active in self.floor.jobs.values()
            if active.has_work and active.job.id not in passed
        ]
        if self._may_be_ready and len(self.floor.jobs) < JOBS_AT_ONCE:
            with self.context.database.read() as session:
                ready = jobs.ready(
                    session,
                    now_s=wall_s,
                    overdue_before_s=wall_s - max_wait_s,
                    model=self.loader.loaded,
                    limit=STARTS_AT_ONCE,
                )
            self._may_be_ready = bool(ready)
            choices += [
                Choice(id=job.id, priority=job.priority, model=job.model, claimed_s=job.claimed_s)
                for job in ready
                if job.id not in passed
            ]
        ordered = in_order(choices, loaded=self.loader.loaded, now_s=wall_s, max_wait_s=max_wait_s)
        return ordered[0] if ordered else None

    def _is_loaded(self, model: str, now_s: float) -> bool:
        if self.loader.is_ready_for(model):
            return True
        if not self.floor.owners:  # the model is swapped once its last line is spoken
            self._wanted = model
            self.loader.want(model, now_s=now_s)
        return False

    def _start(self, job_ids: Sequence[int]) -> None:
        """Resolve what jobs name, write their lines, and take them onto the floor."""
        over: list[int] = []
        for job_id in job_ids:
            try:
                active = self._begun(job_id)
            except StorageError as error:
                if error.retryable:
                    raise
                self._fail(job_id, error)
                over.append(job_id)
            except VoiceJobsError as error:
                self._fail(job_id, error)
                over.append(job_id)
            else:
                if active is None:
                    over.append(job_id)
                    continue
                self.floor.jobs[job_id] = active
                if active.task is None:
                    self.recorder.republish(active.job, active.spec)
        self._answer(over)

    def _begun(self, job_id: int) -> ActiveJob | None:
        """A job that has begun; None for one that needed no engine and is over."""
        with self.context.database.read() as session:
            job = jobs.get(session, job_id)
        spec = spec_from_json(job.spec_json)
        if isinstance(spec, ExportSpec):
            self.exchange.export(job, spec)
            return None
        if isinstance(spec, ImportSpec):
            return self._begin_import(job, spec)
        with self.context.database.write() as session:
            return self._begin(session, job)

    def _begin_import(self, job: Job, spec: ImportSpec) -> ActiveJob | None:
        begun = self.exchange.bring_in(job, spec, folder=self._folder_of(job))
        if begun is None:
            return None
        with self.context.database.write() as session:
            return self._on_floor(session, job, spec, *begun)

    def _fail(self, job_id: int, error: VoiceJobsError) -> None:
        with self.context.database.write() as session:
            self.finisher.set_outcome(session, job_id, FAILED, error=error_of(error))

    def _begin(self, session: Any, job: Job) -> ActiveJob:
        spec = spec_from_json(job.spec_json)
        if not isinstance(spec, DesignSpec | SynthesizeSpec):
            return self._begin_task(session, job, spec)
        if job.plan is None:
            planned = self._plan(session, job, spec)
            jobs.start(
                session, job.id, plan=planned.plan, model=planned.model, lines=planned.lines, now_s=self.context.clock()
            )
            model: str | None = planned.model
        else:
            model = next(iter(lines.models_left(session, job.id)), None)
            jobs.start(session, job.id, plan=job.plan, model=model, lines=(), now_s=self.context.clock())
        job = jobs.get(session, job.id)
        return ActiveJob(job=job, spec=spec, model=model, drained=model is None)

    def _plan(self, session: Any, job: Job, spec: DesignSpec | SynthesizeSpec) -> Planned:
        planner = Planner(settings=self.context.settings, models=self.models, random_seed=lambda: secrets.randbits(31))
        if isinstance(spec, DesignSpec):
            return planner.design(spec)
        return planner.synthesize(spec, session=session, folder=self._folder_of(job))

    def _folder_of(self, job: Job) -> Path | None:
        if self.intake is None or job.claim_id is None:
            return None
        return self.intake.folder_of(job.claim_id)

    def _begin_task(self, session: Any, job: Job, spec: Any) -> ActiveJob:
        return self._on_floor(
            session, job, spec, *self.lock_jobs.begin(session, job, spec, folder=self._folder_of(job))
        )

    def _on_floor(self, session: Any, job: Job, spec: Any, model: str, task: LockTask) -> ActiveJob:
        jobs.start(session, job.id, plan={}, model=model, lines=(), now_s=self.context.clock())
        return ActiveJob(job=jobs.get(session, job.id), spec=spec, model=model, task=task)

    # ---- ending ------------------------------------------------------------------------------------------------

    def _end_jobs(self) -> None:
        """Jobs of which nothing is left: the next model's lines, or the receipt."""
        for active in [active for active in self.floor.jobs.values() if active.is_idle]:
            if active.task is not None:
                self._end_task(active)
                continue
            with self.context.database.read() as session:
                left = lines.models_left(session, active.job.id)
            if left:
                active.rewind(next(iter(left)))
                continue
            del self.floor.jobs[active.job.id]
            self._end(active)

    def _end(self, active: ActiveJob) -> None:
        with self.context.database.read() as session:
            if jobs.get(session, active.job.id).status != "running":
                return  # it was sent back to the queue
        self.finisher.prepare(active.job, active.spec)
        self._answer([active.job.id])

    def _end_task(self, active: ActiveJob) -> None:
        del self.floor.jobs[active.job.id]
        self.lock_jobs.finish(active.job, active.task, finisher=self.finisher, outbox=self.outbox)
        self._answer([active.job.id])
