"""A mixture of experts in place of a block's MLP (Qwen3-MoE): no token is dropped, whatever the load.

Tokens are sorted by expert and multiplied in one grouped product, `jax.lax.ragged_dot`. A device computes the experts
that it holds, for the tokens that it holds; the parts are added up over the mesh axes that split the experts.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from pivot_jax.config import Architecture
from pivot_jax.policy.mesh import Rules, mesh_axes
from pivot_jax.policy.project import project, token_axes


@struct.dataclass
class Routing:
    """The K experts that each token is sent to, and the weights of their outputs in its sum."""

    experts: Int[Array, "... K"]
    weights: Float[Array, "... K"]


@struct.dataclass
class ExpertLoad:
    """How evenly each layer's experts are used."""

    share: Float[Array, "L E"]
    """Of the (token, chosen expert) pairs; sums to 1 over a layer."""
    peak: Float[Array, " L"]
    """The largest share over the mean share: 1 when even, E / K when all tokens choose alike."""
    entropy: Float[Array, " L"]
    """Of the shares, as a part of log E: 1 when even."""


def route(x: Float[Array, "... D"], router: Float[Array, "D E"], arch: Architecture, rules: Rules) -> Routing:
    """Softmax over all experts, the K largest, made to sum to one if the architecture says so; all in float32."""
    router = jax.lax.stop_gradient(router) if arch.frozen_router else router
    # not rounded to bfloat16 on a TPU: near a tie the sampler and the trainer would choose differently
    highest = jax.lax.Precision.HIGHEST
    logits = project("td,de->te", x.astype(jnp.float32), router, ("routed",), rules, precision=highest)
    weights, experts = jax.lax.top_k(jax.nn.softmax(logits, axis=-1), arch.experts_per_token)
    if arch.norm_topk_prob:
        weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
    return Routing(experts, weights)


def mix_experts(
    x: Float[Array, "... D"],
    routing: Routing,
    gate: Float[Array, "E D F"],
    up: Float[Array, "E D F"],
    down: Float[Array, "E F D"],
    rules: Rules,
) -> Float[Array, "... D"]:
    """For each token, the weighted sum of SwiGLU over its experts.

    Where tokens are split over an axis that also splits experts, they are gathered over it first, and the sums are
    scattered back.

    Args:
        x: normed activations, `[N, S, D]` or `[N, B, T, D]`.
        routing: where they are sent.
        gate, up, down: the experts, in the compute dtype.
        rules: the rule table.

    Raises:
        ValueError: the rules split the embedding while it is computed on.
    """
    tokens = token_axes(x.ndim - 1)
    if mesh_axes(rules.computed("embed")):
        raise ValueError("mesh.rules.embed: experts multiply whole embeddings; leave its computed axes empty")
    summed = mesh_axes(rules.computed("experts", "expert_mlp"))
    shared = tuple(axis for axis in mesh_axes(rules.computed(*tokens)) if axis in summed)
    apart = tuple(axis for axis in summed if axis not in shared)
    split = mesh_axes(rules.computed("experts"))

    def local(x: Array, experts: Array, weights: Array, gate: Array, up: Array, down: Array) -> Array:
        lead = x.shape[:-1]
        rows = tuple(array.reshape(math.prod(lead), array.shape[-1]) for array in (x, experts, weights))
        # each device adds its own part to these tokens, so their gradients are summed here, before they are sorted
        rows = tuple(jax.lax.pcast(array, apart, to="varying") if apart else array for array in rows)
        if shared:
            rows = tuple(jax.lax.all_gather(array, shared, tiled=True) for array in rows)
        first = jax.lax.axis_index(split) * gate.shape[0] if split else 0
        mixed = _held_experts(rows[0], rows[1] - first, rows[2], gate, up, down)
        mixed = jax.lax.psum(mixed, apart) if apart else mixed
        mixed = jax.lax.psum_scatter(mixed, shared, tiled=True) if shared else mixed
        return mixed.reshape(*lead, mixed.shape[-1])

    of_tokens = rules.computed(*tokens, "embed")
    of_choices = rules.computed(*tokens, "routed")
    inward, outward = rules.computed("experts", "embed", "expert_mlp"), rules.computed("experts", "expert_mlp", "embed")
    return jax.shard_map(
        local, in_specs=(of_tokens, of_choices, of_choices, inward, inward, outward), out_specs=of_tokens
    )(x, routing.experts, routing.weights, gate, up, down)


def expert_counts(experts: Int[Array, "L ... K"], mask: Bool[Array, ...], arch: Architecture) -> Float[Array, "L E"]:
    """How many of the (masked token, chosen expert) pairs go to each expert; counts of parts of a batch add up.

    Args:
        experts: those that tokens were sent to, from `forward(..., keep_experts=True)`.
        mask: True on the tokens to count, `[N, S]` or `[N, B, T]`.
        arch: the architecture.
    """
    chosen = experts[..., None] == jnp.arange(arch.experts).reshape((1,) * experts.ndim + (-1,))
    counted = chosen & mask[None, ..., None, None]
    return jnp.sum(counted, axis=tuple(range(1, experts.ndim)), dtype=jnp.float32)


def expert_load(counts: Float[Array, "L E"]) -> ExpertLoad:
    """How evenly the counted tokens are spread over the experts."""
    experts = counts.shape[1]
    share = counts / jnp.maximum(jnp.sum(counts, axis=-1, keepdims=True), 1.0)
    entropy = -jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1.0)), axis=-1)
    return ExpertLoad(share, jnp.max(share, axis=-1) * experts, entropy / math.log(max(experts, 2)))


def load_metrics(counts: Float[Array, "L E"]) -> dict[str, Array]:
    """The load of the counted tokens in three numbers: of the layer that is worst, and on average."""
    load = expert_load(counts)
    return {
        "moe/load_peak": jnp.max(load.peak),
        "moe/load_peak_mean": jnp.mean(load.peak),
        "moe/load_entropy": jnp.mean(load.entropy),
    }


def _held_experts(
    x: Float[Array, "t D"],
    experts: Int[Array, "t K"],
    weights: Float[Array, "t K"],
    gate: Float[Array, "e D F"],
    up: Float[Array, "e D F"],
    down: Float[Array, "e F D"],
) -> Float[Array, "t D"]:
    """The part of the sum that e experts contribute: those numbered 0 .. e in `experts`; others belong elsewhere."""
    held, choices = gate.shape[0], experts.shape[1]
    number = jnp.where((experts >= 0) & (experts < held), experts, held).reshape(-1)
    order = jnp.argsort(number)
    place = jnp.argsort(order)
    begin = jnp.searchsorted(number[order], jnp.arange(held + 1, dtype=number.dtype)).astype(jnp.int32)
    sizes = begin[1:] - begin[:-1]
    ours = (jnp.arange(len(number)) < begin[-1])[:, None]
    rows = jnp.where(ours, _permuted(jnp.repeat(x, choices, axis=0), order, place), 0)
    inner = jax.nn.silu(jax.lax.ragged_dot(rows, gate, sizes)) * jax.lax.ragged_dot(rows, up, sizes)
    # rows after the last group are of nobody's expert, and undefined on some platforms
    out = jnp.where(ours, jax.lax.ragged_dot(inner, down, sizes), 0)
    out = _permuted(out, place, order).reshape(*experts.shape, x.shape[1])
    return jnp.einsum("tkd,tk->td", out.astype(jnp.float32), weights).astype(x.dtype)


@jax.custom_vjp
def _permuted(rows: Array, order: Array, inverse: Array) -> Array:
    """`rows[order]`, whose gradient is a gather too: the transpose of a plain gather is a scatter, which is slow."""
    return rows[order]


def _permuted_forward(rows: Array, order: Array, inverse: Array) -> tuple[Array, Array]:
    return rows[order], inverse


def _permuted_backward(inverse: Array, gradient: Array) -> tuple[Array, None, None]:
    return gradient[inverse], None, None


_permuted.defvjp(_permuted_forward, _permuted_backward)
