"""Old answers → gone: `jobs prune` removes rows of the ledger and folders of the outbox, also while a runner works.

Voices, candidates and takes have lives of their own and are not touched. This module touches the disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from registry import jobs
from registry.database import Database
from registry.errors import storage_error
from registry.files import fsync_folder
from registry.job_lists import prunable
from registry.job_values import Job
from runner.claims import Claims
from runner.instance import Instance
from runner.publish import Outbox

PRUNED_PREFIX = ".pruned-"


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was removed, or would be."""

    jobs: tuple[str, ...]
    freed_bytes: int


def prune(instance: Instance, database: Database, *, older_than_s: float, dry_run: bool = False) -> Pruned:
    """Remove every job that ended before `older_than_s` (epoch seconds), its outbox folder and its claimed files.

    Raises OutboxGone: what lies there would be forgotten, and stay.
    """
    Outbox(instance.outbox).require()
    names: list[str] = []
    freed_bytes = 0
    with database.read() as snapshot:
        found = prunable(snapshot, older_than_s=older_than_s, limit=1 << 30)
    for job in found:
        size_bytes = folder_bytes(instance.outbox / job.name)
        if not dry_run and not _remove(instance, database, job):
            continue  # it was tried again meanwhile
        names.append(job.name)
        freed_bytes += size_bytes
    if not dry_run:
        _sweep(instance.outbox)
    return Pruned(jobs=tuple(names), freed_bytes=freed_bytes)


def _remove(instance: Instance, database: Database, job: Job) -> bool:
    """The folder is renamed away and the row deleted in one transaction, so that the name is free at once."""
    folder = instance.outbox / job.name
    with database.write() as session:
        if not jobs.forget(session, job.id):
            return False
        try:
            with contextlib.suppress(FileNotFoundError):
                folder.rename(instance.outbox / f"{PRUNED_PREFIX}{job.id}")
                fsync_folder(instance.outbox)
        except OSError as error:
            raise storage_error(error, f"removing {folder}") from error
    if job.claim_id is not None:
        Claims(instance.claimed_dir, instance.rejected_dir).release(job.claim_id, refused=False)
    return True


def _sweep(outbox: Path) -> None:
    """Delete what was renamed away, by this prune or one that was killed."""
    for path in outbox.glob(f"{PRUNED_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    """How much the files of a folder hold."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_size
    return total
