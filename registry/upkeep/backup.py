"""A registry → one archive that holds all of it, whole or not there, while others go on writing.

The archive is a plain tar: the database as the SQLite backup API copied it, the objects it refers to, the takes if
wanted, a few extra files, and last `manifest.json`, so that an archive cut short is known. `registry/upkeep/restore.py`
reads it.
"""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlmodel import delete, select

from registry.durable_files import crash_point, fsync_file, make_folder_durably, rename_durably, sha256_of
from registry.errors import Conflict, InvalidInput, NotFound, storage_error
from registry.storage.connection import make_private_file
from registry.storage.database import DATABASE_NAME, Database, open_alone
from registry.storage.object_references import referenced_objects
from registry.storage.object_store import ObjectDamaged, ObjectMissing, ObjectStore
from registry.storage.tables import TakeRow
from registry.storage.workspace import workspace
from registry.upkeep.archive import EXTRA, FORMAT, MANIFEST, Manifest, read_manifest
from registry.upkeep.gc import maintenance_lock

DISKS_IN = ("/Volumes", "/mnt", "/media")  # where disks are mounted,
DISKS_OF_USERS_IN = ("/media", "/run/media")  # or one level deeper
COUNTS = """
    SELECT user_version AS schema, (SELECT count(*) FROM version) AS versions,
        coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job'), 0) AS last_job
    FROM pragma_user_version
"""
WORKSPACE_PREFIX = ".voicejobs-backup."


@dataclass(frozen=True, kw_only=True)
class BackupReport:
    """Result of a backup; `manifest.missing` is empty unless the registry had lost something before."""

    path: Path
    size_bytes: int
    manifest: Manifest


def backup(
    db: Database,
    objects: ObjectStore,
    takes: ObjectStore | None,
    target: Path,
    *,
    now_s: float,
    extras: Mapping[str, Path] | None = None,
    force: bool = False,
) -> BackupReport:
    """Write everything into the archive `target`, which replaces one that is there.

    Raises Conflict instead of replacing a file that is no backup, or one that holds more, unless `force` is set.

    `takes` None leaves the takes out: they can be rendered again. `extras` are further files by name, such as
    `voicejobs.toml`. Raises NotFound when the target's disk seems not to be mounted, and StorageError; objects that
    are lost already are named in the report.
    """
    for name in extras or {}:
        if not EXTRA.fullmatch(f"extra/{name}"):
            raise InvalidInput(f"{name!r} cannot be the name of a file in a backup.")
    try:
        _make_place(target.parent)
        with workspace(target.parent, prefix=WORKSPACE_PREFIX) as folder:
            with maintenance_lock(db.path, shared=True):
                writer = _Writer(folder=folder, db=db, objects=objects, takes=takes)
                manifest = writer.write(now_s=now_s, extras=extras or {})
            if not force:
                _check_not_poorer(manifest, target, with_takes=takes is not None)
            crash_point("backup.written")
            rename_durably(writer.archive_path, target)
        return BackupReport(path=target, size_bytes=target.stat().st_size, manifest=manifest)
    except OSError as error:
        raise storage_error(error, f"writing the backup {target}") from error


def _check_not_poorer(manifest: Manifest, target: Path, *, with_takes: bool) -> None:
    """Raise Conflict when the archive at `target` holds what the new one lacks.

    Compared is what never becomes fewer while a registry lives: `prune` and `gc` remove neither versions' records nor
    numbers of jobs. A new archive that lacks lost objects is poorer, too.
    """
    if not target.exists() or not target.stat().st_size:
        return
    force = f"Write to another file; or replace it: `voicejobs backup --force {shlex.quote(str(target))}`."
    former = read_manifest(target)
    if former is None:
        raise Conflict(f"{target} is no backup of voicejobs, and is not replaced.", hint=force)
    compared = [
        ("versions of voices", former.versions, manifest.versions),
        ("as the number of its newest job", former.last_job, manifest.last_job),
        ("takes", former.takes if with_takes and not manifest.takes else 0, 0),
    ]
    fewer = [f"{before:,} {what}, now {now:,}" for what, before, now in compared if (before or 0) > (now or 0)]
    if len(manifest.missing) > len(former.missing):
        fewer.append(f"{len(former.missing):,} lost recordings and prompts, now {len(manifest.missing):,}")
    if former.versions is None and former.objects and not manifest.objects:
        fewer.append(f"{former.objects:,} recordings and prompts, now none")
    if fewer:
        raise Conflict(f"{target} holds more than the registry does now: {'; '.join(fewer)}.", hint=force)


def _make_place(folder: Path) -> None:
    """Make the folder of an archive, if that one alone is missing and its disk is mounted.

    Raises NotFound otherwise: made all the same, it would be on the system's own disk, and silently fill that.
    """
    if folder.is_dir():
        return
    disks = [disk for disk in (folder, *folder.parents) if _is_place_of_a_disk(disk)]
    if not folder.parent.is_dir() or (disks and not any(map(os.path.ismount, disks))):
        raise NotFound(f"There is no folder {folder}.", hint="Mount its disk, or make the folder.")
    make_folder_durably(folder)


def _is_place_of_a_disk(folder: Path) -> bool:
    return str(folder.parent) in DISKS_IN or str(folder.parent.parent) in DISKS_OF_USERS_IN


@dataclass(kw_only=True)
class _Writer:
    """One archive in the making, in a folder of its own."""

    folder: Path
    db: Database
    objects: ObjectStore
    takes: ObjectStore | None
    missing: list[str] = field(default_factory=list)

    @property
    def archive_path(self) -> Path:
        return self.folder / "archive"

    def write(self, *, now_s: float, extras: Mapping[str, Path]) -> Manifest:
        database_path = self.folder / DATABASE_NAME
        self.db.save_to(database_path)
        crash_point("backup.database-copied")
        counts, needed, heard = self._prepare_copy(database_path)
        make_private_file(self.archive_path)
        with self.archive_path.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w|") as archive:
                archive.add(database_path, arcname=DATABASE_NAME, filter=_anonymous)
                manifest = Manifest(
                    format=FORMAT,
                    **counts,
                    created_s=now_s,
                    database_sha256=sha256_of(database_path),
                    objects=self._add_objects(archive, "objects", self.objects, needed),
                    takes=self._add_objects(archive, "takes", self.takes, heard) if self.takes else 0,
                    extras={name: _add(archive, f"extra/{name}", path.read_bytes()) for name, path in extras.items()},
                    missing=tuple(self.missing),
                )
                _add(archive, MANIFEST, manifest.to_json())
            file.flush()
            fsync_file(file.fileno())
        return manifest

    def _prepare_copy(self, path: Path) -> tuple[dict[str, int], set[str], set[str]]:
        """Counts of the copied database, its objects and its takes; it becomes a single file."""
        with open_alone(path) as session:
            if self.takes is None:
                session.orm.exec(delete(TakeRow))
            needed = {sha256.hex() for sha256 in referenced_objects(session)}
            heard = set(session.orm.exec(select(TakeRow.audio_sha256)))
            (counts,) = session.rows(COUNTS)
        return dict(counts), needed, heard

    def _add_objects(self, archive: tarfile.TarFile, name: str, store: ObjectStore, wanted: Iterable[str]) -> int:
        added = 0
        for sha256 in sorted(wanted):
            try:
                content = store.read(sha256)
            except (ObjectMissing, ObjectDamaged):
                if name == "objects":  # a lost take is only rendered again
                    self.missing.append(sha256)
                continue
            _add(archive, f"{name}/{sha256[:2]}/{sha256[2:]}", content)
            added += 1
        return added


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> str:
    """Add one member and return its SHA-256."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
    return hashlib.sha256(content).hexdigest()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same member without the name of the user who made the backup."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
