"""Model FLOPs of each phase, with the formulas of the ledger on rows of the planned lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pivot_jax.pipeline.flops import sampling_cost, scoring_flops, tokens_flops
from pivot_jax.pipeline.ledger import backward_flops, causal_keys
from pivot_jax.planning.workload import Workload
from pivot_jax.rollout.layout import BranchSlot, Row


@dataclass(frozen=True)
class Phase:
    """What one phase computes: of a step, or for `profile` at one trajectory."""

    name: str
    flops: int
    recomputed: int = 0
    """Operations that are done again in the backward pass: time, but no model FLOPs."""


def phases(work: Workload) -> tuple[Phase, ...]:
    """Profile (one trajectory), then the phases of a step; every state and every action of the longest length."""
    rows, lengths = step_rows(work)
    forward = scoring_flops(work.arch, rows, lengths)
    rollout = sampling_cost(work.arch, rows, lengths).flops
    prefill = prefill_flops(work)
    recomputed = forward if work.arch.remat in ("full", "offload") else 0
    return (
        Phase("profile, one trajectory", profile_flops(work)),
        Phase("rollout: prefill", prefill),
        Phase("rollout: decoding", rollout - prefill),
        Phase("reference", forward),
        Phase("update", forward + backward_flops(forward), recomputed),
    )


def step_rows(work: Workload) -> tuple[list[Row], list[int]]:
    """The rows of a step as the ledger is given them, and the lengths of their actions."""
    row = _row(work, work.config.plan.state_tokens, work.group)
    return [row] * work.pivots, [work.config.sampling.max_new_tokens] * (work.pivots * work.group)


def prefill_flops(work: Workload) -> int:
    """Of the trunks of a step."""
    state = work.config.plan.state_tokens
    return work.pivots * tokens_flops(work.arch, tokens=state, attended_keys=causal_keys(state), logits=0)


def profile_flops(work: Workload) -> int:
    """K actions at each turn of one trajectory: as many prefills as its branches take."""
    config = work.config
    actions, each = config.plan.turns * config.profile.samples, config.profile.branches_per_trunk
    counts = [min(each, actions - begin) for begin in range(0, actions, each)]
    rows = [_row(work, config.plan.state_tokens, count) for count in counts]
    return sampling_cost(work.arch, rows, [config.sampling.max_new_tokens] * actions).flops


def _row(work: Workload, state: int, branches: int) -> Row:
    forced = np.zeros(work.config.plan.forced_tokens, np.int32)
    return Row(np.zeros(state, np.int32), tuple(BranchSlot(state, forced, 0, draw) for draw in range(branches)))
