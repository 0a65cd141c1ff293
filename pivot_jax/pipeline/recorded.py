"""Recorded trajectories, read as the config says: from one file or a folder, in any of the formats.

Their tasks are split in two before anything else: those that a base policy is made of (`data.base_share`), and those
that give candidates and held-out turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from pivot_jax.config import DataSection
from pivot_jax.data.formats.options import ReadOptions, tools_of_file
from pivot_jax.data.formats.registry import read
from pivot_jax.data.rendering import render
from pivot_jax.data.turns import is_for_base, turns
from pivot_jax.records import Message, Trajectory

REJECTS = "rejects.jsonl"
CUT = " ..."
"""What stands at the end of a tool result that was cut."""


def recorded(section: DataSection, run_dir: Path) -> Iterator[Trajectory]:
    """The trajectories at `data.path` of at least `data.least_reward`, one in memory at a time, tool results cut to
    `data.tool_result` characters.

    With `data.on_bad_row = "skip"` the rows that cannot be read are written to `RUN/rejects.jsonl`, which is made anew
    by each call.

    Raises:
        DataError: a bad row (on_bad_row = "fail"), or a file that cannot be read at all.
    """
    tools = tools_of_file(Path(section.tools)) if section.tools else {}
    found = read(
        section.path,
        section.format,
        on_bad_row=section.on_bad_row,
        rejects=run_dir / REJECTS if section.on_bad_row == "skip" else None,
        options=ReadOptions(make_ids=section.make_ids, tools=tools),
    )
    for trajectory in found:
        least = section.least_reward
        if least is None or (trajectory.reward is not None and trajectory.reward >= least):
            yield with_short_results(trajectory, section.tool_result)


def for_base(section: DataSection, run_dir: Path) -> Iterator[Trajectory]:
    """The recorded trajectories of the tasks that a base policy is made of."""
    return (item for item in recorded(section, run_dir) if is_for_base(item, section.base_share))


def for_candidates(section: DataSection, run_dir: Path) -> Iterator[Trajectory]:
    """The recorded trajectories of all other tasks."""
    return (item for item in recorded(section, run_dir) if not is_for_base(item, section.base_share))


def rejected_rows(section: DataSection, run_dir: Path) -> int:
    """How many rows the last reading set aside; 0 where a bad row is an error."""
    if not section.path or section.on_bad_row == "fail":
        return 0
    with (run_dir / REJECTS).open("rb") as lines:
        return sum(1 for _ in lines)


def with_short_results(trajectory: Trajectory, characters: int) -> Trajectory:
    """The trajectory with tool results of at most so many characters and the mark `CUT`; 0: as it is."""

    def short(message: Message) -> Message:
        if message.role != "tool" or len(message.content) <= characters:
            return message
        return message.model_copy(update={"content": message.content[:characters] + CUT})

    if not characters:
        return trajectory
    return trajectory.model_copy(update={"messages": tuple(map(short, trajectory.messages))})


def up_to(trajectory: Trajectory, tokenizer: PreTrainedTokenizerBase, longest: int) -> Trajectory | None:
    """The trajectory up to its last turn before any is longer than `longest` tokens, state and action together.

    Args:
        trajectory: with at least one turn.
        tokenizer: renders it.
        longest: 0 for no limit.

    Returns:
        None if its first turn is too long already.
    """
    if not longest:
        return trajectory
    fits = 0
    for turn in render(trajectory, tokenizer).turns:
        if len(turn.state_ids) + len(turn.action_ids) > longest:
            break
        fits += 1
    if not fits:
        return None
    last = turns(trajectory)[fits - 1].position
    return trajectory.model_copy(update={"messages": trajectory.messages[: last + 1]})
