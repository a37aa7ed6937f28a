"""Drops that the inbox scanner has claimed → jobs in the ledger; claims that nothing needs any more → gone."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field

from registry.durable_files import crash_point
from registry.jobs import jobs
from registry.jobs.values import OPEN_STATUSES, Job, JobStatus
from runner.errors import RecordedOtherwise
from runner.inbox.drop import ClaimedDrop
from runner.inbox.scanner import InboxScanner
from runner.jobfile.parse import spec_from_json
from runner.names import printable_name
from runner.scheduling.admission import Admission, Admitted
from runner.worker.context import Context
from runner.worker.events import Events, OutcomesCommitted, ReadyMayExist
from runner.worker.finisher import may_release

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class DropAdmitter:
    """Scans the inbox when it is time, and records what was claimed; true while claimed drops are not recorded."""

    context: Context
    scanner: InboxScanner
    events: Events
    next_scan_s: float = 0.0
    _drops: list[ClaimedDrop] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._drops)

    @property
    def has_work(self) -> bool:
        """Whether the inbox holds anything that is not recorded."""
        return bool(self._drops) or self.scanner.busy

    @property
    def awaits_more(self) -> bool:
        """Whether something in the inbox is about to become a job."""
        return self.scanner.busy and self.scanner.problem is None

    def recover(self, now_s: float) -> None:
        """Take up the claims that a dead runner never recorded."""
        self._drops += self.scanner.recover(self._is_recorded, now_s=now_s)
        self.scanner.note_survived()

    def _is_recorded(self, claim_id: str) -> bool:
        with self.context.database.read() as session:
            return jobs.is_recorded(session, claim_id)

    def release_claims(self) -> None:
        """Delete the claims of jobs that were closed just before a runner died; those of others have copies."""
        for claim_id in self.scanner.claim_ids():
            with self.context.database.read() as session:
                job = jobs.by_claim(session, claim_id)
            if job is not None and job.status not in OPEN_STATUSES and may_release(job):
                self.scanner.release(claim_id, refused=job.status == JobStatus.REJECTED)
            elif job is not None and (job_file := _job_file_of(job)):
                with contextlib.suppress(RecordedOtherwise):  # its start says so
                    self.scanner.adopt(claim_id, job_file=job_file, paths=_references(job))

    def scan_soon(self) -> None:
        """Something has happened in the inbox: the next tick scans it."""
        self.next_scan_s = 0.0

    def tick(self, now_s: float, *, scans: bool = True) -> None:
        """Scan the inbox if that is due, and record the drops."""
        if scans and now_s >= self.next_scan_s:
            self._drops += self.scanner.tick(now_s)
            self.next_scan_s = now_s + self.scanner.next_look_s(now_s)
        try:
            self._record()
        except Exception:
            self.scanner.note_survived()
            raise
        self.scanner.note_survived()

    def _record(self) -> None:
        if self._drops:
            self.scanner.note_begun(drop.claim_id for drop in self._drops)
            admitted = self._admit()
            for item in admitted:
                dropped_name = printable_name(item.job.dropped_name)
                logger.info("job %d (%s): claimed as %s", item.job.id, item.job.name, dropped_name)
            over = (item.job for item in admitted if item.freed_claim is None and item.job.outcome is not None)
            self.events.append(ReadyMayExist())
            self.events.append(OutcomesCommitted(tuple(job.id for job in over)))

    def _admit(self) -> list[Admitted]:
        taken = self.context.outbox.names()
        with self.context.database.write() as session:
            admission = Admission(
                session=session,
                taken=taken,
                now_s=self.context.clock(),
                models=self.context.models,
            )
            more_to_come = self.scanner.has_more and self.scanner.problem is None
            admitted, later = admission.admit(self._drops, more_to_come=more_to_come)
            # Before the commit: after it, a runner that dies would leave them as new drops.
            self.scanner.release_all({item.freed_claim: False for item in admitted if item.freed_claim is not None})
        crash_point("worker.drops-recorded")
        self._drops = later
        return admitted


def _references(job: Job) -> tuple[str, ...]:
    return spec_from_json(job.spec_json, with_texts=False).references()


def _job_file_of(job: Job) -> str:
    """Name of the file that the job was read from; the version before kept its path below the folder of claims."""
    path: str = job.facts.get("job_file") or job.facts.get("job_path", "")
    return path.rpartition("/")[2]
