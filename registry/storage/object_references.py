"""The database → the stored bytes that it needs. Any column named `…_object` refers to the object store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from registry.storage.session import Session

SUFFIX = "_object"
OWNERS = {  # how a row is called in a report; other tables go by their name and row id
    "version": "(SELECT voice.name || '@' || owner.number FROM voice WHERE voice.id = owner.voice_id)",
    "version_attachment": """(
        SELECT voice.name || '@' || version.number || ' ' || owner.name
        FROM version JOIN voice ON voice.id = version.voice_id WHERE version.id = owner.version_id
    )""",
    "candidate": "'candidate ' || owner.ordinal || ' of job ' || owner.job_name",
}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One column of one row that needs an object."""

    owner: str  # "elena@2"
    role: str  # "prompt", "reference", "audio", …
    sha256: str


def referring_columns(session: Session) -> list[tuple[str, str]]:
    """Every `(table, column)` that refers to the object store, whoever made the table."""
    question = """
        SELECT tables.name AS table_name, columns.name AS column_name
        FROM sqlite_master AS tables JOIN pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND columns.name LIKE '%\\_object' ESCAPE '\\' ORDER BY 1, 2
    """
    return [(row["table_name"], row["column_name"]) for row in session.rows(question)]


def references(session: Session) -> Iterator[Reference]:
    """Every reference to the object store."""
    for table, column in referring_columns(session):
        owner = OWNERS.get(table, f"'{table} ' || owner.rowid")
        question = f'SELECT {owner} AS owner, "{column}" AS sha256 FROM "{table}" AS owner WHERE "{column}" IS NOT NULL'
        for row in session.rows(question):
            yield Reference(owner=row["owner"], role=column.removesuffix(SUFFIX), sha256=row["sha256"])


def referenced_objects(session: Session) -> set[bytes]:
    """The SHA-256 of every object that something refers to, as 32 bytes each."""
    found: set[bytes] = set()
    for table, column in referring_columns(session):
        question = f'SELECT DISTINCT "{column}" AS sha256 FROM "{table}" WHERE "{column}" IS NOT NULL'
        found.update(bytes.fromhex(row["sha256"]) for row in session.rows(question))
    return found
