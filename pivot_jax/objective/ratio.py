"""Importance ratios between two policies on the same sampled tokens.

Three log-probabilities of a token meet in this folder: `logprobs` (log π_θ, the policy in training), `old_logprobs`
(log π_old: the trainer's forward pass at the parameters that sampled) and `behavior_logprobs` (what the sampler
recorded at those parameters). With exact arithmetic the last two agree.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are held within ±20 before they are exponentiated, so that a broken token cannot make an infinite loss."""


def log_ratio(
    logprobs: Float[Array, " T"], other_logprobs: Float[Array, " T"], mask: Bool[Array, " T"]
) -> Float[Array, " T"]:
    """`logprobs - other_logprobs` on the action, 0 outside the mask (whatever the padding holds)."""
    return jnp.where(mask, logprobs - other_logprobs, 0.0)


def bounded_exp(log_ratios: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`exp` of log-ratios held within ±LOG_RATIO_LIMIT; no gradient flows beyond the limit."""
    return jnp.exp(jnp.clip(log_ratios, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))


def importance_ratio(
    logprobs: Float[Array, " T"], old_logprobs: Float[Array, " T"], mask: Bool[Array, " T"]
) -> Float[Array, " T"]:
    """Token-level ratio w = π_θ/π_old of Eq. 7; exactly 1 on policy and outside the mask."""
    return bounded_exp(log_ratio(logprobs, old_logprobs, mask))
