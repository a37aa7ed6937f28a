"""A voice's name or reference → its versions, aliases and their log; nothing is changed.

Questions go in plain SQL, so that a runner and quick commands are spared the import of SQLModel. Every function takes
either kind of transaction, `db.read()` or `db.write()`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from registry.errors import DamagedData, nearest
from registry.storage.session import Row, Session
from registry.voices.errors import AliasNotFound, AmbiguousDigest, VersionNotFound, VoiceNotFound
from registry.voices.names import CURRENT, DIGEST_PREFIX, VoiceReference, name_key, parse_voice_reference
from registry.voices.values import Alias, AliasMove, Change, ModelFacts, Version, VersionDiff, VoiceSummary
from registry.voices.version_rows import digest_of, version_from

NAMES_TO_GUESS_FROM = 1000  # of 100,000 voices, only those that begin alike are compared with a misspelt name
PAGE = 50
NOT_COMPARED = {"id", "voice", "number", "created_s", "speaker_embedding", "deleted_s", "deleted_why", "purged_s"}

VERSION_QUESTION = """
    SELECT version.*, voice.name AS voice_name, parent.number AS parent_number
    FROM version
    JOIN voice ON voice.id = version.voice_id
    LEFT JOIN version AS parent ON parent.id = version.parent_id
"""
LIST_QUESTION = """
    SELECT voice.name, newest.number AS newest, newest.created_s AS changed_s, chosen.number AS current,
           chosen.language, chosen.model, chosen.description,
           (SELECT count(*) FROM version WHERE voice_id = voice.id AND deleted_s IS NULL) AS versions
    FROM voice
    JOIN version AS newest ON newest.id = (
        SELECT id FROM version WHERE voice_id = voice.id AND deleted_s IS NULL ORDER BY number DESC LIMIT 1
    )
    LEFT JOIN alias ON alias.voice_id = voice.id AND alias.folded = 'current'
    LEFT JOIN version AS chosen ON chosen.id = alias.version_id
    WHERE voice.folded > :after AND instr(voice.folded, :containing)
    ORDER BY voice.folded LIMIT :limit
"""


def resolve(session: Session, wanted: VoiceReference | str, *, removed: bool = False) -> Version:
    """The version that a reference means at this moment; removed ones only when asked for.

    Raises VoiceNotFound, VersionNotFound, AliasNotFound, AmbiguousDigest, InvalidVoiceReference, and DamagedData
    when a version named by its digest no longer has it.
    """
    reference = parse_voice_reference(wanted) if isinstance(wanted, str) else wanted
    if reference.preset:
        raise VersionNotFound(
            str(reference),
            voice=reference.name,
            reason="is a preset of a model, not a locked voice",
            hint=f"It needs no registry: it speaks in jobs, and by `voicejobs say -v {reference.name} TEXT`.",
        )
    voice_id = voice_id_of(session, reference.name)
    if reference.digest is not None:
        return _by_digest(session, reference, voice_id=voice_id, removed=removed)
    if reference.number is not None:
        found = _versions(session, "version.voice_id = :a AND version.number = :b", a=voice_id, b=reference.number)
    else:
        found = _by_alias(session, reference, voice_id=voice_id)
    if not found:
        raise VersionNotFound(str(reference), voice=reference.name)
    return _unless_removed(found[0], str(reference), removed=removed)


def get_version(session: Session, version_id: int) -> Version:
    """The version with this row id, removed or not. Raises VersionNotFound."""
    found = _versions(session, "version.id = :a", a=version_id)
    if not found:
        raise VersionNotFound(f"Version row {version_id}", voice="NAME")
    return found[0]


def living_with_digest(session: Session, start: str) -> str | None:
    """The reference `name@N` of the version, of any voice, whose digest begins so and that was not removed.

    Raises AmbiguousDigest when there are several of different digests.
    """
    question = """
        SELECT voice.name, version.number, version.digest FROM version JOIN voice ON voice.id = version.voice_id
        WHERE version.digest >= :start AND version.digest < :end AND version.deleted_s IS NULL
        GROUP BY version.digest ORDER BY version.digest LIMIT 2
    """
    found = session.rows(question, {"start": start, "end": start + "g"})
    if len(found) > 1:
        message = f"Several versions have digests that begin with {start}."
        raise AmbiguousDigest(message, hint="Give more digits; `voicejobs voices show NAME` prints them all.")
    return f"{found[0]['name']}@{found[0]['number']}" if found else None


def number_of_versions(session: Session) -> int:
    """Number of versions, those of all voices, that were not removed."""
    return int(session.rows("SELECT count(*) AS number FROM version WHERE deleted_s IS NULL")[0]["number"])


def find_by_idempotency_key(session: Session, *, voice: str, key: str) -> Version | None:
    """The version of a voice that was made under this key, if any."""
    condition = "voice.folded = :a AND version.idempotency_key = :b"
    found = _versions(session, condition, a=name_key(voice), b=key)
    return found[0] if found else None


def voice_keys(session: Session) -> set[str]:
    """Name keys of all voices that have a version."""
    question = "SELECT DISTINCT voice.folded FROM voice JOIN version ON version.voice_id = voice.id"
    return {row["folded"] for row in session.rows(f"{question} WHERE version.deleted_s IS NULL")}


def voice_id_of(session: Session, name: str) -> int:
    """The row id of a voice. Raises VoiceNotFound, with the names nearest to the wanted one."""
    found = session.rows("SELECT id FROM voice WHERE folded = :folded", {"folded": name_key(name)})
    if not found:
        raise VoiceNotFound(name, near=_names_near(session, name))
    return int(found[0]["id"])


def list_voices(session: Session, *, after: str = "", containing: str = "", limit: int = PAGE) -> list[VoiceSummary]:
    """One page of voices with at least one version, by name; the next page begins `after` the last name of this."""
    parameters = {"after": name_key(after), "containing": name_key(containing), "limit": limit}
    return [VoiceSummary(**row) for row in session.rows(LIST_QUESTION, parameters)]


def history(session: Session, name: str, *, before: int | None = None, limit: int = PAGE) -> list[Version]:
    """Versions of a voice, newest first, removed ones included; the next page is `before` the last number of this."""
    condition = "version.voice_id = :a AND version.number < :b ORDER BY version.number DESC LIMIT :c"
    bound = before if before is not None else 1 << 62
    return _versions(session, condition, a=voice_id_of(session, name), b=bound, c=limit)


def living_versions(session: Session, name: str) -> Iterator[Version]:
    """Every version of a voice that was not removed, newest first. Raises VoiceNotFound."""
    before: int | None = None
    while page := history(session, name, before=before):
        yield from (version for version in page if version.deleted_s is None)
        before = page[-1].number


def aliases(session: Session, name: str) -> list[Alias]:
    """The aliases of a voice, by name."""
    question = """
        SELECT voice.name AS voice, alias.name, version.number, alias.moved_s
        FROM alias JOIN voice ON voice.id = alias.voice_id JOIN version ON version.id = alias.version_id
        WHERE alias.voice_id = :voice_id ORDER BY alias.folded
    """
    return [Alias(**row) for row in session.rows(question, {"voice_id": voice_id_of(session, name)})]


def alias_log(session: Session, name: str, *, limit: int = PAGE) -> list[AliasMove]:
    """Moves of a voice's aliases, newest first."""
    question = """
        SELECT voice.name AS voice, alias_move.name, from_number, to_number, moved_s, why
        FROM alias_move JOIN voice ON voice.id = alias_move.voice_id
        WHERE alias_move.voice_id = :voice_id ORDER BY alias_move.id DESC LIMIT :limit
    """
    return [
        AliasMove(**row) for row in session.rows(question, {"voice_id": voice_id_of(session, name), "limit": limit})
    ]


def compare(before: Version, after: Version) -> VersionDiff:
    """Every field that differs, the model's facts one by one, and the cosine of the speaker embeddings."""
    old, new = _flat(before), _flat(after)
    changes = tuple(Change(field=name, before=old[name], after=new[name]) for name in old if old[name] != new[name])
    cosine = cosine_of(before.speaker_embedding, after.speaker_embedding)
    return VersionDiff(before=before.name, after=after.name, changes=changes, speaker_cosine=cosine)


def cosine_of(first: Sequence[float] | None, second: Sequence[float] | None) -> float | None:
    """The cosine between two embeddings `(D,)`; None when one is missing or empty, or they differ in size."""
    if first is None or second is None or len(first) != len(second):
        return None
    lengths = math.hypot(*first) * math.hypot(*second)
    if not lengths or not math.isfinite(lengths):
        return None
    dot = math.fsum(a * b for a, b in zip(first, second, strict=True))
    return max(-1.0, min(1.0, dot / lengths))


def _flat(version: Version) -> dict[str, Any]:
    own = {field.name: getattr(version, field.name) for field in fields(Version) if field.name not in NOT_COMPARED}
    model: ModelFacts = own.pop("model")
    return {**own, **{field.name: getattr(model, field.name) for field in fields(ModelFacts)}}


def _by_alias(session: Session, reference: VoiceReference, *, voice_id: int) -> list[Version]:
    wanted = reference.alias or CURRENT
    condition = "version.id = (SELECT version_id FROM alias WHERE voice_id = :a AND folded = :b)"
    found = _versions(session, condition, a=voice_id, b=name_key(wanted))
    if not found:
        known = [alias.name for alias in aliases(session, reference.name)]
        raise AliasNotFound(wanted, voice=reference.name, known=known)
    return found


def _by_digest(session: Session, reference: VoiceReference, *, voice_id: int, removed: bool) -> Version:
    assert reference.digest is not None
    condition = (
        "version.voice_id = :a AND version.digest >= :b AND version.digest < :c ORDER BY version.number LIMIT 100"
    )
    found = _versions(session, condition, a=voice_id, b=reference.digest, c=reference.digest + "g")
    if not found:
        raise VersionNotFound(str(reference), voice=reference.name)
    if len({version.digest for version in found}) > 1:
        names = ", ".join(f"{version.name} ({version.digest[:16]}…)" for version in found[:5])
        raise AmbiguousDigest(f"{reference} fits several versions: {names}.", hint="Write more digits.")
    # Versions of one digest are one voice, so any that is left will do; the oldest, to give the same answer always.
    chosen = next((version for version in found if version.deleted_s is None), found[0])
    if digest_of(chosen) != chosen.digest:
        raise DamagedData(
            f"{chosen.name} no longer has the digest {DIGEST_PREFIX}{chosen.digest[:16]}… that it was stored with.",
            hint="`voicejobs voices fsck` checks everything; restore a backup.",
        )
    return _unless_removed(chosen, str(reference), removed=removed)


def _unless_removed(version: Version, wanted: str, *, removed: bool) -> Version:
    if version.deleted_s is None or removed:
        return version
    if version.purged_s is not None:
        raise VersionNotFound(wanted, voice=version.voice, reason="was permanently removed")
    raise VersionNotFound(
        wanted, voice=version.voice, reason=f"was removed; `voicejobs voices restore {version.name}` brings it back"
    )


def _versions(session: Session, condition: str, **parameters: str | int) -> list[Version]:
    found = session.rows(f"{VERSION_QUESTION} WHERE {condition}", parameters)
    return [version_from(row, attachments=_attachments(session, row)) for row in found]


def _attachments(session: Session, row: Row) -> dict[str, str]:
    question = "SELECT name, attachment_object FROM version_attachment WHERE version_id = :id ORDER BY name"
    return {found["name"]: found["attachment_object"] for found in session.rows(question, {"id": row["id"]})}


def _names_near(session: Session, name: str) -> list[str]:
    """Names like the wanted one: of all voices when they are few, else of those that begin alike."""
    everybody = session.rows("SELECT name FROM voice LIMIT :limit", {"limit": NAMES_TO_GUESS_FROM + 1})
    if len(everybody) > NAMES_TO_GUESS_FROM:
        start = name_key(name)[:2]
        question = "SELECT name FROM voice WHERE folded >= :start AND folded < :end LIMIT :limit"
        bounds = {"start": start, "end": start + "\U0010ffff", "limit": NAMES_TO_GUESS_FROM}
        everybody = session.rows(question, bounds)
    return nearest(name, [row["name"] for row in everybody])
