"""The registry of an instance, and its runner → findings: whether it is there, sound and complete, and at work."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import InvalidPath
from models.named_paths import status_of
from registry.durable_files import FileLock
from registry.errors import FREE_SPACE_HINT
from registry.jobs.lists import list_jobs, newest_claim_s
from registry.storage.connection import RESTORE_DAMAGED, WRITABLE_AGAIN
from registry.storage.database import Database
from registry.storage.identity import check_kind, check_not_lost
from runner.config.instance import Instance
from runner.doctor.findings import NOTE, OK, PROBLEM, WARNING, Checks, Found
from runner.text_format import short

if TYPE_CHECKING:
    from registry.storage.object_store import ObjectStore

RESTORE_OBJECTS = "Restore a backup: `voicejobs restore --replace FILE`. `voicejobs voices fsck` names every one."
BUILT_AFTER_S = 1_767_225_600  # 2026-01-01: a clock before that is wrong
ROWS_READ = 1_000
BYTES_READ = 100_000_000  # of recordings and prompts: a quarter of a second


def _clock(instance: Instance) -> Found:
    now_s = time.time()
    remedy = "Set the clock, and let the system keep it right (NTP)."
    if now_s < BUILT_AFTER_S:
        yield PROBLEM, f"the clock says {time.strftime('%Y-%m-%d')}.", remedy
        return
    if instance.database_path.exists():
        with (
            Database.open(instance.database_path, root=instance.root, reads_only=True) as database,
            database.read() as snapshot,
        ):
            newest = newest_claim_s(snapshot)
        if newest is not None and newest > now_s + 60:
            yield WARNING, f"a job was claimed {newest - now_s:.0f} s in the future: the clock was set back.", remedy
            return
    yield OK, f"the clock says {time.strftime('%Y-%m-%d %H:%M:%S')}.", ""


def _database(instance: Instance) -> Found:
    if _is_no_folder(instance.state_dir):
        return  # the first check names what is in the way
    check_kind(instance.database_path)
    if not instance.database_path.exists():
        check_not_lost(instance.database_path, instance.root)
        yield NOTE, "there is no database yet; the first run creates it.", ""
        return
    with (
        Database.open(instance.database_path, root=instance.root, reads_only=True) as database,
        database.read() as snapshot,
    ):
        found = [row["quick_check"] for row in snapshot.rows("PRAGMA quick_check(5)")]
        journal = snapshot.rows("PRAGMA journal_mode")[0]["journal_mode"]
        if found == ["ok"]:
            list_jobs(snapshot, limit=ROWS_READ)  # raises where a row holds what no job holds
        read_only, is_full = database.is_read_only, database.is_full
    if is_full:
        yield PROBLEM, f"no space is left for {instance.database_path}: no job can run.", FREE_SPACE_HINT
    elif read_only:
        yield PROBLEM, f"{instance.state_dir} can only be read: no job can run.", WRITABLE_AGAIN
    if found != ["ok"]:
        reasons = short("; ".join(line for text in found for line in text.splitlines() if "***" not in line), 200)
        yield PROBLEM, f"{instance.database_path} is damaged: {reasons}", RESTORE_DAMAGED
    elif journal != "wal" and not read_only:
        yield WARNING, f"the database's journal is {journal}, not wal.", "Put state_dir on a local disk."
    else:
        yield OK, f"{instance.database_path} is sound; `voicejobs voices fsck` reads every byte.", ""


def _is_no_folder(path: Path) -> bool:
    """Whether something that is no folder, or a link that leads to itself, is there."""
    try:
        return status_of(path) is not None and not path.is_dir()
    except InvalidPath:
        return True


def _objects(instance: Instance) -> Found:
    from registry.storage.object_references import references
    from registry.storage.object_store import ObjectStore

    if not instance.database_path.exists() or not instance.objects_dir.is_dir():
        return  # another check names that
    store = ObjectStore(instance.objects_dir)
    with (
        Database.open(instance.database_path, root=instance.root, reads_only=True) as database,
        database.read() as snapshot,
    ):
        wanted = {one.sha256: one.owner for one in references(snapshot)}
    lost = sorted({owner for sha256, owner in wanted.items() if sha256 not in store})
    changed = sorted({wanted[sha256] for sha256 in _first(wanted, store) if not store.is_whole(sha256)})
    if lost:
        named = ", ".join(lost[:3]) + (f" and {len(lost) - 3:,} more" if len(lost) > 3 else "")
        yield PROBLEM, f"recordings or prompts of {named} are gone from {store.folder}.", RESTORE_OBJECTS
    elif changed:
        named = ", ".join(changed[:3]) + (f" and {len(changed) - 3:,} more" if len(changed) > 3 else "")
        yield PROBLEM, f"recordings or prompts of {named} in {store.folder} were changed.", RESTORE_OBJECTS
    else:
        yield OK, f"all recordings and prompts are in {store.folder}.", ""


def _first(wanted: Iterable[str], store: ObjectStore) -> Iterator[str]:
    """Objects that are read whole, as many as take a moment; `voices fsck` reads all."""
    left_bytes = BYTES_READ
    for sha256 in wanted:
        with contextlib.suppress(OSError):
            left_bytes -= store.path(sha256).stat().st_size
            if left_bytes < 0:
                return
            yield sha256


def active_runner(instance: Instance) -> str | None:
    """Description of the process that is the runner; None when there is none."""
    return FileLock(instance.lock_path).describe_holder() if instance.runner_is_active() else None


def _runner(instance: Instance) -> Found:
    if (holder := active_runner(instance)) is not None:
        yield OK, f"a runner is active: {holder}.", ""
    else:
        yield NOTE, "no runner is active.", "Start one: `voicejobs run`."


CHECKS: Checks = {
    "database": ("the database is sound and in WAL mode", _database),
    "objects": ("recordings and prompts that the database refers to are there", _objects),
    "clock": ("the time of day is plausible", _clock),
    "runner": ("whether a runner is active, and which", _runner),
}
