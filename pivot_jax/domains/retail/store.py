"""The shop's database: real SQLite in memory, copied as an image and compared by a digest of all rows."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping

Row = tuple[str | int, ...]

SCHEMA = """
create table users (id text primary key, name text, email text, postcode text, street text);
create table products (name text, colour text, stock integer, primary key (name, colour));
create table orders (id text primary key, user text, status text, reason text);
create table items (id text, order_id text, product text, colour text, state text, primary key (order_id, id));
"""
TABLES = ("users", "products", "orders", "items")


class Store:
    """One task's database. A copy is an image of bytes until it is first queried, so copying costs nothing."""

    def __init__(self, image: bytes, digest: str = "") -> None:
        self._image = image
        self._digest = digest
        self._connection: sqlite3.Connection | None = None

    @classmethod
    def create(cls, tables: Mapping[str, Iterable[Row]]) -> Store:
        """A database with these rows, by table."""
        connection = _connect()
        connection.executescript(SCHEMA)
        for table, rows in tables.items():
            for row in rows:
                connection.execute(f"insert into {table} values ({','.join('?' * len(row))})", row)
        store = cls(connection.serialize())
        connection.close()
        return store

    def clone(self) -> Store:
        """An independent copy."""
        return Store(self.image(), self._digest)

    def image(self) -> bytes:
        """The database as SQLite writes it to disk."""
        if not self._image:
            self._image = self._open().serialize()
        return self._image

    def digest(self) -> str:
        """SHA-256 of every row of every table; equal exactly when the contents are equal."""
        if not self._digest:
            dump = [self.rows(f"select * from {table} order by 1, 2") for table in TABLES]
            self._digest = hashlib.sha256(repr(dump).encode()).hexdigest()
        return self._digest

    def rows(self, query: str, *values: str) -> list[Row]:
        """The rows that a query finds."""
        return self._open().execute(query, values).fetchall()

    def write(self, statement: str, *values: str) -> None:
        """Change rows."""
        self._open().execute(statement, values)
        self._image, self._digest = b"", ""

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _connect()
            self._connection.deserialize(self._image)
        return self._connection

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _connect() -> sqlite3.Connection:
    # Autocommit: an image may be taken at any moment. Environments move between the threads of a verifier pool.
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
