"""Recorded trajectories, read as the config says: from one file or a folder, in any of the formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pivot_jax.config import DataSection
from pivot_jax.data.formats.options import ReadOptions, tools_of_file
from pivot_jax.data.formats.registry import read
from pivot_jax.records import Trajectory

REJECTS = "rejects.jsonl"


def recorded(section: DataSection, run_dir: Path) -> Iterator[Trajectory]:
    """The trajectories at `data.path`, one in memory at a time.

    With `data.on_bad_row = "skip"` the rows that cannot be read are written to `RUN/rejects.jsonl`, which is made anew
    by each call.

    Raises:
        DataError: a bad row (on_bad_row = "fail"), or a file that cannot be read at all.
    """
    tools = tools_of_file(Path(section.tools)) if section.tools else {}
    yield from read(
        section.path,
        section.format,
        on_bad_row=section.on_bad_row,
        rejects=run_dir / REJECTS if section.on_bad_row == "skip" else None,
        options=ReadOptions(make_ids=section.make_ids, tools=tools),
    )


def rejected_rows(section: DataSection, run_dir: Path) -> int:
    """How many rows the last reading set aside; 0 where a bad row is an error."""
    if not section.path or section.on_bad_row == "fail":
        return 0
    with (run_dir / REJECTS).open("rb") as lines:
        return sum(1 for _ in lines)
