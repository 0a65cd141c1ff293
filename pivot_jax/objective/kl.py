"""Per-token estimates of KL(π_θ ‖ π_0), the penalty of Eq. 7, from sampled tokens.

With d = log π_θ - log π_0 at a sampled token:

    k1 = d                    unbiased, of either sign
    k2 = d² / 2               biased, never negative
    k3 = exp(-d) - 1 + d      unbiased, never negative, lower variance than k1

Unbiased in value is not unbiased in gradient. Differentiated as it stands on tokens of π_θ itself, k1 gives zero
in expectation and k3 gives the gradient of the reverse divergence KL(π_0 ‖ π_θ); only k2 gives the gradient of
KL(π_θ ‖ π_0). Weighting k1 or k3 by the importance ratio π_θ/π_old, with its gradient, makes value and gradient
right for tokens of π_old, on policy or off; it makes k2 wrong.
"""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pivot_jax.objective.ratio import LOG_RATIO_LIMIT, importance_ratio, log_ratio

KLEstimator = Literal["k1", "k2", "k3"]


def kl_estimate(
    logprobs: Float[Array, " T"],
    reference_logprobs: Float[Array, " T"],
    mask: Bool[Array, " T"],
    estimator: KLEstimator,
    old_logprobs: Float[Array, " T"] | None = None,
) -> Float[Array, " T"]:
    """Per-token estimate of the divergence from the reference policy; 0 outside the mask.

    Args:
        logprobs: log π_θ; gradients flow through it.
        reference_logprobs: log π_0 of the same tokens.
        mask: True on tokens that the policy sampled.
        estimator: "k1", "k2" or "k3". For k3, d is held within ±LOG_RATIO_LIMIT: beyond, its exponential would
            overflow, and the token has no gradient.
        old_logprobs: log π_old, the policy the tokens came from: weights the estimate by π_θ/π_old, through which
            gradients flow too. None leaves it unweighted.

    Raises:
        ValueError: `estimator` is not one of the above.
    """
    drift = log_ratio(logprobs, reference_logprobs, mask)
    match estimator:
        case "k1":
            estimate = drift
        case "k2":
            estimate = jnp.square(drift) / 2
        case "k3":
            bounded = jnp.clip(drift, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
            # Near 0 the two terms cancel to the last digit and rounding alone could make the result negative.
            estimate = jnp.maximum(jnp.expm1(-bounded) + bounded, 0.0)
        case _:
            raise ValueError(f"KL estimator {estimator!r} is unknown; use one of {', '.join(get_args(KLEstimator))}")
    if old_logprobs is None:
        return estimate
    return estimate * importance_ratio(logprobs, old_logprobs, mask)
