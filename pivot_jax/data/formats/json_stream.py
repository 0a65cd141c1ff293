"""Values of a JSON document, one in memory at a time: the elements of a long array, or values one after the other.

Only brackets and strings are looked at; each value found is decoded by its reader. So the text of every value and the
line it starts on are known, and one value that is not JSON inside does not hide the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pivot_jax.data.failure import WHOLE_ROW, FieldError

LARGEST_VALUE = 1 << 30
"""Bytes; a value that does not end before is taken for a damaged document, not for a large one."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING + rb")*+([{}\[\]])", re.DOTALL)
_KEY = re.compile(rb"(" + _STRING + rb")\s*:\s*\Z", re.DOTALL)
_TOKEN = re.compile(_STRING + rb"|[{}\[\]:]", re.DOTALL)
_BETWEEN = re.compile(rb"[\s,]*")


@dataclass(frozen=True)
class Value:
    """The text of one object or array, the line it starts on (from 1), and the key of the member it is, if any.

    `first` is True of a value that stands at the very top, before any other.
    """

    line: int
    text: bytes
    key: str = ""
    first: bool = False


class BrokenDocument(FieldError):
    """Brackets that do not match, or text where a value should be: nothing after it can be read."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(WHOLE_ROW, reason)
        self.line = line


class JsonStream:
    """A document being read. `array` names the member of the top object whose elements are the values; without it they
    are the values at the top, or the elements of the array at the top. `members` are given too, whole, with their key.
    """

    def __init__(self, stream: BinaryIO, array: str = "", members: frozenset[str] = frozenset(), chunk: int = 1 << 18):
        self._stream, self._array, self._members, self._chunk = stream, array, members, chunk
        self._buffer = bytearray()
        self._at = 0  # everything before is looked at
        self._start = -1  # where the value being read starts; -1 between values
        self._line, self._counted = 1, 0  # the line at the position `_counted`

    def values(self) -> Iterator[Value]:
        """The values in order; BrokenDocument at the first place from which no more can be found."""
        depth, opened_at, key, found = 0, 0, "", 0
        floor = -1 if self._array else 0  # the depth at which a bracket opens a value; -1: none does
        while (match := self._to_next_bracket()) is not None:
            bracket, at = match.group(1), match.end() - 1
            if depth == floor and self._start < 0:
                self._only_separators(match.start(), at)
            if bracket in (b"{", b"["):
                if self._start < 0 and depth == 0 and bracket == b"[" and floor == found == 0:
                    floor = 1
                elif self._start < 0 and depth == floor:
                    self._start, opened_at, key = at, depth, ""
                elif self._start < 0 and floor < 0 and depth == 1:
                    name = self._key_before(match.start(), at)
                    if name == self._array and bracket == b"[":
                        floor = 2
                    elif name in self._members:
                        self._start, opened_at, key = at, depth, name
                depth += 1
                continue
            depth -= 1
            if depth < 0:
                raise BrokenDocument(self._line_of(at), f"not JSON: {bracket.decode()!r} closes nothing")
            if self._start >= 0 and depth == opened_at:
                text = bytes(self._buffer[self._start : at + 1])
                yield Value(self._line_of(self._start), text, key, first=depth == found == 0)
                self._start, found = -1, found + 1
            elif floor == 2 and depth == 1:
                floor = -1
        if depth:
            raise BrokenDocument(self._line_of(len(self._buffer)), "not JSON: the file ends inside a value")
        self._only_separators(self._at, len(self._buffer))

    def _to_next_bracket(self) -> re.Match[bytes] | None:
        """What stands up to the next bracket outside a string, that bracket included; None at the end."""
        while (match := _TO_BRACKET.match(self._buffer, self._at)) is None:
            keep = self._at if self._start < 0 else self._start
            if len(self._buffer) - keep > LARGEST_VALUE:
                raise BrokenDocument(self._line_of(keep), f"a value of more than {LARGEST_VALUE} bytes")
            self._forget(keep)
            more = self._stream.read(self._chunk)
            if not more:
                return None
            self._buffer += more
        self._at = match.end()
        return match

    def _forget(self, size: int) -> None:
        """Drop what stands before `size` from the buffer."""
        self._line_of(size)
        del self._buffer[:size]
        self._at -= size
        self._counted -= size
        self._start = max(-1, self._start - size)

    def _line_of(self, position: int) -> int:
        """The line of a position in the buffer; newlines are counted once, from one position asked for to the next."""
        if position < self._counted:
            return self._line - self._buffer.count(b"\n", position, self._counted)
        self._line += self._buffer.count(b"\n", self._counted, position)
        self._counted = position
        return self._line

    def _key_before(self, begin: int, end: int) -> str:
        found = _KEY.search(bytes(self._buffer[begin:end]))
        return found.group(1)[1:-1].decode("utf-8", "replace") if found else ""

    def _only_separators(self, begin: int, end: int) -> None:
        gap = bytes(self._buffer[begin:end])
        if _BETWEEN.fullmatch(gap) is None:
            shown = gap.strip()[:40].decode("utf-8", "replace")
            raise BrokenDocument(self._line_of(begin), f"not JSON: {shown!r} where an object should be")


def first_keys(beginning: bytes) -> set[str]:
    """Keys of the first object of a document, as far as its beginning shows them."""
    keys: set[str] = set()
    depth, top, string = 0, 1, b""
    for match in _TOKEN.finditer(beginning):
        token = match.group()
        if token == b"[" and not depth:
            top = 2
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
            if depth < top:
                break
        elif token == b":" and depth == top:
            keys.add(string[1:-1].decode("utf-8", "replace"))
        else:
            string = token
    return keys
