"""Rows of a text file, one in memory at a time: JSON lines, or the values of a JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from pivot_jax.data.failure import WHOLE_ROW, DataError, FieldError, FileError
from pivot_jax.data.formats.compression import FAULTS, open_unpacked
from pivot_jax.data.formats.json_stream import BrokenDocument, JsonStream, Value

_BOM = b"\xef\xbb\xbf"


class Row(Protocol):
    """A row before it is decoded. `line` counts from 1 (in a file of columns it is the row's number); `label` is a
    name for a trajectory that has none, made of the file's name and the line."""

    @property
    def line(self) -> int: ...
    @property
    def label(self) -> str: ...

    def value(self) -> object:
        """The decoded row; FieldError if it is not JSON."""
        ...

    def raw(self) -> str:
        """The row as it stands in the file; bytes that are not UTF-8 as lone surrogates ("surrogateescape")."""
        ...


class RowSource(Protocol):
    """A file's rows, from the start each time it is iterated; DataError or FileError where the file ends too soon."""

    @property
    def file(self) -> Path: ...
    @property
    def name(self) -> str: ...
    def __iter__(self) -> Iterator[Row]: ...


@dataclass(frozen=True)
class TextRow:
    """A row of a text file."""

    line: int
    text: bytes
    label: str

    def value(self) -> object:
        return decode(self.text)

    def raw(self) -> str:
        return self.text.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")


@dataclass(frozen=True)
class JsonLines:
    """One JSON value a line; blank lines are skipped, and counted as lines."""

    file: Path
    name: str

    def __iter__(self) -> Iterator[TextRow]:
        line = 0
        try:
            with open_unpacked(self.file) as lines:
                for line, text in enumerate(lines, start=1):
                    content = text.removeprefix(_BOM) if line == 1 else text
                    if content.strip():
                        yield TextRow(line, content, f"{self.name}/{line}")
        except FAULTS as error:
            raise DataError(self.file, line + 1, WHOLE_ROW, f"the compressed file is damaged here: {error}") from error


@dataclass(frozen=True)
class Document:
    """A JSON document: one object, an array of rows, or values one after the other."""

    file: Path
    name: str

    def __iter__(self) -> Iterator[TextRow]:
        for value in self.values():
            yield self.row(value)

    def row(self, value: Value) -> TextRow:
        """The row that a value of the document is; the object that is a whole file is named by the file alone."""
        return TextRow(value.line, value.text, self.name if value.first else f"{self.name}/{value.line}")

    def values(self, array: str = "", members: frozenset[str] = frozenset()) -> Iterator[Value]:
        """See `JsonStream`; a document that breaks off is a DataError."""
        try:
            with open_unpacked(self.file) as stream:
                yield from JsonStream(stream, array, members).values()
        except BrokenDocument as error:
            raise DataError(self.file, error.line, error.field, error.reason) from error
        except FAULTS as error:
            raise FileError(self.file, f"the compressed file is damaged: {error}") from error


def decode(text: bytes) -> object:
    """The JSON value of a text; FieldError if it is none (NaN and infinity are none)."""
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FieldError(WHOLE_ROW, f"not JSON: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
