"""The trunk-and-branch layout: states of a trajectory that share a prefix share its computation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pivot_jax.data.rendered import Rendered, RenderedTurn, TokenIds


@dataclass(frozen=True, eq=False)
class BranchPoint:
    """Where the actions of turn `turn_index` leave their trunk.

    They see `start` trunk tokens, then `forced_ids`, the rest of the state. `forced_ids` is never empty: a branch
    computes the logits of its own first action token, from the last token of its state.
    """

    turn_index: int
    start: int
    forced_ids: TokenIds


@dataclass(frozen=True, eq=False)
class Trunk:
    """Tokens computed once for all `branches`: `ids[:start]` followed by `forced_ids` is the state of each."""

    trajectory_id: str
    ids: TokenIds
    branches: tuple[BranchPoint, ...]


def trunks(rendered: Rendered) -> tuple[Trunk, ...]:
    """Lay out the states of a trajectory on as few trunks as pay, from token ids alone.

    The longest state is placed first and every trunk is one state. A state joins the trunk with which it shares the
    longest prefix, unless that is less than half of the state, or the shorter states would gain more from a trunk of
    its own than it costs. A template that preserves prefixes gives exactly one trunk.
    """
    longest_first = sorted(rendered.turns, key=lambda turn: -len(turn.state_ids))
    trunk_of = list(range(len(longest_first)))
    shared = [0] * len(longest_first)  # tokens of each state that its trunk holds
    for place, turn in enumerate(longest_first):
        offered = {later: _usable(turn, longest_first[later]) for later in range(place + 1, len(longest_first))}
        gained = sum(max(0, tokens - shared[later]) for later, tokens in offered.items())
        if shared[place] and shared[place] >= gained:
            continue
        trunk_of[place] = place
        for later, tokens in offered.items():
            if tokens and tokens >= shared[later]:
                trunk_of[later], shared[later] = place, tokens
    members: defaultdict[int, list[RenderedTurn]] = defaultdict(list)
    for turn, place in zip(longest_first, trunk_of, strict=True):
        members[place].append(turn)
    layout = [_trunk(rendered.trajectory_id, turns) for turns in members.values()]
    return tuple(sorted(layout, key=lambda trunk: trunk.branches[0].turn_index))


def sharing(layout: Iterable[Trunk]) -> dict[str, int]:
    """Counts for the manifest: trunks, `state_tokens` (every state at full length) and `computed_tokens` (each trunk
    once, and the forced tokens of its branches)."""
    layout = tuple(layout)
    branches = [branch for trunk in layout for branch in trunk.branches]
    forced = sum(len(branch.forced_ids) for branch in branches)
    return {
        "trunks": len(layout),
        "state_tokens": sum(branch.start for branch in branches) + forced,
        "computed_tokens": sum(len(trunk.ids) for trunk in layout) + forced,
    }


def common_prefix(left: TokenIds, right: TokenIds) -> int:
    """Number of tokens that two sequences begin with alike."""
    length = min(len(left), len(right))
    differs = left[:length] != right[:length]
    return int(np.argmax(differs)) if differs.any() else length


def _usable(longer: RenderedTurn, shorter: RenderedTurn) -> int:
    """Tokens of the shorter state that a trunk of the longer one would spare; 0 where that is less than half."""
    shared = common_prefix(longer.state_ids, shorter.state_ids)
    return shared if 2 * shared >= len(shorter.state_ids) else 0


def _trunk(trajectory_id: str, members: Sequence[RenderedTurn]) -> Trunk:
    """The trunk of `members`, whose first is the state that all of them share with."""
    spine = members[0].state_ids
    branches: list[BranchPoint] = []
    for member in sorted(members, key=lambda turn: turn.index):
        start = min(common_prefix(spine, member.state_ids), len(member.state_ids) - 1)
        branches.append(BranchPoint(member.index, start, member.state_ids[start:]))
    needed = max(branch.start for branch in branches)
    return Trunk(trajectory_id=trajectory_id, ids=spine[:needed], branches=tuple(branches))
