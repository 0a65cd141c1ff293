"""The formats by name, and reading and writing trajectories in any of them.

    for trajectory in read(["runs/one.jsonl.gz", "runs/more"], on_bad_row="skip", rejects="rejects.jsonl"): ...
    write("pivots.jsonl.zst", trajectories, "pivot_rows")

One row is in memory at a time; beside it 64 bits of every id seen, and for pivot rows their index (`pivot_rebuild`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pivot_jax.data.failure import FieldError, FileError
from pivot_jax.data.formats import atif, chat, pivot_rebuild, pivot_rows, responses, swe_agent, tau2
from pivot_jax.data.formats.bad_rows import BadRows, OnBadRow
from pivot_jax.data.formats.columnar import Columns
from pivot_jax.data.formats.detect import detect
from pivot_jax.data.formats.options import ReadOptions, WriteOptions
from pivot_jax.data.formats.rows import Row, RowSource
from pivot_jax.data.formats.sources import sources
from pivot_jax.records import Trajectory

AUTO = "auto"
COLUMNAR = ("parquet", "datasets")
"""Names of a layout, not of rows: what the rows are is told by their columns."""

Reader = Callable[[RowSource, ReadOptions, BadRows], Iterator[tuple[Trajectory, Row]]]
RowWriter = Callable[[Trajectory, WriteOptions], list[dict[str, Any]]]
OnFormat = Callable[[Path, str, str], None]


def _one_each(read_row: Callable[[object, str, ReadOptions], Trajectory]) -> Reader:
    """The reader of a format in which every row is a trajectory."""

    def read_source(source: RowSource, options: ReadOptions, bad: BadRows) -> Iterator[tuple[Trajectory, Row]]:
        for row in source:
            bad.read += 1
            try:
                trajectory = read_row(row.value(), row.label, options)
            except (FieldError, ValidationError) as error:
                bad.refuse(source.file, row, error)
                continue
            yield trajectory, row

    return read_source


def _tau2(source: RowSource, options: ReadOptions, bad: BadRows) -> Iterator[tuple[Trajectory, Row]]:
    for row, info in tau2.read_rows(source):
        bad.read += 1
        try:
            trajectory = tau2.read_row(row.value(), row.label, options, info)
        except (FieldError, ValidationError) as error:
            bad.refuse(source.file, row, error)
            continue
        yield trajectory, row


READERS: Mapping[str, Reader] = {
    "chat": _one_each(chat.read_row),
    "tau2": _tau2,
    "responses": _one_each(responses.read_row),
    "pivot_rows": pivot_rebuild.read,
    "atif": _one_each(atif.read_row),
    "swe_agent": _one_each(swe_agent.read_row),
}

ROW_WRITERS: Mapping[str, RowWriter] = {
    "chat": chat.write_rows,
    "tau2": tau2.write_rows,
    "responses": responses.write_rows,
    "pivot_rows": pivot_rows.write_rows,
    "atif": atif.write_rows,
    "swe_agent": swe_agent.write_rows,
    "parquet": chat.write_rows,
}

READ_FORMATS = (AUTO, *READERS, *COLUMNAR)
WRITE_FORMATS = (AUTO, *ROW_WRITERS)


@dataclass(frozen=True)
class Located:
    """A trajectory, and the row of the file that it was read from."""

    trajectory: Trajectory
    file: Path
    row: Row


def read(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    format: str = AUTO,
    *,
    on_bad_row: OnBadRow = "fail",
    rejects: str | os.PathLike[str] | None = None,
    options: ReadOptions | None = None,
    on_format: OnFormat | None = None,
) -> Iterator[Trajectory]:
    """The trajectories of files or folders, in order, one in memory at a time.

    Args:
        paths: one or several; see `sources` for folders and endings.
        format: one of READ_FORMATS; "auto" tells each file's by what it holds.
        on_bad_row, rejects: see `BadRows`.
        options: values for what rows leave out.
        on_format: told of each file, its format and why.

    Raises:
        DataError: at the first bad row (on_bad_row="fail"); FileError, a DataError, where a file cannot be read at all.
    """
    with BadRows(on_bad_row, rejects) as bad:
        for located in read_located(paths, format, options or ReadOptions(), bad, on_format):
            yield located.trajectory


def read_located(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    format: str,
    options: ReadOptions,
    bad: BadRows,
    on_format: OnFormat | None = None,
) -> Iterator[Located]:
    """As `read`, with the row of each trajectory; `bad` counts and refuses, the repeated ids as well."""
    if format not in READ_FORMATS:
        raise ValueError(f"format={format!r}; use one of {', '.join(READ_FORMATS)}")
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = sources(given)
    place_of_id: dict[int, tuple[int, int]] = {}
    for number, source in enumerate(found):
        name, why = _format_of(source, format)
        if on_format is not None:
            on_format(source.file, name, why)
        for trajectory, row in READERS[name](source, options, bad):
            # a turn is named by its trajectory's id; the id itself may be long, and a file may hold millions
            key = int.from_bytes(
                hashlib.blake2b(trajectory.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            )
            if key in place_of_id:
                earlier, line = place_of_id[key]
                where = "" if earlier == number else f" of {found[earlier].file}"
                fault = FieldError("id", f"{trajectory.id!r} is already on line {line}{where}")
                bad.refuse(source.file, row, fault)
                continue
            place_of_id[key] = (number, row.line)
            yield Located(trajectory, source.file, row)


def _format_of(source: RowSource, format: str) -> tuple[str, str]:
    if format in COLUMNAR and not isinstance(source, Columns):
        raise FileError(source.file, f"is not {format}: neither .parquet nor .arrow nor a folder that datasets saved")
    return detect(source) if format == AUTO or format in COLUMNAR else (format, "as told")
