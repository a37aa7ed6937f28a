"""Cast jobs: what somebody chose for the parts of a script → the script goes on with it, or runs again."""

from __future__ import annotations

from dataclasses import dataclass

from registry.errors import InvalidInput, NotFound
from registry.jobs import jobs
from registry.jobs.children import children_of, go_on
from registry.jobs.values import OPEN_STATUSES, SCRIPT, Job, JobStatus
from registry.storage.session import Session
from registry.voices.candidates import find_candidates
from runner.jobfile.parse import spec_from_json, spec_to_json
from runner.jobfile.specs import CastPart, CastSpec
from runner.script.sources.cues import part_key, slug_of
from runner.worker.context import Context

CHOICES = "choices"  # in the facts of a script: all cast jobs so far, as one spec


@dataclass(frozen=True, kw_only=True)
class CastJobs:
    """Answers scripts that wait for their cast."""

    context: Context

    def apply(self, job: Job, spec: CastSpec) -> None:
        """Note the choices for the script, and have it go on; commit the outcome. May be repeated after a crash."""
        if spec.job is None:
            raise InvalidInput("The cast names no script.", hint="Name its job: `job = …`, as in its folder.")
        with self.context.database.read() as session:
            script = jobs.by_name(session, spec.job)
            if script.kind != SCRIPT:
                raise InvalidInput(f"The job {script.name!r} is no script: its kind is {script.kind!r}.")
            self._check(session, script, spec)
        is_over = script.status not in OPEN_STATUSES
        if is_over:
            self.context.outbox.retire_receipt(script.name)
        now_s = self.context.clock()
        with self.context.database.write() as session:
            jobs.start(session, job, model=None, now_s=now_s)
            chosen = {CHOICES: spec_to_json(_merged(script, spec))}
            go_on(session, script.id, facts=chosen)
            if is_over:
                jobs.reset_for_retry(session, script.id)
            jobs.add_event(session, script.id, kind="cast", message=f"cast by {job.name}", at_s=now_s)
            jobs.set_outcome(session, job.id, JobStatus.DONE, now_s=now_s)

    def _check(self, session: Session, script: Job, spec: CastSpec) -> None:
        children = children_of(session, script.id)
        designs = {role.partition(":")[2]: child for role, child in children if child.kind == "design"}
        for part in spec.parts:
            design = designs.get(slug_of(part.name))
            if part.candidate is None or design is None:
                continue
            found = [candidate.index for candidate in find_candidates(session, design.name)]
            if part.candidate not in found:
                raise NotFound(
                    f"{part.name} has no candidate {part.candidate}.",
                    hint=f"The job {design.name} has {', '.join(map(str, found)) or 'none'}.",
                )


def _merged(script: Job, spec: CastSpec) -> CastSpec:
    """The choices so far with these, which win."""
    earlier = spec_from_json(script.facts[CHOICES]) if CHOICES in script.facts else None
    parts: dict[str, CastPart] = {}
    for part in (*(earlier.parts if isinstance(earlier, CastSpec) else ()), *spec.parts):
        if part.voice is not None or part.candidate is not None:
            parts[part_key(part.name)] = part
    narrator = spec.narrator
    if narrator.voice is None and isinstance(earlier, CastSpec):
        narrator = earlier.narrator
    return CastSpec(kind="cast", job=script.name, narrator=narrator, parts=list(parts.values()))
