"""Script jobs: their source is read by a process of its own, then each step makes the jobs that are missing.

A step looks at what there is and goes on from there, so that it may be repeated after any crash: designs first, then
locks, then chapters. Between two steps the script waits for these jobs, as any job waits for another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.durable_files import crash_point
from registry.errors import VoiceJobsError
from registry.jobs import jobs
from registry.jobs.children import children_of, wait_for
from registry.jobs.values import OPEN_STATUSES, Job, JobError, JobStatus
from registry.storage.session import Session
from registry.voices.candidates import find_candidates
from registry.voices.errors import CandidateNotFound
from registry.voices.lookup import resolve, voice_keys
from runner.errors import AttachmentMissing
from runner.jobfile.parse import content_sha256, spec_from_json, spec_to_json
from runner.jobfile.specs import CastSpec, JobSpec, ScriptSpec
from runner.master.sound_source import check_formats
from runner.names import job_name_from, may_be_preset, parse_voice_reference
from runner.reading_process import ReadingProcess
from runner.scheduling.admission import Admission
from runner.scheduling.instructions import takes_instructions
from runner.scheduling.voice_resolution import resolve_voice
from runner.script.cast.casting import CastMember
from runner.script.cast.script_files import CAST_FILE, SCRIPT_FILE, cast_toml
from runner.script.production import (
    CAST_ASK,
    Production,
    chapter_specs,
    design_spec,
    lock_spec,
    production_of,
    reading_request,
    script_from,
    script_json,
)
from runner.script.read_script import LONGEST_S, MODULE, ReadScript
from runner.submission.checked_script import cast_file
from runner.worker.books.cast_jobs import CHOICES
from runner.worker.books.master_sources import formats_of
from runner.worker.books.script_master import master_spec
from runner.worker.context import Context
from runner.worker.events import Events, JobDelayed, OutcomesCommitted, ReadyMayExist
from runner.worker.job_guard import for_job

READ_AT_ONCE = 2  # sources; the next scripts wait for their turn
GRACE_S = 20.0  # that a process may take to start and to answer
KEPT = 4  # documents that are kept until their scripts end


@dataclass
class _Step:
    job: Job
    spec: ScriptSpec
    folder: Path
    process: ReadingProcess | None = None


@dataclass(frozen=True, kw_only=True)
class ScriptJobs:
    """Scripts that are under way, on the runner's main thread; true while one is."""

    context: Context
    events: Events
    _steps: dict[int, _Step] = field(default_factory=dict)
    _documents: dict[int, ReadScript] = field(default_factory=dict)  # by job; made again when they are forgotten

    def __bool__(self) -> bool:
        return bool(self._steps)

    def begin(self, session: Session, job: Job, spec: ScriptSpec, *, folder: Path | None) -> None:
        """Take a script's next step, soon. Raises AttachmentMissing or ExtraMissing."""
        if folder is None:
            raise AttachmentMissing(f"{spec.source} was not taken along with the job.")
        if spec.master is not None:
            check_formats(formats_of(spec.master))  # before days of speech
        started = jobs.start(session, job, model=None, now_s=self.context.clock(), is_attempt=not job.is_planned)
        self._steps[job.id] = _Step(started, spec, folder)

    def drop(self, job_id: int) -> None:
        """Forget a script that was cancelled."""
        if (step := self._steps.pop(job_id, None)) is not None and step.process is not None:
            step.process.close()
        self._documents.pop(job_id, None)

    def clear(self) -> None:
        """Forget everything; the ledger knows what there was."""
        for job_id in list(self._steps):
            self.drop(job_id)

    def tick(self) -> None:
        """Start reading, take what was read, and make the jobs that are next."""
        reading = sum(step.process is not None for step in self._steps.values())
        for step in list(self._steps.values()):
            with for_job(step.job.id):
                try:
                    if (read := self._documents.get(step.job.id)) is None:
                        if step.process is None and reading < READ_AT_ONCE:
                            step.process, reading = self._start(step), reading + 1
                        read = self._take(step)
                    if read is not None:
                        del self._steps[step.job.id]
                        self._go_on(step, read)
                except VoiceJobsError as error:
                    self._steps.pop(step.job.id, None)
                    self._end_with(step.job, error)

    def _end_with(self, job: Job, error: VoiceJobsError) -> None:
        if error.retryable:
            self.events.append(JobDelayed(job, error))
            return
        with self.context.database.write() as session:
            reason = JobError.of(error)
            jobs.set_outcome(session, job.id, JobStatus.FAILED, now_s=self.context.clock(), error=reason)
        self.events.append(OutcomesCommitted((job.id,)))

    # ---- reading -----------------------------------------------------------------------------------------------

    def _start(self, step: _Step) -> ReadingProcess:
        request = reading_request(step.spec, step.folder)
        return ReadingProcess(MODULE, request, folder=self.context.instance.state_dir, longest_s=LONGEST_S + GRACE_S)

    def _take(self, step: _Step) -> ReadScript | None:
        reading = step.process.poll() if step.process is not None else None
        if reading is None:
            return None
        read = script_from(reading, step.spec.source)
        while len(self._documents) >= KEPT:
            self._documents.pop(next(iter(self._documents)))
        self._documents[step.job.id] = read
        return read

    # ---- one step ----------------------------------------------------------------------------------------------

    def _go_on(self, step: _Step, read: ReadScript) -> None:
        with self.context.database.read() as session:
            production = self._production(session, step, read)
            known = dict(children_of(session, step.job.id))
        waits = step.spec.cast == CAST_ASK and bool(self._open_choices(step, production, known))
        self._publish(step.job, step.spec, production, waits=waits)
        crash_point("scripts.files-published")
        taken = self.context.outbox.names()
        with self.context.database.write() as session:
            if jobs.get(session, step.job.id).outcome is not None:
                return
            self._advance(session, step, production, taken=taken)
        crash_point("scripts.step-committed")
        self.events.append(ReadyMayExist())
        self.events.append(OutcomesCommitted((step.job.id,) if self._is_over(step.job) else ()))

    def _is_over(self, job: Job) -> bool:
        with self.context.database.read() as session:
            return jobs.get(session, job.id).outcome is not None

    def _production(self, session: Session, step: _Step, read: ReadScript) -> Production:
        return production_of(
            step.spec,
            read,
            name=job_name_from(step.job.dropped_name),
            choices=self._choices(step),
            default_model=self.context.settings.model,
            existing=voice_keys(session),
        )

    def _choices(self, step: _Step) -> CastSpec | None:
        """The cast that somebody dropped for this script, else the one that its job file names."""
        if (chosen := step.job.facts.get(CHOICES)) is not None:
            spec = spec_from_json(chosen)
            assert isinstance(spec, CastSpec)
            return spec
        return cast_file(step.spec, step.folder)

    def _publish(self, job: Job, spec: ScriptSpec, production: Production, *, waits: bool) -> None:
        script = script_json(production, spec, job=job.name)
        cast = cast_toml(production.cast, job=job.name, book=production.book, narrator=production.narrator, waits=waits)
        self.context.outbox.publish(job.name, {SCRIPT_FILE: _encoded(script), CAST_FILE: cast.encode()})

    # ---- what is missing ---------------------------------------------------------------------------------------

    def _advance(self, session: Session, step: _Step, production: Production, *, taken: set[str]) -> None:
        """Make the jobs of the first stage that is not over, or end the script."""
        known = dict(children_of(session, step.job.id))
        making = _Making(self.context, session, step, known, taken)
        new = [member for member in production.cast.members if member.is_new]
        for member in new:
            making.want(f"design:{member.part.slug}", design_spec(step.spec, production, member), "design")
        if making.goes_on(production):
            return
        if open_ones := self._open_choices(step, production, known):
            message = f"Waits until voices are chosen for {', '.join(member.part.name for member in open_ones)}."
            wait_for(session, step.job.id, [], facts={"waits_for": message, "children": making.shown()})
            return
        for member in new:
            design = known[f"design:{member.part.slug}"]
            candidate = member.candidate or best_candidate(session, design.name)
            spec = lock_spec(step.spec, member, design=design.name, candidate=candidate)
            making.want(f"lock:{member.part.slug}", spec, "lock")
        if making.goes_on(production):
            return
        voices = {reference: self._pinned(session, reference) for reference in self._references(production)}
        directed = {reference for reference in voices if self._follows_directions(session, reference, step.spec)}
        for index, chapter in chapter_specs(step.spec, production, voices=voices, directed=directed):
            making.want(f"chapter:{index}", chapter, f"chapter-{index}")
        if making.goes_on(production):
            return
        if step.spec.master is not None and (chapters := making.spoken_chapters()):
            making.want_again("master", master_spec(step.spec, step.spec.master, production, chapters=chapters))
            if making.goes_on(production):
                return
        making.end(production)

    def _open_choices(self, step: _Step, production: Production, known: Mapping[str, Job]) -> list[CastMember]:
        """Parts whose voice somebody has to choose."""
        if step.spec.cast != CAST_ASK:
            return []
        return [
            member
            for member in production.cast.members
            if member.is_new and member.candidate is None and f"lock:{member.part.slug}" not in known
        ]

    def _references(self, production: Production) -> list[str]:
        return list(dict.fromkeys((production.narrator, *(member.voice for member in production.cast.members))))

    def _pinned(self, session: Session, reference: str) -> str:
        """The version that a name means now, so that chapters know when it has moved."""
        wanted = parse_voice_reference(reference)
        if may_be_preset(wanted):
            return reference
        return resolve(session, reference).name

    def _follows_directions(self, session: Session, reference: str, spec: ScriptSpec) -> bool:
        try:
            model = self.context.models.for_voice(resolve_voice(session, reference), wanted=spec.model)
        except VoiceJobsError:
            return False  # whether it can be spoken is for the chapter's own job to say
        return takes_instructions(model, models_dir=self.context.models.directory)


@dataclass
class _Making:
    """The jobs of one stage."""

    context: Context
    session: Session
    step: _Step
    known: dict[str, Job]
    taken: set[str]
    wanted: list[Job] = field(default_factory=list)
    used: dict[str, Job] = field(default_factory=dict)

    def want(self, role: str, spec: JobSpec, name: str) -> None:
        """A job of this stage: the one that there is, or a new one when its spec has changed."""
        slug = "" if role.startswith("chapter") else role.partition(":")[2]
        stem = ".".join(filter(None, (self.step.job.name, slug, name)))
        child = self.known.get(role)
        if child is None or child.content_sha256 != content_sha256(spec_to_json(spec), {}):
            child = self._admission().add_child(spec, stem=stem, parent=self.step.job, role=role)
            self.known[role] = child
        self.used[role] = child
        self.wanted.append(child)

    def want_again(self, role: str, spec: JobSpec) -> None:
        """As `want`, of a job that is made anew when something that it is made of has ended after it."""
        self.want(role, spec, role)
        child = jobs.get(self.session, self.used[role].id)
        others = [jobs.get(self.session, job.id) for other, job in self.used.items() if other != role]
        if child.status in OPEN_STATUSES or child.finished_s is None:
            return
        if any((job.finished_s or 0.0) > child.finished_s for job in others):
            self.context.outbox.retire_receipt(child.name)
            jobs.reset_for_retry(self.session, child.id)

    def spoken_chapters(self) -> dict[int, Job]:
        """All chapters by their index; empty unless something can be heard of each."""
        chapters = {
            int(role.partition(":")[2]): jobs.get(self.session, job.id)
            for role, job in self.used.items()
            if role.startswith("chapter")
        }
        is_heard = all(job.status in (JobStatus.DONE, JobStatus.PARTIAL) for job in chapters.values())
        return chapters if is_heard else {}

    def _admission(self) -> Admission:
        return Admission(
            session=self.session,
            taken=self.taken,
            now_s=self.context.clock(),
            default_model=self.context.settings.model,
        )

    def goes_on(self, production: Production) -> bool:
        """Whether the script waits for jobs of this stage, or has failed with them."""
        stage, self.wanted = self.wanted, []
        stage = [jobs.get(self.session, child.id) for child in stage]
        if any(child.status in OPEN_STATUSES for child in stage):
            facts = {"children": self.shown(), "waits_for": ""}
            wait_for(self.session, self.step.job.id, [child.id for child in stage], facts=facts)
            return True
        lost = [child for child in stage if child.status not in (JobStatus.DONE, JobStatus.PARTIAL)]
        if lost and stage[0].kind not in ("synthesize", "master"):
            self._finish(production, JobStatus.FAILED, lost[0])
            return True
        return False

    def end(self, production: Production) -> None:
        """All chapters have ended, and the master, if one was wanted."""
        last = [
            jobs.get(self.session, job.id)
            for role, job in self.used.items()
            if role.startswith("chapter") or role == "master"
        ]
        bad = [child for child in last if child.status != JobStatus.DONE]
        if not bad:
            outcome = JobStatus.DONE
        else:
            is_all = all(child.status not in (JobStatus.DONE, JobStatus.PARTIAL) for child in last)
            outcome = JobStatus.FAILED if is_all else JobStatus.PARTIAL
        self._finish(production, outcome, bad[0] if bad else None)

    def _finish(self, production: Production, outcome: JobStatus, bad: Job | None) -> None:
        error = None
        if bad is not None:
            message = f"The job {bad.name!r} is {bad.status}: {bad.error.message if bad.error else 'see its receipt.'}"
            hint = f"`voicejobs jobs retry {self.step.job.name}` tries it again, with everything after it."
            error = JobError(code="dependency-failed", message=message, hint=hint)
        jobs.set_outcome(
            self.session,
            self.step.job.id,
            outcome,
            now_s=self.context.clock(),
            error=error,
            warnings=production.warnings,
            facts={"children": self.shown(), "waits_for": ""},
        )

    def shown(self) -> list[dict[str, Any]]:
        """The children as the receipt lists them."""
        found = [jobs.get(self.session, job.id) for job in self.known.values()]
        return [{"job": job.name, "kind": job.kind, "status": str(job.status)} for job in found]


def best_candidate(session: Session, design: str) -> int:
    """The candidate that was measured to be the best; the first of those that passed their gates. Raises NotFound."""
    found = find_candidates(session, design)
    if not found:
        raise CandidateNotFound(f"The job {design!r} made no candidate.")
    ranked = sorted(found, key=lambda one: (not one.content.quality.get("passed", True), one.index))
    return ranked[0].index


def _encoded(script: Mapping[str, Any]) -> bytes:
    return (json.dumps(script, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")
