"""What changes the voices: new versions, moving aliases, removing and restoring. Nothing is ever overwritten.

Every function takes a write transaction first, so that callers join several changes into one.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlmodel import col, select

from registry.database import Session
from registry.errors import NotFound
from registry.lookup import find_by_idempotency_key, get_version, resolve, voice_id_of
from registry.tables import AliasMoveRow, AliasRow, VersionAttachmentRow, VersionRow, VoiceRow
from registry.values import NewVersion, Version
from registry.version_rows import columns_of, idempotency_key
from registry.voice_errors import AliasNotFound, VersionInUse, VersionNotFound
from registry.voice_names import CURRENT, VoiceReference, check_alias_name, check_voice_name, fold

Need = tuple[str, str]  # a job that has not ended, and a voice as it names it: ("night-7", "elena@2")


def add_version(session: Session, new: NewVersion, *, now_s: float, set_current: bool = True) -> Version:
    """Store version N+1 of a voice, or version 1 of a new one, and move `current` to it.

    The same idempotency key a second time returns the first version and changes nothing. Raises InvalidVoiceName,
    and VersionNotFound for a parent that does not exist.
    """
    name = check_voice_name(new.voice)
    key = idempotency_key(new)
    if key is not None and (made := find_by_idempotency_key(session, voice=name, key=key)):
        return made
    voice = _voice_row(session, name, now_s=now_s)
    parent = None if new.parent is None else _numbered(session, name, new.parent)
    voice.last_number += 1
    assert voice.id is not None
    row = VersionRow(
        voice_id=voice.id,
        number=voice.last_number,
        parent_id=parent.id if parent else None,
        created_s=now_s,
        **columns_of(new),
    )
    session.orm.add(row)
    session.flush()
    assert row.id is not None
    for attachment, sha256 in new.attachments.items():
        session.orm.add(VersionAttachmentRow(version_id=row.id, name=attachment, attachment_object=sha256))
    if set_current:
        why = f"{new.origin} by job {new.made_by_job}" if new.made_by_job else new.origin
        _point(session, get_version(session, row.id), CURRENT, now_s=now_s, why=why)
    return get_version(session, row.id)


def set_alias(
    session: Session, wanted: VoiceReference | str, alias: str, *, now_s: float, why: str = "set by hand"
) -> Version:
    """Make `alias` point at a version, and log the move. Raises InvalidVoiceName for a number, and as `resolve`."""
    version = resolve(session, wanted)
    _point(session, version, check_alias_name(alias), now_s=now_s, why=why)
    return version


def remove_alias(session: Session, voice: str, alias: str, *, now_s: float, why: str = "removed by hand") -> None:
    """Remove an alias, and log it. Raises VoiceNotFound and AliasNotFound."""
    voice_id = voice_id_of(session, voice)
    row = session.orm.get(AliasRow, (voice_id, fold(alias)))
    if row is None:
        known = session.orm.exec(select(AliasRow.name).where(AliasRow.voice_id == voice_id)).all()
        raise AliasNotFound(alias, voice=voice, known=known)
    number = get_version(session, row.version_id).number
    _log_move(session, row, from_number=number, to_number=None, now_s=now_s, why=why)
    session.orm.delete(row)
    session.flush()


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
    # `current` goes with the version that it points at, so that one is the last.
    rows = sorted(
        session.orm.exec(alive), key=lambda row: (alias is not None and row.id == alias.version_id, row.number)
    )
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
        _point(session, version, CURRENT, now_s=now_s, why="restored")
    session.flush()
    return get_version(session, version.id)


def _voice_row(session: Session, name: str, *, now_s: float) -> VoiceRow:
    row: VoiceRow | None = session.orm.exec(select(VoiceRow).where(VoiceRow.folded == fold(name))).one_or_none()
    if row is None:
        row = VoiceRow(name=name, folded=fold(name), created_s=now_s)
        session.orm.add(row)
        session.flush()
    return row


def _row(session: Session, version: Version) -> VersionRow:
    row = session.orm.get(VersionRow, version.id)
    assert row is not None, "a version is never deleted from its table"
    return row


def _numbered(session: Session, name: str, number: int) -> Version:
    return resolve(session, VoiceReference(name=name, number=number), removed=True)


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
            hint=f"Point it elsewhere first: `voicejobs voices alias {version.voice}@N {holding[0]}`.",
        )
    for row in pointing:
        _log_move(session, row, from_number=version.number, to_number=None, now_s=now_s, why="the version was removed")
        session.orm.delete(row)


def _point(session: Session, version: Version, alias: str, *, now_s: float, why: str) -> None:
    voice_id = voice_id_of(session, version.voice)
    row = session.orm.get(AliasRow, (voice_id, fold(alias)))
    if row is None:
        row = AliasRow(voice_id=voice_id, folded=fold(alias), name=alias, version_id=version.id, moved_s=now_s)
        before = None
    else:
        before = get_version(session, row.version_id).number
        row.version_id, row.moved_s = version.id, now_s
    session.orm.add(row)
    _log_move(session, row, from_number=before, to_number=version.number, now_s=now_s, why=why)
    session.flush()


def _log_move(
    session: Session, row: AliasRow, *, from_number: int | None, to_number: int | None, now_s: float, why: str
) -> None:
    move = AliasMoveRow(
        voice_id=row.voice_id, name=row.name, from_number=from_number, to_number=to_number, moved_s=now_s, why=why
    )
    session.orm.add(move)
