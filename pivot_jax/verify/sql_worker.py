"""The child process of `sql_engine`: one JSON request a line in, one JSON answer a line out. Standard library alone.

python -I sql_worker.py STEPS ROWS MEMORY_MIB
"""

from __future__ import annotations

import hashlib
import json
import re
import resource
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LENGTH = 100_000
"""Bytes of one string, blob or row."""
EVERY = 1_000
"""Instructions between two looks at their number."""
REFUSED_FUNCTIONS = {"load_extension", "random", "randomblob", "fts3_tokenizer"}
"""They reach outside, or answer otherwise each time."""
READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}

SHOW_TABLES = re.compile(r"\s*SHOW\s+TABLES\s*;?\s*", re.IGNORECASE)
DESCRIBE = re.compile(
    r"\s*(?:DESCRIBE|DESC|SHOW\s+(?:FULL\s+)?COLUMNS\s+(?:FROM|IN))\s+[`\"]?(\w+)[`\"]?\s*;?\s*", re.IGNORECASE
)
"""What the recorded agents ask MySQL about a schema; SQLite has no such statements, the schema answers them."""


class Limits:
    """What one statement may take."""

    def __init__(self, steps: int, rows: int) -> None:
        self.steps, self.rows = steps, rows
        self._left = 0

    def restart(self) -> None:
        self._left = self.steps

    def count(self) -> bool:
        """The progress handler: true ends the statement."""
        self._left -= EVERY
        return self._left < 0


Schema = dict[str, list[tuple[Any, ...]]]


def open_copy(path: Path, limits: Limits) -> tuple[sqlite3.Connection, Schema]:
    """A copy in memory that can only be read, and its columns by table (in lower case)."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(path.read_bytes())
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    names = [
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    schema = {
        name.lower(): [(name, *row[1:3]) for row in connection.execute("SELECT * FROM pragma_table_info(?)", (name,))]
        for name in names
    }
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(LENGTH, path.stat().st_size))
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, LENGTH)
    connection.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100)
    connection.setlimit(sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 20)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0)
    connection.set_progress_handler(limits.count, EVERY)
    connection.set_authorizer(authorise)
    return connection, schema


def authorise(action: int, one: str | None, two: str | None, database: str | None, trigger: str | None) -> int:
    """Reading and plain functions are allowed, and nothing else."""
    if action in READING:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (two or "").lower() not in REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def answer(connection: sqlite3.Connection, schema: Schema, statement: str, limits: Limits) -> dict[str, Any]:
    """The fields of an `SqlResult`."""
    if SHOW_TABLES.fullmatch(statement):
        return digests([(columns[0][0],) for columns in schema.values()])
    if asked := DESCRIBE.fullmatch(statement):
        columns = schema.get(asked[1].lower())
        return digests(columns) if columns else {"kind": "failed", "reason": f"no such table: {asked[1]}"}
    limits.restart()
    rows: list[tuple[Any, ...]] = []
    try:
        cursor = connection.execute(statement)
        if cursor.description is None:
            return {"kind": "failed", "reason": "no result: not a query"}
        for row in cursor:
            rows.append(row)
            if len(rows) > limits.rows:
                return {"kind": "large", "reason": f"more than {limits.rows} rows"}
        return digests(rows)
    except MemoryError:
        return {"kind": "limit", "reason": "memory"}
    except (sqlite3.Error, sqlite3.Warning, UnicodeError, ValueError) as error:
        reason = str(error)
        return {"kind": "limit" if reason == "interrupted" else "failed", "reason": reason[:200]}


def digests(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """SHA-256 of the rows in their order, and of the rows sorted."""
    lines = [json.dumps([plain(value) for value in row]) for row in rows]
    return {"kind": "rows", "count": len(rows), "ordered": digest(lines), "unordered": digest(sorted(lines))}


def plain(value: Any) -> Any:
    """A value as it is compared: numbers to nine digits whatever their type, blobs as hexadecimal."""
    if isinstance(value, bytes):
        return {"blob": value.hex()}
    if isinstance(value, int | float):
        rounded = float(f"{value:.9g}")
        return value if isinstance(value, int) and rounded != value else rounded
    return value


def digest(lines: list[str]) -> str:
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode() + b"\n")
    return total.hexdigest()


def confine(mebibytes: int) -> None:
    """Limits of the whole process: no files written, no core, no children, memory."""
    memory = mebibytes << 20
    sqlite3.connect(":memory:").execute(f"PRAGMA hard_heap_limit = {memory}").close()
    for kind, most in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        # beside SQLite's own there are the interpreter, and the rows on their way to the digest
        (resource.RLIMIT_AS, 4 * memory + (1 << 30)),
    ):
        resource.setrlimit(kind, (most, most))


def main(steps: int, rows: int, mebibytes: int) -> None:
    """Answer until the parent closes the pipe."""
    confine(mebibytes)
    limits = Limits(steps, rows)
    opened: dict[str, tuple[sqlite3.Connection, Schema]] = {}
    reply: Callable[[str], Any] = sys.stdout.write
    for line in sys.stdin:
        request = json.loads(line)
        path = request["database"]
        if path not in opened:
            opened[path] = open_copy(Path(path), limits)
        reply(json.dumps(answer(*opened[path], request["statement"], limits)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
