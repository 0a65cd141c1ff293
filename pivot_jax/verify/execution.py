"""Functional equivalence by execution: r_func(s, a) = 1[a in M(s)] (Eq. 6), with M(s) decided by running the action.

The sampled action and the demonstrated one are executed from the same restored state. The sampled one is acceptable if
it brings the episode as far forward, without damage that rules success out.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from pivot_jax.records import Action, Candidate, Verdict
from pivot_jax.verify.verifier import Unjudgeable


class Restored(Protocol):
    """A task as it stood at a candidate's state. (Environments of the domains are such; this module knows none.)"""

    def clone(self) -> Restored: ...

    def step(self, action: Action) -> object: ...

    def remaining(self) -> float:
        """Fewest turns from here to success; `inf` where success is out of reach."""
        ...


@dataclass(frozen=True)
class _Anchor:
    """A restored state, with the turns that remained there and after the expert action."""

    state: Restored
    before: float
    expert_after: float


class ExecutionVerifier:
    """1 if no more turns remain after the action than after the expert's, and success is still in reach.

    Args:
        restore: makes the state of a candidate; raises Unjudgeable if it cannot.
        name: what the rewards are stored under.
        capacity: restored states kept, least recently used first out; the actions of one candidate come together.

    Components: `remaining_before`, `remaining_after`, `expert_after`, in turns; -1 stands for `inf`, which JSON cannot
    hold.
    """

    def __init__(self, restore: Callable[[Candidate], Restored], name: str = "execution", capacity: int = 8) -> None:
        self.name = name
        self._restore = restore
        self._capacity = capacity
        self._anchors: OrderedDict[Hashable, _Anchor] = OrderedDict()

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        """The verdict; raises Unjudgeable if the state cannot be restored or the expert action brings nothing forward
        (such a label would accept useless actions)."""
        if action.malformed:
            return Verdict(reason=action.malformed)
        anchor = self._anchor(candidate)
        after = _remaining_after(anchor.state, action)
        accepted = math.isfinite(after) and after <= anchor.expert_after
        return Verdict(
            reward=float(accepted),
            components={
                "remaining_before": _finite(anchor.before),
                "remaining_after": _finite(after),
                "expert_after": _finite(anchor.expert_after),
            },
            reason="" if accepted else f"{after:g} turns remain, {anchor.expert_after:g} after the expert action",
        )

    def _anchor(self, candidate: Candidate) -> _Anchor:
        # The id alone is not enough: two recordings of one task may carry the same id and differ in what was done.
        key = (candidate.id, candidate.task_id, candidate.state, candidate.expert)
        if key not in self._anchors:
            self._anchors[key] = self._restored(candidate)
            if len(self._anchors) > self._capacity:
                self._anchors.popitem(last=False)
        self._anchors.move_to_end(key)
        return self._anchors[key]

    def _restored(self, candidate: Candidate) -> _Anchor:
        state = self._restore(candidate)
        before = state.remaining()
        expert_after = _remaining_after(state, candidate.expert)
        if expert_after >= before:
            raise Unjudgeable(
                f"label of {candidate.id}: the expert action brings nothing forward"
                f" ({before:g} turns remain before it, {expert_after:g} after)"
            )
        return _Anchor(state, before, expert_after)


def _remaining_after(state: Restored, action: Action) -> float:
    trial = state.clone()
    trial.step(action)
    return trial.remaining()


def _finite(turns: float) -> float:
    return turns if math.isfinite(turns) else -1.0
