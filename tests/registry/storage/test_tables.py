"""The classes of the voice registry's tables, the tables in the file, and what fills them without the classes."""

import dataclasses

import pytest
from sqlalchemy.dialects import sqlite
from sqlmodel import SQLModel, select

from registry.storage import tables
from registry.storage.database import Database
from registry.voices.candidates import add_candidate
from registry.voices.versions import add_version
from tests.registry.making import BASE, a_candidate, a_version, sha256, take_facts

CLASSES = [
    value
    for value in vars(tables).values()
    if isinstance(value, type) and issubclass(value, SQLModel) and value is not SQLModel
]
LEDGER = {
    "registry",
    "job",
    "line",
    "attempt",
    "dependency",
    "voice_need",
    "job_event",
    "job_request",
    "hook_delivery",
    "live_drop",
}  # plain SQL, no classes
OF_REMOVED_ONES = {"deleted_s", "deleted_why", "purged_s"}


def columns_of(db: Database) -> dict[str, list[tuple[str, str, bool, bool]]]:
    question = """
        SELECT tables.name AS table_name, columns.* FROM sqlite_master AS tables
        JOIN pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'
    """
    found: dict[str, list[tuple[str, str, bool, bool]]] = {}
    with db.read() as snapshot:
        for row in snapshot.rows(question):
            column = (row["name"], row["type"], bool(row["notnull"] or row["pk"]), bool(row["pk"]))
            found.setdefault(row["table_name"], []).append(column)
    return {name: sorted(columns) for name, columns in found.items()}


def test_the_classes_are_the_tables_of_the_voice_registry_in_the_file(db):
    declared = {
        name: sorted(
            (
                column.name,
                _sql_type(column.type.compile(dialect=sqlite.dialect())),
                not column.nullable,
                column.primary_key,
            )
            for column in table.columns
        )
        for name, table in SQLModel.metadata.tables.items()
    }
    assert declared == {name: columns for name, columns in columns_of(db).items() if name not in LEDGER}


def _sql_type(declared: str) -> str:
    """What SQLModel calls a type, in the words of our migrations."""
    return {"VARCHAR": "TEXT", "FLOAT": "REAL", "BOOLEAN": "INTEGER"}.get(declared, declared)


def test_the_classes_refer_to_one_another_as_the_tables_do(db):
    question = """
        SELECT tables.name AS here, keys."from" AS by, keys."table" AS there
        FROM sqlite_master AS tables JOIN pragma_foreign_key_list(tables.name) AS keys
    """
    declared = {
        (name, key.parent.name, key.column.table.name)
        for name, table in SQLModel.metadata.tables.items()
        for key in table.foreign_keys
    }
    with db.read() as snapshot:
        stored = {(row["here"], row["by"], row["there"]) for row in snapshot.rows(question)}
    assert declared == {key for key in stored if key[0] not in LEDGER}


@pytest.fixture
def full(db, takes):
    """Rows of every table, written as a runner does: in plain SQL, every field with a value."""
    model = dataclasses.replace(BASE, quantization="8bit")
    audio = takes.audio.put(b"audio")
    with db.write() as session:
        add_version(session, a_version(made_by_job="lock"), now_s=1.0)
        add_version(session, a_version(model=model, made_by_job="relock", parent=1), now_s=2.0)
        add_candidate(session, "design", 1, a_candidate(model=model), now_s=3.0)
        takes.add(session, sha256("key"), audio, take_facts(), now_s=4.0)
    return db


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__tablename__)
def test_what_is_written_in_plain_sql_fills_every_column_of_its_class(full, kind):
    with full.read() as snapshot:
        newest = dict(snapshot.orm.exec(select(kind)).all()[-1])
    assert {name for name, value in newest.items() if value is None} <= OF_REMOVED_ONES
