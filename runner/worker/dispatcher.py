"""Queued and running jobs → work for the engine: jobs are started, lines submitted, models swapped, in the right order.

Starting a job resolves the names in it and writes its lines; from then on it is in flight.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from registry.errors import NotFound, StorageError, VoiceJobsError
from registry.jobs import dependencies, jobs, lines
from registry.jobs.children import claim_of
from registry.jobs.ready import LONGEST_DELAY_S, ReadyJob, next_delayed_s, ready_jobs
from registry.jobs.values import Job, JobError, JobStatus
from registry.storage.session import Session
from runner.beginnings import Beginnings
from runner.engine.model_loader import ModelLoader
from runner.errors import DependencyFailed
from runner.inbox.scanner import InboxScanner
from runner.jobfile.parse import spec_from_json
from runner.jobfile.specs import (
    CastSpec,
    DesignSpec,
    ExportSpec,
    ImportSpec,
    JobSpec,
    MasterSpec,
    ScriptSpec,
    SynthesizeSpec,
    TranscribeSpec,
)
from runner.scheduling.plan_thread import PlanThread
from runner.scheduling.planner import Planner
from runner.scheduling.scheduler import Choice, in_order
from runner.worker.books.cast_jobs import CastJobs
from runner.worker.books.master_jobs import MasterJobs
from runner.worker.books.script_jobs import ScriptJobs
from runner.worker.context import Context
from runner.worker.events import Events, JobDelayed, OutcomesCommitted
from runner.worker.exchange_jobs import ExchangeJobs
from runner.worker.in_flight import InFlight
from runner.worker.job_guard import JobBroken, for_job
from runner.worker.line_tasks import ActiveJob
from runner.worker.listening.memory_turns import MemoryTurns
from runner.worker.listening.transcribe_jobs import TranscribeJobs
from runner.worker.lock_jobs import LockJobs
from runner.worker.lock_task import LockTask
from runner.worker.take_writer import TakeWriter

logger = logging.getLogger(__name__)

JOBS_AT_ONCE = 64  # running jobs held in memory
WAITING_AT_ONCE = 8  # running jobs held in memory while their model is on its way here
STARTS_AT_ONCE = 32  # jobs that are started in one transaction


@dataclass(kw_only=True)
class Dispatcher:
    """Decides what the engine does next."""

    context: Context
    scanner: InboxScanner
    in_flight: InFlight
    loader: ModelLoader
    turns: MemoryTurns
    take_writer: TakeWriter
    lock_jobs: LockJobs
    exchange: ExchangeJobs
    scripts: ScriptJobs
    transcribes: TranscribeJobs
    masters: MasterJobs
    casts: CastJobs
    beginnings: Beginnings
    plannings: Beginnings  # of large jobs, in the thread
    importings: Beginnings  # of voice files that are read, in a thread
    plan_thread: PlanThread
    planner: Callable[[], Planner]
    events: Events
    _may_be_ready: bool = True  # whether the ledger may hold jobs that could start
    _absent: frozenset[str] = frozenset()  # models on their way here: their jobs hold nobody up
    _ready: dict[int, ReadyJob] = field(default_factory=dict)
    _next_delayed_s: float | None = None

    def look_again(self) -> None:
        """The ledger may hold jobs that could start: the next dispatch looks."""
        self._may_be_ready = True

    def dispatch(self, now_s: float) -> None:
        """Give the engine work: of the job that is next, then of others that its model can speak."""
        absent = self.loader.absent(now_s=now_s)
        self._may_be_ready |= absent != self._absent
        self._absent = absent
        self._note_plan()
        self._note_import()
        self._fetch_ready()
        passed: set[int] = set()
        while not (self.in_flight.has_isolated or self.turns.is_draining):
            ordered = self._ordered(passed)
            if not ordered:
                return
            if startable := self._startable(ordered):
                self._start(startable)
                continue
            for choice in ordered:
                active = self.in_flight.jobs.get(choice.id)
                if active is None:
                    break  # it is to be started
                claimed_s = active.job.claimed_s
                if (failed := self.loader.given_up(active.model, claimed_s=claimed_s, now_s=now_s)) is not None:
                    self.in_flight.fail_model_of(active, failed)
                    passed.add(choice.id)
                    continue
                if not self._is_loaded(active, now_s) or not self._try_submit(active):
                    return
                passed.add(choice.id)

    def look_at_recordings(self) -> None:
        """Take the recordings that have been read."""
        for active in [active for active in self.in_flight.jobs.values() if active.lock_task is not None]:
            assert active.lock_task is not None
            try:
                with for_job(active.job.id):
                    active.lock_task.look_at_reading()
            except StorageError as error:
                self._delay_for(active.job, error)

    @property
    def _held(self) -> set[int]:
        """Queued jobs that wait for their turn in a thread: the others go on."""
        return self.plan_thread.held | self.exchange.held

    def _try_submit(self, active: ActiveJob) -> bool:
        try:
            with for_job(active.job.id):
                return self._submit_all(active)
        except StorageError as error:
            if error.is_instance_wide:
                raise
            self._delay(active.job, error)
            return True

    def _submit_all(self, active: ActiveJob) -> bool:
        """Give the engine all that this job has now; False when the engine takes no more before it has answered."""
        while self.in_flight.has_room_for(active) and not self.in_flight.has_isolated:
            if not self.in_flight.submit(active):
                return not active.pending  # else an isolated line waits until it has the engine to itself
        return False

    def _fetch_ready(self) -> None:
        """Look for queued jobs, when some may have come or a delayed one is due."""
        wall_s = self.context.clock()
        # A clock that was set back must not make a delayed job wait for ever: `ready` knows of that, too.
        is_due = self._next_delayed_s is not None and not 0 < self._next_delayed_s - wall_s <= LONGEST_DELAY_S
        if not (self._may_be_ready or is_due):
            return
        overdue_before_s = wall_s - self.context.settings.max_wait_s
        with self.context.database.read() as session:
            found = ready_jobs(
                session,
                now_s=wall_s,
                overdue_before_s=overdue_before_s,
                model=self.loader.loaded,
                absent=self._absent,
                limit=JOBS_AT_ONCE + len(self._held),
            )
            self._next_delayed_s = next_delayed_s(session, now_s=wall_s)
        self._ready = {job.id: job for job in found if job.id not in self.in_flight.jobs}
        self._may_be_ready = bool(found)

    def _ordered(self, passed: set[int]) -> list[Choice]:
        choices = [
            Choice(
                id=key,
                priority=active.job.priority,
                model=active.model,
                waits_since_s=active.last_scheduled_s,
                live=active.job.live,
            )
            for key, active in self.in_flight.jobs.items()
            if active.has_work and key not in passed and active.model not in self._absent
        ]
        has_room = sum(active.model not in self._absent for active in self.in_flight.jobs.values()) < JOBS_AT_ONCE
        choices += [
            Choice(id=job.id, priority=job.priority, model=job.model, waits_since_s=job.claimed_s, live=job.live)
            for job in self._ready.values()
            if (has_room or job.live) and job.model not in self._absent and job.id not in self._held
        ]
        max_wait_s = self.context.settings.max_wait_s
        return in_order(choices, loaded=self.loader.loaded, now_s=self.context.clock(), max_wait_s=max_wait_s)

    def _startable(self, ordered: Sequence[Choice]) -> list[int]:
        """The queued jobs that are next, as many as the engine has room for: they start together."""
        room, model = max(1, min(STARTS_AT_ONCE, self.in_flight.capacity)), ordered[0].model
        leading = takewhile(lambda one: one.id not in self.in_flight.jobs and one.model == model, ordered[:room])
        return [choice.id for choice in leading]

    def _is_loaded(self, active: ActiveJob, now_s: float) -> bool:
        """Whether the engine has the job's model; else have it loaded, or fetched meanwhile."""
        if active.model is None or self.loader.is_ready_for(active.model):
            return active.model is not None
        if not self.in_flight.job_of_work:  # the model is swapped once its last line is spoken
            self.loader.want(active.model, now_s=now_s)
        elif self.loader.loading is None:
            self.loader.fetch(active.model, now_s=now_s)
        return False

    # ---- starting ----------------------------------------------------------------------------------------------

    def _start(self, job_ids: Sequence[int]) -> None:
        """Begin jobs; should the runner die meanwhile, the next one knows over which."""
        job_ids = self.beginnings.admit(job_ids)
        with self.beginnings.noted(job_ids):
            self._begin_all(job_ids)

    def _is_planned_apart(self, job: Job) -> bool:
        """Whether a job is so large that the others go on while it is planned in a thread."""
        is_idle = not self.plan_thread
        if is_idle:
            self.plannings.refuse_deadly(job.id)
        if not self.plan_thread.keep(job):
            return False
        if is_idle:
            self.plannings.begin([job.id])
        return True

    def _note_plan(self) -> None:
        """Go on with a large job that is planned, or end it when it could not be."""
        if (finished := self.plan_thread.finished()) is None:
            return
        self._forget(self.plannings)
        self._may_be_ready = True
        job_id, future = finished
        with self.context.database.read() as session:
            job = jobs.find(session, job_id)
        if job is None or job.outcome is not None or job.status != JobStatus.QUEUED:
            return  # cancelled meanwhile
        try:
            with for_job(job_id):
                future.result()
        except StorageError as error:
            self._delay_for(job, error)
        except JobBroken as broken:
            if not isinstance(broken.error, VoiceJobsError):
                broken.log()
            with self.context.database.write() as session:
                self._fail(session, job, broken.reason)
            self.events.append(OutcomesCommitted((job_id,)))

    def _read_apart(self, job: Job, spec: ImportSpec) -> None:
        """Have a voice file read in a thread, as soon as no other one is."""
        if not self.exchange:
            self.importings.refuse_deadly(job.id)
        if self.exchange.read_apart(job, spec, folder=self._folder_of(job)):
            self.importings.begin([job.id])

    def _note_import(self) -> None:
        """Go on with an import whose file is read."""
        if (job_id := self.exchange.finished()) is None:
            return
        self._forget(self.importings)
        self._may_be_ready = True
        with self.context.database.read() as session:
            job = jobs.find(session, job_id)
        if job is None or job.outcome is not None or job.status != JobStatus.QUEUED:
            self.exchange.forget_reading()  # cancelled meanwhile
            return
        spec = spec_from_json(job.spec_json)
        assert isinstance(spec, ImportSpec)
        if self._exchange(job, spec):
            self.events.append(OutcomesCommitted((job_id,)))

    def give_up(self) -> None:
        """Forget what is being planned and read: the ledger knows it."""
        self.stop()
        self.plan_thread.give_up()
        self.exchange.forget_reading()

    def stop(self) -> None:
        """Begin nothing more; a process that ends before a plan is made does not count against its job."""
        self._forget(self.plannings)
        self._forget(self.importings)

    def close(self) -> None:
        """Wait for the plan that is being made."""
        self.stop()
        self.plan_thread.close()
        self.exchange.close()

    def _forget(self, begun: Beginnings) -> None:
        try:
            begun.end_others(())
        except StorageError as error:
            logger.warning("%s", error)

    def _begin_all(self, job_ids: Sequence[int]) -> None:
        """Resolve what jobs name, write their lines, and take them into flight, in one transaction.

        No more of them than the engine has room for their lines: a long job takes megabytes from here to its end.
        """
        room = self.in_flight.capacity
        started: list[ActiveJob] = []
        over: list[int] = []
        exchanges: list[tuple[Job, ExportSpec | CastSpec]] = []
        with self.context.database.write() as session:
            for job_id in job_ids:
                if started and room <= 0:
                    break
                self._ready.pop(job_id, None)
                job = jobs.get(session, job_id)
                try:
                    with for_job(job_id):
                        self.beginnings.refuse_deadly(job_id)
                        if self._is_planned_apart(job):
                            continue
                        spec = spec_from_json(job.spec_json, with_texts=not job.is_planned)
                        if isinstance(spec, ImportSpec):
                            self._read_apart(job, spec)
                            continue
                        room -= max(1, len(spec.lines or ())) if isinstance(spec, SynthesizeSpec) else 1
                        if isinstance(spec, ScriptSpec):
                            self.scripts.begin(session, job, spec, folder=self._folder_of(job))
                        elif isinstance(spec, TranscribeSpec):
                            self.transcribes.begin(session, job, spec, folder=self._folder_of(job))
                        elif isinstance(spec, MasterSpec):
                            claim_id = claim_of(session, job)
                            folder = self.scanner.folder_of(claim_id) if claim_id is not None else None
                            self.masters.begin(session, job, spec, claim=folder)
                        elif isinstance(spec, ExportSpec | CastSpec):
                            exchanges.append((job, spec))
                        else:
                            started.append(self._begin(session, job, spec))
                except StorageError as error:
                    self._delay_for(job, error)
                except JobBroken as broken:
                    if not isinstance(broken.error, VoiceJobsError):
                        raise  # half of the job may be written: the transaction is given up
                    self._fail(session, job, broken.error)
                    over.append(job_id)
        in_flight = [active for active in self._without_those_that_wait(started) if self._take_up(active)]
        if fitting := [active for active in in_flight if self._can_fetch(active)]:
            self.in_flight.fetch(fitting)
        over += [job.id for job, spec in exchanges if self._exchange(job, spec)]
        if over:
            self.events.append(OutcomesCommitted(tuple(over)))

    def _take_up(self, active: ActiveJob) -> bool:
        """Take a job into flight; False when it is delayed, since its folder refuses the lines of an earlier run."""
        self.in_flight.add(active)
        if active.lock_task is not None or active.job.attempts == 1:
            return True
        with for_job(active.job.id):
            delayed = self.take_writer.republish(active.job, active.spec)
        for event in delayed:
            self._delay(event.job, event.error)
        return not delayed

    def _delay(self, job: Job, error: VoiceJobsError) -> None:
        self.in_flight.drop(job.id)
        self.events.append(JobDelayed(job, error))

    def _without_those_that_wait(self, started: Sequence[ActiveJob]) -> list[ActiveJob]:
        """A job whose model turns out to be absent goes back into the queue, when enough of them are held already."""
        room = WAITING_AT_ONCE - sum(active.model in self._absent for active in self.in_flight.jobs.values())
        waiting = [active for active in started if active.model in self._absent][max(0, room) :]
        if waiting:
            with self.context.database.write() as session:
                for active in waiting:
                    jobs.requeue(session, active.job.id, not_before_s=0.0)
        return [active for active in started if active not in waiting]

    def _can_fetch(self, active: ActiveJob) -> bool:
        has_lines = active.lock_task is None and not active.drained
        return has_lines and active.model is not None and self.loader.is_ready_for(active.model)

    def _delay_for(self, job: Job, error: StorageError) -> None:
        """Delay a job to which the disk refuses something. Raises errors of the whole instance."""
        if error.is_instance_wide:
            raise error
        self._delay(job, error)

    def _fail(self, session: Session, job: Job, error: VoiceJobsError) -> None:
        """Fail a job that cannot start."""
        need = dependencies.failed_need(session, job.id) if isinstance(error, NotFound) else None
        reason = JobError.of(error if need is None else DependencyFailed(need))
        jobs.set_outcome(session, job.id, JobStatus.FAILED, now_s=self.context.clock(), error=reason)

    def _exchange(self, job: Job, spec: ExportSpec | ImportSpec | CastSpec) -> bool:
        """Move a voice, or cast a script; False when the job goes on: an engine must lock, or it is delayed."""
        try:
            with for_job(job.id):
                if isinstance(spec, CastSpec):
                    self.casts.apply(job, spec)
                    self.look_again()
                    return True
                if isinstance(spec, ExportSpec):
                    self.exchange.export(job, spec)
                    return True
                begun = self.exchange.bring_in(job, spec)
        except StorageError as error:
            self._delay_for(job, error)
            return False
        except JobBroken as broken:
            broken.log()
            with self.context.database.write() as session:
                self._fail(session, job, broken.reason)
            return True
        if begun is not None:
            with self.context.database.write() as session:
                self.in_flight.add(self._begin_lock(session, job, spec, *begun))
        return begun is None

    def _begin_lock(self, session: Session, job: Job, spec: JobSpec, model: str, task: LockTask) -> ActiveJob:
        started = jobs.start(session, job, model=model, now_s=self.context.clock())
        return ActiveJob(job=started, spec=spec, model=model, lock_task=task, last_scheduled_s=job.claimed_s)

    def _begin(self, session: Session, job: Job, spec: JobSpec) -> ActiveJob:
        now_s = self.context.clock()
        if not isinstance(spec, DesignSpec | SynthesizeSpec):
            begun = self.lock_jobs.begin(session, job, spec, folder=self._folder_of(job))
            return self._begin_lock(session, job, spec, *begun)
        kept = spec.without_texts() if isinstance(spec, SynthesizeSpec) else spec
        if not job.is_planned:
            folder = self._folder_of(job) if isinstance(spec, SynthesizeSpec) and spec.text_file is not None else None
            planned = self.planner().plan(spec, session=session, folder=folder)
            model = planned.model
            started = jobs.start(session, job, plan=planned.plan, model=model, lines=planned.lines, now_s=now_s)
            for warning in planned.warnings:
                jobs.add_warning(session, job.id, warning)
            return ActiveJob(job=started, spec=kept, model=model, last_scheduled_s=job.claimed_s)
        left = lines.models_left(session, [job.id]).get(job.id)
        started = jobs.start(session, job, model=left[0] if left else None, now_s=now_s)
        return ActiveJob(job=started, spec=kept, model=started.model, drained=not left, last_scheduled_s=job.claimed_s)

    def _folder_of(self, job: Job) -> Path | None:
        """The folder of the files that a job refers to."""
        return self.scanner.folder_of(job.claim_id) if job.claim_id is not None else None
