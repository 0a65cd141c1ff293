"""Reading and writing trajectories as OpenAI-style chat JSONL, plain or gzip-compressed (`.gz`), row by row."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from pivot_jax.data.chat_row import row_of_trajectory, trajectory_of_row
from pivot_jax.data.failure import WHOLE_ROW, DataError, FieldError
from pivot_jax.records import Trajectory


def read_trajectories(path: str | os.PathLike[str]) -> Iterator[Trajectory]:
    """The trajectories of a file, in order, one in memory at a time; blank lines are skipped.

    Raises:
        DataError: at the first row that is not a trajectory, naming file, line, field and reason; also when two rows
            have the same id, because a turn is named by its trajectory's id.
    """
    file = Path(path)
    line_of_id: dict[str, int] = {}
    with _open_rows(file) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                trajectory = trajectory_of_row(_decode(line))
            except FieldError as error:
                raise DataError(file, number, error.field, error.reason) from error
            if trajectory.id in line_of_id:
                raise DataError(file, number, "id", f"{trajectory.id!r} is already on line {line_of_id[trajectory.id]}")
            line_of_id[trajectory.id] = number
            yield trajectory


def write_trajectories(path: str | os.PathLike[str], trajectories: Iterable[Trajectory]) -> int:
    """Write one row for each trajectory and return how many; the file appears whole or not at all."""
    file = Path(path)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    count = 0
    try:
        with partial.open("wb") as raw:
            with _packed(raw) if file.suffix == ".gz" else nullcontext(raw) as rows:
                for trajectory in trajectories:
                    line = json.dumps(row_of_trajectory(trajectory), ensure_ascii=False, allow_nan=False)
                    rows.write(line.encode() + b"\n")
                    count += 1
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _packed(raw: BinaryIO) -> gzip.GzipFile:
    # No time or file name in the header: equal trajectories give equal bytes.
    return gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)


def _open_rows(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


def _decode(line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise FieldError(WHOLE_ROW, f"not JSON: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
