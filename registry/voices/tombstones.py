"""Removal of aliases and of versions; a version gets a tombstone, which `gc` makes final after a while.

Every function takes a write transaction first, so that callers join several changes into one.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlmodel import col, select

from registry.errors import NotFound
from registry.storage.session import Session
from registry.storage.tables import AliasMoveRow, AliasRow, VersionRow
from registry.voices.errors import AliasNotFound, VersionInUse, VersionNotFound
from registry.voices.lookup import aliases, get_version, resolve, voice_id_of
from registry.voices.names import CURRENT, VoiceReference, name_key
from registry.voices.values import Version
from registry.voices.versions import point_alias

Need = tuple[str, str]  # a job that has not ended, and a voice as it names it: ("night-7", "elena@2")


def remove_version(
    session: Session, wanted: VoiceReference | str, *, now_s: float, why: str = "", needed_by: Iterable[Need] = ()
) -> Version:
    """Put a tombstone on a version; `gc` purges it after its grace period, and `restore_version` undoes it before.

    Raises VersionInUse while a waiting job or an alias needs it. `current` alone does not hold the last version
    of a voice: it goes with it.
    """
    version = resolve(session, wanted)
    jobs = sorted({job for job, voice in needed_by if _means(session, voice, version)})
    if jobs:
        raise VersionInUse(
            f"{version.name} is needed by {', '.join(jobs[:5])}.", hint="Cancel the job, or let it finish, first."
        )
    _release_aliases(session, version, now_s=now_s)
    row = _row(session, version)
    row.deleted_s, row.deleted_why = now_s, why
    session.flush()
    return get_version(session, version.id)


def remove_voice(
    session: Session, name: str, *, now_s: float, why: str = "", needed_by: Iterable[Need] = ()
) -> list[Version]:
    """Put a tombstone on every version of a voice; all or, when an alias or a waiting job needs one, none."""
    voice_id = voice_id_of(session, name)
    alive = select(VersionRow).where(VersionRow.voice_id == voice_id, col(VersionRow.deleted_s).is_(None))
    alias = session.orm.get(AliasRow, (voice_id, CURRENT))
    current_id = alias.version_id if alias is not None else None
    # `current` goes with the version that it points at, so that one is the last.
    rows = sorted(session.orm.exec(alive), key=lambda row: (row.id == current_id, row.number))
    if not rows:
        raise VersionNotFound(name, voice=name, reason="has no version left")
    needs = list(needed_by)
    references = [VoiceReference(name=name, number=row.number) for row in rows]
    return [remove_version(session, wanted, now_s=now_s, why=why, needed_by=needs) for wanted in references]


def restore_version(session: Session, wanted: VoiceReference | str, *, now_s: float) -> Version:
    """Take the tombstone off again; a voice without `current` gets it. Raises NotFound once it was purged."""
    version = resolve(session, wanted, removed=True)
    if version.purged_s is not None:
        raise NotFound(f"{version.name} was purged: its recordings are gone.", hint="Restore it from a backup.")
    row = _row(session, version)
    row.deleted_s, row.deleted_why = None, None
    if session.orm.get(AliasRow, (row.voice_id, CURRENT)) is None:
        point_alias(session, version, CURRENT, now_s=now_s, why="restored")
    session.flush()
    return get_version(session, version.id)


def remove_alias(session: Session, voice: str, alias: str, *, now_s: float) -> None:
    """Remove an alias by hand, and log it. Raises VoiceNotFound and AliasNotFound."""
    row = session.orm.get(AliasRow, (voice_id_of(session, voice), name_key(alias)))
    if row is None:
        raise AliasNotFound(alias, voice=voice, known=[known.name for known in aliases(session, voice)])
    _drop_alias(session, row, now_s=now_s, why="removed by hand")


def _drop_alias(session: Session, row: AliasRow, *, now_s: float, why: str) -> None:
    version = session.orm.get(VersionRow, row.version_id)
    assert version is not None, "an alias points at a version of the table"
    move = AliasMoveRow(voice_id=row.voice_id, name=row.name, from_number=version.number, moved_s=now_s, why=why)
    session.orm.add(move)
    session.orm.delete(row)


def _row(session: Session, version: Version) -> VersionRow:
    row = session.orm.get(VersionRow, version.id)
    assert row is not None, "a version is never deleted from its table"
    return row


def _means(session: Session, voice: str, version: Version) -> bool:
    """True when a job that names this voice would get this version."""
    try:
        return resolve(session, voice).id == version.id
    except (NotFound, ValueError):
        return False  # a preset, or a voice that is still to be made


def _release_aliases(session: Session, version: Version, *, now_s: float) -> None:
    """Let `current` go with the last version of a voice. Raises VersionInUse when anything else points at it."""
    pointing = session.orm.exec(select(AliasRow).where(AliasRow.version_id == version.id)).all()
    voice_id = voice_id_of(session, version.voice)
    alive = select(VersionRow.id).where(VersionRow.voice_id == voice_id, col(VersionRow.deleted_s).is_(None))
    is_last = len(session.orm.exec(alive.limit(2)).all()) == 1
    holding = sorted(row.name for row in pointing if not (is_last and row.folded == CURRENT))
    if holding:
        raise VersionInUse(
            f"{version.name} is needed by the alias {', '.join(holding)}.",
            hint=f"Point it elsewhere first: `voicejobs voices alias {version.voice}@N {holding[0]}`, or remove it "
            f"with `voicejobs voices alias {version.voice} {holding[0]} --remove`.",
        )
    for row in pointing:
        _drop_alias(session, row, now_s=now_s, why="the version was removed")
