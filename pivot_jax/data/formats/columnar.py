"""Parquet files and Hugging Face `datasets` folders: rows in columns, read a record batch at a time with pyarrow.

The rows are chat rows or pivot rows. A column may hold structures, or JSON text where a row holds a structure (the
usual way to keep tools, whose schemas have no common type). Columns give every structure the fields of all of them,
null where it has none: a null field counts as absent.

Written: Parquet with the columns of COLUMN_NAMES; tools and metadata as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivot_jax.data.failure import FieldError, FileError
from pivot_jax.data.formats.atomic import appearing
from pivot_jax.data.formats.extras import optional
from pivot_jax.data.formats.rows import decode

EXTRA = "parquet"
BATCH_ROWS = 64
"""Rows decoded at a time, and rows of a written row group."""

STRUCTURES = ("messages", "tools", "metadata", "responses_create_params", "expected_action", "input", "response")
"""Columns whose text is JSON, where it is text."""

COLUMN_NAMES = ("id", "domain", "task_id", "reward", "messages", "tools", "metadata")


@dataclass(frozen=True)
class ColumnRow:
    """One row of columns."""

    line: int
    columns: dict[str, Any]
    label: str

    def value(self) -> object:
        row = {key: _without_nulls(item) for key, item in self.columns.items() if item is not None}
        for key in STRUCTURES:
            if isinstance(row.get(key), str) and key != "input":
                try:
                    row[key] = decode(row[key].encode("utf-8", "surrogatepass"))
                except FieldError as error:
                    raise FieldError(key, error.reason) from error
        if "messages" in row and isinstance(row.get("metadata"), dict):
            row = {**row.pop("metadata"), **row}
        return row

    def raw(self) -> str:
        return json.dumps(self.columns, default=str)


@dataclass(frozen=True)
class Columns:
    """The rows of a Parquet file, or of a `datasets` folder (its arrow or Parquet files, one after the other)."""

    file: Path
    name: str

    def __iter__(self) -> Iterator[ColumnRow]:
        line = 0
        for part in self._parts():
            for batch in _batches(part):
                for columns in batch.to_pylist():
                    line += 1
                    yield ColumnRow(line, columns, f"{self.name}/{line}")

    def _parts(self) -> list[Path]:
        if not self.file.is_dir():
            return [self.file]
        if (self.file / "dataset_dict.json").is_file():
            splits = sorted(path.name for path in self.file.iterdir() if path.is_dir())
            raise FileError(self.file, f"holds several splits; name the folder of one: {', '.join(splits)}")
        state = self.file / "state.json"
        if state.is_file():
            try:
                names = [part["filename"] for part in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]
            except (ValueError, KeyError, TypeError) as error:
                raise FileError(state, f"not the state of a datasets folder: {error!r}") from error
            return [self.file / str(name) for name in names]
        return sorted(path for ending in ("*.arrow", "*.parquet") for path in self.file.glob(ending))


def is_datasets_folder(folder: Path) -> bool:
    """Whether a folder is one that `datasets` saved: its state, its splits, or arrow files."""
    known = ("state.json", "dataset_dict.json")
    return any((folder / name).is_file() for name in known) or any(folder.glob("*.arrow"))


def _batches(part: Path) -> Iterator[Any]:
    """Record batches of BATCH_ROWS rows or fewer; FileError where the file is none of its kind."""
    arrow = optional("pyarrow", EXTRA, part)
    try:
        if part.suffix == ".parquet":
            with optional("pyarrow.parquet", EXTRA, part).ParquetFile(part) as file:
                yield from file.iter_batches(batch_size=BATCH_ROWS)
            return
        ipc = optional("pyarrow.ipc", EXTRA, part)
        with arrow.memory_map(str(part)) as mapped:
            try:
                batches = iter(ipc.open_stream(mapped))  # what `datasets` writes
            except arrow.ArrowInvalid:
                mapped.seek(0)
                file = ipc.open_file(mapped)
                batches = (file.get_batch(index) for index in range(file.num_record_batches))
            for batch in batches:
                for first in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(first, BATCH_ROWS)
    except (arrow.ArrowException, OSError) as error:
        raise FileError(part, f"cannot be read: {error}") from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        # a message's content may be null: that says it has none, not that it is missing
        return {key: _without_nulls(item) for key, item in value.items() if item is not None or key == "content"}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows made by `columns_of`; the file appears whole or not at all."""
    arrow = optional("pyarrow", EXTRA, path)
    parquet = optional("pyarrow.parquet", EXTRA, path)
    schema = _schema(arrow)
    with appearing(path) as raw, parquet.ParquetWriter(raw, schema, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH_ROWS:
                writer.write_batch(arrow.RecordBatch.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            writer.write_batch(arrow.RecordBatch.from_pylist(batch, schema=schema))


def columns_of(row: dict[str, Any]) -> dict[str, Any]:
    """A chat row as columns; ValueError or TypeError where it has no form in JSON, or in UTF-8."""
    own = ("id", "domain", "task_id", "reward", "messages")
    json.dumps([row[key] for key in own], ensure_ascii=False, allow_nan=False).encode()
    rest = {key: item for key, item in row.items() if key not in (*own, "tools")}
    structures = {"tools": row.get("tools", []), "metadata": rest}
    texts = {key: json.dumps(item, allow_nan=False) for key, item in structures.items()}
    return {key: row[key] for key in own} | texts


def _schema(arrow: Any) -> Any:
    text = arrow.string()
    call = arrow.struct(
        [("id", text), ("type", text), ("function", arrow.struct([("name", text), ("arguments", text)]))]
    )
    message = arrow.struct(
        [
            ("role", text),
            ("content", text),
            ("reasoning_content", text),
            ("tool_calls", arrow.list_(call)),
            ("tool_call_id", text),
            ("is_error", arrow.bool_()),
        ]
    )
    kinds = {"reward": arrow.float64(), "messages": arrow.list_(message)}
    return arrow.schema([(name, kinds.get(name, text)) for name in COLUMN_NAMES])
