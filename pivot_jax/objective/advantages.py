"""Group-relative advantages of the G actions sampled at one pivot (Eq. 7).

Every function takes the rewards of one group; `jax.vmap` it over pivots. An action that could not be judged is
excluded from the statistics and has advantage 0. A group whose judged rewards agree gives exactly 0 (Proposition
3.1), decided on the raw rewards.
"""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pivot_jax.objective.signal import is_mixed

AdvantageKind = Literal["standardised", "centred", "leave_one_out", "leave_one_out_std", "none"]


def group_advantages(
    rewards: Float[Array, " G"], valid: Bool[Array, " G"], kind: AdvantageKind, eps: float = 1e-6
) -> Float[Array, " G"]:
    """Advantages of one group.

    Args:
        rewards: one reward for each action.
        valid: False where the action could not be judged.
        kind: "standardised" (the paper), "centred" (Dr. GRPO), "leave_one_out" (RLOO), "leave_one_out_std" (NeMo-RL),
            or "none": the reward itself. That one compares nothing, so Proposition 3.1 does not hold for it.
        eps: ε_std, added to a standard deviation before it divides.

    Raises:
        ValueError: `kind` is not one of the above.
    """
    match kind:
        case "standardised":
            return standardised(rewards, valid, eps)
        case "centred":
            return centred(rewards, valid)
        case "leave_one_out":
            return leave_one_out(rewards, valid)
        case "leave_one_out_std":
            return leave_one_out_std(rewards, valid, eps)
        case "none":
            return jnp.where(valid, rewards, 0.0)
        case _:
            raise ValueError(f"advantage kind {kind!r} is unknown; use one of {', '.join(get_args(AdvantageKind))}")


def standardised(rewards: Float[Array, " G"], valid: Bool[Array, " G"], eps: float) -> Float[Array, " G"]:
    """`(r_i - mean r) / (std r + eps)` with the population standard deviation (Eq. 7)."""
    deviations = centred(rewards, valid)
    std = jnp.sqrt(_mean(jnp.square(deviations), valid))
    # In a uniform group the deviations are exact zeros, and so is their std: dividing by it would give NaN at eps=0.
    return deviations / jnp.where(is_mixed(rewards, valid), std + eps, 1.0)


def centred(rewards: Float[Array, " G"], valid: Bool[Array, " G"]) -> Float[Array, " G"]:
    """`r_i - mean r`: no division by the spread (Dr. GRPO)."""
    return _zero_where_uniform(rewards - _mean(rewards, valid), rewards, valid)


def leave_one_out(rewards: Float[Array, " G"], valid: Bool[Array, " G"]) -> Float[Array, " G"]:
    """`r_i - mean of the others`: the unbiased baseline, with no division by the spread (RLOO)."""
    count = jnp.sum(valid, dtype=rewards.dtype)
    # Taking an action out of its own baseline stretches its deviation by n/(n-1).
    return centred(rewards, valid) * (count / jnp.maximum(count - 1, 1.0))


def leave_one_out_std(rewards: Float[Array, " G"], valid: Bool[Array, " G"], eps: float) -> Float[Array, " G"]:
    """Leave-one-out baseline, divided by the sample standard deviation of the others (NeMo-RL).

    `std_i = sqrt((mean_others(r²) - baseline_i²)(G-1)/(G-2))`; an action whose others all agree is not divided, so the
    only success of a group has advantage 1 here and sqrt(G-1) under `standardised`.
    """
    group_size = rewards.shape[0]
    peers = valid[None, :] & ~jnp.eye(group_size, dtype=bool)
    peer_rewards = jnp.broadcast_to(rewards[None, :], (group_size, group_size))
    peer_count = jnp.sum(peers, axis=1, dtype=rewards.dtype)
    baselines = _mean(peer_rewards, peers)
    squares = jnp.where(peers, jnp.square(peer_rewards - baselines[:, None]), 0.0)
    std = jnp.sqrt(jnp.sum(squares, axis=1) / jnp.maximum(peer_count - 1, 1.0))
    deviations = rewards - baselines
    advantages = deviations / jnp.where(is_mixed(peer_rewards, peers), std + eps, 1.0)
    return _zero_where_uniform(advantages, rewards, valid)


def _mean(values: Float[Array, "*batch G"], where: Bool[Array, "*batch G"]) -> Float[Array, "*batch"]:
    """Mean over the last axis where `where`; 0 where nothing is selected."""
    count = jnp.sum(where, axis=-1, dtype=values.dtype)
    return jnp.sum(values, axis=-1, where=where) / jnp.maximum(count, 1.0)


def _zero_where_uniform(
    advantages: Float[Array, " G"], rewards: Float[Array, " G"], valid: Bool[Array, " G"]
) -> Float[Array, " G"]:
    """Exact zeros for actions that were not judged, and for a whole group whose judged rewards agree."""
    return jnp.where(valid & is_mixed(rewards, valid), advantages, 0.0)
