"""Surrogate losses of one action: what the gradient of Eq. 7 is taken through.

Every function takes the T token positions of one action and returns per-token losses to be minimised; `jax.vmap` it
over actions and hand the losses to `aggregation`. Losses are exactly 0 outside the mask.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pivot_jax.objective.ratio import bounded_exp, importance_ratio, log_ratio

Advantage = Float[Array, ""] | Float[Array, " T"]


class Surrogate(NamedTuple):
    """Losses and diagnostics of one action.

    Attributes:
        loss: per-token loss.
        ratio: importance ratio of each token, 1 outside the mask.
        clipped: number of action tokens whose gradient the clip changed; the clip fraction is its sum over actions,
            divided by the number of action tokens.
    """

    loss: Float[Array, " T"]
    ratio: Float[Array, " T"]
    clipped: Float[Array, ""]


def token_clip(
    logprobs: Float[Array, " T"],
    old_logprobs: Float[Array, " T"],
    advantage: Advantage,
    mask: Bool[Array, " T"],
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Surrogate:
    """`-min(w A, clip(w, 1 - clip_low, 1 + clip_high) A)` with one ratio a token (Eq. 7).

    Args:
        logprobs: log π_θ of the action's tokens; gradients flow through it alone.
        old_logprobs: log π_old of the same tokens.
        advantage: of the action, or of each token.
        mask: True on tokens that the policy sampled.
        clip_low: how far below 1 a ratio may fall while A < 0.
        clip_high: how far above 1 a ratio may rise while A > 0.
        dual_clip: where A < 0, the ratio counts for at most this much (> 1 + clip_high), so that one token the old
            policy found very unlikely cannot dominate the batch; None leaves it unbounded.
    """
    ratio = importance_ratio(logprobs, old_logprobs, mask)
    return _clip(ratio, advantage, mask, clip_low, clip_high, dual_clip)


def sequence_clip(
    logprobs: Float[Array, " T"],
    old_logprobs: Float[Array, " T"],
    advantage: Advantage,
    mask: Bool[Array, " T"],
    clip_low: float,
    clip_high: float,
) -> Surrogate:
    """GSPO: the clip of `token_clip` on one length-normalised ratio, `s = exp(mean_t(logprobs - old_logprobs))`.

    Every token carries the value of s, and the gradient of its own log-probability: the mean of the losses over the
    action's tokens has the value and the gradient of `-min(s A, clip(s) A)`. Aggregate with `sequence_mean`.
    """
    length = jnp.maximum(jnp.sum(mask, dtype=logprobs.dtype), 1.0)
    sequence_ratio = bounded_exp(jnp.sum(log_ratio(logprobs, old_logprobs, mask)) / length)
    # exp(x - stop_gradient(x)) is 1 in value and routes the gradient to the token.
    own_gradient = jnp.exp(log_ratio(logprobs, jax.lax.stop_gradient(logprobs), mask))
    ratio = jnp.where(mask, jax.lax.stop_gradient(sequence_ratio) * own_gradient, 1.0)
    return _clip(ratio, advantage, mask, clip_low, clip_high, None)


def clipped_weight(
    logprobs: Float[Array, " T"],
    old_logprobs: Float[Array, " T"],
    advantage: Advantage,
    mask: Bool[Array, " T"],
    clip_low: float,
    clip_high: float,
) -> Surrogate:
    """CISPO: `-stop_gradient(clip(w, 1 - clip_low, 1 + clip_high)) A log π_θ`.

    The clip bounds the weight of a token but never silences it, whatever the sign of the advantage.
    """
    ratio = importance_ratio(logprobs, old_logprobs, mask)
    weights = jax.lax.stop_gradient(jnp.clip(ratio, 1 - clip_low, 1 + clip_high))
    loss = -weights * advantage * jnp.where(mask, logprobs, 0.0)
    outside = (ratio < 1 - clip_low) | (ratio > 1 + clip_high)
    return Surrogate(jnp.where(mask, loss, 0.0), ratio, jnp.sum(outside, where=mask, dtype=ratio.dtype))


def _clip(
    ratio: Float[Array, " T"],
    advantage: Advantage,
    mask: Bool[Array, " T"],
    clip_low: float,
    clip_high: float,
    dual_clip: float | None,
) -> Surrogate:
    """The pessimistic clip, written as a choice of which number multiplies A.

    A `where` in place of `min` keeps the whole gradient at a tie, which is where every on-policy token stands.
    """
    too_high = (advantage > 0) & (ratio > 1 + clip_high)
    too_low = (advantage < 0) & (ratio < 1 - clip_low)
    clipped = too_high | too_low
    effective = jnp.where(too_high, 1 + clip_high, jnp.where(too_low, 1 - clip_low, ratio))
    if dual_clip is not None:
        too_heavy = (advantage < 0) & (ratio > dual_clip)
        clipped = clipped | too_heavy
        effective = jnp.where(too_heavy, dual_clip, effective)
    loss = jnp.where(mask, -effective * advantage, 0.0)
    return Surrogate(loss, ratio, jnp.sum(clipped, where=mask, dtype=ratio.dtype))
