"""The registry on disk → the same without what nothing needs any more.

`gc` works while the daemon and other commands run. It removes nothing that a row refers to, and nothing so young
that its row may still be on the way.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import col, delete, select

from registry.durable_files import crash_point, held_lock, sweep_abandoned
from registry.errors import RegistryLost
from registry.storage import identity
from registry.storage.database import DATABASE_NAME, Database
from registry.storage.object_references import referenced_objects
from registry.storage.object_store import ObjectStore, StoredObject
from registry.storage.session import Session
from registry.storage.tables import CandidateRow, TakeRow, VersionAttachmentRow, VersionRow, VoiceRow
from registry.voices.candidates import KEPT_AT_LEAST_S

GRACE_S = 7 * 86_400.0  # how long a removed version can be brought back
ON_THE_WAY_S = 3_600.0  # bytes this young may belong to a job that is about to commit
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class GcReport:
    """Work that `gc` did, or with `dry_run` would do."""

    purged_versions: tuple[str, ...]
    forgotten_candidates: int
    removed_objects: int
    removed_takes: int  # audio files that no take refers to
    removed_strays: int  # half-written files that a killed process left
    freed_bytes: int
    dry_run: bool


@contextlib.contextmanager
def maintenance_lock(database: Path, *, shared: bool) -> Iterator[None]:
    """`gc` alone, or any number of backups: a backup must find what the database it copied refers to."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(held_lock(database.with_name(f"{database.name}.gc.lock"), shared=shared))
        except OSError as error:
            if not shared or error.errno not in UNWRITABLE:  # nobody collects where no lock can be made
                raise
        yield


def gc(
    db: Database,
    objects: ObjectStore,
    takes: ObjectStore,
    *,
    now_s: float,
    grace_s: float = GRACE_S,
    needed_jobs: Collection[str] = (),
    dry_run: bool = False,
) -> GcReport:
    """Purge versions removed longer than `grace_s` ago, forget candidates past keeping, remove unneeded bytes.

    `needed_jobs` are names of design jobs whose candidates a waiting job still needs.
    """
    with contextlib.ExitStack() as held:
        held.enter_context(maintenance_lock(db.path, shared=dry_run))
        _check_not_shrunk(db, objects)
        beside = db.path
        if dry_run:
            db = held.enter_context(_copied(db))
        purged, forgotten, needed = _purge(db, now_s=now_s, grace_s=grace_s, needed_jobs=needed_jobs)
        crash_point("gc.purged")
        sweep = _Sweep(older_than_s=now_s - max(grace_s, ON_THE_WAY_S), dry_run=dry_run)
        removed_objects = sweep.objects(objects, needed=needed)
        with db.read() as snapshot:
            heard = set(map(bytes.fromhex, snapshot.orm.exec(select(TakeRow.audio_sha256).distinct())))
        removed_takes = sweep.objects(takes, needed=heard)
        removed_strays = sweep.strays(objects) + sweep.strays(takes) + sweep.beside(beside)
    return GcReport(
        purged_versions=tuple(purged),
        forgotten_candidates=forgotten,
        removed_objects=removed_objects,
        removed_takes=removed_takes,
        removed_strays=removed_strays,
        freed_bytes=sweep.freed_bytes,
        dry_run=dry_run,
    )


@contextlib.contextmanager
def _copied(db: Database) -> Iterator[Database]:
    """A copy that a dry run may change, of a database that it may only be able to read."""
    with tempfile.TemporaryDirectory(prefix="voicejobs-gc-") as folder:
        db.save_to(Path(folder) / DATABASE_NAME)
        with Database.open(Path(folder) / DATABASE_NAME) as copy:
            yield copy


def _check_not_shrunk(db: Database, objects: ObjectStore) -> None:
    """Raise RegistryLost when the database is as good as new and the objects are not."""
    with db.read() as snapshot:
        question = """
            SELECT EXISTS (SELECT 1 FROM version) OR EXISTS (SELECT 1 FROM candidate) OR EXISTS (SELECT 1 FROM take)
                OR EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'job' AND seq > 0) AS used
        """
        used = snapshot.rows(question)[0]["used"]
    if not used and (count := sum(1 for _ in objects)):
        raise RegistryLost(
            f"{db.path} knows no voice and no job, but {objects.folder} holds {count:,} recordings and prompts.",
            hint=f"{identity.restore_hint(None)} If they really are nobody's, delete {objects.folder}.",
        )


def _purge(
    db: Database, *, now_s: float, grace_s: float, needed_jobs: Collection[str]
) -> tuple[list[str], int, set[bytes]]:
    """Purged versions, the number of forgotten candidates, and the objects still needed after both."""
    with db.write() as session:
        purged = _purge_versions(session, now_s=now_s, removed_before_s=now_s - grace_s)
        forgotten = _forget_candidates(session, made_before_s=now_s - KEPT_AT_LEAST_S, needed_jobs=needed_jobs)
        needed = referenced_objects(session)
    return purged, forgotten, needed


def _purge_versions(session: Session, *, now_s: float, removed_before_s: float) -> list[str]:
    doomed = (
        select(VersionRow, VoiceRow.name)
        .join(VoiceRow, col(VoiceRow.id) == col(VersionRow.voice_id))
        .where(col(VersionRow.deleted_s) <= removed_before_s, col(VersionRow.purged_s).is_(None))
    )
    names = []
    for row, voice in session.orm.exec(doomed.order_by(col(VersionRow.id))).all():
        row.prompt_object = row.reference_object = row.audition_object = None
        row.purged_s = now_s
        session.orm.add(row)
        session.orm.exec(delete(VersionAttachmentRow).where(col(VersionAttachmentRow.version_id) == row.id))
        names.append(f"{voice}@{row.number}")
    return names


def _forget_candidates(session: Session, *, made_before_s: float, needed_jobs: Collection[str]) -> int:
    old = select(CandidateRow.job_name).where(col(CandidateRow.created_s) < made_before_s).distinct()
    forgotten = 0
    for job_name in session.orm.exec(old).all():
        if job_name not in needed_jobs:
            doomed = delete(CandidateRow).where(col(CandidateRow.job_name) == job_name)
            forgotten += session.orm.exec(doomed.where(col(CandidateRow.created_s) < made_before_s)).rowcount
    return forgotten


@dataclass(kw_only=True)
class _Sweep:
    """Removes old files of a store that nothing needs, and counts what that frees."""

    older_than_s: float
    dry_run: bool
    freed_bytes: int = 0

    def objects(self, store: ObjectStore, *, needed: Collection[bytes]) -> int:
        removed = 0
        for stored in store:
            if bytes.fromhex(stored.sha256) not in needed and self._remove(store, stored):
                removed += 1
                self.freed_bytes += stored.size_bytes
        return removed

    def strays(self, store: ObjectStore) -> int:
        removed, freed_bytes = store.sweep(older_than_s=self.older_than_s, dry_run=self.dry_run)
        self.freed_bytes += freed_bytes
        return removed

    def beside(self, database: Path) -> int:
        removed, freed_bytes = sweep_abandoned(database.parent, older_than_s=self.older_than_s, dry_run=self.dry_run)
        self.freed_bytes += freed_bytes
        return removed

    def _remove(self, store: ObjectStore, stored: StoredObject) -> bool:
        if self.dry_run:
            return stored.modified_s < self.older_than_s
        return store.remove_unused(stored.sha256, older_than_s=self.older_than_s)
