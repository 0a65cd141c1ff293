"""Telling a file's format by what it holds."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from pivot_jax.data.failure import FieldError, FileError
from pivot_jax.data.formats.compression import FAULTS, open_unpacked
from pivot_jax.data.formats.json_stream import first_keys
from pivot_jax.data.formats.rows import Document, Row, RowSource

LOOKED_AT_ROWS = 100
LOOKED_AT_BYTES = 1 << 18


def detect(source: RowSource) -> tuple[str, str]:
    """(format, why) by the fields of the first row that is an object; FileError if they tell nothing, or for a pipe."""
    if source.file.is_fifo():
        raise FileError(source.file, "a pipe can be read once, so its format must be named")
    keys = _beginning(source) if isinstance(source, Document) else _first_object(source)
    name, why = _by_keys(keys, isinstance(source, Document))
    if not name:
        seen = ", ".join(sorted(keys)[:12]) or "no object"
        raise FileError(source.file, f"its format cannot be told by its first row ({seen}); name its format")
    return name, why


def _beginning(source: Document) -> set[str]:
    try:
        with open_unpacked(source.file) as stream:
            return first_keys(stream.read(LOOKED_AT_BYTES))
    except FAULTS as error:
        raise FileError(source.file, f"the compressed file is damaged: {error}") from error


def _first_object(rows: Iterable[Row]) -> set[str]:
    for row in islice(rows, LOOKED_AT_ROWS):
        try:
            value = row.value()
        except FieldError:
            continue  # a bad row is told of when it is read
        if isinstance(value, dict):
            return set(value)
    return set()


def _by_keys(keys: set[str], document: bool) -> tuple[str, str]:
    if "schema_version" in keys and keys & {"session_id", "steps"}:
        return "atif", "it has a schema_version and a session_id"
    if "responses_create_params" in keys:
        label = keys & {"expected_action", "expected_answer"}
        return ("pivot_rows", f"its rows have {label.pop()}") if label else ("responses", "its rows hold a request")
    if "simulations" in keys or {"info", "tasks"} <= keys or {"reward_info", "messages"} <= keys - {"domain"}:
        return "tau2", "it holds simulations"
    if "trajectory_format" in keys or "history" in keys or (document and "trajectory" in keys):
        return "swe_agent", "it has a history or a trajectory_format"
    if {"info", "messages"} <= keys and "task_id" not in keys:
        return "swe_agent", "it has messages and an info"
    if "messages" in keys:
        return "chat", "its rows have messages"
    if "input" in keys:
        return "responses", "its rows have input items"
    return "", ""
