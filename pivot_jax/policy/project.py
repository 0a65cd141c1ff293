"""A linear layer at every token, whatever shape the tokens have."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from pivot_jax.policy.mesh import Rules, is_split


def project(
    subscripts: str,
    x: jax.Array,
    weight: jax.Array,
    axes: tuple[str, ...],
    rules: Rules,
    *,
    dtype: Any = None,
    precision: jax.lax.Precision | None = None,
) -> jax.Array:
    """`einsum(subscripts, x, weight)` at every token: `t` in the subscripts stands for all of x's token dimensions.

    The tokens are one dimension while they are multiplied: where they are several, XLA transposes activations by copy
    to form a weight's gradient, which on a CPU costs more than the product.

    Args:
        subscripts: of `t` and the features of x, the weight, and the result.
        x: activations, `[N, S, ...]` or `[N, B, T, ...]`.
        weight: in the dtype of x, where it is computed on.
        axes: logical axes of the result's features.
        rules: the rule table.
        dtype: that products are summed up in (None: the inputs' own).
        precision: of the products (None: the platform's default, which on a TPU rounds float32 to bfloat16).
    """
    own, _ = subscripts.split("->")[0].split(",")
    rank = x.ndim - len(own) + 1
    lead, tokens = x.shape[:rank], token_axes(rank)
    if is_split(x, rules, *tokens[1:]):  # sequences are split over devices: they stay as they are
        names = "xyz"[:rank]
        out = rules.computed(*tokens, *axes)
        return jnp.einsum(
            subscripts.replace("t", names), x, weight,
            out_sharding=out, preferred_element_type=dtype, precision=precision,
        )  # fmt: skip
    features = jax.typeof(x).sharding.spec[rank:]
    batch = rules.computed("batch")[0]
    flat = jax.lax.reshape(x, (math.prod(lead), *x.shape[rank:]), out_sharding=PartitionSpec(batch, *features))
    out = rules.computed("batch", *axes)
    result = jnp.einsum(
        subscripts, flat, weight, out_sharding=out, preferred_element_type=dtype, precision=precision
    )  # fmt: skip
    whole = rules.computed(*tokens, *axes)
    return jax.lax.reshape(result, (*lead, *result.shape[1:]), out_sharding=whole)


def token_axes(rank: int) -> tuple[str, ...]:
    """Logical axes of token arrays: `[N]`, `[N, S]` or `[N, B, T]`."""
    return {1: ("batch",), 2: ("batch", "seq"), 3: ("batch", "branch", "token")}[rank]
