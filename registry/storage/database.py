"""One SQLite file → short write transactions and consistent reads, durable, and safe between processes.

`Database.open` brings the file to the newest schema. This module touches the disk.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from registry.durable_files import crash_point, held_lock, make_folder_durably, rename_durably, temporary_beside
from registry.errors import DamagedData, ReadOnly, SchemaTooNew, storage_error
from registry.storage import identity
from registry.storage.connection import (
    RESTORE_DAMAGED,
    WAIT_FOR_LOCK_S,
    WRITABLE_AGAIN,
    connect,
    make_private_file,
    schema_version,
    translated,
)
from registry.storage.migrations import MIGRATIONS, Migration, tables_of
from registry.storage.read_only import readable_copy
from registry.storage.session import Session

HAS_ID = 3  # the first schema with an id
DATABASE_NAME = "registry.sqlite"  # in the state folder, and in a backup
APPLICATION_ID = 0x564A_4F42  # "VJOB" in the file's header: tells our database from any other SQLite file


class Database:
    """The registry's SQLite file. Values of this class may be shared by threads; transactions may not."""

    def __init__(self, path: Path, *, wait_s: float = WAIT_FOR_LOCK_S, reads_only: bool = False) -> None:
        self.path = path
        self.wait_s = wait_s  # how long a transaction waits for another process before it fails
        self._read_only = readable_copy(path, reads_only=reads_only)  # on a disk that cannot be written to
        self._writing = threading.local()
        self._idle: list[sqlite3.Connection] = []  # kept open between transactions
        self._turn = threading.Lock()  # threads take turns here: SQLite would have them look again now and then

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        root: Path | None = None,
        accept_loss: bool = False,
        wait_s: float = WAIT_FOR_LOCK_S,
        migrations: tuple[Migration, ...] = MIGRATIONS,
        reads_only: bool = False,
    ) -> Database:
        """Open the database, creating it or bringing it to the newest schema first.

        With `reads_only` it can be read on a full disk, too, by a command that is over soon.
        `root` is the folder of the instance that it belongs to, which remembers its id. Raises RegistryLost when it
        is absent or empty and was not before (unless `accept_loss`), SchemaTooNew when a newer voicejobs has written
        it, DamagedData when it is no database of ours or of another instance, and other StorageErrors.
        """
        try:
            identity.check_kind(path)
            if not path.exists():
                if not accept_loss:
                    identity.check_not_lost(path, root)
                make_folder_durably(path.parent)
            database = cls(path, wait_s=wait_s, reads_only=reads_only)
            with translated(path):
                database._prepare(migrations, root, accept_loss=accept_loss)
        except OSError as error:
            raise storage_error(error, f"opening {path}") from error
        return database

    @property
    def is_read_only(self) -> bool:
        """Whether the disk lets it be read only."""
        return self._read_only is not None

    @property
    def is_full(self) -> bool:
        """Whether the disk could be written to, had it any space left."""
        return self.is_read_only and os.access(self.path.parent, os.W_OK)

    def save_to(self, target: Path) -> None:
        """Copy the content, as this process still has it open, to a new file; also when the database has no name.

        Raises DamagedData when the content is not sound, and then leaves no file behind.
        """
        temporary = temporary_beside(target)
        temporary.unlink(missing_ok=True)
        make_private_file(temporary)
        try:
            with translated(target), self._lent() as connection, contextlib.closing(connect(temporary)) as copy:
                connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
                (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise DamagedData(f"{target} would be damaged ({found}).")
            rename_durably(temporary, target)
        except DamagedData as error:
            raise DamagedData(f"{self.path} is damaged, so no copy is made.", hint=RESTORE_DAMAGED) from error
        finally:
            temporary.unlink(missing_ok=True)

    def compact(self, *, worth_bytes: int) -> int:
        """Give unused space back to the disk when that is at least `worth_bytes` and a quarter; the bytes given."""
        with translated(self.path), self._lent() as connection:
            pages, unused, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            if unused * size < worth_bytes or unused * 4 < pages:
                return 0
            connection.execute("PRAGMA query_only = 0")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return int(unused * size)

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """One write transaction, begun immediately, committed at the end, rolled back by any exception."""
        # SQLite has one writer: a write inside a write of the same thread would wait for itself.
        assert not getattr(self._writing, "now", False), "a write transaction is already open in this thread"
        if self._read_only is not None:
            raise ReadOnly(f"{self.path} is on a disk that can only be read.", hint=WRITABLE_AGAIN)
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
            connection = self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        if self._read_only is not None:
            return connect(self._read_only.path, wait_s=self.wait_s, access=self._read_only.access)
        return connect(self.path, wait_s=self.wait_s)

    def changes(self) -> Changes:
        """A look at the changes that others commit from now on."""
        with translated(self.path):
            return Changes(self._connect())

    def close(self) -> None:
        """Close every connection; the next transaction opens new ones."""
        while self._idle:
            self._idle.pop().close()

    def _prepare(self, migrations: tuple[Migration, ...], root: Path | None, *, accept_loss: bool) -> None:
        newest = migrations[-1].number if migrations else 0
        if self._read_only is not None or self.path.exists():
            with self._lent() as connection:
                if _is_ready(connection, self.path, newest):
                    _remember(connection, self.path, root, newest)
                    return
                if self._read_only is not None and schema_version(connection) == newest:
                    return  # SQLite does not say that the journal is a WAL where it was told not to look
        if self._read_only is not None:
            raise ReadOnly(f"{self.path} has an older schema, and its disk can only be read.", hint=WRITABLE_AGAIN)
        # Two processes that both find an old file take turns; switching to WAL heeds no busy timeout.
        with held_lock(self.path.with_name(f"{self.path.name}.setup.lock")):
            self._bring_up(migrations, root, accept_loss=accept_loss)

    def _bring_up(self, migrations: tuple[Migration, ...], root: Path | None, *, accept_loss: bool) -> None:
        if not self.path.exists() and not accept_loss:
            identity.check_not_lost(self.path, root)
        make_private_file(self.path)
        newest = migrations[-1].number if migrations else 0
        with contextlib.closing(connect(self.path, wait_s=self.wait_s)) as connection:
            before = schema_version(connection)
            if before == 0 and not accept_loss:
                identity.check_not_lost(self.path, root)
            connection.execute("PRAGMA journal_mode = WAL")
            if 0 < before < newest:
                _keep_copy(connection, self.path)
            for migration in migrations:
                _apply(connection, migration)
            if before < HAS_ID <= newest and (known := identity.known_id(self.path, root)):
                connection.execute("UPDATE registry SET id = ?", (known,))
            _remember(connection, self.path, root, newest)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Changes:
    """SQLite's own counter of what other connections have committed: cheap enough to be read many times a second."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen = self._version()

    def since_last_look(self) -> bool:
        """Whether anything has been committed since the last look. Raises StorageError."""
        before, self._seen = self._seen, self._version()
        return self._seen != before

    def _version(self) -> int:
        with translated(Path(DATABASE_NAME)):
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def open_alone(path: Path) -> Iterator[Session]:
    """A session on a database file that nobody else uses, which is a single file, without a WAL, afterwards."""
    with translated(path), contextlib.closing(connect(path)) as connection:
        session = Session(connection)
        yield session
        session.close()
        connection.execute("PRAGMA journal_mode = DELETE")


def _remember(connection: sqlite3.Connection, path: Path, root: Path | None, newest: int) -> None:
    if newest >= HAS_ID:
        (registry_id,) = connection.execute("SELECT id FROM registry").fetchone() or (None,)
        if registry_id is None:
            raise DamagedData(f"{path} has lost its id.", hint=RESTORE_DAMAGED)
        identity.remember(path, root, registry_id)


def _is_ready(connection: sqlite3.Connection, path: Path, newest: int) -> bool:
    version = schema_version(connection)
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if application != APPLICATION_ID and (application or version or tables):
        raise DamagedData(f"{path} is an SQLite file, but not a voicejobs registry.", hint=RESTORE_DAMAGED)
    if version > newest:
        raise SchemaTooNew(
            f"{path} has schema {version}; this voicejobs knows schemas up to {newest}.",
            hint="Install the newer voicejobs that wrote it, or go back to the copy kept beside it at the update.",
        )
    if lost := tables_of(version) - tables:
        raise DamagedData(f"{path} has lost the tables {', '.join(sorted(lost))}.", hint=RESTORE_DAMAGED)
    (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    return version == newest and application == APPLICATION_ID and journal == "wal"


def _keep_copy(connection: sqlite3.Connection, path: Path) -> None:
    """Keep the database as it was before an upgrade, for whoever goes back to the former voicejobs."""
    kept = path.with_name(f"{path.stem}.schema-{schema_version(connection)}{path.suffix}")
    temporary = temporary_beside(kept)
    make_private_file(temporary)
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
