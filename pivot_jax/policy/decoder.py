"""The Qwen3 dense decoder over trunks and branches: the one forward pass of the package.

Profiling, rollout, reference log-probs, the update and SFT all call `forward` (SFT with no branches). Blocks are
scanned; parameters are stored sharded and gathered one block at a time.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from pivot_jax.config import Architecture
from pivot_jax.policy.attention import branch_attention, rope, trunk_attention
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.spec import Block, Parameters, ParamSpec, parameter_specs


@struct.dataclass
class Branches:
    """Branch tokens and where they hang: token t of a branch stands at position `start + t`.

    A branch begins with at least the last token of its state, so its own hidden states predict its whole action.
    """

    tokens: Int[Array, "N B T"]
    start: Int[Array, "N B"]


@struct.dataclass
class KeyValues:
    """Keys and values of all layers: `[L, N, S, M, H]` for trunks, `[L, N, B, T, M, H]` for branches."""

    key: Array
    value: Array


@struct.dataclass
class Hidden:
    """Final hidden states, normed; `branch` is None without branches, `trunk_cache` unless it was asked for."""

    trunk: Float[Array, "N S D"]
    branch: Float[Array, "N B T D"] | None
    trunk_cache: KeyValues | None


def rms_norm(x: Float[Array, "... D"], scale: Float[Array, " D"], eps: float) -> Float[Array, "... D"]:
    """x / sqrt(mean(x²) + eps) · scale, the mean in float32."""
    wide = x.astype(jnp.float32)
    normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return normed.astype(x.dtype) * jnp.expand_dims(scale, tuple(range(x.ndim - 1))).astype(x.dtype)


def gather_block(block: Block[jax.Array], arch: Architecture, rules: Rules) -> Block[jax.Array]:
    """One block's parameters moved from where they are stored to where they are computed on, in the compute dtype."""
    specs = parameter_specs(arch).blocks
    return jax.tree.map(
        lambda spec, array: jax.reshard(array.astype(arch.dtype), rules.computed(*spec.axes[1:])),
        specs,
        block,
        is_leaf=lambda leaf: isinstance(leaf, ParamSpec),
    )


def project(
    subscripts: str, x: jax.Array, weight: jax.Array, axes: tuple[str, ...], rules: Rules, dtype: Any = None
) -> jax.Array:
    """`einsum(subscripts, x, weight)` at every token: `t` in the subscripts stands for all of x's token dimensions.

    The tokens are one dimension while they are multiplied: where they are several, XLA transposes activations by copy
    to form a weight's gradient, which on a CPU costs more than the product.

    Args:
        subscripts: of `t` and the features of x, the weight, and the result.
        x: activations, `[N, S, ...]` or `[N, B, T, ...]`.
        weight: in the compute dtype, where it is computed on.
        axes: logical axes of the result's features.
        rules: the rule table.
        dtype: that products are summed up in (None: the inputs' own).
    """
    own, _ = subscripts.split("->")[0].split(",")
    rank = x.ndim - len(own) + 1
    lead, tokens = x.shape[:rank], _axes(rank)
    if any(part for part in rules.computed(*tokens)[1:]):  # sequences are split over devices: they stay as they are
        names = "xyz"[:rank]
        out = rules.computed(*tokens, *axes)
        return jnp.einsum(
            subscripts.replace("t", names), x, weight, out_sharding=out, preferred_element_type=dtype
        )  # fmt: skip
    features = jax.typeof(x).sharding.spec[rank:]
    batch = rules.computed("batch")[0]
    flat = jax.lax.reshape(x, (math.prod(lead), *x.shape[rank:]), out_sharding=PartitionSpec(batch, *features))
    out = rules.computed("batch", *axes)
    result = jnp.einsum(subscripts, flat, weight, out_sharding=out, preferred_element_type=dtype)
    whole = rules.computed(*tokens, *axes)
    return jax.lax.reshape(result, (*lead, *result.shape[1:]), out_sharding=whole)


def embed(params: Parameters[jax.Array], tokens: Int[Array, ...], arch: Architecture, rules: Rules) -> jax.Array:
    """Token embeddings `[..., D]` in the compute dtype."""
    table = jax.reshard(params.embedding.astype(arch.dtype), rules.computed("vocab_in", "embed"))
    return table.at[tokens].get(out_sharding=rules.computed(*_axes(tokens.ndim), "embed"))


def unembed(
    params: Parameters[jax.Array], hidden: Float[Array, "... D"], arch: Architecture, rules: Rules
) -> jax.Array:
    """Logits `[..., V]` in float32."""
    if params.unembedding is None:
        # gathered whole before it is split by vocabulary: the two layouts share no dimension
        whole = jax.reshard(params.embedding.astype(arch.dtype), rules.computed("vocab_in", "embed"))
        table = jax.reshard(whole.T, rules.computed("embed", "vocab"))
    else:
        table = jax.reshard(params.unembedding.astype(arch.dtype), rules.computed("embed", "vocab"))
    return project("td,dv->tv", hidden, table, ("vocab",), rules, dtype=jnp.float32)


def attention_inputs(
    block: Block[jax.Array], x: Float[Array, "... D"], positions: Int[Array, ...], arch: Architecture, rules: Rules
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries `[..., M, G, H]`, keys and values `[..., M, H]` of normed inputs, q/k-normed and rotated."""
    heads, kv = ("kv_heads", "heads_per_kv", "head_dim"), ("kv_heads", "head_dim")
    normed = rms_norm(x, block.attention_norm, arch.norm_eps)
    query = project("td,dmgh->tmgh", normed, block.query, heads, rules)
    key = project("td,dmh->tmh", normed, block.key, kv, rules)
    value = project("td,dmh->tmh", normed, block.value, kv, rules)
    query = rope(rms_norm(query, block.query_norm, arch.norm_eps), positions[..., None], arch.rope_theta)
    key = rope(rms_norm(key, block.key_norm, arch.norm_eps), positions, arch.rope_theta)
    return query, key, value


def attention_output(block: Block[jax.Array], x: jax.Array, attended: jax.Array, rules: Rules) -> jax.Array:
    """Residual plus the projected heads."""
    return x + project("tmgh,mghd->td", attended, block.output, ("embed",), rules)


def mlp(block: Block[jax.Array], x: Float[Array, "... D"], arch: Architecture, rules: Rules) -> Float[Array, "... D"]:
    """Residual plus SwiGLU."""
    normed = rms_norm(x, block.mlp_norm, arch.norm_eps)
    gate = project("td,df->tf", normed, block.gate, ("mlp",), rules)
    up = project("td,df->tf", normed, block.up, ("mlp",), rules)
    return x + project("tf,fd->td", jax.nn.silu(gate) * up, block.down, ("embed",), rules)


def forward(
    params: Parameters[jax.Array],
    trunks: Int[Array, "N S"],
    branches: Branches | None,
    arch: Architecture,
    rules: Rules,
    *,
    keep_cache: bool = False,
) -> Hidden:
    """Hidden states of trunks, and of branches hanging off them.

    Equal, values and gradients, to running each trunk[:start] + branch as its own sequence. Trunks are padded on the
    right; padding changes nothing to the left of it.

    Args:
        params: the policy.
        trunks: token ids.
        branches: branch tokens and starts, or None.
        arch: the architecture (static).
        rules: logical to mesh axes (static).
        keep_cache: return the trunks' keys and values (for decoding); otherwise they are empty.
    """
    x = embed(params, trunks, arch, rules)
    y = None if branches is None else embed(params, branches.tokens, arch, rules)
    trunk_positions = jnp.broadcast_to(jnp.arange(trunks.shape[1])[None], trunks.shape)

    def step(carry, stored: Block[jax.Array]):
        x, y = carry
        block = gather_block(stored, arch, rules)
        query, key, value = attention_inputs(block, x, trunk_positions, arch, rules)
        if y is not None and branches is not None:
            positions = branches.start[..., None] + jnp.arange(branches.tokens.shape[2])[None, None]
            q, k, v = attention_inputs(block, y, positions, arch, rules)
            attended = branch_attention(q, key, value, k, v, branches.start, jnp.int32(0), rules)
            y = mlp(block, attention_output(block, y, attended, rules), arch, rules)
        x = mlp(block, attention_output(block, x, trunk_attention(query, key, value, rules), rules), arch, rules)
        return (x, y), (KeyValues(key, value) if keep_cache else None)

    (x, y), cache = jax.lax.scan(jax.checkpoint(step) if arch.remat else step, (x, y), params.blocks)
    final = params.final_norm
    return Hidden(
        trunk=rms_norm(x, final, arch.norm_eps),
        branch=None if y is None else rms_norm(y, final, arch.norm_eps),
        trunk_cache=cache,
    )


def _axes(rank: int) -> tuple[str, ...]:
    """Logical axes of token arrays: `[N]`, `[N, S]` or `[N, B, T]`."""
    return {1: ("batch",), 2: ("batch", "seq"), 3: ("batch", "branch", "seq")}[rank]
