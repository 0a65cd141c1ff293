"""The GRPO update of Eq. 7 on groups of sampled actions: the loss, and the step that applies it."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from pivot_jax.config import Architecture, LossSection, OptimizerSection
from pivot_jax.objective.advantages import group_advantages
from pivot_jax.objective.aggregation import divide
from pivot_jax.objective.filters import cap_message_share, drop_cut_off, penalise_surplus_calls
from pivot_jax.objective.signal import is_mixed, reward_moments
from pivot_jax.pipeline.action_loss import action_terms, total
from pivot_jax.pipeline.optimizer import TrainState, apply_gradients, trained_alone, with_frozen
from pivot_jax.policy.decoder import Branches
from pivot_jax.policy.logprobs import branch_logprobs, branch_logprobs_and_experts
from pivot_jax.policy.lora import whole
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.moe import load_metrics
from pivot_jax.policy.spec import Parameters


@struct.dataclass
class GroupBatch:
    """N pivots with a group of G actions each; a pivot's state is trunk[:start] + the branch's unmasked beginning."""

    trunks: Int[Array, "N S"]
    tokens: Int[Array, "N G T"]
    start: Int[Array, "N G"]
    action_mask: Bool[Array, "N G T"]
    behavior_logprobs: Float[Array, "N G T"]
    rewards: Float[Array, "N G"]
    valid: Bool[Array, "N G"]
    """False for an action that could not be judged, and for padding."""
    finished: Bool[Array, "N G"]
    """False for an action that met the length limit."""
    surplus_calls: Int[Array, "N G"]
    """Tool calls beyond the expert's."""
    is_message: Bool[Array, " N"]
    """True where the expert sends a message and calls no tool."""


@struct.dataclass
class Anchors:
    """Log-probs that the loss holds fixed: of the policy that sampled, recomputed by the trainer, and of pi_0."""

    old_logprobs: Float[Array, "N G T"]
    reference_logprobs: Float[Array, "N G T"]


@partial(jax.jit, static_argnames=("arch", "rules"))
def anchor_logprobs(
    params: Parameters[jax.Array],
    reference: Parameters[jax.Array],
    batch: GroupBatch,
    *,
    arch: Architecture,
    rules: Rules,
) -> Anchors:
    """Log-probs of the sampled tokens under the policy before the update and under the reference policy."""
    branches = Branches(batch.tokens, batch.start)
    return Anchors(
        old_logprobs=branch_logprobs(params, batch.trunks, branches, arch, rules),
        reference_logprobs=branch_logprobs(reference, batch.trunks, branches, arch, rules),
    )


def group_loss(
    logprobs: Float[Array, "N G T"], anchors: Anchors, batch: GroupBatch, loss: LossSection
) -> tuple[Float[Array, ""], dict[str, jax.Array]]:
    """Eq. 7 as a loss to minimise, -J, with its diagnostics.

    An action that could not be judged carries no loss at all. Surrogate and KL are averaged alike: over actions, each
    by its own token mean (`sequence`) or its sum over a constant (`constant`), or over all tokens (`token`).
    """
    rewards = jax.vmap(lambda group, calls: penalise_surplus_calls(group, calls, loss.surplus_penalty))(
        batch.rewards, batch.surplus_calls
    )
    advantages = jax.vmap(lambda group, valid: group_advantages(group, valid, loss.advantage, loss.std_eps))(
        rewards, batch.valid
    )
    sampled = batch.action_mask & batch.valid[..., None]
    mask = trained_tokens(sampled, rewards, batch, loss)
    surrogate, divergence, clipped = jax.vmap(jax.vmap(partial(action_terms, loss=loss)))(
        logprobs, anchors.old_logprobs, anchors.reference_logprobs, batch.behavior_logprobs, mask, advantages
    )
    policy_loss, kl = divide(total(surrogate)), divide(total(divergence))
    tokens = jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1.0)
    valid = jnp.sum(batch.valid, dtype=jnp.float32)
    groups = jnp.maximum(jnp.sum(jnp.any(batch.valid, axis=1), dtype=jnp.float32), 1.0)
    gap = jnp.where(sampled, anchors.old_logprobs - batch.behavior_logprobs, 0.0)
    metrics = {
        "train/loss": policy_loss + loss.kl_coef * kl,
        "train/reward_mean": jnp.sum(batch.rewards, where=batch.valid) / jnp.maximum(valid, 1.0),
        "train/actions": valid,
        "train/trained_actions": jnp.sum(jnp.any(mask, axis=-1), dtype=jnp.float32),
        "pivot/mixed_fraction": jnp.sum(is_mixed(rewards, batch.valid), dtype=jnp.float32) / groups,
        "policy/kl_to_reference": kl,
        "policy/clip_fraction": jnp.sum(clipped) / tokens,
        "policy/entropy_estimate": -jnp.sum(logprobs, where=mask) / tokens,
        "rollout/behavior_gap": jnp.max(jnp.abs(gap)),
        "rollout/action_tokens": jnp.sum(sampled, dtype=jnp.float32) / jnp.maximum(valid, 1.0),
        "rollout/cut_off_fraction": jnp.sum(batch.valid & ~batch.finished, dtype=jnp.float32) / jnp.maximum(valid, 1.0),
    }
    return policy_loss + loss.kl_coef * kl, metrics


def trained_tokens(
    sampled: Bool[Array, "N G T"], rewards: Float[Array, "N G"], batch: GroupBatch, loss: LossSection
) -> Bool[Array, "N G T"]:
    """The judged actions' tokens, less those of cut-off actions and of surplus message rows if the config says so."""
    mask = jax.vmap(drop_cut_off)(sampled, batch.finished) if loss.drop_cut_off else sampled
    if loss.message_share == 1:
        return mask
    present = jnp.any(batch.valid, axis=1)
    spread = jnp.where(present, reward_moments(rewards, batch.valid)[1], 0.0)
    # whole on every device: rows that are split over devices cannot be sorted
    is_message, judged, priority = (
        jax.reshard(array, PartitionSpec(None)) for array in (batch.is_message, present, spread)
    )
    kept = cap_message_share(is_message, judged, priority, loss.message_share)
    kept = jax.reshard(kept, jax.typeof(present).sharding)
    return mask & kept[:, None, None]


def grpo_step(
    state: TrainState,
    batch: GroupBatch,
    anchors: Anchors,
    *,
    loss: LossSection,
    optimizer: OptimizerSection,
    arch: Architecture,
    rules: Rules,
) -> tuple[TrainState, dict[str, Any]]:
    """One optimizer step on N groups: `state, metrics = grpo_step(state, ...)`.

    What is trained of the old state is donated; what adapters are added to is not, and may be shared.
    """
    trained, frozen = trained_alone(state)
    trained, metrics = grpo_update(
        trained, frozen, batch, anchors, loss=loss, optimizer=optimizer, arch=arch, rules=rules
    )  # fmt: skip
    return with_frozen(trained, frozen), metrics


@partial(jax.jit, static_argnames=("loss", "optimizer", "arch", "rules"), donate_argnames=("state",))
def grpo_update(
    state: TrainState,
    frozen: Parameters[jax.Array] | None,
    batch: GroupBatch,
    anchors: Anchors,
    *,
    loss: LossSection,
    optimizer: OptimizerSection,
    arch: Architecture,
    rules: Rules,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The compiled part of `grpo_step`: `state` holds what is trained alone, and is donated."""

    def objective(trained):
        params, branches = whole(trained, frozen), Branches(batch.tokens, batch.start)
        logprobs, experts = branch_logprobs_and_experts(params, batch.trunks, branches, arch, rules)
        value, metrics = group_loss(logprobs, anchors, batch, loss)
        if experts is not None:
            metrics |= load_metrics(experts, batch.action_mask & batch.valid[..., None], arch)
        return value, metrics

    gradients, metrics = jax.grad(objective, has_aux=True)(state.params)
    state, norm = apply_gradients(state, gradients, optimizer, frozen_router=arch.frozen_router)
    return state, {**metrics, "train/gradient_norm": norm}
