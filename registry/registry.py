"""The state folder of an instance → its registry: database, objects and takes, and one call for each question.

For the command line: every method is a transaction of its own. Whoever joins several changes into one uses the
functions beneath, with `registry.db.write()`. Whatever needs SQLModel (removal and upkeep) is imported when called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from registry.jobs import dependencies
from registry.jobs.takes import TakeStore
from registry.storage.database import DATABASE_NAME, Database
from registry.storage.object_store import ObjectStore
from registry.voices import lookup, versions
from registry.voices.names import name_key, parse_voice_reference
from registry.voices.values import Alias, AliasMove, Version, VersionDiff, VoiceSummary

if TYPE_CHECKING:
    from registry.upkeep.backup import BackupReport
    from registry.upkeep.fsck import FsckReport
    from registry.upkeep.gc import GcReport


class Registry:
    """Memory of an instance: voices, jobs and takes."""

    def __init__(self, state_dir: Path, db: Database) -> None:
        self.state_dir = state_dir
        self.db = db
        self.objects = ObjectStore(state_dir / "objects")
        self.takes = TakeStore(ObjectStore(state_dir / "takes"))

    def voices(self, *, after: str = "", containing: str = "", limit: int = lookup.PAGE) -> list[VoiceSummary]:
        """One page of voices, by name."""
        with self.db.read() as snapshot:
            return lookup.list_voices(snapshot, after=after, containing=containing, limit=limit)

    def show(self, reference: str, *, removed: bool = False) -> Version:
        """The version that a reference means."""
        with self.db.read() as snapshot:
            return lookup.resolve(snapshot, reference, removed=removed)

    def history(self, voice: str, *, before: int | None = None, limit: int = lookup.PAGE) -> list[Version]:
        """Versions of a voice, newest first."""
        with self.db.read() as snapshot:
            return lookup.history(snapshot, voice, before=before, limit=limit)

    def aliases(self, voice: str) -> list[Alias]:
        """The aliases of a voice."""
        with self.db.read() as snapshot:
            return lookup.aliases(snapshot, voice)

    def alias_log(self, voice: str, *, limit: int = lookup.PAGE) -> list[AliasMove]:
        """Moves of a voice's aliases, newest first."""
        with self.db.read() as snapshot:
            return lookup.alias_log(snapshot, voice, limit=limit)

    def diff(self, before: str, after: str) -> VersionDiff:
        """Difference between two versions, removed ones included."""
        with self.db.read() as snapshot:
            old = lookup.resolve(snapshot, before, removed=True)
            return lookup.compare(old, lookup.resolve(snapshot, after, removed=True))

    def set_alias(self, reference: str, alias: str, *, now_s: float) -> Version:
        """Make an alias point at a version."""
        with self.db.write() as session:
            return versions.set_alias(session, reference, alias, now_s=now_s)

    def remove_alias(self, voice: str, alias: str, *, now_s: float) -> None:
        """Remove an alias."""
        from registry.voices import tombstones

        with self.db.write() as session:
            tombstones.remove_alias(session, voice, alias, now_s=now_s)

    def remove(self, reference: str, *, now_s: float, why: str = "") -> Version:
        """Put a tombstone on a version. Raises VersionInUse while an alias or an unfinished job needs it."""
        from registry.voices import tombstones

        with self.db.write() as session:
            voice_key = name_key(parse_voice_reference(reference).name)
            needed_by = dependencies.open_references(session, voice_key)
            return tombstones.remove_version(session, reference, now_s=now_s, why=why, needed_by=needed_by)

    def remove_voice(self, voice: str, *, now_s: float, why: str = "") -> list[Version]:
        """Put a tombstone on every version of a voice, or on none."""
        from registry.voices import tombstones

        with self.db.write() as session:
            needed_by = dependencies.open_references(session, name_key(voice))
            return tombstones.remove_voice(session, voice, now_s=now_s, why=why, needed_by=needed_by)

    def restore_version(self, reference: str, *, now_s: float) -> Version:
        """Take the tombstone off again."""
        from registry.voices import tombstones

        with self.db.write() as session:
            return tombstones.restore_version(session, reference, now_s=now_s)

    def gc(self, *, now_s: float, grace_s: float | None = None, dry_run: bool = False) -> GcReport:
        """Remove what nothing needs any more; candidates that an unfinished lock names are needed."""
        from registry.upkeep.gc import GRACE_S, gc

        with self.db.read() as snapshot:
            needed_jobs = dependencies.designs_in_use(snapshot)
        return gc(
            self.db,
            self.objects,
            self.takes.audio,
            now_s=now_s,
            grace_s=GRACE_S if grace_s is None else grace_s,
            needed_jobs=needed_jobs,
            dry_run=dry_run,
        )

    def fsck(self, *, progress: Callable[[int], None] = lambda _: None) -> FsckReport:
        """Check everything, changing nothing."""
        from registry.upkeep.fsck import fsck

        return fsck(self.db, self.objects, self.takes.audio, progress=progress)

    def backup(
        self,
        target: Path,
        *,
        now_s: float,
        with_takes: bool = True,
        extras: Mapping[str, Path] | None = None,
        force: bool = False,
    ) -> BackupReport:
        """Write the registry into an archive; `registry.upkeep.restore.restore` reads it."""
        from registry.upkeep.backup import backup

        takes = self.takes.audio if with_takes else None
        return backup(self.db, self.objects, takes, target, now_s=now_s, extras=extras, force=force)

    def close(self) -> None:
        """Close the database."""
        self.db.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_registry(state_dir: Path, *, root: Path | None = None, reads_only: bool = False) -> Registry:
    """The registry in the state folder of the instance at `root`, made or brought to the newest schema if need be.

    `reads_only` is as of `Database.open`. Raises RegistryLost instead of making one where there was one before.
    """
    return Registry(state_dir, Database.open(state_dir / DATABASE_NAME, root=root, reads_only=reads_only))
