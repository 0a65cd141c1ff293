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
from pivot_jax.pipeline.groups import group_batch, judge_groups, pivot_row, sample_groups
from pivot_jax.pipeline.grpo import action_logprobs, grpo_step
from pivot_jax.pipeline.ledger import Cost, Ledger, backward_flops
from pivot_jax.pipeline.loop import Charges, Start, train_arm
from pivot_jax.pipeline.optimizer import TrainState
from pivot_jax.pipeline.profiling import ProfiledPoint
from pivot_jax.pipeline.reprofiling import checks, pivots_from, reprofile_if_due
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.sampling_mesh import Sampler, behavior_policy, common_rows, sampler_of
from pivot_jax.pipeline.scoring import verifiers
from pivot_jax.pipeline.selection import load_pivots
from pivot_jax.policy.spec import Parameters
from pivot_jax.policy.weights import read_weights
from pivot_jax.rollout.actions import fetch
from pivot_jax.verify.verifier import Verifier


def train_pivot_rl(run: Run, arm: str, config: Config, console: Console) -> Ledger:
    """Train one arm on the turns that its own selection keeps; `run` and `config` are the arm's own."""
    section, ledger = config.train, Ledger()
    original, judges = load_pivots(run, arm), verifiers(config.verifier, run.domains)
    with jax.set_mesh(run.mesh):
        reference = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        sampler = sampler_of(run, reference)
        ends = [*checks(section), section.steps]
        for begin, end in zip([0, *ends], ends, strict=False):
            done = newest_step(run.dir, arm)
            if done >= end and end < section.steps:
                continue
            if done == begin > 0:
                reprofile_if_due(run, arm, begin, console)
            pivots, start = pivots_from(run, arm, begin, original)
            advance = partial(_advance, run, sampler, judges, reference, pivots)
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
    sampler: Sampler,
    judges: Sequence[Verifier],
    reference: Parameters[jax.Array],
    pivots: Sequence[ProfiledPoint],
    state: TrainState,
    indices: Any,
    step: int,
) -> tuple[TrainState, Any, Charges]:
    return pivot_step(run, sampler, judges, state, reference, [pivots[i] for i in indices], step)


def _shuffle_seed(config: Config, start: Start) -> int:
    """The run's seed, or after a re-profiling one of its own."""
    seed = config.run.seed
    return int(np.random.SeedSequence((seed, start.step)).generate_state(1)[0]) if start.step else seed


def pivot_step(
    run: Run,
    sampler: Sampler,
    judges: Sequence[Verifier],
    state: TrainState,
    reference: Parameters[jax.Array],
    pivots: Sequence[ProfiledPoint],
    step: int,
) -> tuple[TrainState, dict[str, jax.Array], Charges]:
    """Sample a group at each pivot, verify, update: one optimizer step, and what it cost by phase."""
    section = run.config.train
    rows = [pivot_row(point, section.group_size) for point in pivots]
    row_count = common_rows(len(rows), run, sampler, section.micro_batches)
    params, moving = behavior_policy(run, sampler, state.params)
    began = time.monotonic()
    points, sampled = sample_groups(sampler.run, params, rows, row_count, step)
    del params  # where it was moved to a mesh of its own, the update needs its room
    groups = fetch(sampled)[: len(pivots)]
    batch = group_batch(run, points, sampled, judge_groups(run, judges, pivots, groups, row_count))
    lengths = [len(action.ids) for group in groups for action in group]
    rollout = sampling_cost(run.arch, rows, lengths)
    rollout = replace(rollout, verifier_calls=len(lengths), seconds=time.monotonic() - began)
    fixed: Any = {"arch": run.arch, "rules": run.rules, "micro_batches": section.micro_batches}
    state, metrics = grpo_step(
        state, batch, action_logprobs(reference, batch, **fixed),
        loss=run.config.loss, optimizer=section.optimizer, **fixed,
    )  # fmt: skip
    forward = scoring_flops(run.arch, rows, lengths)
    charges: Charges = {
        **moving,
        "rollout": rollout,
        "reference": Cost(flops=forward),
        "update": Cost(trained_tokens=sum(lengths), flops=forward + backward_flops(forward)),
    }
    return state, metrics, charges
