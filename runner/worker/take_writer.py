"""The results of lines → takes in the store, rows in the ledger, files in the outbox; in that order.

Take durable → committed → published by rename → committed. After a crash between any two of these, the next runner
finds in the ledger what is left to do, and repeating it changes nothing.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.protocol import SAMPLE_RATE_HZ
from registry.durable_files import crash_point
from registry.errors import NotFound, StorageError
from registry.jobs import jobs, lines
from registry.jobs.lines import TakenLine
from registry.jobs.values import Job, Line, LineStatus, NewAttempt, Take, TakeFacts
from registry.storage.session import Session
from registry.voices.candidates import add_candidate
from registry.voices.values import ModelFacts, NewCandidate
from runner.jobfile.audio_format import audio_format_of
from runner.jobfile.specs import DesignSpec, JobSpec
from runner.outbox.receipt import gates_warning
from runner.outbox.take_encoding import (
    LONG_SAMPLES,
    LongContent,
    NewTake,
    PublishedLine,
    RecentTakes,
    line_result,
    long_take_line,
    published,
    take_waveform,
)
from runner.worker.context import Context
from runner.worker.events import JobDelayed
from runner.worker.job_guard import for_job
from runner.worker.line_tasks import Accepted, ActiveJob, LineTask, ResultBatch, Reused, Written, key_of

REUSED_AT_ONCE = 64  # takes that are read again together,
REUSED_AT_ONCE_S = 60.0  # of so much speech: a minute of it takes a second to encode as MP3, and 6 MB


@dataclass(kw_only=True)
class _Ready:
    """A line whose take is in the store."""

    job: Job
    spec: JobSpec
    line: Line
    key: str
    audio_sha256: str
    facts: TakeFacts
    file: PublishedLine
    reused: bool
    active: ActiveJob | None = None
    attempts: Sequence[NewAttempt] = ()
    candidate: NewCandidate | None = None


@dataclass(kw_only=True)
class TakeWriter:
    """Writes down and publishes, for many lines at a time. Threads take turns."""

    context: Context
    recent: RecentTakes
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _noted: dict[int, set[str]] = field(default_factory=dict)  # job id -> fingerprints of engines noted with it

    def write(self, batch: ResultBatch) -> Written:
        """Write down everything in the batch, but of reused takes only as much as takes a moment.

        Raises StorageError when the disk or the database fails.
        """
        written = Written()
        with self._turn:
            written.recorded.extend(item.task.work_id for item in batch.accepted)
            ready = self._store(batch.accepted)
            batch.accepted.clear()  # gives back the engine's own samples
            ready += self._reused(batch.reused, written)
            crash_point("recording.takes-stored")
            with self.context.database.write() as session:
                self._commit_lines(session, ready)
                self._commit_rest(session, batch)
            crash_point("recording.lines-committed")
            written.delayed.extend(self._publish(ready))
        written.settled.extend(active for active, _, _ in batch.failed)
        written.settled.extend(item.active for item in ready if item.active is not None)
        return written

    def _reused(self, reused: Sequence[Reused], written: Written) -> list[_Ready]:
        """The next lines whose takes exist; those whose takes are gone, or that must wait, are noted in `written`."""
        takes = self._find([key for _, _, key in reused[:REUSED_AT_ONCE]])
        ready: list[_Ready] = []
        waiting = deque(reused)
        speech_s = 0.0
        while waiting and len(reused) - len(waiting) < REUSED_AT_ONCE and speech_s < REUSED_AT_ONCE_S:
            active, line, key = waiting.popleft()
            with for_job(active.job.id):
                found = self._reuse(active.job, active.spec, line, takes.get(key))
            if found is None:
                written.gone.append((active, line))
                continue
            found.active = active
            ready.append(found)
            speech_s += found.facts.duration_s
        written.left.extend(waiting)
        return ready

    def republish(self, job: Job, spec: JobSpec) -> list[JobDelayed]:
        """Publish the lines of a job whose takes were committed before a crash; a take that is gone is made again."""
        ready = []
        with self._turn:
            with self.context.database.read() as session:
                taken = lines.with_status(session, job.id, LineStatus.TAKEN)
            takes = self._find([line.take_key or "" for line in taken])
            for line in taken:
                found = self._reuse(job, spec, line, takes.get(line.take_key or ""))
                with self.context.database.write() as session:
                    if found is None:
                        lines.set_waiting(session, line.id)
                        continue
                    if found.file.sha256 != (line.result or {}).get("file_sha256"):
                        self._commit_lines(session, [found])  # written by another version of an audio library
                ready.append(found)
            return self._publish(ready)

    def _publish(self, ready: Sequence[_Ready]) -> list[JobDelayed]:
        """Make the files of committed lines appear, then commit that they did; returns the jobs whose could not."""
        files: dict[str, dict[str, bytes]] = defaultdict(dict)
        for item in ready:
            if item.file.long_content is None:
                files[item.job.name][item.line.file] = item.file.content
        errors = self.context.outbox.publish_many(files)
        for item in ready:
            if item.file.long_content is not None and item.job.name not in errors:
                self._publish_long(item, item.file.long_content, errors)
        crash_point("recording.published")
        done = [item for item in ready if item.job.name not in errors]
        if done:
            with self.context.database.write() as session:
                lines.set_published(session, [item.line.id for item in done])
        crash_point("recording.published-committed")
        by_name = {item.job.name: item.job for item in ready}
        return [JobDelayed(by_name[job_name], error) for job_name, error in errors.items()]

    def _publish_long(self, item: _Ready, content: LongContent, errors: dict[str, StorageError]) -> None:
        try:
            self.context.outbox.publish_stream(item.job.name, item.line.file, content.copy_to)
        except StorageError as error:
            if error.is_instance_wide:
                raise
            errors[item.job.name] = error

    # ---- takes -------------------------------------------------------------------------------------------------

    def _store(self, accepted: Sequence[Accepted]) -> list[_Ready]:
        """Make the audio of new takes durable, all at once."""
        takes = [_encoded(item) for item in accepted]
        self.context.takes.audio.put_all({take.sha256: take.content for take in takes if take.content})
        return [self._stored(item, take) for item, take in zip(accepted, takes, strict=True)]

    def _stored(self, item: Accepted, take: NewTake) -> _Ready:
        active, task = item.active, item.task
        # The one line of a job is its whole track: the file will do.
        self.recent.keep(take.sha256, replace(take.file, waveform=None) if active.has_one_line else take.file)
        assert task.best is not None
        kept, state = task.take_facts(item.facts), task.best.done.design_state
        if state is not None:
            kept = replace(kept, engine={**kept.engine, "design_state": self.context.objects.put(state)})
        return _Ready(
            job=active.job,
            spec=active.spec,
            line=task.line,
            key=key_of(task.line, item.facts, live=active.job.live),
            audio_sha256=take.sha256,
            facts=kept,
            file=take.file,
            reused=False,
            active=active,
            attempts=task.attempts,
            candidate=self._candidate(active.spec, task.line, kept, take.sha256),
        )

    def _published(self, take: Take, spec: JobSpec) -> PublishedLine:
        """The file of a stored take. Raises NotFound and StorageError."""
        wanted = audio_format_of(spec, self.context.settings)
        if take.facts.duration_s * SAMPLE_RATE_HZ > LONG_SAMPLES:
            path = self.context.takes.audio.path(take.audio_sha256)
            return long_take_line(path, wanted, folder=self.context.instance.spool_dir)
        file = published(take_waveform(self.context.takes.read(take)), wanted)
        self.recent.keep(take.audio_sha256, file)
        return file

    def _candidate(self, spec: JobSpec, line: Line, facts: TakeFacts, audio_sha256: str) -> NewCandidate | None:
        """The registry's own copy of a designed voice's recording; None for lines of other jobs."""
        if not isinstance(spec, DesignSpec):
            return None
        request = line.request
        return NewCandidate(
            audio_sha256=self.context.objects.put(self.context.takes.audio.read(audio_sha256)),
            design_state_sha256=facts.engine.get("design_state"),
            transcript=request.spoken,
            description=request.voice.description,
            language=request.language,
            seed=facts.accepted_seed,
            model=ModelFacts(**facts.engine["model_facts"]),
            frames=facts.frames,
            duration_s=facts.duration_s,
            sampling=request.sampling,
            quality={"failed_gates": list(facts.failed_gates), **facts.quality},
            character=spec.character.model_dump() if spec.character else None,
        )

    def _find(self, keys: Sequence[str]) -> dict[str, Take]:
        """The takes of these keys, marked as used."""
        if not keys:
            return {}
        with self.context.database.write() as session:
            now_s = self.context.clock()
            found = {key: self.context.takes.find(session, key, now_s=now_s) for key in keys}
        return {key: take for key, take in found.items() if take is not None}

    def _reuse(self, job: Job, spec: JobSpec, line: Line, take: Take | None) -> _Ready | None:
        """A stored take as a line; None when it cannot be used after all."""
        if take is None:
            return None
        try:
            file = self._published(take, spec)
            if (state := take.facts.engine.get("design_state")) is not None:
                self.context.objects.put(self.context.objects.read(state))  # looks new to `gc` until it is referred to
            candidate = self._candidate(spec, line, take.facts, take.audio_sha256)
        except (NotFound, StorageError) as error:
            if isinstance(error, StorageError) and error.retryable:
                raise
            return None  # gone or damaged: it is spoken again
        return _Ready(
            job=job,
            spec=spec,
            line=line,
            key=take.key,
            audio_sha256=take.audio_sha256,
            facts=take.facts,
            file=file,
            reused=line.status != LineStatus.TAKEN or bool((line.result or {}).get("reused")),
            candidate=candidate,
        )

    # ---- rows --------------------------------------------------------------------------------------------------

    def _commit_lines(self, session: Session, ready: Iterable[_Ready]) -> None:
        now_s = self.context.clock()
        taken: list[TakenLine] = []
        attempts: list[NewAttempt] = []
        for item in ready:
            if item.line.status != LineStatus.TAKEN:
                attempts += self._commit_take(session, item, now_s=now_s)
            result = line_result(
                item.line, take=item.facts, audio_sha256=item.audio_sha256, file=item.file, reused=item.reused
            )
            taken.append(TakenLine(line_id=item.line.id, take_key=item.key, result=result))
            if item.candidate is not None:
                add_candidate(session, item.job.name, item.line.position, item.candidate, now_s=now_s)
            self._note(session, item)
        lines.set_taken(session, taken)
        lines.add_attempts(session, attempts)

    def _commit_take(self, session: Session, item: _Ready, *, now_s: float) -> Sequence[NewAttempt]:
        if item.reused:
            reused = NewAttempt(
                line_id=item.line.id, number=0, seed=item.facts.accepted_seed, outcome="reused", finished_s=now_s
            )
            return [reused]
        take = self.context.takes.add(session, item.key, item.audio_sha256, item.facts, now_s=now_s)
        if take.audio_sha256 != item.audio_sha256:
            # Two jobs spoke one line at once: the take that was first is the one that both publish.
            item.file = self._published(take, item.spec)
            item.facts, item.audio_sha256 = take.facts, take.audio_sha256
        return item.attempts

    def _note(self, session: Session, item: _Ready) -> None:
        """Note what the receipt says of the whole job."""
        engine: Mapping[str, Any] = item.facts.engine
        noted, fingerprint = self._noted.setdefault(item.job.id, set()), str(engine.get("fingerprint"))
        if fingerprint not in noted:
            shown = {key: value for key, value in engine.items() if key not in ("design_state", "model_facts")}
            software = engine.get("model_facts", {}).get("software", {})
            jobs.note_facts(session, item.job.id, engine=shown, model=engine.get("model"), versions=software)
            noted.add(fingerprint)
        if item.facts.failed_gates:
            warning = gates_warning(item.line.file, attempts=item.facts.attempts, failed=item.facts.failed_gates)
            jobs.add_warning(session, item.job.id, warning)

    def forget_all(self) -> None:
        """The notes may have been rolled back."""
        self._noted.clear()

    def forget(self, job_id: int) -> None:
        """The job has ended."""
        self._noted.pop(job_id, None)

    def _commit_rest(self, session: Session, batch: ResultBatch) -> None:
        now_s = self.context.clock()
        lines.add_crashes(session, [task.line.id for task in batch.crashed])
        lines.add_failures(session, [task.line.id for task in batch.to_retry])
        attempts = [_attempt(task, "engine-lost", now_s) for task in batch.crashed]
        attempts += [_attempt(task, "failed", now_s) for task in batch.to_retry]
        for _, task, error in batch.failed:
            attempts += task.attempts
            lines.set_failed(session, task.line.id, error)
        lines.add_attempts(session, attempts)


def _encoded(item: Accepted) -> NewTake:
    with for_job(item.active.job.id):
        return item.encoding.result()


def _attempt(task: LineTask, outcome: str, now_s: float) -> NewAttempt:
    return NewAttempt(line_id=task.line.id, number=task.attempt, seed=task.seed, outcome=outcome, finished_s=now_s)
