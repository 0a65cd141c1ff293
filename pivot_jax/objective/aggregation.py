"""From per-token losses of one action to a batch mean: sums and weights that add up, divided once.

`jax.vmap` one of the first three over actions, add up sums and weights over the whole batch (and over hosts), then
`divide`. The choice decides what a long action weighs.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Weighted(NamedTuple):
    """A numerator and the denominator that belongs to it; both add up over actions, devices and micro-batches."""

    sum: Float[Array, "*batch"]
    weight: Float[Array, "*batch"]


def token_mean(loss: Float[Array, " T"], mask: Bool[Array, " T"]) -> Weighted:
    """Every token weighs the same: a long action weighs more. The denominator is the number of action tokens."""
    return Weighted(jnp.sum(loss, where=mask), jnp.sum(mask, dtype=loss.dtype))


def sequence_mean(loss: Float[Array, " T"], mask: Bool[Array, " T"]) -> Weighted:
    """Every action weighs the same: its own token mean. The denominator is the number of actions with a token."""
    length = jnp.sum(mask, dtype=loss.dtype)
    return Weighted(jnp.sum(loss, where=mask) / jnp.maximum(length, 1.0), jnp.any(mask).astype(loss.dtype))


def constant_length(loss: Float[Array, " T"], mask: Bool[Array, " T"], length: int) -> Weighted:
    """Token sums over one constant length, whatever the action's own (Dr. GRPO): no bias towards short successes.

    The denominator is the number of actions with a token; `length` is usually the sampling budget.
    """
    return Weighted(jnp.sum(loss, where=mask) / length, jnp.any(mask).astype(loss.dtype))


def divide(total: Weighted) -> Float[Array, "*batch"]:
    """Sum over weight; 0 where the weight is 0, since a batch without an action token has no loss."""
    return jnp.where(total.weight > 0, total.sum / jnp.where(total.weight > 0, total.weight, 1.0), 0.0)
