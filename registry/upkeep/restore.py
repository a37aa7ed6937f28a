"""A backup archive → the registry it was made from, on this machine or another.

The whole archive is checked first and nothing is written before that; then the objects are put into their store,
and last the database is replaced in one transaction, so that a daemon may be running and a crash leaves the old
registry. What the registry held before is kept beside it.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.durable_files import (
    crash_point,
    make_folder_durably,
    rename_durably,
    sha256_of,
    sha256_of_stream,
    write_durably,
)
from registry.errors import Conflict, DamagedData, SchemaTooNew, storage_error
from registry.jobs import lines
from registry.storage import identity
from registry.storage.connection import copy_database
from registry.storage.database import DATABASE_NAME, Database, open_alone
from registry.storage.migrations import MIGRATIONS
from registry.storage.object_references import referenced_objects
from registry.storage.object_store import ObjectStore
from registry.storage.workspace import workspace
from registry.upkeep.archive import EXTRA, MANIFEST, OBJECT, OTHER, Manifest, members, parsed_manifest
from registry.upkeep.archived_rows import copy_rows
from registry.upkeep.gc import maintenance_lock

SIDE_FILES = ("", "-wal", "-shm")


@dataclass(frozen=True, kw_only=True)
class RestoreReport:
    """Result of a restore, with the place of the former database, if there was one."""

    manifest: Manifest
    objects: int
    takes: int
    extras: tuple[str, ...]  # those that were asked for
    former_database: Path | None


def restore(
    archive: Path,
    state_dir: Path,
    *,
    now_s: float,
    replace: bool = False,
    root: Path | None = None,
    extras: Mapping[str, Path] | None = None,
) -> RestoreReport:
    """Fill `state_dir` with the registry of an archive. `extras` says where to put extra files of the archive.

    A database that cannot be used is moved aside; `root` is the folder of the instance, which keeps its own id.

    Raises Conflict when a registry with content is there and `replace` is false, DamagedData when the archive is
    not whole, InvalidInput when it is none, SchemaTooNew when a newer voicejobs wrote it, and StorageError.
    """
    with _readable(archive):
        make_folder_durably(state_dir)
        with workspace(state_dir, prefix=".restoring.") as folder:
            source = folder / DATABASE_NAME
            manifest = _checked(archive, folder / "archived", source)
            path = state_dir / DATABASE_NAME
            with Database.open(source) as copied, copied.write() as session:  # an older schema becomes today's first
                lines.publish_all_again(session)
                if known := identity.known_id(path, root):
                    session.rows("UPDATE registry SET id = ?", [known])
            place = _Place(path=path, replace=replace, extras=extras or {})
            report = place.fill(archive, source, manifest, now_s=now_s)
            Database.open(path, root=root).close()  # it and the root know one another from now on
            return report


def _replacing(archive: Path) -> str:
    command = f"`voicejobs restore --replace {shlex.quote(str(archive))}`"
    return f"Replace it: {command}; its database is kept beside the new one."


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Destination of an archive that was found whole."""

    path: Path
    replace: bool
    extras: Mapping[str, Path]

    def fill(self, archive: Path, source: Path, manifest: Manifest, *, now_s: float) -> RestoreReport:
        db = self._usable(archive)
        filled = db is not None and _has_content(db)
        if filled and not self.replace:
            raise Conflict(f"{self.path} holds a registry already.", hint=_replacing(archive))
        with maintenance_lock(self.path, shared=False):
            counts = self._put_files(archive)
            crash_point("restore.objects-put")
            former = self.path.with_name(f"registry.before-restore-{now_s:.0f}.sqlite")
            kept = _keep_former(db, former) if db and filled else _move_aside(self.path, former) if not db else None
            crash_point("restore.before-replace")
            if db is not None:
                copy_database(source, self.path)
                db.close()
            else:
                with open_alone(source):
                    pass
                rename_durably(source, self.path)
        return RestoreReport(
            manifest=manifest,
            objects=counts["objects"],
            takes=counts["takes"],
            extras=tuple(name for name in manifest.extras if name in self.extras),
            former_database=kept,
        )

    def _usable(self, archive: Path) -> Database | None:
        """The database that is there, if it can be used; one of a newer voicejobs is given up only when asked."""
        db = None
        try:
            if self.path.exists():
                db = Database.open(self.path)
                with db.read() as session:
                    if [row["quick_check"] for row in session.rows("PRAGMA quick_check(1)")] == ["ok"]:
                        return db
        except SchemaTooNew as error:
            if not self.replace:
                message = f"{self.path} holds the registry of a newer voicejobs."
                raise Conflict(message, hint=_replacing(archive)) from error
        except DamagedData:
            pass
        if db is not None:
            db.close()
        return None

    def _put_files(self, archive: Path) -> Counter[str]:
        counts: Counter[str] = Counter()
        for name, file in members(archive):
            if found := OBJECT.fullmatch(name):
                ObjectStore(self.path.parent / found[1]).put(file.read())
                counts[found[1]] += 1
            elif (found := EXTRA.fullmatch(name)) and found[1] in self.extras:
                write_durably(self.extras[found[1]], file.read())
        return counts


def _keep_former(db: Database, former: Path) -> Path:
    """A copy of the database that is about to be replaced."""
    copy_database(db.path, former)
    with open_alone(former):
        return former


def _move_aside(path: Path, former: Path) -> Path | None:
    """Rename whatever has the database's name; None when nothing has."""
    there = [end for end in SIDE_FILES if path.with_name(path.name + end).exists()]
    for end in there:
        rename_durably(path.with_name(path.name + end), former.with_name(former.name + end))
    return former if "" in there else None


def _has_content(db: Database) -> bool:
    with db.read() as snapshot:
        tables = snapshot.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        names = [table["name"] for table in tables if table["name"] != "registry"]
        return any(snapshot.rows(f'SELECT 1 FROM "{name}" LIMIT 1') for name in names)


def _checked(archive: Path, database_path: Path, fresh_path: Path) -> Manifest:
    """Read the whole archive and check everything in it; its rows are left in a new database at `fresh_path`."""
    hashes: dict[str, str] = {}
    manifest: Manifest | None = None
    for name, file in members(archive):
        if manifest is not None or name in hashes:
            raise DamagedData(f"{archive} holds {name} twice or out of order.", hint="Use another backup.")
        if name == DATABASE_NAME:
            with database_path.open("wb") as copy:
                shutil.copyfileobj(file, copy)
        if name == MANIFEST:
            manifest = parsed_manifest(file.read())
        elif name != DATABASE_NAME:
            hashes[name] = sha256_of_stream(file)
    if manifest is None:
        raise DamagedData(f"{archive} was cut short: it has no {MANIFEST}.", hint="Use another backup.")
    _check_files(archive, manifest, hashes)
    _check_database_file(archive, manifest, database_path)
    copy_rows(database_path, fresh_path, schema=manifest.schema)
    _check_references(archive, manifest, fresh_path, {name for name in hashes if name.startswith("objects/")})
    return manifest


def _check_files(archive: Path, manifest: Manifest, hashes: Mapping[str, str]) -> None:
    for name, sha256 in hashes.items():
        stored = OBJECT.fullmatch(name)
        extra = EXTRA.fullmatch(name)
        expected = stored[2] + stored[3] if stored else manifest.extras.get(extra[1]) if extra else None
        if sha256 != expected:
            raise DamagedData(f"{name} in {archive} is not what was put there.", hint="Use another backup.")
    counts = [sum(name.startswith(start) for name in hashes) for start in ("objects/", "takes/", "extra/")]
    if counts != [manifest.objects, manifest.takes, len(manifest.extras)]:
        raise DamagedData(f"{archive} does not hold as many files as it says.", hint="Use another backup.")


def _check_database_file(archive: Path, manifest: Manifest, path: Path) -> None:
    if manifest.schema > MIGRATIONS[-1].number:
        raise SchemaTooNew(f"{archive} was written by a newer voicejobs.", hint="Install that one to restore it.")
    if not path.exists() or sha256_of(path) != manifest.database_sha256:
        raise DamagedData(f"The database in {archive} is not what was put there.", hint=OTHER)


def _check_references(archive: Path, manifest: Manifest, path: Path, present: set[str]) -> None:
    with open_alone(path) as session:
        needed = {f"objects/{sha256.hex()[:2]}/{sha256.hex()[2:]}" for sha256 in referenced_objects(session)}
    lost = {f"objects/{sha256[:2]}/{sha256[2:]}" for sha256 in manifest.missing}
    if absent := needed - present - lost:
        raise DamagedData(f"{archive} lacks {len(absent)} recordings that its database refers to.", hint=OTHER)


@contextlib.contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except tarfile.TarError as error:
        raise DamagedData(f"{archive} cannot be read to its end: {error}.", hint="Use another backup.") from error
    except OSError as error:
        raise storage_error(error, f"restoring {archive}") from error
