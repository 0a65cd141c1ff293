"""Attention a block of scores at a time: memory grows with the tokens, not with their square.

Softmax is carried along the blocks of keys (Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022) and the
backward pass computes the scores again. Blocks of keys that no query of a block sees are skipped, so causal attention
costs half of the square. Plain XLA, on the arrays of one device.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MASKED = -1e30


class Attended(NamedTuple):
    """Attention to some of the keys: parts over different keys can be added up, weighted by exp(`log_total`)."""

    out: Float[Array, "N Q M G H"]
    """Weighted mean of the values, float32; 0 for a query that sees no key."""
    log_total: Float[Array, "N Q M G"]
    """log Σ exp(score) over the keys seen, float32; `MASKED` for a query that sees none."""


def blockwise_attention(
    query: Float[Array, "N Q M G H"],
    key: Float[Array, "N K M H"],
    value: Float[Array, "N K M H"],
    first: Int[Array, " N"],
    limit: Int[Array, "N Q"],
    block: int,
    varying: tuple[str, ...] = (),
) -> Attended:
    """Attention of each query to the keys `first <= k < limit` of its row, scores scaled by 1 / sqrt(H).

    Args:
        query, key, value: of one device, in the compute dtype.
        first: keys before it are seen by no query of the row.
        limit: for each query.
        block: queries a block; a block's scores are `[N, M, G, block, block]`, or as many in another shape.
        varying: within a `shard_map`, the mesh axes over which all arrays differ.
    """
    return cast(Attended, _attended(query, key, value, first, limit, block, varying))


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _attended(
    query: Array, key: Array, value: Array, first: Array, limit: Array, block: int, varying: tuple[str, ...]
) -> Attended:
    return _forward(query, key, value, first, limit, block, varying)[0]


def _forward(query: Array, key: Array, value: Array, first: Array, limit: Array, block: int, varying: tuple[str, ...]):
    queries, limits, keys, values, width = _blocks(query, key, value, limit, block)

    def one_block(_, of_block):
        query, limit = of_block

        def step(j, carry):
            highest, total, out = carry
            scores, visible = _scores(query, _block_at(keys, j, width), first, limit, j * width)
            raised = jnp.maximum(highest, jnp.max(scores, axis=-1))
            weights = jnp.where(visible, jnp.exp(scores - raised[..., None]), 0.0)
            shrink = jnp.exp(highest - raised)
            added = _product("nmgqk,nkmh->nmgqh", weights.astype(value.dtype), _block_at(values, j, width))
            return raised, total * shrink + jnp.sum(weights, axis=-1), out * shrink[..., None] + added

        N, size, M, G, H = query.shape
        begin = (
            _full((N, M, G, size), MASKED, varying),
            _full((N, M, G, size), 0.0, varying),
            _full((N, M, G, size, H), 0.0, varying),
        )
        highest, total, out = jax.lax.fori_loop(0, _key_blocks(limit, width), step, begin)
        seen = total > 0
        total = jnp.where(seen, total, 1.0)
        out, log_total = out / total[..., None], jnp.where(seen, highest + jnp.log(total), MASKED)
        return None, (jnp.moveaxis(out, 3, 1), jnp.moveaxis(log_total, 3, 1))

    _, outs = jax.lax.scan(one_block, None, (queries, limits))
    attended = Attended(*(_joined(part, query.shape[1]) for part in outs))
    return attended, (query, key, value, first, limit, attended)


def _backward(block: int, varying: tuple[str, ...], residuals, gradients: Attended):
    query, key, value, first, limit, attended = residuals
    queries, limits, keys, values, width = _blocks(query, key, value, limit, block)
    # d score = weight · (d weight - Σ weight · d weight); the sum is this for each query (FlashAttention, Eq. 4)
    centre = jnp.sum(gradients.out * attended.out, axis=-1) - gradients.log_total
    scale = query.shape[-1] ** -0.5
    size = queries.shape[2]

    def one_block(carry, of_block):
        query, limit, out_gradient, centre, log_total = of_block
        centre, log_total = (jnp.moveaxis(array, 1, 3)[..., None] for array in (centre, log_total))
        out_gradient = out_gradient.astype(value.dtype)

        def step(j, carry):
            of_query, of_keys, of_values = carry
            key = _block_at(keys, j, width)
            scores, visible = _scores(query, key, first, limit, j * width)
            weights = jnp.where(visible, jnp.exp(scores - log_total), 0.0)
            of_weights = _product("nqmgh,nkmh->nmgqk", out_gradient, _block_at(values, j, width))
            of_scores = (weights * (of_weights - centre) * scale).astype(key.dtype)
            of_query = of_query + _product("nmgqk,nkmh->nqmgh", of_scores, key)
            of_keys = _added(of_keys, _product("nmgqk,nqmgh->nkmh", of_scores, query), j, width)
            of_values = _added(
                of_values, _product("nmgqk,nqmgh->nkmh", weights.astype(value.dtype), out_gradient), j, width
            )
            return of_query, of_keys, of_values

        begin = (_full(query.shape, 0.0, varying), *carry)
        of_query, *carry = jax.lax.fori_loop(0, _key_blocks(limit, width), step, begin)
        return tuple(carry), of_query

    begin = (_full(keys.shape, 0.0, varying), _full(keys.shape, 0.0, varying))
    of_block = (queries, limits, *(_cut(array, size) for array in (gradients.out, centre, attended.log_total)))
    (of_keys, of_values), of_queries = jax.lax.scan(one_block, begin, of_block)
    K = key.shape[1]
    return (
        _joined(of_queries, query.shape[1]).astype(query.dtype),
        of_keys[:, :K].astype(key.dtype),
        of_values[:, :K].astype(value.dtype),
        None,
        None,
    )


_attended.defvjp(_forward, _backward)


def _blocks(query: Array, key: Array, value: Array, limit: Array, block: int):
    """Queries and limits in blocks, keys and values padded to whole blocks, and keys a block."""
    size = min(block, query.shape[1])
    width = min(key.shape[1], max(block, block * block // size))
    room = [(0, 0), (0, -key.shape[1] % width), (0, 0), (0, 0)]
    return _cut(query, size), _cut(limit, size), jnp.pad(key, room), jnp.pad(value, room), width


def _cut(array: Array, size: int) -> Array:
    """`[N, Q, ...]` in blocks `[Q / size, N, size, ...]`; what is padded sees nothing, for its limit is 0."""
    N, Q = array.shape[:2]
    array = jnp.pad(array, [(0, 0), (0, -Q % size), *[(0, 0)] * (array.ndim - 2)])
    return jnp.moveaxis(array.reshape(N, -1, size, *array.shape[2:]), 1, 0)


def _joined(blocks: Array, length: int) -> Array:
    """The blocks as `[N, length, ...]` again."""
    blocks = jnp.moveaxis(blocks, 0, 1)
    return blocks.reshape(blocks.shape[0], -1, *blocks.shape[3:])[:, :length]


def _scores(query: Array, key: Array, first: Array, limit: Array, place: Array) -> tuple[Array, Array]:
    """Scores `[N, M, G, q, k]` of a block in float32, and which of them count; `place` is that of its first key."""
    scores = _product("nqmgh,nkmh->nmgqk", query, key) * query.shape[-1] ** -0.5
    at = place + jnp.arange(key.shape[1])
    visible = (at[None, None] < limit[:, :, None]) & (at[None, None] >= first[:, None, None])
    visible = visible[:, None, None]
    return jnp.where(visible, scores, MASKED), visible


def _key_blocks(limit: Array, width: int) -> Array:
    """Blocks of keys that some query of the block sees."""
    return (jnp.max(limit) + width - 1) // width


def _block_at(array: Array, j: Array, width: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(array, j * width, width, axis=1)


def _added(array: Array, block: Array, j: Array, width: int) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(array, _block_at(array, j, width) + block, j * width, axis=1)


def _product(subscripts: str, left: Array, right: Array) -> Array:
    """In the dtype of the operands, summed up in float32."""
    return jnp.einsum(subscripts, left, right, preferred_element_type=jnp.float32)


def _full(shape: tuple[int, ...], value: float, varying: tuple[str, ...]) -> Array:
    """A float32 constant to begin a loop with: of the same type as what the loop makes of it."""
    array = jnp.full(shape, value, jnp.float32)
    return jax.lax.pcast(array, varying, to="varying") if varying else array
