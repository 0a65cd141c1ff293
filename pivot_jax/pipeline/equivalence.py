"""The same step on several meshes: what each of them samples, computes and learns, on the host and by name.

Inputs are equal on every mesh: the policy, the pivots, and from the sampled tokens on what the first mesh sampled. So a
difference is of the quantity that shows it, and is not carried from one to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from pivot_jax.config import Architecture, Config, MeshSection
from pivot_jax.objective.advantages import group_advantages
from pivot_jax.pipeline.checkpoint import Checkpoints, Resumed, fresh_state
from pivot_jax.pipeline.equivalence_inputs import Pivots, choose_pivots, judge_once, open_runs, starting_parameters
from pivot_jax.pipeline.groups import Judged, group_batch, sample_groups
from pivot_jax.pipeline.grpo import GroupBatch, anchor_logprobs, grpo_step
from pivot_jax.pipeline.optimizer import TrainState, trained_alone
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.sampling_mesh import moved
from pivot_jax.policy.decoder import Branches, forward, unembed
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.spec import Parameters
from pivot_jax.rollout.decode import BranchPoints, Sampled

STEPS = 3

Leaves = Mapping[str, np.ndarray]
"""Arrays by name."""
Pairs = Mapping[str, tuple[Leaves, Leaves]]
"""Quantity → what it is to equal, and what it is."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What every mesh is given, on the host or on the first mesh."""

    reference: Parameters[jax.Array]
    params: Parameters[jax.Array]
    pivots: Pivots
    points: BranchPoints
    sampled: Sampled
    judged: Judged


def compare_meshes(config: Config, meshes: Mapping[str, MeshSection], directory: Path) -> dict[str, Pairs]:
    """Each quantity on every mesh but the first, by the mesh's name, with what it is to equal.

    That is the first mesh's; of a checkpoint that was restored, what the mesh before had written.

    Args:
        config: the experiment; its section `train` gives the batch and the optimizer.
        meshes: by name.
        directory: for checkpoints, which are left there.
    """
    runs = open_runs(config, meshes, directory)
    pivots, first = choose_pivots(runs), next(iter(runs.values()))
    with jax.set_mesh(first.mesh):
        reference, params = starting_parameters(first)
    points, sampled = jax.device_get(sample_groups(first, params, pivots.rows, pivots.row_count, 0))
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
    return pairs


def compute(name: str, run: Run, inputs: Inputs) -> tuple[dict[str, Leaves], Leaves]:
    """What one mesh samples and computes, by quantity, and its state after the last step.

    The state is left as a checkpoint, too, under the mesh's name.
    """
    config, arch, rules = run.config, run.arch, run.rules
    optimizer = config.train.optimizer
    with jax.set_mesh(run.mesh):
        reference = moved(inputs.reference, run)
        params = moved(inputs.params, run, reference if config.lora.rank else None)
        pivots = inputs.pivots
        _, sampled = jax.device_get(sample_groups(run, params, pivots.rows, pivots.row_count, 0))
        batch = group_batch(run, inputs.points, inputs.sampled, inputs.judged)
        seen = jax.device_get(observe(params, batch, loss=config.loss, arch=arch, rules=rules))
        state, measured, losses = fresh_state(params, optimizer), {}, []
        before = named(trained_alone(state)[0].params)
        for step in range(STEPS):
            anchors = anchor_logprobs(state.params, reference, batch, arch=arch, rules=rules)
            state, metrics = grpo_step(
                state, batch, anchors, loss=config.loss, optimizer=optimizer, arch=arch, rules=rules
            )
            losses.append(float(metrics["train/loss"]))
            if step == 0:
                measured = gradients(state, float(metrics["train/gradient_norm"]), config)
        with Checkpoints(run, name) as checkpoints:
            checkpoints.save(STEPS, state, Resumed({}, {}))
        after = trained_alone(state)[0]
    found: dict[str, Leaves] = {
        **sampling(sampled, inputs),
        **logits(seen, inputs),
        "advantages": {"advantages": seen["advantages"]},
        "loss": {f"step {step + 1}": np.float32(loss) for step, loss in enumerate(losses)},
        "gradients": measured,
        "change of parameters": {leaf: array - before[leaf] for leaf, array in named(after.params).items()},
        "optimizer moments": named(after.moments),
    }
    return found, named(after)


def sampling(sampled: Sampled, inputs: Inputs) -> dict[str, Leaves]:
    """The sampled tokens, and their log-probs for as long as the tokens are those of the first mesh."""
    count, first = len(inputs.pivots.rows), inputs.sampled
    same = np.cumprod(sampled.tokens == first.tokens, axis=-1, dtype=np.bool_)
    logprobs = np.where(same, sampled.behavior_logprobs, first.behavior_logprobs)
    return {
        "sampled tokens": {"tokens": np.asarray(sampled.tokens)[:count]},
        "behavior log-probs": {"log-probs": logprobs[:count]},
    }


def logits(seen: Mapping[str, np.ndarray], inputs: Inputs) -> dict[str, Leaves]:
    """Hidden states at every token of a trunk, logits after it, and logits that an action's tokens are sampled from."""
    count, start = len(inputs.pivots.rows), np.asarray(inputs.points.start)[:, :1]
    in_trunk = np.arange(seen["trunk_hidden"].shape[1])[None] < start
    before_action = np.roll(np.asarray(inputs.sampled.action_mask), -1, axis=-1)
    return {
        "trunk hidden states": {"trunks": seen["trunk_hidden"][:count][in_trunk[:count]]},
        "trunk logits": {"trunks": seen["trunk_logits"][:count]},
        "branch logits": {"branches": seen["branch_logits"][:count][before_action[:count]]},
    }


@partial(jax.jit, static_argnames=("loss", "arch", "rules"))
def observe(params: Parameters[jax.Array], batch: GroupBatch, *, loss: Any, arch: Architecture, rules: Rules) -> dict:
    """Final hidden states of the trunks, logits at their states' ends and at every branch token, advantages."""
    hidden = forward(params, batch.trunks, Branches(batch.tokens, batch.start), arch, rules)
    assert hidden.branch is not None
    ends = jax.nn.one_hot(batch.start[:, :1] - 1, batch.trunks.shape[1], dtype=hidden.trunk.dtype)
    # a product, not a gather: it partitions over trunks that are cut along their length
    last = jnp.einsum("nsd,nbs->nbd", hidden.trunk, ends, out_sharding=rules.computed("batch", "branch", "embed"))
    advantages = jax.vmap(lambda group, valid: group_advantages(group, valid, loss.advantage, loss.std_eps))
    return {
        "trunk_hidden": hidden.trunk,
        "trunk_logits": unembed(params, last, arch, rules),
        "branch_logits": unembed(params, hidden.branch, arch, rules),
        "advantages": advantages(batch.rewards, batch.valid),
    }


def gradients(state: TrainState, norm: float, config: Config) -> Leaves:
    """The gradients of the first step, by leaf, as that very step computed them.

    AdamW's first moment is then (1 - b1) times the gradient that was clipped to `max_grad_norm`; `norm` is the one
    before clipping.
    """
    section = config.train.optimizer
    first_moment = optax.tree.get(state.moments, "mu")
    factor = np.float32(max(1.0, norm / section.max_grad_norm) / (1 - section.b1))
    return {leaf: array * factor for leaf, array in named(first_moment).items()}


def restored(run: Run, inputs: Inputs, writer: str) -> Leaves:
    """What this mesh restores of the checkpoint that another one wrote."""
    with jax.set_mesh(run.mesh), Checkpoints(run, writer) as checkpoints:
        base = moved(inputs.reference, run) if run.config.lora.rank else None
        state, _ = checkpoints.restore(run, run.config.train.optimizer, base=base)
        return named(trained_alone(state)[0])


def named(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree on the host, each by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}
