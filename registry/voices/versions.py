"""A checked new version → a stored one, with aliases that move to it. Nothing is ever overwritten.

Every function takes a write transaction first, so that callers join several changes into one. A runner does all of
this, so it goes in plain SQL.
"""

from __future__ import annotations

from registry.storage.session import Row, Session
from registry.voices.lookup import find_by_idempotency_key, get_version, resolve, voice_id_of
from registry.voices.names import CURRENT, VoiceReference, check_alias_name, check_voice_name, name_key
from registry.voices.values import NewVersion, Version
from registry.voices.version_rows import columns_of, idempotency_key, record_sha256_of


def add_version(session: Session, new: NewVersion, *, now_s: float, set_current: bool = True) -> Version:
    """Store version N+1 of a voice, or version 1 of a new one, and move `current` to it.

    The same idempotency key a second time returns the first version and changes nothing. Raises InvalidVoiceName,
    and VersionNotFound for a parent that does not exist.
    """
    name = check_voice_name(new.voice)
    key = idempotency_key(new)
    if key is not None and (made := find_by_idempotency_key(session, voice=name, key=key)):
        return made
    parent = (
        None if new.parent is None else resolve(session, VoiceReference(name=name, number=new.parent), removed=True)
    )
    voice_id = _voice_id(session, name, now_s=now_s)
    count = "UPDATE voice SET last_number = last_number + 1 WHERE id = :id RETURNING last_number AS number"
    number = session.rows(count, {"id": voice_id})[0]["number"]
    columns = {
        "voice_id": voice_id,
        "number": number,
        "parent_id": parent.id if parent else None,
        "created_s": now_s,
        **columns_of(new),
        "record_sha256": record_sha256_of(new, number=number),
    }
    version_id = session.insert("version", columns)
    for attachment, sha256 in new.attachments.items():
        kept = {"version_id": version_id, "name": attachment, "attachment_object": sha256}
        session.insert("version_attachment", kept)
    if set_current:
        why = f"{new.origin} by job {new.made_by_job}" if new.made_by_job else new.origin
        point_alias(session, get_version(session, version_id), CURRENT, now_s=now_s, why=why)
    return get_version(session, version_id)


def set_alias(
    session: Session, wanted: VoiceReference | str, alias: str, *, now_s: float, why: str = "set by hand"
) -> Version:
    """Make `alias` point at a version, and log the move. Raises InvalidVoiceName for a number, and as `resolve`."""
    version = resolve(session, wanted)
    point_alias(session, version, check_alias_name(alias), now_s=now_s, why=why)
    return version


def point_alias(session: Session, version: Version, alias: str, *, now_s: float, why: str) -> None:
    """As `set_alias`, for a name that has been checked."""
    voice_id = voice_id_of(session, version.voice)
    known = _pointing(session, voice_id, alias)
    if known is None:
        values = {"voice_id": voice_id, "folded": name_key(alias), "name": alias}
        session.insert("alias", {**values, "version_id": version.id, "moved_s": now_s})
    else:
        moved = "UPDATE alias SET version_id = ?, moved_s = ? WHERE voice_id = ? AND folded = ?"
        session.execute_many(moved, [(version.id, now_s, voice_id, name_key(alias))])
    move = {"from_number": known["number"] if known else None, "to_number": version.number}
    _log_move(session, voice_id, known["name"] if known else alias, **move, moved_s=now_s, why=why)


def _pointing(session: Session, voice_id: int, alias: str) -> Row | None:
    """The alias as it is spelt, and the number of the version that it points at."""
    question = """
        SELECT alias.name, version.number FROM alias JOIN version ON version.id = alias.version_id
        WHERE alias.voice_id = :voice_id AND alias.folded = :folded
    """
    found = session.rows(question, {"voice_id": voice_id, "folded": name_key(alias)})
    return found[0] if found else None


def _log_move(session: Session, voice_id: int, name: str, **move: float | str | None) -> None:
    session.insert("alias_move", {"voice_id": voice_id, "name": name, **move})


def _voice_id(session: Session, name: str, *, now_s: float) -> int:
    """The voice of this name, made when there is none."""
    found = session.rows("SELECT id FROM voice WHERE folded = :folded", {"folded": name_key(name)})
    if found:
        return int(found[0]["id"])
    return session.insert("voice", {"name": name, "folded": name_key(name), "last_number": 0, "created_s": now_s})
