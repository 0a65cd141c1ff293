"""Turns and candidates of a trajectory, and the split of tasks into training and held-out ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from pivot_jax.records import Action, Candidate, Trajectory, Turn


def turns(trajectory: Trajectory) -> tuple[Turn, ...]:
    """One turn for each assistant message that has something before it, in order.

    An assistant message that opens the trajectory (a fixed greeting such as "How can I help you?") is no turn: there is
    no state to decide from. It is part of the state of every later turn. `index` counts turns, `position` messages.
    """
    messages = enumerate(trajectory.messages)
    positions = [position for position, message in messages if position > 0 and message.role == "assistant"]
    return tuple(
        Turn(trajectory_id=trajectory.id, index=index, position=position) for index, position in enumerate(positions)
    )


def candidates(trajectory: Trajectory) -> tuple[Candidate, ...]:
    """(state, expert action) of every turn (Eq. 3): the candidates before any is profiled."""
    return tuple(
        Candidate(
            turn=turn,
            domain=trajectory.domain,
            task_id=trajectory.task_id,
            state=trajectory.messages[: turn.position],
            tools=trajectory.tools,
            expert=Action.of(trajectory.messages[turn.position]),
        )
        for turn in turns(trajectory)
    )


def split_by_task(
    trajectories: Iterable[Trajectory], held_out: float, seed: int
) -> tuple[list[Trajectory], list[Trajectory]]:
    """Split into (training, held out) by task, each side in input order.

    The side is a hash of (seed, domain, task id): all trajectories of a task fall on one side, and a task stays on its
    side whatever else is in the file.

    Args:
        trajectories: any number of trajectories of each task.
        held_out: expected share of tasks held out, 0 to 1.
        seed: another seed gives another split.
    """
    if not 0.0 <= held_out <= 1.0:
        raise ValueError(f"held_out={held_out} is not a share between 0 and 1")
    training: list[Trajectory] = []
    kept_apart: list[Trajectory] = []
    for trajectory in trajectories:
        chosen = _uniform(seed, trajectory.domain, trajectory.task_id) < held_out
        (kept_apart if chosen else training).append(trajectory)
    return training, kept_apart


def is_for_base(trajectory: Trajectory, share: float) -> bool:
    """Whether a trajectory's task belongs to the share that a base policy is made of.

    It depends on the domain and the task id alone, not on a seed: runs of several seeds may share one base, and none
    of them sees its tasks again.
    """
    return _uniform("base", trajectory.domain, trajectory.task_id) < share


def _uniform(*words: str | int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(json.dumps(words).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2.0**53  # 53 bits: no rounding up to 1.0
