"""A group of actions at each pivot: sampled, judged, and laid out for the update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from pivot_jax.hosts.exchange import each_its_own
from pivot_jax.pipeline.group_loss import GroupBatch
from pivot_jax.pipeline.profiling import ProfiledPoint
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.scoring import score
from pivot_jax.policy.mesh import onto, to_mesh
from pivot_jax.policy.spec import Parameters
from pivot_jax.rollout.actions import SampledAction
from pivot_jax.rollout.decode import BranchPoints, Sampled, sample_branches
from pivot_jax.rollout.layout import BranchSlot, Row, lay_out, state_uid
from pivot_jax.verify.verifier import Verifier


@dataclass(frozen=True, eq=False)
class Judged:
    """What the verifiers say of N groups of G actions, on the host; rows that pad the batch are zero."""

    rewards: Float[np.ndarray, "N G"]
    valid: Bool[np.ndarray, "N G"]
    surplus_calls: Int[np.ndarray, "N G"]
    is_message: Bool[np.ndarray, " N"]


def pivot_row(point: ProfiledPoint, group_size: int) -> Row:
    """A pivot's state as the trunk of its own group."""
    start, forced = point.branch.start, point.branch.forced_ids
    uid = state_uid(point.candidate.id)
    return Row(point.trunk.ids[:start], tuple(BranchSlot(start, forced, uid, g) for g in range(group_size)))


def sample_groups(
    run: Run, params: Parameters[jax.Array], rows: Sequence[Row], row_count: int, step: int
) -> tuple[BranchPoints, Sampled]:
    """Sample every branch of the rows, padded to `row_count` of them, on this run's mesh."""
    with jax.set_mesh(run.mesh):
        points = lay_out(rows, run.mesh, run.rules, row_count=row_count, branch_count=len(rows[0].branches))
        sampled = sample_branches(
            params, points, run.key("train", step),
            settings=run.config.sampling, stop=run.stop_ids, arch=run.arch, rules=run.rules,
        )  # fmt: skip
    return points, sampled


def judge_groups(
    run: Run,
    judges: Sequence[Verifier],
    pivots: Sequence[ProfiledPoint],
    groups: Sequence[Sequence[SampledAction]],
    row_count: int,
) -> Judged:
    """Verify the group of each pivot under the reward that the config trains on; each group is one process's work."""
    shape = (row_count, run.config.train.group_size)
    rewards, valid = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    surplus_calls, is_message = np.zeros(shape, np.int32), np.zeros(row_count, np.bool_)
    sampled = list(zip(pivots, groups, strict=True))
    verdicts = each_its_own("train: verdicts", sampled, lambda one: _judge_group(run, judges, *one))
    for n, (point, judged) in enumerate(zip(pivots, verdicts, strict=True)):
        rewards[n], valid[n], surplus_calls[n] = judged["rewards"], judged["valid"], judged["surplus_calls"]
        is_message[n] = not point.candidate.expert.tool_calls
    return Judged(rewards, valid, surplus_calls, is_message)


def _judge_group(
    run: Run, judges: Sequence[Verifier], point: ProfiledPoint, group: Sequence[SampledAction]
) -> dict[str, NDArray[Any]]:
    """One group's part of `Judged`, `[G]` each: `rewards`, `valid` and `surplus_calls`."""
    expected = len(point.candidate.expert.tool_calls)
    actions = [a.read(run.tokenizer, point.candidate.tools, run.config.data.action_format) for a in group]
    scores = score(judges, point.candidate, actions)[run.config.train.reward]
    surplus_calls = np.array([max(0, len(action.tool_calls) - expected) for action in actions], np.int32)
    return {"rewards": scores.rewards, "valid": scores.valid, "surplus_calls": surplus_calls}


def group_batch(run: Run, points: BranchPoints, sampled: Sampled, judged: Judged) -> GroupBatch:
    """The groups on this run's mesh, wherever they were sampled."""
    pair = ("batch", "branch")
    return GroupBatch(
        trunks=onto(points.trunks, run.mesh, run.rules, "batch", "seq"),
        tokens=onto(sampled.tokens, run.mesh, run.rules, *pair, "token"),
        start=onto(points.start, run.mesh, run.rules, *pair),
        action_mask=onto(sampled.action_mask, run.mesh, run.rules, *pair, "token"),
        behavior_logprobs=onto(sampled.behavior_logprobs, run.mesh, run.rules, *pair, "token"),
        rewards=to_mesh(judged.rewards, run.mesh, run.rules, *pair),
        valid=to_mesh(judged.valid, run.mesh, run.rules, *pair),
        finished=onto(sampled.finished, run.mesh, run.rules, *pair),
        surplus_calls=to_mesh(judged.surplus_calls, run.mesh, run.rules, *pair),
        is_message=to_mesh(judged.is_message, run.mesh, run.rules, "batch"),
    )
