"""One transaction's connection → questions and changes, in plain SQL or through SQLModel.

SQLModel is imported when a transaction first needs it: that takes longer than most commands take altogether, and
30 MB of memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlmodel

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
        """Send the changes made through SQLModel to the database: questions see them from now on."""
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
