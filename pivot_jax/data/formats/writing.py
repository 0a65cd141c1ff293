"""Writing trajectories in any format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pivot_jax.data.failure import WHOLE_ROW, FieldError, FileError
from pivot_jax.data.formats import tau2
from pivot_jax.data.formats.atomic import appearing, json_line
from pivot_jax.data.formats.columnar import columns_of, write_parquet
from pivot_jax.data.formats.options import WriteOptions
from pivot_jax.data.formats.registry import AUTO, ROW_WRITERS, WRITE_FORMATS
from pivot_jax.data.formats.sources import DOCUMENTS, layout_of
from pivot_jax.records import Trajectory

Held = Iterator[tuple[Trajectory, list[Any]]]
"""Trajectories that the format can hold, and the rows of each, ready to be written."""


def write(
    path: str | os.PathLike[str],
    trajectories: Iterable[Trajectory],
    format: str = AUTO,
    *,
    options: WriteOptions | None = None,
    on_refused: Callable[[FieldError], None] | None = None,
) -> int:
    """Write the trajectories and return how many; the file appears whole or not at all.

    Args:
        path: packed by `.gz` or `.zst`. JSON lines, one row each, except: `.json` and `.traj` hold the one row of one
            trajectory, or a τ² result file; `.parquet` holds columns.
        trajectories: written one at a time, as they come.
        format: one of WRITE_FORMATS; "auto" is parquet for `.parquet` and else chat.
        on_refused: called for a trajectory that the format cannot hold, right after it was taken; then the next one is
            taken. Without it the fault is raised.

    Raises:
        FieldError: a trajectory that the format cannot hold; the reason names it.
        FileError: the ending does not fit the format or the number of rows.
    """
    file, layout = Path(path), layout_of(Path(path))
    if format not in WRITE_FORMATS:
        raise ValueError(f"format={format!r}; use one of {', '.join(WRITE_FORMATS)}")
    name = ("parquet" if layout == ".parquet" else "chat") if format == AUTO else format
    if (name == "parquet") != (layout == ".parquet") or layout == ".arrow":
        raise FileError(file, f"{name} is not written under this ending; parquet is, under .parquet")
    if name == "parquet" and file.suffix != layout:
        raise FileError(file, f"columns are packed inside; without {file.suffix}")
    if name == "tau2" and layout != ".json":
        raise FileError(file, "a τ² result file is one JSON object; name it .json (or .json.gz, .json.zst)")
    encode = columns_of if name == "parquet" else json_line
    held = 0

    def rows() -> Held:
        nonlocal held
        for trajectory in trajectories:
            try:
                encoded = _encoded(trajectory, name, options or WriteOptions(), encode)
            except FieldError as fault:
                if on_refused is None:
                    named = f"trajectory {trajectory.id!r}: {fault.reason}"
                    raise FieldError(fault.field, named) from fault
                on_refused(fault)
                continue
            held += 1
            yield trajectory, encoded

    if name == "parquet":
        write_parquet(file, (row for _, encoded in rows() for row in encoded))
    elif name == "tau2":
        _write_results(file, rows())
    else:
        _write_lines(file, rows(), single=layout in DOCUMENTS)
    return held


def _encoded(
    trajectory: Trajectory, name: str, options: WriteOptions, encode: Callable[[dict[str, Any]], Any]
) -> list[Any]:
    """The rows of a trajectory, ready to be written; FieldError if the format cannot hold it."""
    try:
        rows = ROW_WRITERS[name](trajectory, options)
    except ValidationError as error:
        raise FieldError.of_validation(error) from error
    try:
        return [encode(row) for row in rows]
    except (ValueError, TypeError, RecursionError) as error:  # metadata may hold anything
        raise FieldError(WHOLE_ROW, f"has no form in JSON: {error}") from error


def _write_lines(file: Path, rows: Held, single: bool) -> None:
    written = 0
    with appearing(file) as content:
        for _, encoded in rows:
            for line in encoded:
                if single and written:
                    raise FileError(file, "holds one row and there are more; name it .jsonl")
                content.write(line)
                written += 1


def _write_results(file: Path, rows: Held) -> None:
    """A τ² result file, its simulations one at a time."""
    begun = False
    with appearing(file) as content:
        for trajectory, encoded in rows:
            content.write(b",\n" if begun else _opening(trajectory))
            begun = True
            content.write(b",\n".join(row.rstrip(b"\n") for row in encoded))
        content.write(b"\n]}\n" if begun else _opening(None) + b"]}\n")


def _opening(first: Trajectory | None) -> bytes:
    """The result file up to its first simulation."""
    return json_line(tau2.opening(first)).rstrip().removesuffix(b"}") + b', "simulations": [\n'
