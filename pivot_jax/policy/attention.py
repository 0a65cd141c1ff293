"""Attention over trunks, and of branches that hang off positions of a trunk.

A branch token sees the trunk's keys before the branch's `start` and its own branch's keys up to itself, in one
softmax. So B branches cost one pass over their trunk instead of B. Short trunks are attended to in one piece, here;
long ones, and those that are split over devices, a block of scores at a time (`split_attention`).

Scores and softmax are float32 whatever the policy computes in: a score of 60 rounded to bfloat16 is wrong by up to 0.1,
and so is its weight. Arrays of scores are laid out as their product gives them, `[N, M, ..., keys]`, and it is the sum
over values that is divided: transposing or dividing the scores would be passes over the largest arrays there are.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pivot_jax.policy.blockwise import MASKED
from pivot_jax.policy.mesh import Rules, is_split
from pivot_jax.policy.split_attention import split_branch_attention, split_trunk_attention

ATTENTION_BLOCK = 512
"""Side of a block of scores. A trunk, or a branch, with more scores to a head than such a square is attended to
blockwise: trunks of more than 512 tokens, and branches of T tokens on trunks of more than 512² / T."""


def trunk_attention(
    query: Float[Array, "N S M G H"],
    key: Float[Array, "N S M H"],
    value: Float[Array, "N S M H"],
    rules: Rules,
) -> Float[Array, "N S M G H"]:
    """Causal attention within each trunk. Padding stands on the right, where no real token looks."""
    S = query.shape[1]
    if S * S > ATTENTION_BLOCK**2 or is_split(key, rules, "seq"):
        return split_trunk_attention(query, key, value, rules, ATTENTION_BLOCK)
    key, value = _whole(key, rules), _whole(value, rules)
    scores = _product(
        "nsmgh,numh->nmsgu", query, key,
        out_sharding=rules.computed("batch", "kv_heads", "seq", "heads_per_kv", "token"),
    )  # fmt: skip
    causal = jnp.arange(S)[:, None] >= jnp.arange(S)[None, :]
    scores = _visible(scores, causal[None, None, :, None], query.shape[-1])
    weights = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True)))
    out = rules.computed("batch", "seq", "kv_heads", "heads_per_kv", "head_dim")
    summed = _product("nmsgu,numh->nsmgh", weights.astype(value.dtype), value, out_sharding=out)
    total = jnp.swapaxes(jnp.sum(weights, axis=-1), 1, 2)
    return (summed / total[..., None]).astype(value.dtype)


def branch_attention(
    query: Float[Array, "N B T M G H"],
    trunk_key: Float[Array, "N S M H"],
    trunk_value: Float[Array, "N S M H"],
    key: Float[Array, "N B U M H"],
    value: Float[Array, "N B U M H"],
    start: Int[Array, "N B"],
    offset: Int[Array, ""],
    rules: Rules,
    first: Int[Array, "N B"] | None = None,
) -> Float[Array, "N B T M G H"]:
    """Attention of branch tokens to [trunk before `start`] and [own branch, causal], in one softmax.

    Args:
        query: queries of branch tokens `offset .. offset + T`.
        trunk_key, trunk_value: the trunk's, positions 0 .. S.
        key, value: the branch's, tokens 0 .. U; those after a query's own place are masked.
        start: number of trunk tokens that a branch sees.
        offset: place in the branch of the first query (0 in training, the decode position when sampling).
        rules: the rule table.
        first: place of a branch's first token when it is padded on the left (None: 0).
    """
    T, S, U = query.shape[2], trunk_key.shape[1], key.shape[2]
    if T * max(S, U) > ATTENTION_BLOCK**2 or is_split(trunk_key, rules, "seq"):
        zeros = jax.reshard(jnp.zeros(start.shape, jnp.int32), rules.computed("batch", "branch"))
        return split_branch_attention(
            query, trunk_key, trunk_value, key, value, start, offset, zeros if first is None else first,
            rules, ATTENTION_BLOCK,
        )  # fmt: skip
    trunk_key, trunk_value = _whole(trunk_key, rules), _whole(trunk_value, rules)
    to_trunk = _product(
        "nbtmgh,nsmh->nmbtgs", query, trunk_key,
        out_sharding=rules.computed("batch", "kv_heads", "branch", "token", "heads_per_kv", "token"),
    )  # fmt: skip
    to_branch = _product(
        "nbtmgh,nbumh->nbmtgu", query, key,
        out_sharding=rules.computed("batch", "branch", "kv_heads", "token", "heads_per_kv", "token"),
    )  # fmt: skip
    sees_trunk = jnp.arange(S)[None, None, :] < start[:, :, None]
    sees_branch = ((offset + jnp.arange(T))[:, None] >= jnp.arange(U)[None, :])[None, None]
    if first is not None:
        sees_branch = sees_branch & (jnp.arange(U)[None, None, None] >= first[:, :, None, None])
    to_trunk = _visible(to_trunk, sees_trunk[:, None, :, None, None, :], query.shape[-1])
    to_branch = _visible(to_branch, sees_branch[:, :, None, :, None, :], query.shape[-1])
    top = jnp.maximum(jnp.swapaxes(jnp.max(to_trunk, axis=-1), 1, 2), jnp.max(to_branch, axis=-1))
    top = jax.lax.stop_gradient(top)
    of_trunk = jnp.exp(to_trunk - jnp.swapaxes(top, 1, 2)[..., None])
    of_branch = jnp.exp(to_branch - top[..., None])
    total = jnp.swapaxes(jnp.sum(of_trunk, axis=-1), 1, 2) + jnp.sum(of_branch, axis=-1)
    out = rules.computed("batch", "branch", "token", "kv_heads", "heads_per_kv", "head_dim")
    from_trunk = _product("nmbtgs,nsmh->nbtmgh", of_trunk.astype(value.dtype), trunk_value, out_sharding=out)
    from_branch = _product("nbmtgu,nbumh->nbtmgh", of_branch.astype(value.dtype), value, out_sharding=out)
    return ((from_trunk + from_branch) / jnp.swapaxes(total, 2, 3)[..., None]).astype(value.dtype)


def _whole(array: Array, rules: Rules) -> Array:
    """Keys or values of a trunk that no device holds a part of, laid out as such."""
    return jax.reshard(array, rules.computed("batch", "token", "kv_heads", "head_dim"))


_product = partial(jnp.einsum, preferred_element_type=jnp.float32)
"""Of operands in the compute dtype, summed up in float32."""


def _visible(scores: Array, visible: Array, head_dim: int) -> Array:
    """Scores scaled by 1 / sqrt(head_dim), and those of keys that are not seen out of the way."""
    return jnp.where(visible, scores / jnp.sqrt(jnp.float32(head_dim)), MASKED)
