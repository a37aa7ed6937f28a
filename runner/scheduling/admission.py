"""Claimed drops → rows of the ledger: names, ids, dependencies; or the reason why a drop becomes no job.

Within one batch, a drop that refers to something unknown is looked at again after the others, since files
dropped at once may be claimed in any order.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.errors import InvalidInput, NotFound, VoiceJobsError
from registry.jobs import dependencies, jobs
from registry.jobs.requests import replace_failed, resume, take_live_drop
from registry.jobs.values import LOST_STATUSES, RETRY, RETRYABLE_STATUSES, Job, JobError, JobStatus, NewJob
from registry.storage.session import Session
from registry.voices.candidates import find_candidates
from registry.voices.lookup import history, resolve
from registry.voices.names import VoiceReference, name_key
from runner.config.model_names import DESIGN, PRESETS, likely_name
from runner.errors import DependencyFailed, DependencyUnknown, IdTaken
from runner.inbox.drop import ClaimedDrop
from runner.jobfile.parse import SYNTHESIZE, content_sha256, spec_from_json, spec_to_json
from runner.jobfile.specs import (
    CastSpec,
    DesignSpec,
    ExportSpec,
    ImportSpec,
    JobSpec,
    LockSpec,
    MasterSpec,
    RelockSpec,
    ScriptSpec,
    SynthesizeSpec,
    TranscribeSpec,
)
from runner.names import job_name_from, may_be_preset, parse_voice_reference, printable_name
from runner.scheduling.blame import as_told, is_of_one_job
from runner.scheduling.job_languages import check_languages
from runner.scheduling.voice_resolution import ModelNames, sibling_for

logger = logging.getLogger(__name__)

UNKNOWN_KIND = "unknown"
IMPORT = "import"


@dataclass
class Needs:
    """Jobs and voices that a job has to wait for."""

    jobs: dict[int, bool] = field(default_factory=dict)  # ledger id -> whether it must succeed
    voices: list[tuple[str, str]] = field(default_factory=list)  # (key, reference as written)


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """The job that a drop became, or that answers it."""

    job: Job
    freed_claim: str | None = None  # the earlier job goes on with this drop and needs its old one no more


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """A job that a script needs, ready to be recorded: of a chapter, what is costly is done before a transaction."""

    role: str  # in the script: `design:elena`, `chapter:3`
    name: str  # its own, behind that of the script
    spec: JobSpec
    spec_json: str
    content_sha256: str

    @classmethod
    def of(cls, spec: JobSpec, *, role: str, name: str) -> ChildSpec:
        spec_json = spec_to_json(spec)
        return cls(role=role, name=name, spec=spec, spec_json=spec_json, content_sha256=content_sha256(spec_json, {}))


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Records one batch of drops within the caller's transaction."""

    session: Session
    taken: set[str]  # names of jobs that are not free, as keys
    now_s: float
    models: ModelNames

    def admit(
        self, drops: Sequence[ClaimedDrop], *, more_to_come: bool = False
    ) -> tuple[list[Admitted], list[ClaimedDrop]]:
        """Record every drop; those that refer to what is unknown so far come last, in their order.

        When there is `more_to_come`, which may make what they want, they are given back instead of being rejected.
        """
        admitted: list[Admitted] = []
        left = list(drops)
        while left:
            unknown: list[tuple[ClaimedDrop, DependencyUnknown]] = []
            for drop in left:
                try:
                    admitted.append(self._admit(drop))
                except DependencyUnknown as error:
                    unknown.append((drop, error))
                except Exception as error:
                    if not is_of_one_job(error):
                        raise
                    logger.exception("%s cannot be admitted", printable_name(drop.dropped_name))
                    admitted.append(self._answer(drop, JobStatus.REJECTED, error=as_told(error)))
            if len(unknown) == len(left):  # nothing in this batch makes what they want
                if more_to_come:
                    return admitted, left
                admitted += [self._answer(drop, JobStatus.REJECTED, error=error) for drop, error in unknown]
                return admitted, []
            left = [drop for drop, _ in unknown]
        return admitted, []

    def _admit(self, drop: ClaimedDrop) -> Admitted:
        """Record one drop. Raises DependencyUnknown when nothing known will make what it wants."""
        spec = drop.spec
        if spec is None:
            assert drop.problem is not None, "a drop holds a job, or the reason why not"
            return self._answer(drop, JobStatus.REJECTED, error=drop.problem)
        holder = jobs.by_key(self.session, spec.id) if spec.id is not None else None
        if holder is not None and not self._frees_its_id(holder, drop):
            return self._answer_for_holder(drop, holder)
        try:
            if drop.unspeakable is not None:
                raise drop.unspeakable
            needs = self._needs(spec, made=drop.voice or spec.voice_made())
            check_languages(self.session, spec, drop.texts, models=self.models)
        except DependencyUnknown:
            raise
        except VoiceJobsError as error:
            return self._answer(drop, JobStatus.REJECTED, error=error)
        new = self._new_job(drop, spec, needs)
        if holder is not None:
            return self._replace(drop, new, holder)
        job = jobs.add(self.session, new, taken=self.taken)
        return Admitted(job=self._noted(job, "claimed", f"claimed as {drop.dropped_name}"))

    def _frees_its_id(self, holder: Job, drop: ClaimedDrop) -> bool:
        """Whether a job with this `id` failed and left nothing behind, so that another content may have it."""
        is_other, is_lost = drop.content_sha256 != holder.content_sha256, holder.status in LOST_STATUSES
        return is_other and is_lost and not self._is_open(holder.id) and jobs.publishes_nothing(self.session, holder.id)

    def _replace(self, drop: ClaimedDrop, new: NewJob, holder: Job) -> Admitted:
        """Have a job that failed go on with other content, under its name."""
        if dependencies.needs_job(self.session, new.dependencies, holder.id):
            return self._answer_for_holder(drop, holder)  # what it needs now waits for it
        replace_failed(self.session, holder.id, new, now_s=self.now_s)
        message = f"dropped again as {drop.dropped_name}, with other content"
        jobs.add_event(self.session, holder.id, kind=RETRY, message=message, at_s=self.now_s)
        return Admitted(job=jobs.get(self.session, holder.id), freed_claim=holder.claim_id)

    def _new_job(self, drop: ClaimedDrop, spec: JobSpec, needs: Needs) -> NewJob:
        expected = {} if drop.texts is None else {"expected_s": round(drop.texts.expected_s, 1)}
        required = [jobs.get(self.session, job_id) for job_id, is_required in needs.jobs.items() if is_required]
        failed = next((job for job in required if job.status in LOST_STATUSES and not self._is_open(job.id)), None)
        return NewJob(
            stem=spec.id or job_name_from(drop.dropped_name),
            key=spec.id,
            dropped_name=printable_name(drop.dropped_name),
            content_sha256=drop.content_sha256,
            spec_json=drop.spec_json,
            claim_id=drop.claim_id,
            outcome=JobStatus.FAILED if failed else None,
            error=JobError.of(DependencyFailed(failed.name)) if failed else None,
            facts={**self._file_facts(drop), **expected},
            live=take_live_drop(self.session, drop.dropped_name, drop.content_sha256 or ""),
            **self._asked(spec, needs, made=drop.voice or spec.voice_made()),
        )

    def add_child(self, child: ChildSpec, *, parent: Job) -> Job:
        """Record a job that a script needs. Raises DependencyUnknown and others, as a drop would be rejected."""
        spec = child.spec
        made = spec.voice_made()
        new = NewJob(
            stem=f"{parent.name}.{child.name}",
            dropped_name=parent.dropped_name,
            content_sha256=child.content_sha256,
            spec_json=child.spec_json,
            parent_id=parent.id,
            role=child.role,
            **self._asked(spec, self._needs(spec, made=made), made=made),
        )
        return self._noted(jobs.add(self.session, new, taken=self.taken), "made", f"made for {parent.name}")

    def _asked(self, spec: JobSpec, needs: Needs, *, made: str | None) -> dict[str, Any]:
        """The values of a new job that follow from its spec alone, whoever made it."""
        waits = any(self._is_open(job_id) for job_id in needs.jobs)
        return {
            "kind": spec.kind,
            "claimed_s": self.now_s,
            "priority": spec.priority,
            "model": self._likely_model(spec),
            "status": JobStatus.WAITING if waits else JobStatus.QUEUED,
            "makes_voice": name_key(made) if made else None,
            "dependencies": needs.jobs,
            "voices": tuple(dict.fromkeys(needs.voices)),
        }

    def _likely_model(self, spec: JobSpec) -> str | None:
        """Likely model of the job's work, so that jobs of one model run together; None when unsure."""
        if isinstance(spec, ExportSpec | ImportSpec | TranscribeSpec | ScriptSpec | CastSpec | MasterSpec):
            return None
        wanted = spec.model
        if isinstance(spec, SynthesizeSpec):
            line = spec.lines[0] if spec.lines else None
            wanted = (line.model if line else None) or wanted
            if wanted is None:
                return self._model_of_voice((line.voice if line else None) or spec.voice or "")
        elif wanted is None:
            return self._default_for(DESIGN) if isinstance(spec, DesignSpec) else None
        return likely_name(wanted)

    def _model_of_voice(self, reference: str) -> str | None:
        if may_be_preset(parse_voice_reference(reference)):
            return self._default_for(PRESETS)
        try:
            return likely_name(resolve(self.session, reference).model.model)
        except NotFound:
            return None  # still to be made

    def _default_for(self, ability: str) -> str | None:
        name = likely_name(self.models.instance.settings.model)
        return sibling_for(name, ability) if name is not None else None

    def _noted(self, job: Job, kind: str, message: str) -> Job:
        jobs.add_event(self.session, job.id, kind=kind, message=message, at_s=self.now_s)
        self.taken.add(name_key(job.name))
        return job

    def _answer(
        self,
        drop: ClaimedDrop,
        status: JobStatus,
        *,
        error: VoiceJobsError | None,
        facts: Mapping[str, Any] | None = None,
    ) -> Admitted:
        """Record a drop that becomes no job; it holds no id."""
        spec, reason = drop.spec, JobError.of(error) if error else None
        job = jobs.add(
            self.session,
            NewJob(
                stem=job_name_from(drop.dropped_name),
                dropped_name=printable_name(drop.dropped_name),
                kind=spec.kind if spec else UNKNOWN_KIND,
                content_sha256=drop.content_sha256 or "",
                spec_json=drop.spec_json if spec else "{}",
                claim_id=drop.claim_id,
                claimed_s=self.now_s,
                status=JobStatus.RUNNING,
                outcome=status,
                error=reason,
                facts={**self._file_facts(drop), **(facts or {})},
            ),
            taken=self.taken,
        )
        return Admitted(job=self._noted(job, status, reason.message if reason else f"{status} of an earlier job"))

    def _answer_for_holder(self, drop: ClaimedDrop, holder: Job) -> Admitted:
        """An id that is held already: the same drop again, or another one."""
        if drop.content_sha256 != holder.content_sha256:
            return self._answer(drop, JobStatus.REJECTED, error=IdTaken(holder.key or "", holder.name))
        if holder.status in RETRYABLE_STATUSES and not self._is_open(holder.id):
            facts, claim_id = self._file_facts(drop), drop.claim_id
            resume(self.session, holder.id, claim_id=claim_id, facts=facts, now_s=self.now_s)
            jobs.add_event(self.session, holder.id, kind=RETRY, message="dropped again", at_s=self.now_s)
            return Admitted(job=holder, freed_claim=holder.claim_id)
        return self._answer(drop, JobStatus.DUPLICATE, error=None, facts={"duplicate_of": holder.name})

    def _file_facts(self, drop: ClaimedDrop) -> dict[str, Any]:
        """Name of the job file as it was dropped, for the outbox."""
        return {} if drop.job_path is None else {"job_file": drop.job_path.name}

    # ---- dependencies ------------------------------------------------------------------------------------------

    def _needs(self, spec: JobSpec, *, made: str | None) -> Needs:
        """Everything the job waits for. Raises DependencyUnknown when nothing known will make what it wants."""
        needs = Needs()
        if isinstance(spec, LockSpec):
            if spec.source is not None:
                self._need_candidate(spec.source.job, spec.source.candidate, needs)
            self._need_makers(spec.voice, needs, required=False)
        elif isinstance(spec, ImportSpec) and made is not None:
            self._need_makers(made, needs, required=False)
        elif isinstance(spec, SynthesizeSpec):
            for reference in dict.fromkeys(line.voice or spec.voice or "" for line in spec.lines or ()):
                self._need_voice(reference, needs)
            if spec.lines is None and spec.voice is not None:
                self._need_voice(spec.voice, needs)
        elif isinstance(spec, ExportSpec | RelockSpec):
            self._need_voice(spec.voice, needs)
        elif isinstance(spec, ScriptSpec):
            for reference in dict.fromkeys((*([spec.narrator] if spec.narrator else []), *spec.voices.values())):
                self._need_voice(reference, needs)
        elif isinstance(spec, MasterSpec):
            for name in spec.source_jobs or ():
                self._need_speech(name, needs)
        return needs

    def _need_speech(self, job_name: str, needs: Needs) -> None:
        found = jobs.find_by_name(self.session, job_name)
        if found is None:
            hint = "`from` has exact names of jobs; `voicejobs jobs list` shows them."
            raise DependencyUnknown(f"There is no job {job_name!r}.", hint=hint)
        if found.kind != SYNTHESIZE:
            raise InvalidInput(
                f"The job {found.name!r} is a {found.kind} job; a master is made of jobs that speak.",
                hint="Name synthesize jobs in `from`, or recordings in `files`.",
            )
        needs.jobs[found.id] = True

    def _need_makers(self, voice: str, needs: Needs, *, required: bool) -> list[int]:
        makers = dependencies.open_makers(self.session, name_key(voice))
        for job_id in makers:
            needs.jobs[job_id] = required or needs.jobs.get(job_id, False)
        return makers

    def _need_voice(self, reference: str, needs: Needs) -> None:
        wanted = parse_voice_reference(reference)
        if may_be_preset(wanted):
            return
        needs.voices.append((name_key(wanted.name), reference))
        missing = self._missing(reference)
        if missing is None and (wanted.number is not None or wanted.digest is not None):
            return  # a version never changes, whatever else is locked before
        makers = self._need_makers(wanted.name, needs, required=True)
        if missing is not None and not self._will_exist(wanted, makers):
            message = f"{missing.message} No job that is known will make it."
            raise DependencyUnknown(message, hint=missing.hint) from missing

    def _missing(self, reference: str) -> NotFound | None:
        """Why a voice cannot be used now; None when it can."""
        try:
            resolve(self.session, reference)
        except NotFound as error:
            return error
        return None

    def _will_exist(self, wanted: VoiceReference, makers: Sequence[int]) -> bool:
        """Whether the jobs that lock this voice will make what is wanted of it, or may: a file brings any number."""
        if any(jobs.get(self.session, job_id).kind == IMPORT for job_id in makers):
            return True  # of versions and aliases; whether it did is judged when the job starts
        if wanted.number is not None:
            return bool(makers) and wanted.number <= self._newest(wanted.name) + len(makers)
        is_current = wanted.digest is None and name_key(wanted.alias or "current") == "current"
        return is_current and bool(makers)

    def _newest(self, voice: str) -> int:
        try:
            return next((version.number for version in history(self.session, voice, limit=1)), 0)
        except NotFound:
            return 0

    def _need_candidate(self, job_name: str, candidate: int, needs: Needs) -> None:
        design = jobs.find_by_name(self.session, job_name)
        if design is not None and design.kind == "design" and self._is_open(design.id):
            spec = spec_from_json(design.spec_json)
            assert isinstance(spec, DesignSpec)
            if candidate > spec.candidates:
                raise DependencyUnknown(
                    f"The job {design.name!r} makes {spec.candidates} candidates, so there is no candidate {candidate}."
                )
            needs.jobs[design.id] = True
            return
        found = {kept.index for kept in find_candidates(self.session, design.name if design else job_name)}
        if candidate in found:
            if design is not None:
                needs.jobs.setdefault(design.id, False)  # it is not pruned, nor are its candidates replaced, before
            return
        if design is not None and design.kind == "design":
            needs.jobs[design.id] = True  # it has failed, or that candidate has
            if design.status in (JobStatus.DONE, JobStatus.PARTIAL):
                raise DependencyUnknown(
                    f"The job {design.name!r} has no candidate {candidate}.",
                    hint=f"`voicejobs jobs show {design.name}` shows which it has.",
                )
            return
        hint = "`from.job` is the exact name of a design job; `voicejobs jobs list` shows them."
        raise DependencyUnknown(f"There is no design job {job_name!r}.", hint=hint)

    def _is_open(self, job_id: int) -> bool:
        """Whether it has not ended, or is about to be tried again."""
        return dependencies.will_end(self.session, job_id)
