"""Attention over trunks that are long or split over devices, on the arrays of each device.

Where `seq` is split, a device computes the rows of its own trunk tokens: the keys and values of the other parts are
gathered, one layer's at a time (they are few: kv heads, not heads). Branches gather nothing of a trunk: a device
attends to the part it holds, for all branches, and the parts are added up over the devices. So a trunk's cache stays
where it is while its branches are decoded.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pivot_jax.policy.blockwise import Attended, blockwise_attention
from pivot_jax.policy.mesh import MeshAxes, Rules, first_place, mesh_axes

HEADS, KV_HEADS = ("kv_heads", "heads_per_kv", "head_dim"), ("kv_heads", "head_dim")


def split_trunk_attention(
    query: Float[Array, "N S M G H"],
    key: Float[Array, "N S M H"],
    value: Float[Array, "N S M H"],
    rules: Rules,
    block: int,
) -> Float[Array, "N S M G H"]:
    """As `attention.trunk_attention`, a block of scores at a time."""
    of_queries, of_keys = rules.computed("batch", "seq", *HEADS), rules.computed("batch", "seq", *KV_HEADS)
    seq, varying = mesh_axes(rules.computed("seq")), mesh_axes(of_queries)

    def local(query: Array, key: Array, value: Array) -> Array:
        rows, length = query.shape[:2]
        if seq:
            key, value = (jax.lax.all_gather(array, seq, axis=1, tiled=True) for array in (key, value))
        key, value = (_spread(array, mesh_axes(of_keys), varying) for array in (key, value))
        limit = jnp.broadcast_to(first_place(seq, length) + jnp.arange(length) + 1, (rows, length))
        first = _spread(jnp.zeros(rows, jnp.int32), (), varying)
        limit = _spread(limit, seq, varying)
        return blockwise_attention(query, key, value, first, limit, block, varying).out.astype(value.dtype)

    return jax.shard_map(local, in_specs=(of_queries, of_keys, of_keys), out_specs=of_queries)(query, key, value)


def split_branch_attention(
    query: Float[Array, "N B T M G H"],
    trunk_key: Float[Array, "N S M H"],
    trunk_value: Float[Array, "N S M H"],
    key: Float[Array, "N B U M H"],
    value: Float[Array, "N B U M H"],
    start: Int[Array, "N B"],
    offset: Int[Array, ""],
    first: Int[Array, "N B"],
    rules: Rules,
    block: int,
) -> Float[Array, "N B T M G H"]:
    """As `attention.branch_attention`, a block of scores at a time."""
    pair = ("batch", "branch")
    of_queries, of_keys = rules.computed(*pair, "token", *HEADS), rules.computed(*pair, "token", *KV_HEADS)
    of_trunk, of_pair = rules.computed("batch", "seq", *KV_HEADS), rules.computed(*pair)
    varying = mesh_axes(of_queries)

    def local(
        query: Array, trunk_key: Array, trunk_value: Array, key: Array, value: Array,
        start: Array, offset: Array, first: Array,
    ) -> Array:  # fmt: skip
        N, B, T = query.shape[:3]
        rows, keys, values = (array.reshape(N * B, *array.shape[2:]) for array in (query, key, value))
        own = blockwise_attention(
            rows,
            _spread(keys, mesh_axes(of_keys), varying),
            _spread(values, mesh_axes(of_keys), varying),
            _spread(first.reshape(N * B), mesh_axes(of_pair), varying),
            _spread(jnp.broadcast_to(offset + jnp.arange(T) + 1, (N * B, T)), (), varying),
            block,
            varying,
        )
        own = _shaped(own, (N, B, T))
        trunk, total, highest = _trunk_part(query, trunk_key, trunk_value, start, rules, block)
        # both in one softmax, scaled so that the larger of the two totals is about one
        top = jax.lax.stop_gradient(jnp.maximum(highest, own.log_total))
        of_trunk, of_own = jnp.exp(highest - top), jnp.exp(own.log_total - top)
        summed = trunk * of_trunk[..., None] + own.out * of_own[..., None]
        return (summed / (total * of_trunk + of_own)[..., None]).astype(value.dtype)

    return jax.shard_map(
        local,
        in_specs=(of_queries, of_trunk, of_trunk, of_keys, of_keys, of_pair, rules.computed(), of_pair),
        out_specs=of_queries,
    )(query, trunk_key, trunk_value, key, value, start, offset, first)


def _trunk_part(
    query: Float[Array, "N B T M G H"],
    key: Float[Array, "N s M H"],
    value: Float[Array, "N s M H"],
    start: Int[Array, "N B"],
    rules: Rules,
    block: int,
) -> tuple[Array, Array, Array]:
    """Attention of this device's branches to the whole trunk, of which it holds s tokens.

    Returns Σ exp(score - highest) · value, Σ exp(score - highest), and the highest score's stand-in, which carries no
    gradient. Devices that hold other branches of the same trunk are asked for theirs, and sent their sums.
    """
    of_start, of_query = (mesh_axes(rules.computed("batch", "branch", *rest)) for rest in ((), ("token", *HEADS)))
    of_trunk, seq = mesh_axes(rules.computed("batch", "seq", *KV_HEADS)), mesh_axes(rules.computed("seq"))
    shared, apart = tuple(axis for axis in seq if axis in of_start), tuple(axis for axis in seq if axis not in of_start)
    varying, own, held = (*of_query, *apart), query.shape[1], key.shape[1]
    if shared:
        query, start = (jax.lax.all_gather(array, shared, axis=1, tiled=True) for array in (query, start))
    N, B, T = query.shape[:3]
    limit = jnp.repeat(jnp.clip(start - first_place(seq, held), 0, held), T, axis=1)
    part = blockwise_attention(
        _spread(query.reshape(N, B * T, *query.shape[3:]), of_query, varying),
        _spread(key, of_trunk, varying),
        _spread(value, of_trunk, varying),
        _spread(jnp.zeros(N, jnp.int32), (), varying),
        _spread(limit, (*of_start, *apart), varying),
        block,
        varying,
    )
    part = _shaped(part, (N, B, T))
    highest = jax.lax.stop_gradient(part.log_total)
    highest = jax.lax.pmax(highest, seq) if seq else highest
    weight = jnp.exp(part.log_total - highest)
    summed, total = part.out * weight[..., None], weight
    if apart:
        summed, total = jax.lax.psum((summed, total), apart)
    if shared:
        summed, total = jax.lax.psum_scatter((summed, total), shared, scatter_dimension=1, tiled=True)
        highest = jax.lax.dynamic_slice_in_dim(highest, first_place(shared, own), own, axis=1)
    return summed, total, highest


def _shaped(part: Attended, lead: tuple[int, int, int]) -> Attended:
    """Branch tokens apart again, `[N, B, T, ...]`."""
    return Attended(*(array.reshape(*lead, *array.shape[2:]) for array in part))


def _spread(array: Array, over: MeshAxes, varying: MeshAxes) -> Array:
    """The same array, differing between devices over `varying` as far as its type says, and not over `over` alone."""
    missing = tuple(axis for axis in varying if axis not in over)
    return jax.lax.pcast(array, missing, to="varying") if missing else array
