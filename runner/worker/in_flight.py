"""Running jobs in memory → lines submitted to the engine; its answers → batches of results.

`runner/worker/take_writer.py` writes down and publishes the results. Everything here can be thrown away at any moment
and made again from the ledger.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.audio.quality import HEARD_OTHERWISE, Quality
from models.engine_kinds import DRAFT
from models.errors import EngineFailure
from models.listen.noise import network_path
from models.listen.values import Heard
from models.protocol import EngineFacts, LockDone, SpeechDone, SpeechPiece, WorkFailed
from registry.errors import VoiceJobsError
from registry.jobs import jobs, lines
from registry.jobs.values import JobError, Line
from runner.engine.client import EngineClient, EngineLost
from runner.engine.line_spools import LineSpools
from runner.engine.model_loader import FailedModel, ModelLoader
from runner.engine.spool import SpoolState
from runner.jobfile.audio_format import audio_format_of
from runner.jobfile.specs import DesignSpec, SynthesizeSpec
from runner.listen.verifier import Verifier, mode_of, told, why_unheard
from runner.outbox.progress_file import LineInFlight
from runner.scheduling.line_plan import MAX_CRASHES, MAX_FAILURES
from runner.scheduling.voice_resolution import relock_hint
from runner.worker.context import Context
from runner.worker.job_guard import for_job
from runner.worker.line_tasks import (
    Accepted,
    ActiveJob,
    Hearing,
    LineTask,
    ResultBatch,
    StoredTake,
    Written,
    engine_voice,
    key_of,
    no_usable_take,
    quarantined,
)
from runner.worker.listening.audition import usual_similarity
from runner.worker.lock_task import LockTask
from runner.worker.take_encoder import TakeEncoder

logger = logging.getLogger(__name__)

PAGE_LINES = 32
FEWEST_IN_FLIGHT = 8
MOST_IN_FLIGHT = 32
QUEUED_S = 0.5  # of rendering that may wait in the engine: what goes in behind it waits as long
FAST_LINE_S = 0.02  # an engine that takes less for a line is waited for
MOST_HELD_SAMPLES = 250_000  # of takes that wait to be written together, while others are
MOST_UNHEARD_SAMPLES = 8_000_000  # of takes that wait until the engine has ended: 32 MB, five minutes and a half
PROMPTS_KEPT = 16
MISMATCH = "prompt-model-mismatch"


@dataclass(kw_only=True)
class InFlight:
    """Running jobs by their ledger id, and the job of each piece of work that the engine has."""

    context: Context
    engine: EngineClient
    loader: ModelLoader
    encoder: TakeEncoder
    spools: LineSpools
    verifier: Verifier[Hearing | StoredTake]
    jobs: dict[int, ActiveJob] = field(default_factory=dict)
    job_of_work: dict[str, ActiveJob] = field(default_factory=dict)
    results: ResultBatch = field(default_factory=ResultBatch)
    line_s: float = 1.0  # how long a line takes lately: a fast engine is given many at once
    _prompts: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    _usual_similarities: dict[str, float | None] = field(default_factory=dict)  # by the digest of a voice

    @property
    def capacity(self) -> int:
        """Number of further pieces of work for the engine: enough to keep its batch full, few to lose."""
        facts = self.loader.facts
        if facts is None:
            return -len(self.job_of_work)
        a_moment = int(QUEUED_S / self.line_s) if self.line_s > 0 else FEWEST_IN_FLIGHT
        wanted = max(FEWEST_IN_FLIGHT, 2 * facts.batch, min(MOST_IN_FLIGHT, a_moment))
        return wanted - len(self.job_of_work) - self._unheard

    @property
    def _unheard(self) -> int:
        """Number of takes to be heard before the engine is given more; few, unless the engine must end before."""
        listen = self.verifier.listen
        if listen.may_hear or listen.wanted_bytes is None:
            return len(self.verifier)
        held = sum(take.sound.size for take in self.verifier if isinstance(take, Hearing))
        return 0 if held < MOST_UNHEARD_SAMPLES else len(self.verifier)

    def has_room_for(self, active: ActiveJob) -> bool:
        """Whether the engine is given another piece of this job's work; live work does not wait for the batch's."""
        if not active.job.live or self.loader.facts is None:
            return self.capacity > 0
        return sum(owner.job.live for owner in self.job_of_work.values()) < FEWEST_IN_FLIGHT

    @property
    def expects_more(self) -> bool:
        """Whether the engine is so fast that its next answers are worth a moment's wait, and there is room for them."""
        return bool(self.job_of_work) and self.line_s < FAST_LINE_S and not self.holds_much

    @property
    def holds_much(self) -> bool:
        """Whether so many samples wait to be written that this should happen before more come."""
        waiting = (item.samples for item in self.results.accepted if not item.is_long)
        return sum(waiting) >= MOST_HELD_SAMPLES

    def lines(self) -> dict[str, LineInFlight]:
        """The lines that the engine has, by their work ids."""
        return {
            work_id: LineInFlight(job_id=active.job.id, expected_s=active.in_flight[work_id].expected().expected_s)
            for work_id, active in self.job_of_work.items()
            if work_id in active.in_flight
        }

    def clear(self) -> None:
        """Forget everything; late answers find no job."""
        for work_id in self.job_of_work:
            self.engine.cancel(work_id)
        for active in self.jobs.values():
            active.close()
        for take in list(self.verifier):
            self.verifier.forget(take)
        self.jobs.clear()
        self.job_of_work.clear()
        self.results = ResultBatch()
        self.spools.clear()

    def drop(self, job_id: int) -> None:
        """Forget one job."""
        active = self.jobs.pop(job_id, None)
        if active is None:
            return
        active.close()
        for take in [take for take in self.verifier if take.active is active]:
            self.verifier.forget(take)
            if isinstance(take, Hearing):
                self.spools.end(take.task.work_id, SpoolState.DROPPED)
        for work_id in self.results.forget(active):
            self.spools.end(work_id, SpoolState.DROPPED)
        for work_id in [work_id for work_id, owner in self.job_of_work.items() if owner is active]:
            self.engine.cancel(work_id)
            del self.job_of_work[work_id]
            self.spools.end(work_id, SpoolState.DROPPED)

    def add(self, active: ActiveJob) -> None:
        """A job has been started."""
        self.jobs[active.job.id] = active

    @property
    def reads_recordings(self) -> bool:
        """Whether a recording is being read by a process of its own."""
        return any(active.is_reading for active in self.jobs.values())

    def take_idle(self) -> list[ActiveJob]:
        """Take out the jobs of which nothing is left; those with lines for another model go on with these."""
        idle = [active for active in self.jobs.values() if active.is_idle]
        if not idle:
            return []
        with self.context.database.read() as session:
            left = lines.models_left(session, [active.job.id for active in idle])
        for active in idle:
            if active.lock_task is None and (models := left.get(active.job.id)):
                active.rewind(models[0])
        ended = [active for active in idle if active.is_idle]
        for active in ended:
            del self.jobs[active.job.id]
        return ended

    def note_written(self, written: Written) -> None:
        """Take back the lines of a batch that were not written; of a job that was dropped meanwhile, none."""
        self.spools.recorded(written.recorded)
        for active in written.settled:
            active.unwritten -= 1
        for active, line in written.gone:
            active.unwritten -= 1
            active.pending.append(LineTask.of(line))
        self.results.reused += [item for item in written.left if self.jobs.get(item[0].job.id) is item[0]]

    def fail_model(self, failed: FailedModel) -> None:
        """A model cannot be had: fail the lines that are to be spoken with it."""
        for active in [active for active in self.jobs.values() if active.model == failed.model]:
            self.fail_model_of(active, failed)

    def fail_model_of(self, active: ActiveJob, failed: FailedModel) -> None:
        """As `fail_model`, for one job."""
        if active.lock_task is not None:
            active.lock_task.close()
            active.lock_task.error = failed.error
        else:
            with self.context.database.write() as session:
                lines.fail_waiting(session, active.job.id, failed.error, model=failed.model)
        active.pending.clear()
        active.drained = True

    # ---- to the engine -----------------------------------------------------------------------------------------

    def submit(self, active: ActiveJob) -> bool:
        """Give the engine this job's next piece of work; False when it has none now."""
        now_s = self.context.clock()
        if now_s - active.last_scheduled_s <= self.context.settings.max_wait_s:
            active.last_scheduled_s = now_s  # a job that is next because it had waited too long stays so to its end
        if active.lock_task is not None:
            return self._submit_lock(active, active.lock_task)
        if not active.pending and not active.drained and len(self.results.reused) < PAGE_LINES:
            self.fetch([active])
        if not active.pending:
            return False
        task = active.pending[0]
        if task.isolated and self.job_of_work:
            return False  # it waits until it has the engine to itself
        active.pending.popleft()
        return self._submit_line(active, task)

    @property
    def has_isolated(self) -> bool:
        """Whether the engine has a line that must be rendered by itself."""
        return any(task.isolated for active in self.job_of_work.values() for task in active.in_flight.values())

    def _submit_lock(self, active: ActiveJob, task: LockTask) -> bool:
        work = task.next_work()
        if work is None:
            return False
        self.job_of_work[work.id] = active
        self.engine.submit(work, expected_s=task.expected_s)
        return True

    def _submit_line(self, active: ActiveJob, task: LineTask) -> bool:
        voice = task.line.request.voice
        try:
            prompt = self._prompt(voice.prompt) if voice.is_lock else b""
        except VoiceJobsError as error:
            if error.retryable:
                active.pending.appendleft(task)
                raise
            self._fail(active, task, JobError.of(error))
            return True
        active.in_flight[task.work_id] = task
        self.job_of_work[task.work_id] = active
        work = task.work(engine_voice(voice, prompt=prompt), live=active.job.live)
        self.engine.submit(work, expected_s=task.expected().high_s)
        return True

    def _prompt(self, sha256: str) -> bytes:
        if sha256 not in self._prompts:
            self._prompts[sha256] = self.context.objects.read(sha256)
            while len(self._prompts) > PROMPTS_KEPT:
                self._prompts.popitem(last=False)
        self._prompts.move_to_end(sha256)
        return self._prompts[sha256]

    def fetch(self, jobs: Sequence[ActiveJob]) -> None:
        """Fetch the jobs' next lines from the ledger, for the model that is loaded."""
        facts = self.loader.facts
        assert facts is not None
        found: list[tuple[ActiveJob, list[Line]]] = []
        with self.context.database.read() as session:
            for active in jobs:
                assert active.model is not None
                page = lines.waiting(session, active.job.id, model=active.model, after=active.cursor, limit=PAGE_LINES)
                found.append((active, page))
            keys = {line.id: key_of(line, facts, live=active.job.live) for active, page in found for line in page}
            existing = lines.existing_takes(session, keys.values())
            unheard = self.context.takes.unheard(session, existing) if any(map(self._is_heard, jobs)) else {}
        for active, page in found:
            self._enqueue(active, page, keys, existing, unheard if self._is_heard(active) else {})

    def _is_heard(self, active: ActiveJob) -> bool:
        """Whether a recogniser listens to a job's takes."""
        return not active.job.live and mode_of(active.spec, self.context.settings) == "asr"

    def _enqueue(
        self,
        active: ActiveJob,
        found: list[Line],
        keys: Mapping[int, str],
        existing: set[str],
        unheard: Mapping[str, str],
    ) -> None:
        """Queue lines for the engine; those whose take exists go straight to the results, once it was listened to."""
        active.drained = len(found) < PAGE_LINES
        if found:
            active.cursor = found[-1].position
        for line in found:
            key = keys[line.id]
            if key in existing:
                active.unwritten += 1
                if key not in unheard or not self._hear_stored(active, line, key, unheard[key]):
                    self.results.reused.append((active, line, key))
            else:
                active.pending.append(LineTask.of(line))

    # ---- from the engine ---------------------------------------------------------------------------------------

    def on_piece(self, piece: SpeechPiece) -> None:
        """Some of a take has come. Raises StorageError."""
        active = self.job_of_work.get(piece.id)
        if active is not None:
            task = active.in_flight.get(piece.id)
            self.spools.append(piece, job_id=active.job.id, position=task.line.position if task is not None else 0)

    def on_speech(self, done: SpeechDone, facts: EngineFacts) -> None:
        """A take has come: keep it, or try again."""
        active = self.job_of_work.pop(done.id, None)
        if active is not None:  # else its job was cancelled or dropped
            with for_job(active.job.id):
                self._on_speech(active, done, facts)

    def _on_speech(self, active: ActiveJob, done: SpeechDone, facts: EngineFacts) -> None:
        sound = self.spools.sound_of(done)
        if active.lock_task is not None:
            self.spools.end(done.id, SpoolState.DROPPED)
            active.lock_task.on_speech(replace(done, waveform=sound[:]))
            return
        task = active.in_flight.pop(done.id)
        self.line_s += (done.render_s / max(1, done.batch) - self.line_s) / 4
        if done.finish_reason == "cancelled":
            self.spools.end(done.id, SpoolState.RETRIED)
            active.pending.append(task)
            return
        verify = mode_of(active.spec, self.context.settings)
        quality = task.measured(done, sound, is_seeded=facts.is_seeded, verify=verify)
        if done.similarity is not None:
            quality = self._compared(quality, done.similarity, active, task, is_seeded=facts.is_seeded)
        take = Hearing(active=active, task=task, done=done, sound=sound, quality=quality, facts=facts)
        if active.job.live or not quality.usable or not self._begin_hearing(take, verify):
            self._settle(take)

    def _compared(
        self, quality: Quality, similarity: float, active: ActiveJob, task: LineTask, *, is_seeded: bool
    ) -> Quality:
        """A take's quality with how alike its voice and its lock's are."""
        voice, spec = task.line.request.voice, active.spec
        least = spec.min_similarity if isinstance(spec, SynthesizeSpec) else None
        if voice.digest not in self._usual_similarities:
            with self.context.database.read() as session:
                usual = usual_similarity(session, voice)
            self._usual_similarities[voice.digest] = usual
        return quality.with_similarity(
            similarity,
            least=self.context.settings.min_similarity if least is None else least,
            usual=self._usual_similarities[voice.digest],
            is_seeded=is_seeded,
        )

    def _begin_hearing(self, take: Hearing, verify: str) -> bool:
        """Have a take heard, or a candidate rated; False where it is not, with a warning where it should be."""
        request, recogniser = take.task.line.request, self.context.settings.recogniser
        spec = take.active.spec
        is_ranked = isinstance(spec, DesignSpec) and spec.candidates > 1 and verify != "off"
        rates = is_ranked and network_path() is not None
        if not (verify == "asr" or is_ranked) or (why := why_unheard(recogniser, request.language)):
            recogniser = ""
            if verify == "asr":
                self._warn_once(take.active, why)
        finds_end = verify != "off" and self._may_run_on(take)
        if not (recogniser or rates or finds_end):
            return False
        take.active.unwritten += 1
        self.verifier.begin(
            take,
            take.sound,
            recogniser=recogniser,
            language=request.language,
            expected=request.spoken if recogniser or finds_end else "",
            rates=rates,
            finds_end=finds_end,
        )
        return True

    def _may_run_on(self, take: Hearing) -> bool:
        """Whether more may be said in a take than its text, another take would differ, and eSpeak NG can tell."""
        is_line = isinstance(take.active.spec, SynthesizeSpec)
        return is_line and take.facts.is_seeded and take.quality.may_run_on and DRAFT.is_installed

    def _hear_stored(self, active: ActiveJob, line: Line, key: str, audio_sha256: str) -> bool:
        """Have a take of the store listened to; False, and a warning for its job, where nothing can."""
        request, recogniser = line.request, self.context.settings.recogniser
        if why := why_unheard(recogniser, request.language):
            self._warn_once(active, why)
            return False
        audio = self.context.takes.audio
        take = StoredTake(active=active, line=line, key=key, audio_sha256=audio_sha256, audio=audio)
        self.verifier.begin(take, take, recogniser=recogniser, language=request.language, expected=request.spoken)
        return True

    def _note_stored(self, take: StoredTake, heard: Heard | EngineFailure) -> None:
        """Keep what was heard in a take of the store, which is used again however that is."""
        if isinstance(heard, EngineFailure):
            self._warn_once(take.active, f"Lines were not compared with what is heard: {heard}")
        else:
            is_judged = self.loader.facts is None or self.loader.facts.is_seeded
            gate = HEARD_OTHERWISE if is_judged and not heard.passes else None
            with self.context.database.write() as session:
                self.context.takes.note_heard(session, take.key, told(heard), gate=gate)
        take.active.unwritten += 1
        self.results.reused.append((take.active, take.line, take.key))

    def collect_hearings(self) -> None:
        """Settle the takes that were heard."""
        for take, heard in self.verifier.finished():
            active = take.active
            active.unwritten -= 1
            if isinstance(take, StoredTake):
                with for_job(active.job.id):
                    self._note_stored(take, heard)
                continue
            with for_job(active.job.id):
                if isinstance(heard, Heard):
                    self._settle(replace(take, quality=self._with_heard(take, heard)))
                else:
                    self._warn_once(active, f"Lines were not compared with what is heard: {heard}")
                    self._settle(take)

    def _with_heard(self, take: Hearing, heard: Heard) -> Quality:
        """A take's quality with what was heard; of a candidate that only helps to choose, unless takes are verified."""
        quality = replace(take.quality, noise=heard.noise)
        if heard.text_end_s is not None:
            quality = quality.with_more_said(is_seeded=take.facts.is_seeded)
        if not heard.recogniser:
            return quality
        is_judged = mode_of(take.active.spec, self.context.settings) == "asr"
        passes = heard.passes or not is_judged
        return quality.with_verdict(told(heard), passes=passes, is_seeded=take.facts.is_seeded)

    def _warn_once(self, active: ActiveJob, warning: str) -> None:
        if warning not in active.warned:
            active.warned.add(warning)
            with self.context.database.write() as session:
                jobs.add_warning(session, active.job.id, warning)

    def _settle(self, take: Hearing) -> None:
        """Keep a judged take, or try again."""
        active, task, done, facts = take.active, take.task, take.done, take.facts
        settings, now_s = self.context.settings, self.context.clock()
        max_takes = 1 if active.job.live else settings.max_takes  # what was heard cannot be taken back
        if not task.add_result(
            done, take.sound, take.quality, max_takes=max_takes, is_seeded=facts.is_seeded, now_s=now_s
        ):
            self.spools.end(done.id, SpoolState.RETRIED)
            active.pending.appendleft(task)
        elif task.best is not None and task.best.quality.usable:
            self._accept(active, task, facts)
        else:
            self._fail(active, task, no_usable_take(task))

    def _accept(self, active: ActiveJob, task: LineTask, facts: EngineFacts) -> None:
        active.unwritten += 1
        is_last = task.best is not None and task.best.attempt == task.attempt
        self.spools.end(task.work_id, SpoolState.FINISHED if is_last else SpoolState.DROPPED)
        encoding = self.encoder.begin(task.sound, audio_format_of(active.spec, self.context.settings))
        self.results.accepted.append(Accepted(active=active, task=task, facts=facts, encoding=encoding))

    def on_lock(self, done: LockDone, facts: EngineFacts) -> None:
        """A clone prompt has come."""
        active = self.job_of_work.pop(done.id, None)
        if active is not None and active.lock_task is not None:
            with for_job(active.job.id):
                active.lock_task.on_lock(done, facts)

    def on_work_failed(self, failed: WorkFailed) -> None:
        """The engine could not do it, and lives."""
        active = self.job_of_work.pop(failed.id, None)
        if active is None:
            return
        error = JobError(code=failed.code, message=failed.message, hint=failed.hint)
        if active.lock_task is not None:
            self.spools.end(failed.id, SpoolState.DROPPED)
            active.lock_task.on_failed(error, retryable=failed.retryable)
            return
        task = active.in_flight.pop(failed.id)
        task.failures += 1
        if failed.retryable and task.failures < MAX_FAILURES:
            self.spools.end(failed.id, SpoolState.RETRIED)
            self.results.to_retry.append(task)
            active.pending.append(task)
        else:
            self._fail(active, task, _with_relock_hint(error, task.line))

    def on_lost(self, lost: EngineLost) -> None:
        """The engine died: work that it had begun is suspected, the rest is simply submitted again."""
        logger.warning("engine lost (%s) with %d lines in flight: %s", lost.reason, len(lost.in_flight), lost.detail)
        suspects = set(lost.started)
        for work_id in reversed(lost.in_flight):
            active = self.job_of_work.pop(work_id, None)
            if active is None:
                continue
            if active.lock_task is not None:
                self.spools.end(work_id, SpoolState.DROPPED)
                active.lock_task.on_lost(suspected=work_id in suspects, detail=lost.detail)
            else:
                self._retry(active, active.in_flight.pop(work_id), work_id in suspects, lost.detail)

    def _retry(self, active: ActiveJob, task: LineTask, suspected: bool, detail: str) -> None:
        if suspected:
            task.crash_count += 1
            task.isolated = True
            self.results.crashed.append(task)
            if task.crash_count >= MAX_CRASHES:
                self._fail(active, task, quarantined(detail))
                return
        self.spools.end(task.work_id, SpoolState.RETRIED)
        active.pending.appendleft(task)

    def _fail(self, active: ActiveJob, task: LineTask, error: JobError) -> None:
        active.unwritten += 1
        self.spools.end(task.work_id, SpoolState.FAILED)
        self.results.failed.append((active, task, error))


def _with_relock_hint(error: JobError, line: Line) -> JobError:
    voice = line.request.voice
    if error.code != MISMATCH or not voice.is_lock:
        return error
    hint = relock_hint(f"{voice.name}@{voice.version}", line.model)
    return JobError(code=error.code, message=error.message, hint=hint)
