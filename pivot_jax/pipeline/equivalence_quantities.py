"""What is compared between meshes, as arrays by name; rows that only pad the batch are left out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pivot_jax.config import Architecture, LossSection, OptimizerSection
from pivot_jax.objective.advantages import group_advantages
from pivot_jax.pipeline.group_loss import GroupBatch
from pivot_jax.pipeline.optimizer import TrainState
from pivot_jax.policy.decoder import Branches, forward, unembed
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.spec import Parameters
from pivot_jax.rollout.decode import Sampled

Leaves = Mapping[str, np.ndarray]
"""Arrays by name."""


def named(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree on the host, each by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def sampling(sampled: Sampled, first: Sampled, count: int) -> dict[str, Leaves]:
    """The sampled tokens, and their log-probs for as long as the tokens are those that the first mesh sampled."""
    tokens, logprobs, first_tokens, first_logprobs = jax.device_get(
        (sampled.tokens, sampled.behavior_logprobs, first.tokens, first.behavior_logprobs)
    )
    same = np.cumprod(tokens == first_tokens, axis=-1, dtype=np.bool_)
    return {
        "sampled tokens": {"tokens": tokens[:count]},
        "behavior log-probs": {"log-probs": np.where(same, logprobs, first_logprobs)[:count]},
    }


def logits(seen: Mapping[str, np.ndarray], start: np.ndarray, action_mask: np.ndarray, count: int) -> dict[str, Leaves]:
    """Hidden states at every token of a trunk, logits after it, and logits that an action's tokens are sampled from.

    Args:
        seen: what `observe` gives, on the host.
        start: `[N, G]`, trunk tokens that a branch sees.
        action_mask: `[N, G, T]`, True on sampled tokens.
        count: rows that are no padding.
    """
    in_trunk = np.arange(seen["trunk_hidden"].shape[1])[None] < start[:, :1]
    before_action = np.roll(action_mask, -1, axis=-1)
    return {
        "trunk hidden states": {"trunks": seen["trunk_hidden"][:count][in_trunk[:count]]},
        "trunk logits": {"trunks": seen["trunk_logits"][:count]},
        "branch logits": {"branches": seen["branch_logits"][:count][before_action[:count]]},
    }


@partial(jax.jit, static_argnames=("loss", "arch", "rules"))
def observe(
    params: Parameters[jax.Array], batch: GroupBatch, *, loss: LossSection, arch: Architecture, rules: Rules
) -> dict:
    """Final hidden states of the trunks, logits at their states' ends and at every branch token, advantages."""
    hidden = forward(params, batch.trunks, Branches(batch.tokens, batch.start), arch, rules)
    assert hidden.branch is not None
    ends = jax.nn.one_hot(jnp.max(batch.start, axis=1) - 1, batch.trunks.shape[1], dtype=hidden.trunk.dtype)
    # a product, not a gather: it partitions over trunks that are cut along their length
    ends = jax.reshard(ends, rules.computed("batch", "seq"))
    last = jnp.einsum("nsd,ns->nd", hidden.trunk, ends, out_sharding=rules.computed("batch", "embed"))
    advantages = jax.vmap(lambda group, valid: group_advantages(group, valid, loss.advantage, loss.std_eps))
    return {
        "trunk_hidden": hidden.trunk,
        "trunk_logits": unembed(params, last, arch, rules),
        "branch_logits": unembed(params, hidden.branch, arch, rules),
        "advantages": advantages(batch.rewards, batch.valid),
    }


def gradients(state: TrainState, norm: float, section: OptimizerSection) -> Leaves:
    """The gradients of the first step, by leaf, as that very step computed them.

    AdamW's first moment is then (1 - b1) times the gradient that was clipped to `max_grad_norm`; `norm` is the one
    before clipping.
    """
    first_moment = optax.tree.get(state.moments, "mu")
    factor = np.float32(max(1.0, norm / section.max_grad_norm) / (1 - section.b1))
    return {leaf: array * factor for leaf, array in named(first_moment).items()}
