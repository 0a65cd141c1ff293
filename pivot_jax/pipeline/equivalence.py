"""The same step on several meshes: what each of them samples, computes and learns, on the host and by name.

Inputs are equal on every mesh: the policy, the pivots, and from the sampled tokens on what the first mesh sampled. So a
difference is of the quantity that shows it, and is not carried from one to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pivot_jax.config import Config, MeshSection
from pivot_jax.pipeline.checkpoint import Checkpoints, Resumed, fresh_state
from pivot_jax.pipeline.equivalence_inputs import Pivots, choose_pivots, judge_once, open_runs, starting_parameters
from pivot_jax.pipeline.equivalence_quantities import Leaves, gradients, logits, named, observe, sampling
from pivot_jax.pipeline.groups import Judged, group_batch, sample_groups
from pivot_jax.pipeline.grpo import action_logprobs, grpo_step
from pivot_jax.pipeline.optimizer import trained_alone
from pivot_jax.pipeline.run import RANDOM, Run
from pivot_jax.pipeline.sampling_mesh import moved
from pivot_jax.policy.spec import Parameters, count_parameters
from pivot_jax.rollout.decode import BranchPoints, Sampled

STEPS = 3

Pairs = Mapping[str, tuple[Leaves, Leaves]]
"""Quantity → what it is to equal, and what it is."""


@dataclass(frozen=True, eq=False)
class Compared:
    """Each quantity on every mesh but the first, by the mesh's name, with what it is to equal.

    That is the first mesh's; of a checkpoint that was restored, what the mesh before had written.
    """

    reference: str
    """The first mesh."""
    inputs: str
    """What was computed on, in words."""
    pairs: Mapping[str, Pairs]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What every mesh is given; arrays are on the first mesh, or on the host."""

    reference: Parameters[jax.Array]
    params: Parameters[jax.Array]
    pivots: Pivots
    points: BranchPoints
    sampled: Sampled
    judged: Judged


def compare_meshes(config: Config, meshes: Mapping[str, MeshSection], directory: Path) -> Compared:
    """Do the same step on every mesh; the first one makes the inputs.

    Args:
        config: the experiment; its section `train` gives the batch and the optimizer.
        meshes: by name, two or more.
        directory: for checkpoints, which are left there.

    Raises:
        ConfigError: what `open_runs`, `choose_pivots` and `judge_once` refuse.
    """
    runs = open_runs(config, meshes, directory)
    pivots, first = choose_pivots(runs), next(iter(runs.values()))
    with jax.set_mesh(first.mesh):
        reference, params = starting_parameters(first)
    points, sampled = sample_groups(first, params, pivots.rows, pivots.row_count, 0)
    inputs = Inputs(reference, params, pivots, points, sampled, judge_once(first, pivots, sampled))
    expected, written = None, ("", {})
    pairs: dict[str, Pairs] = {}
    for name, run in runs.items():
        found, state = compute(name, run, inputs)
        if expected is None:
            expected = found
        else:
            back = restored(run, inputs, written[0])
            pairs[name] = {what: (expected[what], found[what]) for what in found} | {"restored": (written[1], back)}
        written = name, state
    return Compared(next(iter(runs)), described(first, inputs), pairs)


def described(run: Run, inputs: Inputs) -> str:
    """The policy, the batch and its rewards."""
    kind = f"{run.arch.experts} experts, {run.arch.experts_per_token} a token" if run.arch.experts else "dense"
    trained = f"adapters of rank {run.config.lora.rank} trained" if run.config.lora.rank else "all of it trained"
    rewards = inputs.judged.rewards[: len(inputs.pivots.rows)]
    tokens = np.asarray(inputs.sampled.action_mask)[: len(rewards)].sum()
    mixed = sum(len(set(row.tolist())) > 1 for row in rewards)
    given = "drawn" if run.config.policy.path == RANDOM else "verified"
    return (
        f"{count_parameters(run.arch):,} parameters ({kind}), {trained}, {run.arch.dtype}; "
        f"{rewards.shape[0]} pivots x {rewards.shape[1]} actions, {tokens} sampled tokens; "
        f"rewards {given}, {mixed} groups mixed"
    )


def compute(name: str, run: Run, inputs: Inputs) -> tuple[dict[str, Leaves], Leaves]:
    """What one mesh samples and computes, by quantity, and its state after the last step.

    The state is left as a checkpoint, too, under the mesh's name.
    """
    config, arch, rules = run.config, run.arch, run.rules
    optimizer = config.train.optimizer
    with jax.set_mesh(run.mesh):
        reference = moved(inputs.reference, run)
        params = moved(inputs.params, run, reference if config.lora.rank else None)
        pivots, count = inputs.pivots, len(inputs.pivots.rows)
        _, sampled = sample_groups(run, params, pivots.rows, pivots.row_count, 0)
        batch = group_batch(run, inputs.points, inputs.sampled, inputs.judged)
        seen = jax.device_get(observe(params, batch, loss=config.loss, arch=arch, rules=rules))
        state, measured, losses = fresh_state(params, optimizer), {}, []
        before = named(trained_alone(state)[0].params)
        fixed: Any = {"arch": arch, "rules": rules, "micro_batches": config.train.micro_batches}
        reference_logprobs = action_logprobs(reference, batch, **fixed)
        for step in range(STEPS):
            state, metrics = grpo_step(state, batch, reference_logprobs, loss=config.loss, optimizer=optimizer, **fixed)
            losses.append(float(metrics["train/loss"]))
            if step == 0:
                measured = gradients(state, float(metrics["train/gradient_norm"]), optimizer)
        with Checkpoints(run, name) as checkpoints:
            checkpoints.save(STEPS, state, Resumed({}, {}))
        after = trained_alone(state)[0]
    found: dict[str, Leaves] = {
        **sampling(sampled, inputs.sampled, count),
        **logits(seen, np.asarray(inputs.points.start), np.asarray(inputs.sampled.action_mask), count),
        "advantages": {"advantages": seen["advantages"][:count]},
        "loss": {f"step {step + 1}": np.asarray(loss) for step, loss in enumerate(losses)},
        "gradients": measured,
        "change of parameters": {leaf: array - before[leaf] for leaf, array in named(after.params).items()},
        "optimizer moments": named(after.moments),
    }
    return found, named(after)


def restored(run: Run, inputs: Inputs, writer: str) -> Leaves:
    """What this mesh restores of the checkpoint that another one wrote."""
    with jax.set_mesh(run.mesh), Checkpoints(run, writer) as checkpoints:
        base = moved(inputs.reference, run) if run.config.lora.rank else None
        state, _ = checkpoints.restore(run, run.config.train.optimizer, base=base)
        return named(trained_alone(state)[0])
