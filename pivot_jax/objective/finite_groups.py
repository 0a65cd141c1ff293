"""What a group of G binary rewards gives in expectation: exact sums over the number of successes k ~ Binomial(G, p).

The theorems speak of expectations over the policy; training sees G samples. A group of k successes has one advantage A⁺
for its successes and one A⁻ for its failures, so that each expectation is a sum over k = 0..G.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pivot_jax.objective.advantages import AdvantageKind, group_advantages


def success_counts(pass_rate: Float[Array, ""], group_size: int) -> Float[Array, " N"]:
    """Binomial probabilities of k = 0..G successes (N = G + 1)."""
    successes = jnp.arange(group_size + 1, dtype=pass_rate.dtype)
    return jax.scipy.stats.binom.pmf(successes, group_size, pass_rate)


def expected_magnitude(
    pass_rate: Float[Array, ""], group_size: int, kind: AdvantageKind, eps: float = 1e-6
) -> Float[Array, ""]:
    """`E[(1/G) Σ_i |A_i|]`: the expected |advantage| of an action sampled at this state."""
    _, advantages = _all_groups(group_size, kind, eps, pass_rate.dtype)
    magnitudes = jnp.mean(jnp.abs(advantages), axis=1)
    return jnp.sum(success_counts(pass_rate, group_size) * magnitudes)


def gradient_scale(
    pass_rate: Float[Array, ""], group_size: int, kind: AdvantageKind, eps: float = 1e-6
) -> Float[Array, ""]:
    """The factor c in `E[(1/G) Σ_i A_i ∇log π(a_i)] = c ∇p`: the expected signal of one group, for 0 < p < 1.

    Successes have `E ∇log π = ∇p/p` and failures `-∇p/(1-p)`, whatever the policy, so c depends on p and G alone. It is
    1 for "leave_one_out" (unbiased) and "none", 1 - 1/G for "centred".
    """
    rewards, advantages = _all_groups(group_size, kind, eps, pass_rate.dtype)
    score = jnp.where(rewards > 0, 1 / pass_rate, -1 / (1 - pass_rate))
    return jnp.sum(success_counts(pass_rate, group_size) * jnp.mean(advantages * score, axis=1))


def normalisation_bias(pass_rate: Float[Array, ""], group_size: int, eps: float = 1e-6) -> Float[Array, ""]:
    """Relative error of the "standardised" signal at group size G against an infinite group, whose scale is
    `1/sqrt(p(1-p))`: negative where a small group gives less than the population would."""
    infinite = 1 / jnp.sqrt(pass_rate * (1 - pass_rate))
    return gradient_scale(pass_rate, group_size, "standardised", eps) / infinite - 1


def _all_groups(
    group_size: int, kind: AdvantageKind, eps: float, dtype: jnp.dtype
) -> tuple[Float[Array, "N G"], Float[Array, "N G"]]:
    """Rewards and advantages of the groups with k = 0..G successes, in that order."""
    rewards = jnp.tril(jnp.ones((group_size + 1, group_size), dtype), k=-1)
    valid = jnp.ones((group_size,), bool)
    return rewards, jax.vmap(lambda group: group_advantages(group, valid, kind, eps))(rewards)
