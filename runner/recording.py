"""What has come of lines → takes in the store, rows in the ledger, files in the outbox; in that order.

Take durable → committed → published by rename → committed. After a crash between any two of these, the next runner
finds in the ledger what is left to do, and doing it again changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlmodel import Session

from models.protocol import EngineFacts
from registry import jobs, lines
from registry.candidates import add_candidate
from registry.errors import DiskFull, NotFound, StorageError
from registry.files import crash_point
from registry.job_values import TAKEN, Job, Line, NewAttempt
from registry.values import ModelFacts, NewCandidate, Take, TakeFacts
from runner.context import Context
from runner.jobfile import DesignSpec, JobSpec, SynthesizeSpec
from runner.lines_at_work import ActiveJob, Basket, LineAtWork, key_of
from runner.preparing import (
    FileFormat,
    PublishedLine,
    file_format,
    line_result,
    model_facts,
    published,
    take_content,
    take_facts,
)
from runner.publish import Outbox

OnJobTrouble = Callable[[Job, StorageError], None]


@dataclass(kw_only=True)
class _Ready:
    """A line whose take lies in the store."""

    job: Job
    line: Line
    key: str
    audio_sha256: str
    facts: TakeFacts
    file: PublishedLine
    reused: bool
    active: ActiveJob | None = None
    work: LineAtWork | None = None
    candidate: NewCandidate | None = None


@dataclass(kw_only=True)
class Recorder:
    """Writes down and publishes, for many lines at a time."""

    context: Context
    outbox: Outbox
    on_job_trouble: OnJobTrouble  # a job's own folder cannot be written
    _noted: set[tuple[int, str]] = field(default_factory=set)  # (job id, fingerprint): engines noted with the job

    def record(self, basket: Basket) -> None:
        """Everything in the basket. Raises StorageError when the disk or the database fails."""
        ready = [self._store(*item) for item in basket.accepted]
        for active, line, key in basket.reused:
            found = self._reuse(active.job, active.spec, line, key)
            if found is None:
                active.again.append(LineAtWork.of(line))
                active.unrecorded -= 1
            else:
                found.active = active
                ready.append(found)
        crash_point("recording.takes-stored")
        with self.context.database.write() as session:
            for item in ready:
                self._commit_line(session, item)
            self._commit_rest(session, basket)
        crash_point("recording.lines-committed")
        for active, _, _ in basket.failed:
            active.unrecorded -= 1
        self.publish(ready)

    def republish(self, job: Job, spec: JobSpec) -> None:
        """Publish the lines of a job whose takes were committed before a crash; a take that is gone is made again."""
        with self.context.database.read() as session:
            waiting = lines.with_status(session, job.id, TAKEN)
        for line in waiting:
            found = self._reuse(job, spec, line, line.take_key or "")
            with self.context.database.write() as session:
                if found is None:
                    lines.set_waiting(session, line.id)
                elif found.file.sha256 != (line.result or {}).get("file_sha256"):
                    self._commit_line(session, found)  # written by another version of an audio library
            if found is not None:
                self.publish([found])

    def publish(self, ready: Sequence[_Ready]) -> None:
        """Make the files of committed lines appear, then commit that they did."""
        by_job: dict[int, list[_Ready]] = defaultdict(list)
        for item in ready:
            by_job[item.job.id].append(item)
        done: list[int] = []
        for items in by_job.values():
            try:
                self.outbox.publish(items[0].job.name, {item.line.file: item.file.content for item in items})
            except DiskFull:
                raise
            except StorageError as error:
                self.on_job_trouble(items[0].job, error)
                continue
            done += [item.line.id for item in items]
        crash_point("recording.published")
        if done:
            with self.context.database.write() as session:
                lines.set_published(session, done)
        crash_point("recording.published-committed")
        for item in ready:
            if item.active is not None:
                item.active.unrecorded -= 1

    # ---- takes -------------------------------------------------------------------------------------------------

    def _store(self, active: ActiveJob, work: LineAtWork, facts: EngineFacts) -> _Ready:
        assert work.best is not None
        content = take_content(work.best.done.waveform)
        audio_sha256 = self.context.takes.put_audio(content)
        kept = take_facts(work, facts)
        candidate = self._candidate(active.spec, work, facts, content) if active.job.kind == "design" else None
        if candidate is not None and candidate.design_state_sha256 is not None:
            kept = _with_design_state(kept, candidate.design_state_sha256)
        return _Ready(
            job=active.job,
            line=work.line,
            key=key_of(work.line, facts),
            audio_sha256=audio_sha256,
            facts=kept,
            file=published(content, self._format(active.spec)),
            reused=False,
            active=active,
            work=work,
            candidate=candidate,
        )

    def _candidate(self, spec: JobSpec, work: LineAtWork, facts: EngineFacts, content: bytes) -> NewCandidate:
        """The registry's own copy of a designed voice's recording."""
        assert isinstance(spec, DesignSpec) and work.best is not None
        done, request = work.best.done, work.line.request
        state = done.design_state
        return NewCandidate(
            audio_sha256=self.context.objects.put(content),
            design_state_sha256=self.context.objects.put(state) if state is not None else None,
            transcript=request["text"],
            description=request["voice"]["description"],
            language=request["language"],
            seed=done.seed,
            model=model_facts(facts),
            frames=done.frames,
            duration_s=work.best.quality.duration_s,
            sampling=request["sampling"],
            quality={"failed_gates": list(work.best.quality.failed), **work.best.quality.figures()},
            character=spec.character.model_dump() if spec.character else None,
        )

    def _reuse(self, job: Job, spec: JobSpec, line: Line, key: str) -> _Ready | None:
        """A stored take as a line; None when it cannot be used after all."""
        take = self._find(key)
        if take is None:
            return None
        try:
            content = self.context.takes.read(take)
            candidate = self._candidate_again(spec, line, take, content) if job.kind == "design" else None
        except (NotFound, StorageError) as error:
            if isinstance(error, StorageError) and error.retryable:
                raise
            return None  # gone or damaged: it is spoken again
        return _Ready(
            job=job,
            line=line,
            key=key,
            audio_sha256=take.audio_sha256,
            facts=take.facts,
            file=published(content, self._format(spec)),
            reused=line.status != TAKEN,
            candidate=candidate,
        )

    def _find(self, key: str) -> Take | None:
        with self.context.database.write() as session:
            return self.context.takes.find(session, key, now_s=self.context.clock())

    def _candidate_again(self, spec: JobSpec, line: Line, take: Take, content: bytes) -> NewCandidate:
        """A candidate from an earlier take. Raises NotFound when what is needed to lock it is gone."""
        assert isinstance(spec, DesignSpec)
        engine, quality = take.facts.engine, take.facts.quality
        state: str | None = engine.get("design_state")
        if state is not None:
            self.context.objects.put(self.context.objects.read(state))  # looks new to `gc` until it is referred to
        request = line.request
        return NewCandidate(
            audio_sha256=self.context.objects.put(content),
            design_state_sha256=state,
            transcript=request["text"],
            description=request["voice"]["description"],
            language=request["language"],
            seed=take.facts.accepted_seed,
            model=ModelFacts(**engine["model_facts"]),
            frames=take.facts.frames,
            duration_s=take.facts.duration_s,
            sampling=request["sampling"],
            quality=quality,
            character=spec.character.model_dump() if spec.character else None,
        )

    def _format(self, spec: JobSpec) -> FileFormat:
        settings = self.context.settings
        chosen = (spec.format or settings.format) if isinstance(spec, SynthesizeSpec) else "wav"
        return file_format(chosen, wav_encoding=settings.wav_encoding)

    # ---- rows --------------------------------------------------------------------------------------------------

    def _commit_line(self, session: Session, item: _Ready) -> None:
        now_s = self.context.clock()
        if item.reused:
            attempt = NewAttempt(
                line_id=item.line.id, number=0, seed=item.facts.accepted_seed, outcome="reused", finished_s=now_s
            )
            lines.add_attempt(session, attempt)
        elif item.line.status != TAKEN:
            take = self.context.takes.add(session, item.key, item.audio_sha256, item.facts, now_s=now_s)
            if take.audio_sha256 != item.audio_sha256:
                # Two jobs spoke one line at once: the take that was first is the one that both publish.
                content = self.context.takes.read(take)
                assert item.active is not None
                item.file, item.facts = published(content, self._format(item.active.spec)), take.facts
        for attempt in item.work.attempts if item.work else ():
            lines.add_attempt(session, attempt)
        result = line_result(item.line, take=item.facts, file=item.file, reused=item.reused)
        lines.set_taken(session, item.line.id, take_key=item.key, result=result)
        if item.candidate is not None:
            add_candidate(session, item.job.name, item.line.position, item.candidate, now_s=now_s)
        self._note_engine(session, item.job, item.facts.engine)
        if item.facts.failed_gates:
            gates = ", ".join(item.facts.failed_gates)
            jobs.add_warning(
                session, item.job.id, f"{item.line.file}: the best of {item.facts.attempts} takes failed {gates}."
            )

    def _note_engine(self, session: Session, job: Job, engine: Any) -> None:
        mark = (job.id, str(engine.get("fingerprint")))
        if mark in self._noted:
            return
        shown = {key: value for key, value in engine.items() if key not in ("design_state", "model_facts")}
        software = engine.get("model_facts", {}).get("software", {})
        jobs.note_facts(session, job.id, engine=shown, model=engine.get("model"), versions=software)
        self._noted.add(mark)

    def _commit_rest(self, session: Session, basket: Basket) -> None:
        now_s = self.context.clock()
        for work in basket.struck:
            lines.add_strike(session, work.line.id)
            self._note_attempt(session, work, outcome="engine-lost", now_s=now_s)
        for work in basket.stumbled:
            lines.add_failure(session, work.line.id)
            self._note_attempt(session, work, outcome="failed", now_s=now_s)
        for _, work, error in basket.failed:
            for attempt in work.attempts:
                lines.add_attempt(session, attempt)
            lines.set_failed(session, work.line.id, error)

    def _note_attempt(self, session: Session, work: LineAtWork, *, outcome: str, now_s: float) -> None:
        attempt = NewAttempt(
            line_id=work.line.id, number=work.attempt, seed=work.seed, outcome=outcome, finished_s=now_s
        )
        lines.add_attempt(session, attempt)


def _with_design_state(facts: TakeFacts, sha256: str) -> TakeFacts:
    return replace(facts, engine={**facts.engine, "design_state": sha256})
