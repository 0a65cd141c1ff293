"""Sampling actions: each trunk is prefilled once, then all its branches are decoded together.

The key of a token is derived from (run key, branch's uid, draw, place in the action), so what is sampled depends on
nothing else: not on the mesh, the batch it stands in, or the padding around it.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from pivot_jax.config import Architecture, SamplingSection
from pivot_jax.policy.attention import branch_attention
from pivot_jax.policy.decoder import (
    KeyValues,
    attention_inputs,
    attention_output,
    embed,
    forward,
    gather_block,
    mlp,
    rms_norm,
    unembed,
)
from pivot_jax.policy.lora import merged
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.spec import Parameters
from pivot_jax.rollout.sampling import sample_token, sampling_logits

BRANCH_AXES = ("layers", "batch", "branch", "token", "kv_heads", "head_dim")


@struct.dataclass
class BranchPoints:
    """Where actions are to be sampled. A branch with `forced_length` 0 is padding."""

    trunks: Int[Array, "N S"]
    start: Int[Array, "N B"]
    """Trunk tokens that the branch sees."""
    forced: Int[Array, "N B F"]
    """State tokens that the branch begins with; at least the last token of its state."""
    forced_length: Int[Array, "N B"]
    uid: UInt32[Array, "N B"]
    """Names the state, for the random key."""
    draw: UInt32[Array, "N B"]
    """Names the sample at that state, for the random key."""


@struct.dataclass
class Sampled:
    """Sampled branches: forced tokens, then the action, then padding; T = F + max_new_tokens."""

    tokens: Int[Array, "N B T"]
    action_mask: Bool[Array, "N B T"]
    """True on tokens that the policy sampled, the stop token included."""
    behavior_logprobs: Float[Array, "N B T"]
    """Under the distribution really sampled from; 0 outside the action."""
    finished: Bool[Array, "N B"]
    """A stop token ended the action (False: cut off by the length limit)."""


@partial(jax.jit, static_argnames=("settings", "stop", "arch", "rules"))
def sample_branches(
    params: Parameters[jax.Array],
    points: BranchPoints,
    run_key: Key[Array, ""],
    *,
    settings: SamplingSection,
    stop: tuple[int, ...],
    arch: Architecture,
    rules: Rules,
) -> Sampled:
    """Sample one action for every branch.

    Args:
        params: the behavior policy.
        points: where to sample.
        run_key: equal keys give equal actions.
        settings: temperature, top-k, top-p, most new tokens (static).
        stop: token ids that end an action (static).
        arch, rules: the policy's architecture and the rule table (static).
    """
    N, B, F = points.forced.shape
    T = F + settings.max_new_tokens
    params = merged(params)  # once, not for every token: adapters are small but the sum is as large as the weights
    trunk_cache = forward(params, points.trunks, None, arch, rules, keep_cache=True).trunk_cache
    assert trunk_cache is not None
    flat = rules.computed("batch", "branch", "token")
    tokens = jax.reshard(jnp.pad(points.forced, ((0, 0), (0, 0), (0, T - F))), flat)
    cache = empty_cache(N, B, T, arch, rules)
    keys = jax.vmap(jax.vmap(lambda uid, draw: jax.random.fold_in(jax.random.fold_in(run_key, uid), draw)))(
        points.uid, points.draw
    )
    stop_ids = jnp.array(stop, jnp.int32)

    def undecided(loop) -> Bool[Array, ""]:
        place, _, _, _, _, done, _ = loop
        return (place < T - 1) & ~jnp.all(done)

    def advance(loop):
        place, tokens, mask, logprobs, cache, done, finished = loop
        current = jax.lax.dynamic_index_in_dim(tokens, place, axis=2)
        hidden, cache = extend_branches(params, current, points.start, place, trunk_cache, cache, arch, rules)
        logits = unembed(params, hidden, arch, rules)[:, :, 0]
        logits = sampling_logits(jax.reshard(logits, flat), settings)
        index = place + 1 - points.forced_length  # place of the next token in its action; negative while forced
        token, logprob = jax.vmap(jax.vmap(lambda key, i, row: sample_token(jax.random.fold_in(key, i), row)))(
            keys, index, logits
        )
        forced = jax.lax.dynamic_index_in_dim(tokens, place + 1, axis=2, keepdims=False)
        sampled = (index >= 0) & ~done
        token = jnp.where(sampled, token, forced)
        stopped = sampled & jnp.any(token[..., None] == stop_ids[None, None], axis=-1)
        return (
            place + 1,
            _write(tokens, token, place + 1),
            _write(mask, sampled, place + 1),
            _write(logprobs, jnp.where(sampled, logprob, 0.0), place + 1),
            cache,
            done | stopped | (index >= settings.max_new_tokens - 1),
            finished | stopped,
        )

    false = jnp.zeros_like(points.start, dtype=jnp.bool_)
    mask = jnp.zeros_like(tokens, dtype=jnp.bool_)
    padding = points.forced_length == 0
    loop = (jnp.int32(0), tokens, mask, jnp.zeros_like(tokens, dtype=jnp.float32), cache, padding, false)
    _, tokens, mask, logprobs, _, _, finished = jax.lax.while_loop(undecided, advance, loop)
    return Sampled(tokens, mask, logprobs, finished)


def extend_branches(
    params: Parameters[jax.Array],
    tokens: Int[Array, "N B T"],
    start: Int[Array, "N B"],
    place: Int[Array, ""],
    trunk_cache: KeyValues,
    cache: KeyValues,
    arch: Architecture,
    rules: Rules,
    first: Int[Array, "N B"] | None = None,
) -> tuple[Float[Array, "N B T D"], KeyValues]:
    """Final hidden states of the next T tokens of every branch, and the branch cache with their keys and values.

    Args:
        params: the policy.
        tokens: what stands at places `place .. place + T` of the branches.
        start: trunk tokens that a branch sees.
        place: place of the first of these tokens.
        trunk_cache, cache: keys and values of trunks and of branches.
        arch, rules: the policy's architecture and the rule table.
        first: place of a branch's first token when it is padded on the left (None: 0).
    """
    begin = start if first is None else start - first
    positions = begin[..., None] + place + jnp.arange(tokens.shape[2])[None, None]

    def step(carry, layer):
        y, branch = carry
        stored, trunk, index = layer
        block = gather_block(stored, arch, rules)
        query, key, value = attention_inputs(block, y, positions, arch, rules)
        at = (index, 0, 0, place, 0, 0)
        branch = KeyValues(
            key=jax.lax.dynamic_update_slice(branch.key, key[None], at),
            value=jax.lax.dynamic_update_slice(branch.value, value[None], at),
        )
        own = jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, index, keepdims=False), branch)
        attended = branch_attention(query, trunk.key, trunk.value, own.key, own.value, start, place, rules, first)
        return (mlp(block, attention_output(block, y, attended, rules), arch, rules), branch), None

    y = embed(params, tokens, arch, rules)
    layers = (params.blocks, trunk_cache, jnp.arange(arch.layers))
    (y, cache), _ = jax.lax.scan(step, (y, cache), layers)
    return rms_norm(y, params.final_norm, arch.norm_eps), cache


def empty_cache(rows: int, branches: int, length: int, arch: Architecture, rules: Rules) -> KeyValues:
    """Room for the keys and values of `branches` branches of `length` tokens on each row."""
    axes = rules.computed(*BRANCH_AXES)
    empty = jnp.zeros((arch.layers, rows, branches, length, arch.kv_heads, arch.head_dim), arch.dtype)
    return KeyValues(*(jax.reshard(empty, axes) for _ in range(2)))


def _write(array: Array, values: Array, place: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(array, values[..., None].astype(array.dtype), place, axis=2)
