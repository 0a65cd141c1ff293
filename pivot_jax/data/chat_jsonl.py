"""Reading and writing trajectories as OpenAI-style chat rows (`formats` has the other formats, and the rules)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Trajectory


def read_trajectories(path: str | os.PathLike[str]) -> Iterator[Trajectory]:
    """The trajectories of a file, in order, one in memory at a time; blank lines are skipped.

    Raises:
        DataError: at the first row that is not a trajectory, naming file, line, field and reason; also when two rows
            have the same id, because a turn is named by its trajectory's id.
    """
    return read(path, "chat")


def write_trajectories(path: str | os.PathLike[str], trajectories: Iterable[Trajectory]) -> int:
    """Write one row for each trajectory and return how many; the file appears whole or not at all."""
    return write(path, trajectories, "chat")
