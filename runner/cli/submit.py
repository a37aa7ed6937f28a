"""A drop → its job once that has ended, and how it ended. Runs the instance while no other runner does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import VoiceJobsError
from registry.jobs.values import Job, JobStatus
from runner.config.instance import Instance
from runner.config.logs import set_up_logging
from runner.exit_codes import STATUS_EXIT_CODES
from runner.outbox.outbox import RECEIPT, Outbox
from runner.outbox.receipt import encoded, receipt
from runner.submission.drop_writer import Submitted, withdraw

if TYPE_CHECKING:
    from runner.cli.run import OnProgress


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Job that has ended."""

    job: str
    status: JobStatus
    outbox: Outbox
    receipt: dict[str, Any]

    def paths(self) -> list[Path]:
        """Every file in its folder, to be shown; and the tracks and finished files of the jobs that a script made."""
        found = [(self.job, name) for name in sorted(self.outbox.names_of(self.job))]
        for child in self.receipt.get("children", ()):
            told = self._receipt_of(child["job"])
            files = [told.get("track"), *told.get("files", ())]
            found += [(child["job"], file["file"]) for file in files if file]
        return [self.outbox.folder / job / name for job, name in found]

    def _receipt_of(self, job: str) -> dict[str, Any]:
        try:
            receipt: dict[str, Any] = json.loads(self.outbox.read(job, RECEIPT))
            return receipt
        except (OSError, ValueError):
            return {}  # removed since: there is nothing to be shown

    @property
    def exit_code(self) -> int:
        return STATUS_EXIT_CODES[self.status]

    @property
    def error_text(self) -> str:
        """Message and hint of its error; "" when there is none."""
        error = self.receipt.get("error") or {}
        return f"{error.get('message') or ''} {error.get('hint') or ''}".strip()


def wait_for(instance: Instance, submitted: Submitted, *, on_progress: OnProgress | None = None) -> Finished:
    """Job once it has its receipt; runs the instance while no other runner does.

    Raises KeyboardInterrupt when a signal stops that run, and StorageError where such a run could not write.
    """
    from runner.cli.run import JobWaiter  # loads the whole runner, once the drop is in the inbox

    set_up_logging(instance, to_stderr=False)
    try:
        if not instance.runner_is_active():
            instance.check_writable()
        job = JobWaiter(instance, submitted).wait(on_progress=on_progress)
    except VoiceJobsError:
        withdraw(submitted)  # nobody waits for it any more
        raise
    if job is None:
        raise KeyboardInterrupt
    return _finished(instance, job)


def _finished(instance: Instance, job: Job) -> Finished:
    """The job with its receipt as the ledger has it: what is in the outbox others may have changed."""
    from registry.jobs import lines
    from registry.storage.database import Database

    with (
        Database.open(instance.database_path, root=instance.root, reads_only=True) as database,
        database.read() as snapshot,
    ):
        content = json.loads(encoded(receipt(job, lines.of_job(snapshot, job.id))))
    return Finished(job=job.name, status=job.status, outbox=Outbox(instance.outbox), receipt=content)
