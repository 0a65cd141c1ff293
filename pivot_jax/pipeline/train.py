"""Method `pivot_rl`: GRPO (Eq. 7) on the pivots alone. One training sample is one assistant turn.

With `train.reprofile_below` the pivots may change at a checkpoint; then an arm is trained from one such check to the
next, each stretch on the pivots of its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from rich.console import Console

from pivot_jax.config import Config
from pivot_jax.pipeline.batches import index_batches
from pivot_jax.pipeline.checkpoint import newest_step
from pivot_jax.pipeline.flops import sampling_cost, scoring_flops
from pivot_jax.pipeline.grpo import GroupBatch, anchor_logprobs, grpo_step
from pivot_jax.pipeline.ledger import Cost, Ledger, backward_flops
from pivot_jax.pipeline.loop import Charges, Start, train_arm
from pivot_jax.pipeline.optimizer import TrainState
from pivot_jax.pipeline.profiling import ProfiledPoint
from pivot_jax.pipeline.reprofiling import checks, pivots_from, reprofile_if_due
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.scoring import score, verifiers
from pivot_jax.pipeline.selection import load_pivots
from pivot_jax.policy.mesh import to_mesh
from pivot_jax.policy.spec import Parameters
from pivot_jax.policy.weights import read_weights
from pivot_jax.rollout.actions import fetch
from pivot_jax.rollout.decode import sample_branches
from pivot_jax.rollout.layout import BranchSlot, Row, lay_out, state_uid
from pivot_jax.verify.verifier import Verifier


def train_pivot_rl(run: Run, arm: str, config: Config, console: Console) -> Ledger:
    """Train one arm on the turns that its own selection keeps; `run` and `config` are the arm's own."""
    section, ledger = config.train, Ledger()
    original, judges = load_pivots(run, arm), verifiers(config.verifier, run.domains)
    with jax.set_mesh(run.mesh):
        reference = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        ends = [*checks(section), section.steps]
        for begin, end in zip([0, *ends], ends, strict=False):
            done = newest_step(run.dir, arm)
            if done >= end and end < section.steps:
                continue
            if done == begin > 0:
                reprofile_if_due(run, arm, begin, console)
            pivots, start = pivots_from(run, arm, begin, original)
            advance = partial(_advance, run, judges, reference, pivots)
            ledger = train_arm(
                run,
                arm,
                steps=section.steps,
                optimizer=section.optimizer,
                checkpoint_every=section.checkpoint_every,
                batches=index_batches(len(pivots), section.pivots_per_step, _shuffle_seed(config, start)),
                params=reference,
                advance=advance,
                console=console,
                start=start,
                until=end,
            )
    return ledger


def _advance(
    run: Run,
    judges: Sequence[Verifier],
    reference: Parameters[jax.Array],
    pivots: Sequence[ProfiledPoint],
    state: TrainState,
    indices: Any,
    step: int,
) -> tuple[TrainState, Any, Charges]:
    return pivot_step(run, judges, state, reference, [pivots[i] for i in indices], step)


def _shuffle_seed(config: Config, start: Start) -> int:
    """The run's seed, or after a re-profiling one of its own."""
    seed = config.run.seed
    return int(np.random.SeedSequence((seed, start.step)).generate_state(1)[0]) if start.step else seed


def pivot_step(
    run: Run,
    judges: Sequence[Verifier],
    state: TrainState,
    reference: Parameters[jax.Array],
    pivots: Sequence[ProfiledPoint],
    step: int,
) -> tuple[TrainState, dict[str, jax.Array], Charges]:
    """Sample a group at each pivot, verify, update: one optimizer step, and what it cost by phase."""
    section, began = run.config.train, time.monotonic()
    rows = [pivot_row(point, section.group_size) for point in pivots]
    points = lay_out(rows, run.mesh, run.rules, row_count=len(rows), branch_count=section.group_size)
    sampled = sample_branches(
        state.params, points, run.key("train", step),
        settings=run.config.sampling, stop=run.stop_ids, arch=run.arch, rules=run.rules,
    )  # fmt: skip
    groups = fetch(sampled)[: len(pivots)]
    rewards = np.zeros(points.start.shape, np.float32)
    valid = np.zeros(points.start.shape, np.bool_)
    surplus_calls = np.zeros(points.start.shape, np.int32)
    is_message = np.zeros(points.start.shape[0], np.bool_)
    for n, (point, group) in enumerate(zip(pivots, groups, strict=True)):
        actions = [a.read(run.tokenizer, point.candidate.tools, run.config.data.action_format) for a in group]
        scores = score(judges, point.candidate, actions)[section.reward]
        rewards[n], valid[n] = scores.rewards, scores.valid
        expected = len(point.candidate.expert.tool_calls)
        surplus_calls[n] = [max(0, len(action.tool_calls) - expected) for action in actions]
        is_message[n] = expected == 0
    batch = GroupBatch(
        trunks=points.trunks,
        tokens=sampled.tokens,
        start=points.start,
        action_mask=sampled.action_mask,
        behavior_logprobs=sampled.behavior_logprobs,
        rewards=to_mesh(rewards, run.mesh, run.rules, "batch", "branch"),
        valid=to_mesh(valid, run.mesh, run.rules, "batch", "branch"),
        finished=sampled.finished,
        surplus_calls=to_mesh(surplus_calls, run.mesh, run.rules, "batch", "branch"),
        is_message=to_mesh(is_message, run.mesh, run.rules, "batch"),
    )
    lengths = [len(action.ids) for group in groups for action in group]
    rollout = sampling_cost(run.arch, rows, lengths)
    rollout = replace(rollout, verifier_calls=len(lengths), seconds=time.monotonic() - began)
    anchors = anchor_logprobs(state.params, reference, batch, arch=run.arch, rules=run.rules)
    state, metrics = grpo_step(
        state, batch, anchors,
        loss=run.config.loss, optimizer=section.optimizer, arch=run.arch, rules=run.rules,
    )  # fmt: skip
    forward = scoring_flops(run.arch, rows, lengths)
    # the two anchor passes: the policy before the update, and the reference
    charges: Charges = {
        "rollout": rollout,
        "reference": Cost(flops=2 * forward),
        "update": Cost(trained_tokens=sum(lengths), flops=forward + backward_flops(forward)),
    }
    return state, metrics, charges


def pivot_row(point: ProfiledPoint, group_size: int) -> Row:
    """A pivot's state as the trunk of its own group."""
    start, forced = point.branch.start, point.branch.forced_ids
    uid = state_uid(point.candidate.id)
    return Row(point.trunk.ids[:start], tuple(BranchSlot(start, forced, uid, g) for g in range(group_size)))
