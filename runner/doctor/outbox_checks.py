"""The outbox → findings: answers of ended jobs that something else has taken the place of. Only reads.

Folders that are gone are no finding: whoever takes answers away may.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
from pathlib import Path

from registry.durable_files import read_regular
from registry.jobs.lists import list_jobs
from registry.jobs.values import OPEN_STATUSES, JobStatus
from registry.storage.database import Database
from runner.config.instance import Instance
from runner.doctor.findings import OK, WARNING, Checks, Found
from runner.outbox.outbox import RECEIPT

LOOKED_AT = 200  # ended jobs, the latest
MOST_RECEIPT_BYTES = 64 << 20
MOST_FINDINGS = 10


def _answers(instance: Instance) -> Found:
    if not instance.database_path.is_file() or not instance.outbox.is_dir():
        return  # other checks name that
    with (
        Database.open(instance.database_path, root=instance.root, reads_only=True) as database,
        database.read() as snapshot,
    ):
        ended = [status for status in JobStatus if status not in OPEN_STATUSES]
        jobs = [listed.job for listed in list_jobs(snapshot, statuses=ended, limit=LOOKED_AT)]
    wrong = [(job, *found) for job in jobs if (found := _in_the_way(instance.outbox / job.name, job.name)) is not None]
    for job, path, what in wrong[:MOST_FINDINGS]:
        remedy = f"Move it away: {shlex.join(('mv', str(path), f'{path}.moved'))}."
        if job.status == JobStatus.DONE:
            remedy += f" Then `voicejobs jobs retry {job.name}` publishes again what the job made."
        yield WARNING, f"{path} {what}.", remedy
    if not wrong:
        yield OK, f"answers in {instance.outbox} are where their jobs left them, or taken away.", ""


def _in_the_way(folder: Path, name: str) -> tuple[Path, str] | None:
    """Something in the place of a job's folder or receipt, and what it is."""
    try:
        mode = folder.lstat().st_mode
    except OSError:
        return None  # taken away
    if not stat.S_ISDIR(mode):
        return folder, "is no folder, where the answer of a job was"
    receipt = folder / RECEIPT
    if not os.path.lexists(receipt):
        return None
    try:
        found = json.loads(read_regular(receipt, at_most=MOST_RECEIPT_BYTES))
    except (OSError, ValueError, RecursionError):
        return receipt, "is no receipt that can be read"
    if not isinstance(found, dict) or found.get("job") != name:
        return receipt, f"is not the receipt of {name}"
    return None


CHECKS: Checks = {"answers": ("folders and receipts of ended jobs are what the runner wrote", _answers)}
