"""The terms of the loss for one action, chosen by the config: the one place where names become objectives."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pivot_jax.config import LossSection
from pivot_jax.objective.aggregation import Weighted, constant_length, sequence_mean, token_mean
from pivot_jax.objective.correction import masked_weights, truncated_weights
from pivot_jax.objective.kl import kl_estimate
from pivot_jax.objective.surrogate import Surrogate, clipped_weight, sequence_clip, token_clip


class ActionTerms(NamedTuple):
    """What one action adds to the batch: surrogate and divergence with their weights, and its clipped tokens."""

    surrogate: Weighted
    divergence: Weighted
    clipped: Float[Array, ""]


def action_terms(
    logprobs: Float[Array, " T"],
    old: Float[Array, " T"],
    reference: Float[Array, " T"],
    behavior: Float[Array, " T"],
    mask: Bool[Array, " T"],
    advantage: Float[Array, ""],
    loss: LossSection,
) -> ActionTerms:
    """Surrogate and divergence of one action, aggregated alike.

    Args:
        logprobs: log π_θ of the action's tokens.
        old, reference, behavior: the same under π_old and π_0, and as the sampler recorded them.
        mask: True on the tokens to train on.
        advantage: of the action.
        loss: which objective.
    """
    surrogate = surrogate_losses(logprobs, old, mask, advantage, loss)
    values = surrogate.loss
    if loss.importance_cap > 0:
        values = values * sampler_weights(old, behavior, mask, loss)
    divergence = kl_estimate(logprobs, reference, mask, loss.kl_estimator, old if loss.kl_weighted else None)
    return ActionTerms(aggregate(values, mask, loss), aggregate(divergence, mask, loss), surrogate.clipped)


def surrogate_losses(
    logprobs: Float[Array, " T"],
    old: Float[Array, " T"],
    mask: Bool[Array, " T"],
    advantage: Float[Array, ""],
    loss: LossSection,
) -> Surrogate:
    """The surrogate that the config names."""
    match loss.surrogate:
        case "clip":
            return token_clip(logprobs, old, advantage, mask, loss.clip_low, loss.clip_high, loss.dual_clip or None)
        case "gspo":
            return sequence_clip(logprobs, old, advantage, mask, loss.clip_low, loss.clip_high)
        case "cispo":
            return clipped_weight(logprobs, old, advantage, mask, loss.clip_low, loss.clip_high)


def sampler_weights(
    old: Float[Array, " T"], behavior: Float[Array, " T"], mask: Bool[Array, " T"], loss: LossSection
) -> Float[Array, " T"]:
    """Importance weights between trainer and sampler, of the kind and level that the config names."""
    match loss.importance:
        case "truncated":
            return truncated_weights(old, behavior, mask, loss.importance_cap, loss.importance_level)
        case "masked":
            return masked_weights(
                old, behavior, mask, loss.importance_floor, loss.importance_cap, loss.importance_level
            )


def aggregate(values: Float[Array, " T"], mask: Bool[Array, " T"], loss: LossSection) -> Weighted:
    """One action's part of the batch mean."""
    match loss.aggregation:
        case "token":
            return token_mean(values, mask)
        case "sequence":
            return sequence_mean(values, mask)
        case "constant":
            return constant_length(values, mask, loss.constant_length)


def total(parts: Weighted) -> Weighted:
    """Sums and weights added up over the whole batch; `divide` what comes out."""
    return Weighted(jnp.sum(parts.sum), jnp.sum(parts.weight))


def weight(mask: Bool[Array, "N G T"], loss: LossSection) -> Float[Array, ""]:
    """What the sums over a batch are divided by: the masks decide it, before any log-prob is known."""
    of_action = jax.vmap(jax.vmap(lambda tokens: aggregate(jnp.zeros(tokens.shape), tokens, loss).weight))
    return jnp.sum(of_action(mask))
