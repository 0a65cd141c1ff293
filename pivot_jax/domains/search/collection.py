"""The document collection: real SQLite FTS5 in memory, ranked by BM25, read-only once it is made.

What a policy searches for is hostile text. It reaches FTS5 only as quoted words joined by OR, so no operator, column
filter or wildcard does; an authorizer refuses everything but reading, and a progress handler ends what takes too long.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

PAGE = 3
"""Results of one page."""

MOST_TICKS = 1000
TICK = 100
"""Virtual machine instructions of a tick. A count, unlike a clock, ends the same query everywhere."""

CACHED_QUERIES = 512

# Words of the title count most, words of the text least. Rounding makes equal ranks equal on every machine; then the
# document that was added first comes first.
_QUERY = "select handle from docs where docs match ? order by round(bm25(docs, 0, 1.0, 0.5, 0.1), 6), rowid limit 9"
_FUNCTIONS = {"bm25", "match", "round"}


class Refused(Exception):
    """A query that took too long, or that the engine refuses."""


@dataclass(frozen=True)
class Document:
    """A document: its handle, its title of two words, another word by which it is found, and its text."""

    handle: str
    title: str
    keyword: str
    text: str


class Collection:
    """Documents in the order in which they rank when they match equally well. Safe to share between threads."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents = {document.handle: document for document in documents}
        self._rankings: OrderedDict[tuple[str, ...], tuple[str, ...]] = OrderedDict()
        self._lock = threading.Lock()
        self._ticks = 0
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.execute("create virtual table docs using fts5(handle unindexed, title, keyword, text)")
        rows = [(one.handle, one.title, one.keyword, one.text) for one in self.documents.values()]
        self._connection.executemany("insert into docs values (?, ?, ?, ?)", rows)
        self._connection.execute("pragma query_only = on")
        self._connection.set_authorizer(_authorize)
        self._connection.set_progress_handler(self._tick, TICK)

    def search(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Handles of the nine best documents with any of the words, best first; Refused when it takes too long."""
        key = tuple(sorted(set(words)))
        with self._lock:
            if key not in self._rankings:
                self._rankings[key] = self._ranking(key)
                if len(self._rankings) > CACHED_QUERIES:
                    self._rankings.popitem(last=False)
            self._rankings.move_to_end(key)
            return self._rankings[key]

    def page(self, words: tuple[str, ...], number: int) -> tuple[str, ...]:
        """Handles of one page of results, from page 0, in the order of the handles: the place says nothing."""
        return tuple(sorted(self.search(words)[PAGE * number : PAGE * (number + 1)]))

    def _ranking(self, words: tuple[str, ...]) -> tuple[str, ...]:
        self._ticks = 0
        query = " OR ".join('"' + word.replace('"', '""') + '"' for word in words)
        try:
            return tuple(handle for (handle,) in self._connection.execute(_QUERY, (query,)))
        except sqlite3.Error as error:
            raise Refused(str(error)) from error

    def _tick(self) -> bool:
        self._ticks += 1
        return self._ticks > MOST_TICKS

    def __del__(self) -> None:
        self._connection.close()


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    reads = (
        action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)
        or (action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS)
        # FTS5 itself asks whether the data have changed.
        or (action == sqlite3.SQLITE_PRAGMA and first == "data_version")
    )
    return sqlite3.SQLITE_OK if reads else sqlite3.SQLITE_DENY
