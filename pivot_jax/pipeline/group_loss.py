"""Eq. 7 as a loss on groups of sampled actions: what is trained on and with which advantage, the terms, diagnostics."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from pivot_jax.config import LossSection
from pivot_jax.objective.advantages import group_advantages
from pivot_jax.objective.aggregation import divide
from pivot_jax.objective.filters import cap_message_share, drop_cut_off, penalise_surplus_calls
from pivot_jax.objective.signal import is_mixed, reward_moments
from pivot_jax.pipeline.action_loss import ActionTerms, action_terms, total


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

    @property
    def sampled(self) -> Bool[Array, "N G T"]:
        """The tokens of the actions that were judged."""
        return self.action_mask & self.valid[..., None]


@struct.dataclass
class Targets:
    """What the loss makes of a batch before any log-prob is known; it looks at whole groups and at the whole batch."""

    rewards: Float[Array, "N G"]
    """Less what surplus calls cost."""
    advantages: Float[Array, "N G"]
    mask: Bool[Array, "N G T"]
    """The tokens to train on."""


def loss_targets(batch: GroupBatch, loss: LossSection) -> Targets:
    """Advantages and masks; an action that could not be judged carries no loss at all."""
    rewards = jax.vmap(lambda group, calls: penalise_surplus_calls(group, calls, loss.surplus_penalty))(
        batch.rewards, batch.surplus_calls
    )
    advantages = jax.vmap(lambda group, valid: group_advantages(group, valid, loss.advantage, loss.std_eps))(
        rewards, batch.valid
    )
    return Targets(rewards, advantages, trained_tokens(batch, rewards, loss))


def trained_tokens(batch: GroupBatch, rewards: Float[Array, "N G"], loss: LossSection) -> Bool[Array, "N G T"]:
    """The judged actions' tokens, less those of cut-off actions and of surplus message rows if the config says so."""
    mask = jax.vmap(drop_cut_off)(batch.sampled, batch.finished) if loss.drop_cut_off else batch.sampled
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


def summed_terms(
    logprobs: Float[Array, "N G T"],
    old: Float[Array, "N G T"],
    reference: Float[Array, "N G T"],
    batch: GroupBatch,
    targets: Targets,
    loss: LossSection,
) -> ActionTerms:
    """Surrogate, divergence and clipped tokens of these actions, added up; both have the same weight.

    Surrogate and KL are averaged alike: over actions, each by its own token mean (`sequence`) or its sum over a
    constant (`constant`), or over all tokens (`token`).
    """
    surrogate, divergence, clipped = jax.vmap(jax.vmap(partial(action_terms, loss=loss)))(
        logprobs, old, reference, batch.behavior_logprobs, targets.mask, targets.advantages
    )
    return ActionTerms(total(surrogate), total(divergence), jnp.sum(clipped))


def group_loss(
    logprobs: Float[Array, "N G T"],
    old: Float[Array, "N G T"],
    reference: Float[Array, "N G T"],
    batch: GroupBatch,
    loss: LossSection,
) -> tuple[Float[Array, ""], dict[str, jax.Array]]:
    """Eq. 7 as a loss to minimise, -J, with its diagnostics.

    Args:
        logprobs: log π_θ of the sampled tokens.
        old, reference: the same under the policy before the update, and under π_0; both are held fixed.
        batch: what was sampled, and how it was judged.
        loss: which objective.
    """
    targets = loss_targets(batch, loss)
    surrogate, divergence, clipped = summed_terms(logprobs, old, reference, batch, targets, loss)
    policy_loss, kl = divide(surrogate), divide(divergence)
    mask, sampled = targets.mask, batch.sampled
    tokens = jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1.0)
    valid = jnp.sum(batch.valid, dtype=jnp.float32)
    groups = jnp.maximum(jnp.sum(jnp.any(batch.valid, axis=1), dtype=jnp.float32), 1.0)
    gap = jnp.where(sampled, old - batch.behavior_logprobs, 0.0)
    metrics = {
        "train/loss": policy_loss + loss.kl_coef * kl,
        "train/reward_mean": jnp.sum(batch.rewards, where=batch.valid) / jnp.maximum(valid, 1.0),
        "train/actions": valid,
        "train/trained_actions": jnp.sum(jnp.any(mask, axis=-1), dtype=jnp.float32),
        "pivot/mixed_fraction": jnp.sum(is_mixed(targets.rewards, batch.valid), dtype=jnp.float32) / groups,
        "policy/kl_to_reference": kl,
        "policy/clip_fraction": clipped / tokens,
        "policy/entropy_estimate": -jnp.sum(logprobs, where=mask) / tokens,
        "rollout/behavior_gap": jnp.max(jnp.abs(gap)),
        "rollout/action_tokens": jnp.sum(sampled, dtype=jnp.float32) / jnp.maximum(valid, 1.0),
        "rollout/cut_off_fraction": jnp.sum(batch.valid & ~batch.finished, dtype=jnp.float32) / jnp.maximum(valid, 1.0),
    }
    return policy_loss + loss.kl_coef * kl, metrics
