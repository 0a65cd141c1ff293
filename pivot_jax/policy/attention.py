"""Attention over trunks, and of branches that hang off positions of a trunk.

A branch token sees the trunk's keys before the branch's `start` and its own branch's keys up to itself, in one
softmax. So B branches cost one pass over their trunk instead of B. Short trunks are attended to in one piece, here;
long ones, and those that are split over devices, a block of scores at a time (`split_attention`).

Scores and softmax are float32 whatever the policy computes in: a score of 60 rounded to bfloat16 is wrong by up to 0.1,
and so is its weight.
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
    scores = jnp.einsum(
        "nsmgh,numh->nmgsu", query, key,
        out_sharding=rules.computed("batch", "kv_heads", "heads_per_kv", "seq", "token"),
        preferred_element_type=jnp.float32,
    )  # fmt: skip
    causal = jnp.arange(S)[:, None] >= jnp.arange(S)[None, :]
    weights = _softmax(scores, causal[None, None, None], query.shape[-1]).astype(value.dtype)
    out = rules.computed("batch", "seq", "kv_heads", "heads_per_kv", "head_dim")
    return jnp.einsum("nmgsu,numh->nsmgh", weights, value, out_sharding=out)


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
    layout = rules.computed("batch", "branch", "kv_heads", "heads_per_kv", "token", "token")
    scores = partial(jnp.einsum, out_sharding=layout, preferred_element_type=jnp.float32)
    to_trunk = scores("nbtmgh,nsmh->nbmgts", query, trunk_key)
    to_branch = scores("nbtmgh,nbumh->nbmgtu", query, key)
    sees_trunk = jnp.arange(S)[None, None, :] < start[:, :, None]
    sees_branch = ((offset + jnp.arange(T))[:, None] >= jnp.arange(U)[None, :])[None, None]
    if first is not None:
        sees_branch = sees_branch & (jnp.arange(U)[None, None, None] >= first[:, :, None, None])
    both = jnp.concatenate(
        [
            jnp.where(sees_trunk[:, :, None, None, None, :], to_trunk, MASKED),
            jnp.where(sees_branch[:, :, None, None], to_branch, MASKED),
        ],
        axis=-1,
    )
    weights = jax.nn.softmax(both / jnp.sqrt(jnp.float32(query.shape[-1])), axis=-1).astype(value.dtype)
    out = rules.computed("batch", "branch", "token", "kv_heads", "heads_per_kv", "head_dim")
    from_trunk = jnp.einsum("nbmgts,nsmh->nbtmgh", weights[..., :S], trunk_value, out_sharding=out)
    from_branch = jnp.einsum("nbmgtu,nbumh->nbtmgh", weights[..., S:], value, out_sharding=out)
    return from_trunk + from_branch


def _whole(array: Array, rules: Rules) -> Array:
    """Keys or values of a trunk that no device holds a part of, laid out as such."""
    return jax.reshard(array, rules.computed("batch", "token", "kv_heads", "head_dim"))


def _softmax(scores: Array, visible: Array, head_dim: int) -> Array:
    """Softmax in float32 over visible keys, after the usual scaling by sqrt(head_dim)."""
    return jax.nn.softmax(jnp.where(visible, scores / jnp.sqrt(jnp.float32(head_dim)), MASKED), axis=-1)
