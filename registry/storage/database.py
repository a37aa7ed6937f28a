"""One SQLite file → short write transactions and consistent reads, durable, and safe between processes.

`Database.open` brings the file to the newest schema. Questions, and all that a runner does, go in plain SQL; what
removes voices goes through SQLModel, which is imported when a transaction first needs it: it takes longer to import
than most commands take altogether, and 30 MB of memory. This module touches the disk.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.durable_files import crash_point, held_lock, make_folder_durably, rename_durably, temporary_beside
from registry.errors import (
    FREE_SPACE_HINT,
    DamagedData,
    DatabaseLocked,
    DiskFull,
    SchemaTooNew,
    StorageError,
    storage_error,
)
from registry.storage.migrations import MIGRATIONS, Migration

if TYPE_CHECKING:
    import sqlmodel

APPLICATION_ID = 0x564A_4F42  # "VJOB" in the file's header: tells our database from any other SQLite file
WAIT_FOR_LOCK_S = 30.0
WAL_KEPT_BYTES = 64 << 20  # a checkpoint cuts a WAL grown beyond this back
NO_SPACE_BYTES = 1 << 20  # SQLite reports some failures for want of space as a bare I/O error

Parameters = Mapping[str, Any] | Sequence[Any]
Row = Mapping[str, Any]  # one row of an answer, by column name


class Session:
    """One transaction: questions and changes in plain SQL, or through SQLModel by `orm`. Belongs to one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._orm: sqlmodel.Session | None = None

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Run one statement; every row of its answer."""
        self.flush()
        cursor = self._connection.execute(sql, parameters or {})
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement once for every row of values; in a write transaction."""
        if rows:
            self.flush()
            self._connection.executemany(sql, rows)

    def insert(self, table: str, columns: Mapping[str, Any]) -> int:
        """Add a row to one of our tables; returns its rowid."""
        self.flush()
        places = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"
        return self._connection.execute(sql, tuple(columns.values())).lastrowid or 0

    @property
    def orm(self) -> sqlmodel.Session:
        """SQLModel's session within this transaction, which begins and ends here, not there."""
        if self._orm is None:
            self._orm = _orm_session(self._connection)
        return self._orm

    def flush(self) -> None:
        """Have the changes made through SQLModel reach the database: questions see them from now on."""
        if self._orm is not None:
            self._orm.flush()

    def close(self) -> None:
        """Forget SQLModel's objects; the transaction is over."""
        if self._orm is not None:
            self._orm.close()
            self._orm = None


class _BorrowedConnection:
    """A connection as SQLAlchemy gets it: it can neither end the transaction nor close what is not its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def commit(self) -> None:
        """Left to `Database.write`."""

    def rollback(self) -> None:
        """Left to `Database.write`."""

    def close(self) -> None:
        """Left to `Database`."""


def _orm_session(connection: sqlite3.Connection) -> sqlmodel.Session:
    import sqlmodel
    from sqlalchemy.pool import StaticPool

    engine = sqlmodel.create_engine("sqlite://", creator=lambda: _BorrowedConnection(connection), poolclass=StaticPool)
    return sqlmodel.Session(engine, expire_on_commit=False)


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


def connect(path: Path, *, wait_s: float = WAIT_FOR_LOCK_S) -> sqlite3.Connection:
    """A connection with our settings; transactions are begun by hand."""
    connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        if sys.platform == "darwin":  # a plain fsync there stops at the drive's cache
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last migration applied; 0 in an empty file."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


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


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says about storage into errors of the tree; wrong SQL and broken constraints pass through."""
    try:
        yield
    except sqlite3.Error as error:
        if ours := error_from_sqlite(error, path):
            raise ours from error
        raise
    except Exception as error:
        original = getattr(error, "orig", None)  # SQLAlchemy's wrapper; naming its class would import it
        if isinstance(original, sqlite3.Error) and (ours := error_from_sqlite(original, path)):
            raise ours from original
        raise


def error_from_sqlite(error: sqlite3.Error, path: Path) -> StorageError | None:
    """The tree's error for a storage failure, told by SQLite's own wording; None for anything else."""
    text = str(error)  # Python 3.10 gives no error number, and these texts have not changed since SQLite 3.0
    if "disk is full" in text or ("disk I/O error" in text and _is_full(path)):
        return DiskFull(f"No space left for {path}.", hint=FREE_SPACE_HINT)
    if "is locked" in text:
        return DatabaseLocked(f"{path} stayed locked by another process for longer than we wait.")
    if "malformed" in text or "not a database" in text:
        return DamagedData(f"{path} is damaged ({text}).", hint="Restore a backup with `voicejobs restore`.")
    if any(words in text for words in ("disk I/O error", "readonly database", "unable to open", "permission denied")):
        return StorageError(f"{path} cannot be used: {text}.", hint="`voicejobs doctor` checks disk and permissions.")
    return None


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < NO_SPACE_BYTES
    except OSError:
        return False  # the folder itself is gone or failing, which is not a matter of space
