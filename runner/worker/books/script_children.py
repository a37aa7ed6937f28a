"""The jobs that a script needs → those that there are, the missing ones made; and its outcome once all have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.jobs import jobs
from registry.jobs.children import children_of, wait_for
from registry.jobs.values import OPEN_STATUSES, Job, JobError, JobStatus
from registry.storage.session import Session
from runner.scheduling.admission import Admission, ChildSpec
from runner.worker.context import Context

HEARD = (JobStatus.DONE, JobStatus.PARTIAL)


@dataclass
class ScriptChildren:
    """Jobs of one script. Each method belongs to the caller's transaction, and looks at what there is then."""

    context: Context
    script: Job
    taken: set[str]  # names in the outbox
    used: dict[str, int] = field(default_factory=dict)  # ids of the jobs that the script needs, by role
    _stage: list[str] = field(default_factory=list)  # roles that were wanted since the last `goes_on`

    def want(self, session: Session, children: Sequence[ChildSpec]) -> None:
        """Use jobs of this stage: those that there are, or new ones where their specs have changed."""
        known = dict(children_of(session, self.script.id))
        admission = Admission(
            session=session,
            taken=self.taken,
            now_s=self.context.clock(),
            models=self.context.models,
        )
        for child in children:
            found = known.get(child.role)
            if found is None or found.content_sha256 != child.content_sha256:
                found = admission.add_child(child, parent=self.script)
            self.used[child.role] = found.id
            self._stage.append(child.role)

    def want_again(self, session: Session, child: ChildSpec) -> None:
        """As `want`, of a job that is made anew when something that it is made of has ended after it."""
        self.want(session, [child])
        found = jobs.get(session, self.used[child.role])
        others = [jobs.get(session, job_id) for role, job_id in self.used.items() if role != child.role]
        if found.status in OPEN_STATUSES or found.finished_s is None:
            return
        if any((job.finished_s or 0.0) > found.finished_s for job in others):
            self.context.outbox.retire_receipt(found.name)
            jobs.reset_for_retry(session, found.id)

    def chapters(self, session: Session) -> dict[int, Job]:
        """Chapters by their index."""
        return {
            int(role.partition(":")[2]): jobs.get(session, job_id)
            for role, job_id in self.used.items()
            if role.startswith("chapter")
        }

    def goes_on(self, session: Session, warnings: Sequence[str]) -> bool:
        """Whether the script waits for jobs of this stage, or has failed with them."""
        stage = [jobs.get(session, self.used[role]) for role in self._stage]
        self._stage = []
        if any(child.status in OPEN_STATUSES for child in stage):
            facts = {"children": self.shown(session), "waits_for": ""}
            wait_for(session, self.script.id, [child.id for child in stage], facts=facts)
            return True
        lost = [child for child in stage if child.status not in HEARD]
        if lost and stage[0].kind not in ("synthesize", "master"):
            self._finish(session, warnings, JobStatus.FAILED, lost[0])
            return True
        return False

    def end(self, session: Session, warnings: Sequence[str]) -> None:
        """All chapters have ended, and the master, if one was wanted."""
        last = [*self.chapters(session).values()]
        if (master := self.used.get("master")) is not None:
            last.append(jobs.get(session, master))
        bad = [child for child in last if child.status != JobStatus.DONE]
        if not bad:
            outcome = JobStatus.DONE
        else:
            outcome = JobStatus.PARTIAL if any(child.status in HEARD for child in last) else JobStatus.FAILED
        self._finish(session, warnings, outcome, bad[0] if bad else None)

    def _finish(self, session: Session, warnings: Sequence[str], outcome: JobStatus, bad: Job | None) -> None:
        error = None
        if bad is not None:
            message = f"The job {bad.name!r} is {bad.status}: {bad.error.message if bad.error else 'see its receipt.'}"
            hint = f"`voicejobs jobs retry {self.script.name}` tries it again, with everything after it."
            error = JobError(code="dependency-failed", message=message, hint=hint)
        jobs.set_outcome(
            session,
            self.script.id,
            outcome,
            now_s=self.context.clock(),
            error=error,
            warnings=warnings,
            facts={"children": self.shown(session), "waits_for": ""},
        )

    def shown(self, session: Session) -> list[dict[str, Any]]:
        """The children as the receipt lists them: of each role, the newest."""
        newest = dict(children_of(session, self.script.id))
        return [{"job": job.name, "kind": job.kind, "status": str(job.status)} for job in newest.values()]
