"""Reward statistics of profiled actions: which groups carry a signal, and which candidates are pivots (Eq. 4, 5).

Whether rewards agree is decided by comparing the raw rewards. A float variance cannot decide it: the variance of
seven rewards of 0.1 is not zero after rounding.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

ROUNDING = 1e-6
"""A mean reward this close to the difficulty threshold counts as equal to it (float32 sums of at most 1e3 rewards)."""


def reward_moments(
    rewards: Float[Array, "*batch K"], valid: Bool[Array, "*batch K"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Mean μ and population variance σ² of the judged rewards (Eq. 4).

    Args:
        rewards: K rewards of each candidate.
        valid: False where the verifier could not judge; such a sample counts in neither moment.

    Returns:
        (μ, σ²). Both are NaN where no sample was judged: an unknown pass rate is not a pass rate of zero. σ² is
        exactly 0 where all judged rewards agree.
    """
    judged = jnp.where(valid, rewards, 0.0)
    count = jnp.sum(valid, axis=-1, dtype=rewards.dtype)
    mean = jnp.sum(judged, axis=-1) / count
    squares = jnp.where(valid, jnp.square(judged - mean[..., None]), 0.0)
    variance = jnp.sum(squares, axis=-1) / count
    agree = ~is_mixed(rewards, valid) & (count > 0)
    return mean, jnp.where(agree, 0.0, variance)


def is_mixed(rewards: Float[Array, "*batch K"], valid: Bool[Array, "*batch K"]) -> Bool[Array, "*batch"]:
    """True where at least two judged rewards differ, which is σ² > 0 without rounding."""
    highest = jnp.max(rewards, axis=-1, where=valid, initial=-jnp.inf)
    lowest = jnp.min(rewards, axis=-1, where=valid, initial=jnp.inf)
    return highest > lowest


def informative_groups(rewards: Float[Array, "P G"], valid: Bool[Array, "P G"]) -> Int[Array, ""]:
    """Number of groups in the batch that carry a signal; the denominator of `pivot/mixed_fraction` is P."""
    return jnp.sum(is_mixed(rewards, valid), dtype=jnp.int32)


def is_pivot(
    rewards: Float[Array, "*batch K"],
    valid: Bool[Array, "*batch K"],
    threshold: float,
    *,
    inclusive: bool = False,
    keep_all_zero: bool = False,
) -> Bool[Array, "*batch"]:
    """The pivot rule: σ² > 0 and μ < λ_diff (Eq. 5).

    Args:
        rewards: K rewards of each candidate under the frozen policy.
        valid: False where the verifier could not judge.
        threshold: λ_diff.
        inclusive: keep μ = λ_diff too.
        keep_all_zero: also keep candidates whose judged rewards are all 0; with few samples many of them are hard,
            not hopeless.

    Returns:
        True where the candidate is kept. A candidate with no judged sample is never a pivot.
    """
    count = jnp.sum(valid, axis=-1, dtype=rewards.dtype)
    # Sums are compared, not means, so that the answer does not hang on how a compiler rounds a division.
    excess = jnp.sum(rewards, axis=-1, where=valid) - threshold * count
    slack = ROUNDING * count
    too_easy = excess > slack if inclusive else excess >= -slack
    kept = is_mixed(rewards, valid)
    if keep_all_zero:
        kept = kept | (jnp.any(valid, axis=-1) & jnp.all(rewards == 0, axis=-1, where=valid))
    return kept & ~too_easy


def mixed_probability(pass_rate: Float[Array, "*batch"], group_size: int) -> Float[Array, "*batch"]:
    """P(a group of G binary rewards is mixed) = 1 - p^G - (1-p)^G."""
    # expm1/log1p keep the digits of a small p, where 1 - (1-p)^G would cancel.
    some_success = -jnp.expm1(group_size * jnp.log1p(-pass_rate))
    return some_success - pass_rate**group_size
