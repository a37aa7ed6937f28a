"""A backup archive → the registry it was made from, on this machine or another.

The whole archive is checked first and nothing is written before that; then the objects are put into their store,
and last the database is replaced in one transaction, so that a daemon may be running and a crash leaves the old
registry. What the registry held before is kept beside it.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO

from registry.durable_files import crash_point, make_folder_durably, sha256_of, sha256_of_stream, write_durably
from registry.errors import Conflict, DamagedData, InvalidInput, SchemaTooNew, storage_error
from registry.jobs import lines
from registry.storage.connection import copy_database
from registry.storage.database import DATABASE_NAME, Database, open_alone
from registry.storage.migrations import MIGRATIONS
from registry.storage.object_references import referenced_objects
from registry.storage.object_store import ObjectStore
from registry.storage.workspace import workspace
from registry.upkeep.backup import FORMAT, MANIFEST, Manifest
from registry.upkeep.gc import maintenance_lock

OBJECT = re.compile(r"(objects|takes)/([0-9a-f]{2})/([0-9a-f]{62})")
EXTRA = re.compile(r"extra/([\w-][\w.-]{0,99})")
OBJECT_LIMIT_BYTES = 1 << 30
MANIFEST_LIMIT_BYTES = 64 << 20  # it names every lost object


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
    extras: Mapping[str, Path] | None = None,
) -> RestoreReport:
    """Fill `state_dir` with the registry of an archive. `extras` says where to put extra files of the archive.

    Raises Conflict when a registry with content is there and `replace` is false, DamagedData when the archive is
    not whole, InvalidInput when it is none, SchemaTooNew when a newer voicejobs wrote it, and StorageError.
    """
    with _readable(archive):
        make_folder_durably(state_dir)
        with workspace(state_dir, prefix=".restoring.") as folder:
            source = folder / DATABASE_NAME
            manifest = _checked(archive, source)
            with Database.open(source) as copied, copied.write() as session:  # an older schema becomes today's first
                lines.publish_all_again(session)
            place = _Place(state_dir=state_dir, replace=replace, extras=extras or {})
            return place.fill(archive, source, manifest, now_s=now_s)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Destination of an archive that was found whole."""

    state_dir: Path
    replace: bool
    extras: Mapping[str, Path]

    def fill(self, archive: Path, source: Path, manifest: Manifest, *, now_s: float) -> RestoreReport:
        with Database.open(self.state_dir / DATABASE_NAME) as db:
            if (filled := _has_content(db)) and not self.replace:
                hint = "Replace it with `voicejobs restore --replace`."
                raise Conflict(f"{db.path} holds a registry already.", hint=hint)
            with maintenance_lock(db, shared=False):
                counts = self._put_files(archive)
                crash_point("restore.objects-put")
                former = _keep_former(db, now_s=now_s) if filled else None
                crash_point("restore.before-replace")
                copy_database(source, db.path)
        return RestoreReport(
            manifest=manifest,
            objects=counts["objects"],
            takes=counts["takes"],
            extras=tuple(name for name in manifest.extras if name in self.extras),
            former_database=former,
        )

    def _put_files(self, archive: Path) -> Counter[str]:
        counts: Counter[str] = Counter()
        for name, file in _members(archive):
            if found := OBJECT.fullmatch(name):
                ObjectStore(self.state_dir / found[1]).put(file.read())
                counts[found[1]] += 1
            elif (found := EXTRA.fullmatch(name)) and found[1] in self.extras:
                write_durably(self.extras[found[1]], file.read())
        return counts


def _keep_former(db: Database, *, now_s: float) -> Path:
    """A copy of the database that is about to be replaced."""
    former = db.path.with_name(f"registry.before-restore-{now_s:.0f}.sqlite")
    copy_database(db.path, former)
    with open_alone(former):
        return former


def _has_content(db: Database) -> bool:
    with db.read() as snapshot:
        tables = snapshot.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return any(snapshot.rows(f'SELECT 1 FROM "{table["name"]}" LIMIT 1') for table in tables)


def _checked(archive: Path, database_path: Path) -> Manifest:
    """Read the whole archive and hash everything in it; its database is left at `database_path`."""
    hashes: dict[str, str] = {}
    manifest: Manifest | None = None
    for name, file in _members(archive):
        if manifest is not None or name in hashes:
            raise DamagedData(f"{archive} holds {name} twice or out of order.", hint="Use another backup.")
        if name == DATABASE_NAME:
            with database_path.open("wb") as copy:
                shutil.copyfileobj(file, copy)
        if name == MANIFEST:
            manifest = _parsed(file.read(MANIFEST_LIMIT_BYTES))
        elif name != DATABASE_NAME:
            hashes[name] = sha256_of_stream(file)
    if manifest is None:
        raise DamagedData(f"{archive} was cut short: it has no {MANIFEST}.", hint="Use another backup.")
    _check_files(archive, manifest, hashes)
    _check_database(archive, manifest, database_path, {name for name in hashes if name.startswith("objects/")})
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


def _check_database(archive: Path, manifest: Manifest, path: Path, present: set[str]) -> None:
    if manifest.schema > MIGRATIONS[-1].number:
        raise SchemaTooNew(f"{archive} was written by a newer voicejobs.", hint="Install that one to restore it.")
    wrong = DamagedData(f"The database in {archive} is not what was put there.", hint="Use another backup.")
    if not path.exists():
        raise wrong
    if sha256_of(path) != manifest.database_sha256:
        raise wrong
    with open_alone(path) as session:
        if [row["integrity_check"] for row in session.rows("PRAGMA integrity_check")] != ["ok"]:
            raise wrong
        needed = {f"objects/{sha256.hex()[:2]}/{sha256.hex()[2:]}" for sha256 in referenced_objects(session)}
    lost = {f"objects/{sha256[:2]}/{sha256[2:]}" for sha256 in manifest.missing}
    if absent := needed - present - lost:
        raise DamagedData(f"{archive} lacks {len(absent)} recordings that its database refers to.", hint="Use another.")


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of an archive, in order. Raises InvalidInput for anything that `backup` does not write."""
    with _opened(archive) as tar:
        for member in tar:
            name = member.name
            plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
            file = tar.extractfile(member) if plain else None
            known = name in (DATABASE_NAME, MANIFEST) or OBJECT.fullmatch(name) or EXTRA.fullmatch(name)
            if not known or file is None or (name != DATABASE_NAME and member.size > OBJECT_LIMIT_BYTES):
                raise InvalidInput(f"{archive} is no backup of voicejobs: it holds {name!r}.")
            yield name, file


def _opened(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive, mode="r|")
    except tarfile.ReadError:
        raise InvalidInput(f"{archive} is no backup of voicejobs: it does not begin as one.") from None


@contextlib.contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except tarfile.TarError as error:
        raise DamagedData(f"{archive} cannot be read to its end: {error}.", hint="Use another backup.") from error
    except OSError as error:
        raise storage_error(error, f"restoring {archive}") from error


def _parsed(content: bytes) -> Manifest:
    try:
        raw = json.loads(content)
        if raw.get("format") != FORMAT:
            raise InvalidInput(f"The backup has format {raw.get('format')!r}; this voicejobs reads format {FORMAT}.")
        known = {field.name: raw[field.name] for field in fields(Manifest)}
        return Manifest(**{**known, "missing": tuple(known["missing"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise DamagedData(f"The backup's {MANIFEST} cannot be read: {error}.", hint="Use another backup.") from None
