"""Importance weights between the trainer and the sampler at the same parameters.

Sampler and trainer compute the same log-probabilities along different paths: other kernels, other precision. These
weights, multiplied into the per-token loss, correct for that behavior gap. They are constants to the gradient. Each
function takes one action; `jax.vmap` it.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pivot_jax.objective.ratio import bounded_exp, log_ratio

Level = Literal["token", "sequence"]


def truncated_weights(
    old_logprobs: Float[Array, " T"],
    behavior_logprobs: Float[Array, " T"],
    mask: Bool[Array, " T"],
    cap: float,
    level: Level,
) -> Float[Array, " T"]:
    """Truncated importance sampling: `min(π_old/π_behavior, cap)`, 0 outside the mask.

    Args:
        old_logprobs: the trainer's log-probabilities at the parameters that sampled.
        behavior_logprobs: the sampler's record of the same tokens.
        mask: True on tokens that the policy sampled.
        cap: largest weight (5 in NVIDIA's released recipe).
        level: "token": each token has its own ratio; "sequence": all share the product over the action.
    """
    ratio = _sampler_ratio(old_logprobs, behavior_logprobs, mask, level)
    return jnp.where(mask, jnp.minimum(ratio, cap), 0.0)


def masked_weights(
    old_logprobs: Float[Array, " T"],
    behavior_logprobs: Float[Array, " T"],
    mask: Bool[Array, " T"],
    low: float,
    high: float,
    level: Level,
) -> Float[Array, " T"]:
    """Masked importance sampling: the ratio where it lies in [low, high], else 0: what is too far off is not used.

    At level "sequence" an action is used whole or not at all. Other arguments as in `truncated_weights`.
    """
    ratio = _sampler_ratio(old_logprobs, behavior_logprobs, mask, level)
    return jnp.where(mask & (ratio >= low) & (ratio <= high), ratio, 0.0)


def _sampler_ratio(
    old_logprobs: Float[Array, " T"], behavior_logprobs: Float[Array, " T"], mask: Bool[Array, " T"], level: Level
) -> Float[Array, " T"]:
    gap = log_ratio(old_logprobs, behavior_logprobs, mask)
    if level == "sequence":
        gap = jnp.full_like(gap, jnp.sum(gap))
    return jax.lax.stop_gradient(bounded_exp(gap))
