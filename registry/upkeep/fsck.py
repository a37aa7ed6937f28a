"""The registry on disk → everything that is wrong with it. Nothing is changed.

Every byte of every object and take is read and hashed, every version's digest computed again, and the database's
own structure checked. It works while the daemon and other commands run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlmodel import col, or_, select

from registry.errors import StorageError
from registry.storage.database import Database
from registry.storage.object_references import references
from registry.storage.object_store import ObjectStore
from registry.storage.session import Session
from registry.storage.tables import AliasRow, TakeRow, VersionRow, VoiceRow
from registry.voices.version_rows import digest_of, record_sha256_of, version_from

ROWS_AT_ONCE = 500
FINDINGS_LIMIT = 1000  # a lost folder loses every object in it; nobody reads them all
RESTORE = "Restore a backup: `voicejobs restore --replace FILE`."


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One fault. A mendable one repairs itself: by rendering again, or by `gc`."""

    where: str
    problem: str
    remedy: str
    mendable: bool = False


@dataclass(frozen=True, kw_only=True)
class FsckReport:
    """Extent of a check by `fsck`, and the faults it found."""

    versions: int
    objects: int
    takes: int
    read_bytes: int
    findings: tuple[Damage, ...]  # the first FINDINGS_LIMIT of them
    lost: int  # how many there are that nothing repairs
    mendable: int

    @property
    def sound(self) -> bool:
        """True when nothing is lost; takes that will be rendered again do not count."""
        return self.lost == 0


def fsck(
    db: Database, objects: ObjectStore, takes: ObjectStore, *, progress: Callable[[int], None] = lambda _: None
) -> FsckReport:
    """Check the database's structure, every digest, and every byte; `progress` hears the bytes read so far."""
    check = _Check(progress=progress)
    whole_objects = check.hash_store(objects)
    whole_takes = check.hash_store(takes)
    try:
        with db.read() as snapshot:
            check.structure(snapshot)
            check.versions(snapshot)
            check.aliases(snapshot)
            check.referenced(snapshot, objects, whole=whole_objects)
            check.take_rows(snapshot, takes, whole=whole_takes)
    except StorageError as error:
        check.add(db.path.name, error.message, RESTORE)
    return FsckReport(
        versions=check.version_count,
        objects=len(whole_objects),
        takes=check.take_count,
        read_bytes=check.read_bytes,
        findings=tuple(check.findings),
        lost=check.counts[False],
        mendable=check.counts[True],
    )


@dataclass(kw_only=True)
class _Check:
    """Collects findings; each method looks at one side of the registry."""

    progress: Callable[[int], None]
    findings: list[Damage] = field(default_factory=list)
    counts: Counter[bool] = field(default_factory=Counter)  # mendable -> how many
    version_count: int = 0
    take_count: int = 0
    read_bytes: int = 0

    def add(self, where: str, problem: str, remedy: str, *, mendable: bool = False) -> None:
        self.counts[mendable] += 1
        if len(self.findings) < FINDINGS_LIMIT:
            self.findings.append(Damage(where=where, problem=problem, remedy=remedy, mendable=mendable))

    def hash_store(self, store: ObjectStore) -> set[bytes]:
        """Objects that are whole; the others are reported with whatever refers to them."""
        whole: set[bytes] = set()
        for stored in store:
            if store.is_whole(stored.sha256):
                whole.add(bytes.fromhex(stored.sha256))
            self.read_bytes += stored.size_bytes
            self.progress(self.read_bytes)
        for path in store.strays():
            if not path.name.endswith(".tmp"):  # those are cut-off writes, which `gc` removes in time
                self.add(str(path), "is a file that voicejobs did not put there", "Move it away.", mendable=True)
        return whole

    def structure(self, snapshot: Session) -> None:
        for row in snapshot.rows("PRAGMA integrity_check(20)"):
            if row["integrity_check"] != "ok":
                self.add("the database", row["integrity_check"], RESTORE)
        for row in snapshot.rows("PRAGMA foreign_key_check"):
            self.add(f"{row['table']} row {row['rowid']}", f"refers to a {row['parent']} that does not exist", RESTORE)

    def versions(self, snapshot: Session) -> None:
        stored = select(VersionRow, VoiceRow.name).join(VoiceRow).execution_options(yield_per=ROWS_AT_ONCE)
        for row, voice in snapshot.orm.exec(stored):
            version = version_from({**dict(row), "voice_name": voice, "parent_number": None}, attachments={})
            if digest_of(version) != version.digest:
                problem = f"no longer has the digest {version.digest[:16]}… that it was stored with"
                self.add(version.name, problem, RESTORE)
            elif row.record_sha256 not in (None, record_sha256_of(version, number=version.number)):
                self.add(version.name, "its consent or origin is not what was stored", RESTORE)
            self.version_count += 1

    def aliases(self, snapshot: Session) -> None:
        wrong = or_(col(VersionRow.deleted_s).is_not(None), VersionRow.voice_id != AliasRow.voice_id)
        pointing = (
            select(AliasRow.name, VoiceRow.name, VersionRow.number)
            .join_from(AliasRow, VoiceRow, col(VoiceRow.id) == AliasRow.voice_id)
            .join(VersionRow, col(VersionRow.id) == AliasRow.version_id)
        )
        for alias, voice, number in snapshot.orm.exec(pointing.where(wrong)):
            remedy = f"Point it elsewhere: `voicejobs voices alias {voice}@N {alias}`."
            self.add(f"{voice}@{alias}", f"points at a version that was removed, {number}", remedy)

    def referenced(self, snapshot: Session, objects: ObjectStore, *, whole: set[bytes]) -> None:
        for reference in references(snapshot):
            # What was stored after the folder was read through is looked at again.
            if bytes.fromhex(reference.sha256) not in whole and not objects.is_whole(reference.sha256):
                state = "has changed on disk" if reference.sha256 in objects else "is gone"
                path = objects.path(reference.sha256)
                self.add(reference.owner, f"its {reference.role} {state} ({path})", RESTORE)

    def take_rows(self, snapshot: Session, takes: ObjectStore, *, whole: set[bytes]) -> None:
        stored = select(TakeRow.key, TakeRow.audio_sha256).execution_options(yield_per=ROWS_AT_ONCE)
        for key, sha256 in snapshot.orm.exec(stored):
            if bytes.fromhex(sha256) not in whole and not takes.is_whole(sha256):
                problem = f"its audio is missing or has changed ({takes.path(sha256)})"
                remedy = "Nothing to do: the line is rendered again when it is next asked for."
                self.add(f"take {key[:12]}…", problem, remedy, mendable=True)
            self.take_count += 1
