"""The GRPO update of Eq. 7 on groups of sampled actions: the loss, and the step that applies it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from pivot_jax.config import Architecture, LossSection, OptimizerSection
from pivot_jax.objective.advantages import group_advantages
from pivot_jax.objective.aggregation import Weighted, divide, sequence_mean, token_mean
from pivot_jax.objective.correction import truncated_weights
from pivot_jax.objective.kl import kl_estimate
from pivot_jax.objective.surrogate import token_clip
from pivot_jax.pipeline.optimizer import TrainState, apply_gradients
from pivot_jax.policy.decoder import Branches
from pivot_jax.policy.logprobs import branch_logprobs
from pivot_jax.policy.mesh import Rules
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
    by its own token mean (`sequence`), or over all tokens (`token`).
    """

    def one_group(rewards, valid):
        return group_advantages(rewards, valid, loss.advantage, loss.std_eps)

    def one_action(logprobs, old, reference, behavior, mask, advantage):
        surrogate = token_clip(logprobs, old, advantage, mask, loss.clip_low, loss.clip_high)
        values = surrogate.loss
        if loss.importance_cap > 0:
            values = values * truncated_weights(old, behavior, mask, loss.importance_cap, "token")
        divergence = kl_estimate(logprobs, reference, mask, loss.kl_estimator)
        mean = token_mean if loss.aggregation == "token" else sequence_mean
        return mean(values, mask), mean(divergence, mask), surrogate.clipped

    advantages = jax.vmap(one_group)(batch.rewards, batch.valid)
    mask = batch.action_mask & batch.valid[..., None]
    objective, divergence, clipped = jax.vmap(jax.vmap(one_action))(
        logprobs, anchors.old_logprobs, anchors.reference_logprobs, batch.behavior_logprobs, mask, advantages
    )
    policy_loss, kl = _total(objective), _total(divergence)
    tokens = jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1.0)
    valid = jnp.sum(batch.valid, dtype=jnp.float32)
    groups = jnp.maximum(jnp.sum(jnp.any(batch.valid, axis=1), dtype=jnp.float32), 1.0)
    gap = jnp.where(mask, anchors.old_logprobs - batch.behavior_logprobs, 0.0)
    metrics = {
        "train/loss": policy_loss + loss.kl_coef * kl,
        "train/reward_mean": jnp.sum(batch.rewards, where=batch.valid) / jnp.maximum(valid, 1.0),
        "train/actions": valid,
        "pivot/mixed_fraction": jnp.sum(jnp.any(advantages != 0, axis=1), dtype=jnp.float32) / groups,
        "policy/kl_to_reference": kl,
        "policy/clip_fraction": jnp.sum(clipped) / tokens,
        "policy/entropy_estimate": -jnp.sum(logprobs, where=mask) / tokens,
        "rollout/behavior_gap": jnp.max(jnp.abs(gap)),
        "rollout/action_tokens": tokens / jnp.maximum(valid, 1.0),
    }
    return policy_loss + loss.kl_coef * kl, metrics


@partial(jax.jit, static_argnames=("loss", "optimizer", "arch", "rules"), donate_argnames=("state",))
def grpo_step(
    state: TrainState,
    batch: GroupBatch,
    anchors: Anchors,
    *,
    loss: LossSection,
    optimizer: OptimizerSection,
    arch: Architecture,
    rules: Rules,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimizer step on N groups: `state, metrics = grpo_step(state, ...)`; the old state is donated."""

    def objective(params):
        logprobs = branch_logprobs(params, batch.trunks, Branches(batch.tokens, batch.start), arch, rules)
        return group_loss(logprobs, anchors, batch, loss)

    gradients, metrics = jax.grad(objective, has_aux=True)(state.params)
    state, norm = apply_gradients(state, gradients, optimizer)
    return state, {**metrics, "train/gradient_norm": norm}


def _total(parts: Weighted) -> Float[Array, ""]:
    """One mean over the whole batch: all sums over all weights, divided once."""
    return divide(Weighted(jnp.sum(parts.sum), jnp.sum(parts.weight)))
