"""Jobs that ended long ago → removed from ledger and outbox, also while a runner works.

Voices, candidates and takes are not touched. This module touches the disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.durable_files import fsync_folder
from registry.errors import DatabaseLocked, storage_error
from registry.jobs import jobs
from registry.jobs.dependencies import open_dependents
from registry.jobs.lists import prunable
from registry.jobs.requests import JobInUse
from registry.jobs.values import Job
from registry.storage.database import Database
from runner.cli.chosen_jobs import Chosen
from runner.config.instance import Instance
from runner.held_folders import Folder, names_in, remove_tree
from runner.inbox.claims import Claims
from runner.outbox.outbox import Outbox

PRUNED_PREFIX = ".pruned-"
WORTH_COMPACTING_BYTES = 16 << 20
JOBS_AT_ONCE = 50  # share a transaction and a sync of the outbox; a runner waits for it no longer than that takes


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Jobs that were removed, or would be, and their size."""

    jobs: tuple[str, ...]
    freed_bytes: int


def prune_jobs(instance: Instance, database: Database, *, older_than_s: float, dry_run: bool = False) -> Pruned:
    """Remove every job that ended before `older_than_s` (epoch seconds), its outbox folder and its claimed files.

    Raises OutboxGone when the outbox is not mounted: its folders would stay for ever.
    """
    outbox = Outbox(instance.outbox)
    outbox.require()
    with database.read() as snapshot:
        found = prunable(snapshot, older_than_s=older_than_s)
    gone: list[Job] = []
    freed_bytes = 0
    for start in range(0, len(found), JOBS_AT_ONCE):
        page = found[start : start + JOBS_AT_ONCE]
        sizes = {job.id: outbox.size_of(job.name) for job in page}
        removed = page if dry_run else _remove(instance, database, page)  # some were tried again meanwhile
        gone += removed
        freed_bytes += sum(sizes[job.id] for job in removed)
    if not dry_run:
        _sweep(instance.outbox)
        with contextlib.suppress(DatabaseLocked):  # a runner is writing a lot: the next prune gives the space back
            freed_bytes += database.compact(worth_bytes=WORTH_COMPACTING_BYTES)
    return Pruned(jobs=tuple(job.name for job in gone), freed_bytes=freed_bytes)


def remove_jobs(instance: Instance, database: Database, chosen: Chosen) -> list[str]:
    """Remove these jobs, if they have ended and none that is open needs them; returns the names of those removed.

    Raises OutboxGone as `prune_jobs`.
    """
    with database.read() as snapshot:
        found: list[Job] = []
        for name in chosen.names:
            with chosen.noted():
                found.append(jobs.by_name(snapshot, name))
    if not found:
        return []
    Outbox(instance.outbox).require()
    removed: list[Job] = []
    for start in range(0, len(found), JOBS_AT_ONCE):
        removed += _remove(instance, database, found[start : start + JOBS_AT_ONCE])
    _sweep(instance.outbox)
    gone = {job.id for job in removed}
    with database.read() as snapshot:
        left = [job for job in found if job.id not in gone]
        chosen.errors += [JobInUse(job, dependents=open_dependents(snapshot, job.id)) for job in left]
    return [job.name for job in removed]


def _remove(instance: Instance, database: Database, page: Sequence[Job]) -> list[Job]:
    """Rename folders away and delete rows in one transaction, so that the names are free at once."""
    with database.write() as session:
        removed = [job for job in page if jobs.forget(session, job.id)]
        for job in removed:
            try:
                Outbox(instance.outbox).put_away(job.name, f"{PRUNED_PREFIX}{job.id}")
            except OSError as error:
                raise storage_error(error, f"removing {instance.outbox / job.name}") from error
        fsync_folder(instance.outbox)
    claims = Claims(instance)
    for job in removed:
        if job.claim_id is not None:
            claims.release(job.claim_id, refused=False)
    return removed


def _sweep(outbox: Path) -> None:
    """Delete folders that were renamed away, by this prune or one that was killed."""
    with Folder(outbox).held() as folder:
        for name in names_in(folder):
            if name.startswith(PRUNED_PREFIX):
                with contextlib.suppress(OSError):
                    remove_tree(name, dir_fd=folder)
