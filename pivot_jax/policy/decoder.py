"""The Qwen3 decoder over trunks and branches: the one forward pass of the package.

Profiling, rollout, reference log-probs, the update and SFT all call `forward` (SFT with no branches). Blocks are
scanned; parameters are stored sharded and gathered one block at a time.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from pivot_jax.config import Architecture
from pivot_jax.policy.attention import branch_attention, trunk_attention
from pivot_jax.policy.lora import merged_block
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.moe import mix_experts, route
from pivot_jax.policy.project import project, token_axes
from pivot_jax.policy.remat import named_input, rematerialised
from pivot_jax.policy.rope import rope
from pivot_jax.policy.spec import Block, Parameters, ParamSpec, parameter_specs

UNROLLED_LAYERS = 4
"""A policy of at most so many layers is compiled layer by layer: what the backward pass needs is not copied into stacks
and out of them, which on a CPU is a fifth of a training step. Of a deeper one a single block is compiled."""


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
    """Final hidden states, normed; `branch` is None without branches, `trunk_cache` unless it was asked for.

    The experts that tokens were sent to are there if they were asked for and the policy has any.
    """

    trunk: Float[Array, "N S D"]
    branch: Float[Array, "N B T D"] | None
    trunk_cache: KeyValues | None
    trunk_experts: Int[Array, "L N S K"] | None = None
    branch_experts: Int[Array, "L N B T K"] | None = None


def rms_norm(x: Float[Array, "... D"], scale: Float[Array, " D"], eps: float) -> Float[Array, "... D"]:
    """x / sqrt(mean(x²) + eps) · scale, the mean in float32."""
    wide = x.astype(jnp.float32)
    normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return normed.astype(x.dtype) * jnp.expand_dims(scale, tuple(range(x.ndim - 1))).astype(x.dtype)


def gather_block(block: Block[jax.Array], arch: Architecture, rules: Rules) -> Block[jax.Array]:
    """One block's parameters moved from where they are stored to where they are computed on, in the compute dtype.

    The router stays float32: rounding sends tokens elsewhere, and then the trainer disagrees with the sampler.
    """

    def gathered(spec: ParamSpec, array: jax.Array) -> jax.Array:
        dtype = jnp.float32 if "routed" in spec.axes else arch.dtype
        return jax.reshard(array.astype(dtype), rules.computed(*spec.axes[1:]))

    # adapters are added where the weights are stored: a product of small matrices without communication, after which
    # only the sum is gathered
    specs, block = parameter_specs(arch).blocks, merged_block(block)
    return jax.tree.map(gathered, specs, block, is_leaf=lambda leaf: isinstance(leaf, ParamSpec))


def embed(params: Parameters[jax.Array], tokens: Int[Array, ...], arch: Architecture, rules: Rules) -> jax.Array:
    """Token embeddings `[..., D]` in the compute dtype."""
    table = jax.reshard(params.embedding.astype(arch.dtype), rules.computed("vocab_in", "embed"))
    return table.at[tokens].get(out_sharding=rules.computed(*token_axes(tokens.ndim), "embed"))


def unembedding(params: Parameters[jax.Array], arch: Architecture, rules: Rules) -> Float[Array, "D V"]:
    """What hidden states are multiplied with to get logits, in the compute dtype, split by vocabulary."""
    if params.unembedding is not None:
        return jax.reshard(params.unembedding.astype(arch.dtype), rules.computed("embed", "vocab"))
    # gathered whole before it is split by vocabulary: the two layouts share no dimension
    whole = jax.reshard(params.embedding.astype(arch.dtype), rules.computed("vocab_in", "embed"))
    return jax.reshard(whole.T, rules.computed("embed", "vocab"))


def unembed(
    params: Parameters[jax.Array], hidden: Float[Array, "... D"], arch: Architecture, rules: Rules
) -> jax.Array:
    """Logits `[..., V]` in float32, all of them: for sampling. Log-probs of given tokens need none (`log_softmax`)."""
    table = unembedding(params, arch, rules)
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
    query = rope(rms_norm(query, block.query_norm, arch.norm_eps), positions[..., None], arch)
    key = rope(rms_norm(key, block.key_norm, arch.norm_eps), positions, arch)
    return query, key, value


def attention_output(block: Block[jax.Array], x: jax.Array, attended: jax.Array, rules: Rules) -> jax.Array:
    """Residual plus the projected heads."""
    return x + project("tmgh,mghd->td", attended, block.output, ("embed",), rules)


def mlp(block: Block[jax.Array], x: Float[Array, "... D"], arch: Architecture, rules: Rules) -> Float[Array, "... D"]:
    """Residual plus SwiGLU, dense or of the experts that each token is sent to."""
    return mlp_and_experts(block, x, arch, rules)[0]


def mlp_and_experts(
    block: Block[jax.Array], x: Float[Array, "... D"], arch: Architecture, rules: Rules
) -> tuple[Float[Array, "... D"], Int[Array, "... K"] | None]:
    """As `mlp`, and which experts each token was sent to (None if the block is dense)."""
    normed = rms_norm(x, block.mlp_norm, arch.norm_eps)
    if block.router is not None:
        routing = route(normed, block.router, arch, rules)
        return x + mix_experts(normed, routing, block.gate, block.up, block.down, rules), routing.experts
    gate = project("td,df->tf", normed, block.gate, ("mlp",), rules)
    up = project("td,df->tf", normed, block.up, ("mlp",), rules)
    return x + project("tf,fd->td", jax.nn.silu(gate) * up, block.down, ("embed",), rules), None


def forward(
    params: Parameters[jax.Array],
    trunks: Int[Array, "N S"],
    branches: Branches | None,
    arch: Architecture,
    rules: Rules,
    *,
    keep_cache: bool = False,
    keep_experts: bool = False,
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
        keep_cache: return the trunks' keys and values (for decoding).
        keep_experts: return the experts that tokens were sent to (for `moe.expert_counts`).
    """
    x = embed(params, trunks, arch, rules)
    y = None if branches is None else embed(params, branches.tokens, arch, rules)
    trunk_positions = jnp.broadcast_to(jnp.arange(trunks.shape[1])[None], trunks.shape)
    trunk_positions = jax.reshard(trunk_positions, rules.computed("batch", "seq"))

    def step(carry, stored: Block[jax.Array]):
        x, y = jax.tree.map(named_input, carry)
        block, y_experts = gather_block(stored, arch, rules), None
        query, key, value = attention_inputs(block, x, trunk_positions, arch, rules)
        if y is not None and branches is not None:
            positions = branches.start[..., None] + jnp.arange(branches.tokens.shape[2])[None, None]
            q, k, v = attention_inputs(block, y, positions, arch, rules)
            attended = branch_attention(q, key, value, k, v, branches.start, jnp.int32(0), rules)
            y, y_experts = mlp_and_experts(block, attention_output(block, y, attended, rules), arch, rules)
        attended = trunk_attention(query, key, value, rules)
        x, x_experts = mlp_and_experts(block, attention_output(block, x, attended, rules), arch, rules)
        kept = (KeyValues(key, value) if keep_cache else None, (x_experts, y_experts) if keep_experts else (None, None))
        return (x, y), kept

    unroll = arch.layers if arch.layers <= UNROLLED_LAYERS else 1
    (x, y), (cache, experts) = jax.lax.scan(rematerialised(step, arch.remat), (x, y), params.blocks, unroll=unroll)
    final = params.final_norm
    return Hidden(
        trunk=rms_norm(x, final, arch.norm_eps),
        branch=None if y is None else rms_norm(y, final, arch.norm_eps),
        trunk_cache=cache,
        trunk_experts=experts[0],
        branch_experts=experts[1],
    )
