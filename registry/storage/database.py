"""One SQLite file → short write transactions and consistent reads, durable, and safe between processes.

`Database.open` brings the file to the newest schema. This module touches the disk.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from registry.durable_files import crash_point, held_lock, make_folder_durably, rename_durably, temporary_beside
from registry.errors import DamagedData, SchemaTooNew, storage_error
from registry.storage.connection import WAIT_FOR_LOCK_S, connect, schema_version, translated
from registry.storage.migrations import MIGRATIONS, Migration
from registry.storage.session import Session

DATABASE_NAME = "registry.sqlite"  # in the state folder, and in a backup
APPLICATION_ID = 0x564A_4F42  # "VJOB" in the file's header: tells our database from any other SQLite file


class Database:
    """The registry's SQLite file. Values of this class may be shared by threads; transactions may not."""

    def __init__(self, path: Path, *, wait_s: float = WAIT_FOR_LOCK_S) -> None:
        self.path = path
        self.wait_s = wait_s  # how long a transaction waits for another process before it fails
        self._writing = threading.local()
        self._idle: list[sqlite3.Connection] = []  # kept open between transactions
        self._turn = threading.Lock()  # threads take turns here: SQLite would have them look again now and then

    @classmethod
    def open(
        cls, path: Path, *, wait_s: float = WAIT_FOR_LOCK_S, migrations: tuple[Migration, ...] = MIGRATIONS
    ) -> Database:
        """Open the database, creating it or bringing it to the newest schema first.

        Raises SchemaTooNew when a newer voicejobs has written it, DamagedData when it is no database of ours,
        and other StorageErrors as the disk gives them.
        """
        try:
            make_folder_durably(path.parent)
            with translated(path):
                _prepare(path, migrations)
        except OSError as error:
            raise storage_error(error, f"opening {path}") from error
        return cls(path, wait_s=wait_s)

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """One write transaction, begun immediately, committed at the end, rolled back by any exception."""
        # SQLite has one writer: a write inside a write of the same thread would wait for itself.
        assert not getattr(self._writing, "now", False), "a write transaction is already open in this thread"
        self._writing.now = True
        try:
            with self._turn, self._transaction("BEGIN IMMEDIATE", query_only=False) as (session, connection):
                yield session
                session.flush()
                crash_point("database.before-commit")
                connection.execute("COMMIT")
                crash_point("database.committed")
        finally:
            self._writing.now = False

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view, fixed at its first question; an attempt to write in it fails."""
        with self._transaction("BEGIN", query_only=True) as (session, _):
            yield session

    @contextlib.contextmanager
    def _transaction(self, begin: str, *, query_only: bool) -> Iterator[tuple[Session, sqlite3.Connection]]:
        with translated(self.path), self._lent() as connection:
            connection.execute(f"PRAGMA query_only = {int(query_only)}")
            connection.execute(begin)
            session = Session(connection)
            try:
                yield session, connection
            finally:
                session.close()
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile; it is kept for the next transaction unless this one fails."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = connect(self.path, wait_s=self.wait_s)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def close(self) -> None:
        """Close every connection; the next transaction opens new ones."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def open_alone(path: Path) -> Iterator[Session]:
    """A session on a database file that nobody else uses, which is a single file, without a WAL, afterwards."""
    with translated(path), contextlib.closing(connect(path)) as connection:
        session = Session(connection)
        yield session
        session.close()
        connection.execute("PRAGMA journal_mode = DELETE")


def _prepare(path: Path, migrations: tuple[Migration, ...]) -> None:
    newest = migrations[-1].number if migrations else 0
    with contextlib.closing(connect(path)) as connection:
        if _is_ready(connection, path, newest):
            return
        # Two processes that both find an old file take turns; switching to WAL heeds no busy timeout.
        with held_lock(path.with_name(f"{path.name}.setup.lock")):
            connection.execute("PRAGMA journal_mode = WAL")
            if 0 < schema_version(connection) < newest:
                _keep_copy(connection, path)
            for migration in migrations:
                _apply(connection, migration)


def _is_ready(connection: sqlite3.Connection, path: Path, newest: int) -> bool:
    version = schema_version(connection)
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise DamagedData(
            f"{path} is an SQLite file, but not a voicejobs registry.", hint="Move it away, or restore a backup."
        )
    if version > newest:
        raise SchemaTooNew(
            f"{path} has schema {version}; this voicejobs knows schemas up to {newest}.",
            hint="Install the newer voicejobs that wrote it, or go back to the copy kept beside it at the update.",
        )
    (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    return version == newest and application == APPLICATION_ID and journal == "wal"


def _keep_copy(connection: sqlite3.Connection, path: Path) -> None:
    """Keep the database as it was before an upgrade, for whoever goes back to the former voicejobs."""
    kept = path.with_name(f"{path.stem}.schema-{schema_version(connection)}{path.suffix}")
    temporary = temporary_beside(kept)
    with contextlib.closing(sqlite3.connect(temporary)) as copy:
        connection.backup(copy)
    rename_durably(temporary, kept)


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    # Rebuilding a table needs foreign keys off, which only works outside a transaction; they are checked instead.
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if schema_version(connection) < migration.number:
            for statement in migration.statements:
                connection.execute(statement)
            broken = connection.execute("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise DamagedData(f"Schema {migration.number} would leave {len(broken)} rows that refer to nothing.")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {migration.number}")
        crash_point("database.before-migration-commit")
        connection.execute("COMMIT")
        crash_point("database.migrated")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("PRAGMA foreign_keys = ON")
