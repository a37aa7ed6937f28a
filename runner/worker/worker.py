"""The worker: one `tick(now_s)` meets requests, admits drops, listens to the engine, gives it work and ends jobs.

Results are written down, and jobs finished, in threads meanwhile; `runner/worker/daemon.py` calls it. Everything it
holds in memory can be made again from the ledger, which is what it does at its start and after a full disk.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from models.store.memory import available_bytes
from registry.durable_files import sweep_abandoned
from registry.errors import StorageError, VoiceJobsError, storage_error
from registry.jobs import jobs
from registry.jobs.lists import open_jobs
from registry.jobs.ready import ready_jobs
from registry.jobs.requests import open_requests
from registry.jobs.values import Job, JobError, JobStatus
from registry.storage.identity import ROOT_MARK
from runner.beginnings import Beginnings
from runner.config.settings import SETTINGS_FILE
from runner.engine.client import EngineClient
from runner.engine.line_spools import LineSpools
from runner.engine.model_loader import ModelLoader
from runner.engine.spool import clear_spool
from runner.inbox.leftovers import ABANDONED_S, sweep_unfinished
from runner.inbox.scanner import InboxScanner
from runner.inbox.waiting import waiting_in
from runner.listen.listen_process import ListenProcess
from runner.listen.track_captions import TrackCaptions
from runner.listen.transcriber import Transcriber
from runner.listen.verifier import Verifier
from runner.listen.weights import Weights, language_model_folder
from runner.outbox.progress_file import ProgressWriter
from runner.outbox.take_encoding import RecentTakes
from runner.outbox.waits_file import Wait, Waits, WaitsWriter, wait_for_error
from runner.scheduling.blame import as_told
from runner.scheduling.plan_thread import PlanThread
from runner.scheduling.planner import Planner
from runner.scheduling.pronunciation_file import PronunciationFile
from runner.script.analyzer.analyses import FOLDER as ANALYSES_FOLDER
from runner.text_format import counted, span
from runner.worker.books.cast_jobs import CastJobs
from runner.worker.books.local_analysis import LanguageModels
from runner.worker.books.master_jobs import MasterJobs
from runner.worker.books.script_jobs import ScriptJobs
from runner.worker.context import Context
from runner.worker.disk_room import ON_THE_WAY_S, DiskPause, TakeEviction
from runner.worker.dispatcher import Dispatcher
from runner.worker.drop_admitter import DropAdmitter
from runner.worker.engine_listener import EngineListener
from runner.worker.events import (
    EngineDied,
    Events,
    JobDelayed,
    JobEnded,
    OutcomesCommitted,
    ReadyMayExist,
    TakesWritten,
)
from runner.worker.exchange_jobs import ExchangeJobs
from runner.worker.finisher import Finisher, build_finisher
from runner.worker.finisher_thread import FinisherThread
from runner.worker.in_flight import InFlight
from runner.worker.job_guard import JobBroken, for_job
from runner.worker.job_requests import JobRequests
from runner.worker.line_tasks import Hearing, StoredTake
from runner.worker.listening.memory_turns import MemoryTurns
from runner.worker.listening.transcribe_jobs import TranscribeJobs
from runner.worker.lock_jobs import LockJobs
from runner.worker.take_encoder import TakeEncoder
from runner.worker.take_writer import TakeWriter
from runner.worker.take_writer_thread import TakeWriterThread

logger = logging.getLogger(__name__)

IDLE_LOOK_S = 5.0  # between two looks at a ledger without work, when the inbox tells of requests
REQUEST_LOOK_S = 1.0  # how long a request of another process may go unnoticed,
WORKING_LOOK_S = 0.5  # while jobs run that it may concern
READING_LOOK_S = 0.05  # between two looks at a process that reads a recording
RECEIPT_RETRY_S = 5.0  # between two tries at a receipt whose folder cannot be written
BEGINNINGS, PLANNINGS, IMPORTINGS = "beginning.json", "planning.json", "importing.json"  # in the state folder
LONGEST_DELAY_S = 60.0  # of a job to which the disk refuses what it needs


@dataclass(kw_only=True)
class Worker:
    """Everything between the inbox and the outbox of one instance; `build_worker` makes it."""

    context: Context
    events: Events
    pause: DiskPause
    job_requests: JobRequests
    drops: DropAdmitter
    beginnings: Beginnings
    listener: EngineListener
    loader: ModelLoader
    dispatcher: Dispatcher
    in_flight: InFlight
    encoder: TakeEncoder
    take_writer: TakeWriter
    take_writer_thread: TakeWriterThread
    lock_jobs: LockJobs
    scripts: ScriptJobs
    transcribes: TranscribeJobs
    masters: MasterJobs
    finisher: Finisher
    finisher_thread: FinisherThread
    take_eviction: TakeEviction
    waits: WaitsWriter
    listen: ListenProcess
    turns: MemoryTurns
    is_stopping: bool = False
    hears_requests: bool = False  # whoever makes one rings at the inbox, and that is heard
    outcomes: Counter[JobStatus] = field(default_factory=Counter)  # of the jobs that ended under this worker
    _must_recover: bool = False
    _has_written: bool = False  # whether the present step has put anything on the disk
    _put_aside_jobs: dict[int, str] = field(default_factory=dict)  # ledger id -> a warning for the receipt
    _delays: Counter[int] = field(default_factory=Counter)  # how often a job was delayed …
    _delayed: dict[int, Wait] = field(default_factory=dict)  # … and why the last time
    _lacks_receipts: bool = False  # whether one could not be written
    _next_receipts_s: float = 0.0

    # ---- starting up -------------------------------------------------------------------------------------------

    def recover(self, now_s: float) -> None:
        """Take up what a dead runner left: call it once before the first tick, which does it."""
        self._must_recover = True
        self.beginnings.recover()
        self.dispatcher.plannings.recover()
        self.dispatcher.importings.recover()
        self.drops.recover(now_s)

    def _recover(self) -> None:
        """Queue the jobs that were running, publish missing receipts, and release claims that were left over."""
        clear_spool(self.context.instance.spool_dir)
        self._sweep()
        self.masters.recover()
        with self.context.database.write() as session:
            count = jobs.recover_unowned(session)
            for job_id, warning in self._put_aside_jobs.items():
                jobs.add_warning(session, job_id, warning)
        if count:
            logger.info("jobs that were running, and go on: %d", count)
        self._publish_missing_receipts()
        self.drops.release_claims()
        self._must_recover, self._put_aside_jobs = False, {}
        self.dispatcher.look_again()

    def _sweep(self) -> None:
        """Remove half-written files of killed processes; `TakeEviction` does so in the stores."""
        now_s = self.context.clock()
        sweep_unfinished(self.context.instance.inbox, now_s=now_s)
        instance, a_day_ago_s = self.context.instance, now_s - ABANDONED_S
        sweep_abandoned(instance.state_dir, older_than_s=now_s - ON_THE_WAY_S)
        sweep_abandoned(instance.state_dir / ANALYSES_FOLDER, older_than_s=a_day_ago_s)
        sweep_abandoned(instance.root, older_than_s=a_day_ago_s, of=(ROOT_MARK, SETTINGS_FILE))

    # ---- one step ----------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """One step of everything; errors of the disk put the work aside for a while, and lose nothing."""
        self.finisher.notices.tick(now_s)
        self._tick(now_s)
        error = self.pause.error
        self.waits.write(
            Waits(
                all_jobs=wait_for_error(error) if error is not None else None,
                models=self.loader.waits(now_s=now_s),
                jobs=dict(self._delayed),
            )
        )

    def _tick(self, now_s: float) -> None:
        try:
            if not self.pause.is_over(now_s):
                self.listener.only_loads(now_s)
                return
            if self._must_recover:
                self._recover()
            self._has_written = False
            self._step(now_s)
            # A step that had nothing to write proves nothing: without this, each try would look like the first.
            if self._has_written or not self.in_flight.jobs:
                self.pause.end()
        except JobBroken as broken:
            self._end_broken(broken, now_s=now_s)
        except VoiceJobsError as error:
            self._put_aside(error, now_s=now_s)
        except OSError as error:
            self._put_aside(storage_error(error, "working"), now_s=now_s)
        except Exception as error:
            logger.exception("work is begun again after an error that no job is known to have caused")
            self._put_aside(as_told(error), now_s=now_s)

    def _step(self, now_s: float) -> None:
        """Let each part do its share, and act on what has happened before a part that depends on it."""
        self._meet_requests(now_s)
        self.drops.tick(now_s, scans=not self.is_stopping)
        self._read_events()
        self.listener.tick(now_s)
        self.in_flight.collect_hearings()
        self.lock_jobs.collect_hearings()
        self.dispatcher.look_at_recordings()
        self.scripts.tick()
        self.transcribes.tick()
        self.masters.tick()
        if not self.is_stopping:
            self.dispatcher.dispatch(now_s)  # first, so that the engine goes on while its results are written
        self.take_writer_thread.tick()
        self._end_jobs(wait=False)
        self._retry_receipts(now_s)
        self.turns.tick(now_s)
        self.listen.tick(now_s)
        if not self.is_stopping and self.take_eviction.is_due(now_s):
            self.take_writer_thread.settle()
            self._read_events()
            self.take_eviction.look(now_s)

    def _read_events(self) -> None:
        while self.events:
            match self.events.popleft():
                case ReadyMayExist():
                    self.dispatcher.look_again()
                case TakesWritten():
                    self._has_written = True
                    self.take_eviction.takes_were_added()
                case OutcomesCommitted(job_ids):
                    self.finisher_thread.add_ended(job_ids)
                case JobDelayed(job, error):
                    self._delay(job, error)
                case JobEnded(job):
                    self._note_ended(job)
                case EngineDied(model, reason, detail):
                    self.finisher.notices.engine_died(model=model, reason=reason, detail=detail, now_s=time.monotonic())

    def _meet_requests(self, now_s: float) -> None:
        if due := self.job_requests.due(now_s):
            self.take_writer_thread.settle()
            self._end_jobs(wait=True)  # a job may be about to end, or to fail for want of another
            for request in due:
                with for_job(request.job_id):
                    self.job_requests.apply(request, now_s=now_s)
                self._read_events()

    def _end_jobs(self, *, wait: bool) -> None:
        """Have jobs of which nothing is left finished; `wait` for those that are being finished, but for long ones."""
        self._read_events()  # a job that is delayed does not end
        ended = self.in_flight.take_idle()
        for active in ended:
            if active.lock_task is not None:
                with for_job(active.job.id):
                    self.lock_jobs.finish(active.job, active.lock_task)
        self.finisher_thread.add([active for active in ended if active.lock_task is None])
        self.finisher_thread.tick(wait=wait, is_idle=not self.in_flight.job_of_work)
        self._read_events()

    def _retry_receipts(self, now_s: float) -> None:
        """Try again now and then to publish receipts that could not be written."""
        if self._lacks_receipts and now_s >= self._next_receipts_s:
            self.finisher_thread.tick(wait=True)  # two threads must not write one receipt
            self._read_events()
            self._lacks_receipts, self._next_receipts_s = False, now_s + RECEIPT_RETRY_S
            self._publish_missing_receipts()

    def _publish_missing_receipts(self) -> None:
        with self.context.database.read() as session:
            self.finisher_thread.add_ended([job.id for job in jobs.unpublished(session)])

    # ---- what has happened -------------------------------------------------------------------------------------

    def _delay(self, job: Job, error: VoiceJobsError) -> None:
        """One job's folder or takes are out of reach: that job waits, the others go on."""
        logger.warning("job %d (%s) waits: %s", job.id, job.name, error)
        self.in_flight.drop(job.id)
        with self.context.database.write() as session:
            if jobs.get(session, job.id).outcome is not None:
                self._lacks_receipts = True
                return
            self._delays[job.id] += 1
            self._delayed[job.id] = wait_for_error(error)
            delay_s = min(LONGEST_DELAY_S, 2.0 ** min(self._delays[job.id], 6))
            jobs.requeue(session, job.id, not_before_s=self.context.clock() + delay_s, warning=error.message)
        self.dispatcher.look_again()  # else nobody would look when it is due

    def _note_ended(self, job: Job) -> None:
        """Count a job whose receipt is in the outbox, and log it."""
        self._has_written = True
        self.dispatcher.look_again()
        outcome = job.outcome or job.status
        self.outcomes[outcome] += 1
        self.take_writer.forget(job.id)
        self._delays.pop(job.id, None)
        self._delayed.pop(job.id, None)
        level = logging.INFO if outcome == JobStatus.DONE else logging.WARNING
        reason = f": {job.error.message}" if job.error else ""
        logger.log(level, "job %d (%s): %s%s%s", job.id, job.name, outcome, _figures(job), reason)

    def _end_broken(self, broken: JobBroken, *, now_s: float) -> None:
        """End the one job that met an error which nobody foresaw; the others begin again from the ledger."""
        broken.log()
        self._forget_work()
        try:
            with self.context.database.write() as session:
                ended_s, reason = self.context.clock(), JobError.of(broken.reason)
                if jobs.get(session, broken.job_id).outcome is None:
                    jobs.set_outcome(session, broken.job_id, JobStatus.FAILED, now_s=ended_s, error=reason)
                else:  # it broke while its receipt was made, and would again
                    jobs.add_event(session, broken.job_id, kind=reason.code, message=reason.message, at_s=ended_s)
                    jobs.close(session, [broken.job_id])
        except VoiceJobsError as error:
            self._put_aside(error, now_s=now_s)

    def _put_aside(self, error: VoiceJobsError, *, now_s: float) -> None:
        """Put everything under way back into the ledger; after a pause the work begins again from there."""
        self.pause.begin(error, now_s=now_s)
        warning = f"Work was put aside and went on later: {error.message}"
        for job_id in self.in_flight.jobs:
            self._put_aside_jobs.setdefault(job_id, warning)
        self._forget_work()

    def _forget_work(self) -> None:
        """Forget what is in memory: the next step takes it up from the ledger."""
        self.take_writer_thread.give_up()
        self.finisher_thread.give_up()
        self.dispatcher.give_up()
        ended = [event.job for event in self.events if isinstance(event, JobEnded)]
        self.events.clear()
        for job in ended:
            self._note_ended(job)
        self.in_flight.clear()
        self.scripts.clear()
        self.transcribes.clear()
        self.masters.clear()
        self.take_writer.forget_all()
        self._must_recover = True

    # ---- what the daemon asks ----------------------------------------------------------------------------------

    def look_at_inbox(self) -> None:
        """Something has happened in the inbox: the next tick scans it."""
        self.drops.scan_soon()

    def next_tick_s(self, now_s: float) -> float:
        """Seconds until another tick is due, if nothing happens before."""
        if now_s < self.pause.until_s:
            return min(self.pause.until_s - now_s, REQUEST_LOOK_S)
        if self.in_flight.results and not self.take_writer_thread:
            return 0.0
        reads = self.in_flight.reads_recordings or self.scripts.is_reading
        look_s = WORKING_LOOK_S if self.in_flight.jobs else IDLE_LOOK_S if self._is_idle() else REQUEST_LOOK_S
        dues = [now_s + (READING_LOOK_S if reads else look_s)]
        if not self.is_stopping:
            dues.append(self.drops.next_scan_s)
        if (load_s := self.loader.next_try_s()) is not None:
            dues.append(load_s)
        return max(0.0, min(dues) - now_s)

    def _is_idle(self) -> bool:
        """Whether nothing will be due before somebody drops or asks for something."""
        if not self.hears_requests or self._must_recover or self._lacks_receipts or self.drops.has_work or self.is_busy:
            return False
        with self.context.database.read() as session:
            return open_jobs(session) == 0

    @property
    def is_busy(self) -> bool:
        """Whether the engine holds work of ours, results are being written, or jobs finished."""
        return bool(
            self.in_flight.job_of_work or self.in_flight.verifier or self.take_writer_thread or self.finisher_thread
        )

    def is_drained(self) -> bool:
        """Whether nothing is left in inbox and ledger that could be worked on at this moment."""
        if self._must_recover:
            return self.pause.is_hopeless
        unreachable = self.loader.unreachable()
        if (
            any(active.model not in unreachable for active in self.in_flight.jobs.values())
            or self.in_flight.results
            or self.drops
            or self.is_busy
            or self.dispatcher.plan_thread
            or self.scripts
            or self.transcribes
            or self.masters
            or self.dispatcher.exchange
            or self.drops.awaits_more
        ):
            return False
        with self.context.database.read() as session:
            now_s = self.context.clock()
            return not self.job_requests.are_waiting(session) and not ready_jobs(
                session, now_s=now_s, overdue_before_s=0, model=None, limit=1, absent=unreachable
            )

    def stop(self) -> None:
        """Begin nothing more: the next ticks only end what is in flight."""
        self.is_stopping = True
        self.drops.scanner.stop()
        self.dispatcher.stop()

    def work_waits(self) -> bool:
        """Whether inbox or ledger hold work that is not done."""
        if self.drops.has_work or (self._must_recover and self._inbox_holds_drops()):
            return True
        with self.context.database.read() as session:
            return open_jobs(session) > 0 or bool(open_requests(session))

    def _inbox_holds_drops(self) -> bool:
        """As the inbox lies there: while the database cannot be written, nothing is claimed."""
        try:
            return any(not entry.is_ignored for entry in waiting_in(self.context.instance))
        except OSError:
            return True  # nobody can say that it is empty

    def tidy_up(self) -> None:
        """Let the takes that `run --once` leaves behind fit their limit, too."""
        try:
            self.take_writer_thread.settle()
            self._read_events()
            self.take_eviction.evict()
        except StorageError as error:
            logger.warning("not all was tidied up at the end: %s", error)

    def close(self) -> None:
        """End threads and processes; what they were doing is done again by the next runner."""
        self.listen.close()
        self.in_flight.verifier.close()
        self.lock_jobs.hearings.close()
        for active in self.in_flight.jobs.values():
            active.close()
        self.drops.scanner.close()
        self.scripts.clear()
        self.transcribes.close()
        self.masters.close()
        self.dispatcher.close()
        self.in_flight.spools.clear()
        self.encoder.close()
        self.take_writer_thread.close()
        self.finisher_thread.close()
        self.waits.write(Waits())
        self.finisher.notices.close()


def build_worker(
    context: Context, engine: EngineClient, scanner: InboxScanner, *, wake: Callable[[], None] = lambda: None
) -> Worker:
    """A worker with all its parts; `wake` is called from threads that have something to collect."""
    events: Events = deque()
    recent, encoder, take_eviction = RecentTakes(), TakeEncoder(context, wake=wake), TakeEviction(context)
    loader = ModelLoader(context.instance, engine, wake, clock=context.clock)
    spools = LineSpools(context.instance.spool_dir)
    settings = context.settings
    listen = ListenProcess(
        log_path=context.instance.logs_dir / "listen.log",
        unload_after_s=settings.unload_after_s or None,
        weights=Weights(context.instance),
        wake=wake,
        memory_factor=settings.memory_factor,
        aligner=settings.aligner,
    )
    verifier: Verifier[Hearing | StoredTake] = Verifier(listen=listen, wake=wake)
    in_flight = InFlight(
        context=context, engine=engine, loader=loader, encoder=encoder, spools=spools, verifier=verifier
    )
    turns = MemoryTurns(
        engine=engine,
        listen=listen,
        memory_factor=settings.memory_factor,
        is_urgent=lambda: any(active.job.live for active in in_flight.jobs.values()),
        free_bytes=lambda: available_bytes()[0],
    )
    loader.may_load = turns.may_load
    progress = ProgressWriter(state_dir=context.instance.state_dir, clock=context.clock)
    take_writer = TakeWriter(context=context, recent=recent)
    beginnings = Beginnings(path=context.instance.state_dir / BEGINNINGS)
    captions = TrackCaptions(listen, context.takes.audio)
    finisher = build_finisher(context, scanner, recent, events, captions)
    finisher_thread = FinisherThread(finisher=finisher, events=events, wake=wake)
    lock_jobs = LockJobs(context=context, events=events, wake=wake, hearings=Verifier(listen=listen, wake=wake))
    transcriber = Transcriber(listen=listen, folder=context.instance.spool_dir)
    transcribes = TranscribeJobs(context=context, events=events, transcriber=transcriber, wake=wake)
    masters = MasterJobs(context=context, events=events, wake=wake)
    plan_thread = PlanThread(
        database=context.database,
        planner=partial(_planner, context, PronunciationFile(context.instance)),
        folder_of=partial(_folder_of, scanner),
        wake=wake,
    )
    language_models = LanguageModels(
        weights=Weights(context.instance, look=language_model_folder),
        listen=listen,
        folder=context.instance.state_dir,
        wake=wake,
    )
    scripts = ScriptJobs(
        context=context, events=events, pool=plan_thread.pool, wake=wake, language_models=language_models
    )
    return Worker(
        context=context,
        events=events,
        pause=DiskPause(context=context, take_eviction=take_eviction),
        job_requests=JobRequests(
            context=context,
            in_flight=in_flight,
            take_writer=take_writer,
            finisher_thread=finisher_thread,
            scripts=scripts,
            transcribes=transcribes,
            masters=masters,
            events=events,
        ),
        beginnings=beginnings,
        drops=DropAdmitter(context=context, scanner=scanner, events=events),
        listener=EngineListener(
            context=context, engine=engine, loader=loader, in_flight=in_flight, progress=progress, events=events
        ),
        loader=loader,
        dispatcher=Dispatcher(
            context=context,
            scanner=scanner,
            in_flight=in_flight,
            loader=loader,
            turns=turns,
            take_writer=take_writer,
            lock_jobs=lock_jobs,
            exchange=ExchangeJobs(context=context, wake=wake),
            scripts=scripts,
            transcribes=transcribes,
            masters=masters,
            casts=CastJobs(context=context),
            beginnings=beginnings,
            importings=Beginnings(path=context.instance.state_dir / IMPORTINGS),
            plannings=Beginnings(path=context.instance.state_dir / PLANNINGS),
            plan_thread=plan_thread,
            planner=plan_thread.planner,
            events=events,
        ),
        in_flight=in_flight,
        encoder=encoder,
        take_writer=take_writer,
        take_writer_thread=TakeWriterThread(take_writer=take_writer, in_flight=in_flight, events=events, wake=wake),
        lock_jobs=lock_jobs,
        scripts=scripts,
        transcribes=transcribes,
        masters=masters,
        finisher=finisher,
        finisher_thread=finisher_thread,
        take_eviction=take_eviction,
        waits=WaitsWriter(context.instance.state_dir),
        listen=listen,
        turns=turns,
    )


def _figures(job: Job) -> str:
    """`, 2.2 s of speech in 0.9 s, 1 warning`, as far as it is known."""
    run, track = job.facts.get("run"), job.facts.get("track")
    parts = [f"{span(track['duration_s'])} of speech"] if track else []
    if run and job.finished_s is not None and parts:
        parts = [f"{parts[0]} in {span(max(0.0, job.finished_s - run['since_s']))}"]
    parts += [counted(len(job.warnings), "warning")] if job.warnings else []
    return "".join(f", {part}" for part in parts)


def _planner(context: Context, pronunciations: PronunciationFile) -> Planner:
    return Planner(
        settings=context.settings,
        models=context.models,
        random_seed=lambda: secrets.randbits(31),
        pronunciations=pronunciations.respellings(),
    )


def _folder_of(scanner: InboxScanner, job: Job) -> Path | None:
    """Folder of the files that a job refers to."""
    return scanner.folder_of(job.claim_id) if job.claim_id is not None else None
