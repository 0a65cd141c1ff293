"""Sampling in episodes: each episode is a trunk whose keys and values stay on the devices and grow turn by turn.

A burst feeds every episode what it does not hold yet (the environment's answer, or the rest of a sampled action), then
samples up to `burst` tokens. These tokens are a branch on the episode's trunk; when the burst ends they are grafted
onto it. An action that the burst cuts short goes on in the next one, so nobody waits for the longest action.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from pivot_jax.config import Architecture, SamplingSection
from pivot_jax.policy.decoder import KeyValues, unembed
from pivot_jax.policy.lora import merged
from pivot_jax.policy.mesh import Rules, first_place, mesh_axes
from pivot_jax.policy.spec import Parameters
from pivot_jax.rollout.decode import BRANCH_AXES, empty_cache, extend_branches
from pivot_jax.rollout.sampling import sample_token, sampling_logits

TRUNK_AXES = ("layers", "batch", "seq", "kv_heads", "head_dim")


@struct.dataclass
class BurstPoints:
    """Where N episodes stand. A row with `fed_length` 0 is empty."""

    cached: Int[Array, " N"]
    """Tokens of the episode whose keys and values are in the cache."""
    fed: Int[Array, "N F"]
    """The episode's next tokens, padded on the left."""
    fed_length: Int[Array, " N"]
    written: Int[Array, " N"]
    """Tokens already sampled of the action that the fed tokens end in (0: they end in a generation prompt)."""
    uid: UInt32[Array, " N"]
    """Names the task, for the random key."""
    draw: UInt32[Array, " N"]
    """Names the episode among those of the task, for the random key."""


@struct.dataclass
class Burst:
    """What a burst sampled: the next tokens of each row's action, at most as many as it was given."""

    tokens: Int[Array, "N U"]
    mask: Bool[Array, "N U"]
    behavior_logprobs: Float[Array, "N U"]
    stopped: Bool[Array, " N"]
    """A stop token ended the action."""


class _Loop(NamedTuple):
    place: Int[Array, ""]
    current: Int[Array, "N 1 1"]
    burst: Burst
    cache: KeyValues
    done: Bool[Array, " N"]


def empty_trunks(rows: int, length: int, mesh: jax.sharding.Mesh, arch: Architecture, rules: Rules) -> KeyValues:
    """An empty cache `[L, N, S, M, H]` for `rows` episodes of up to `length` tokens."""
    shape = (arch.layers, rows, length, arch.kv_heads, arch.head_dim)
    sharding = jax.sharding.NamedSharding(mesh, rules.computed(*TRUNK_AXES))
    return KeyValues(*(jnp.zeros(shape, arch.dtype, device=sharding) for _ in range(2)))


@partial(jax.jit, static_argnames=("settings", "burst", "stop", "arch", "rules"), donate_argnames=("trunks",))
def sample_burst(
    params: Parameters[jax.Array],
    trunks: KeyValues,
    points: BurstPoints,
    run_key: Key[Array, ""],
    *,
    settings: SamplingSection,
    burst: int,
    stop: tuple[int, ...],
    arch: Architecture,
    rules: Rules,
) -> tuple[Burst, KeyValues]:
    """Feed and sample; the keys and values of all tokens but the last sampled one are added to the cache.

    What is sampled depends on (run key, uid, draw, place in the episode) and the episode's tokens alone: not on the
    batch, the mesh, or where bursts end.

    Args:
        params: the behavior policy.
        trunks: keys and values of the episodes, with room for F + burst more tokens; donated.
        points: where the episodes stand.
        run_key: equal keys give equal episodes.
        settings: temperature, top-k, top-p, most tokens of an action (static).
        burst: U, most tokens sampled of each action now (static).
        stop: token ids that end an action (static).
        arch, rules: the policy's architecture and the rule table (static).
    """
    N, F = points.fed.shape
    rules = rules.unsplit("branch")  # of which a row has one
    params = merged(params)  # once a burst, not for every token
    start, first = points.cached[:, None], (F - points.fed_length)[:, None]
    keys = jax.vmap(lambda uid, draw: jax.random.fold_in(jax.random.fold_in(run_key, uid), draw))(
        points.uid, points.draw
    )
    stop_ids = jnp.array(stop, jnp.int32)
    rows = rules.computed("batch", "token")

    def sample(place: Int[Array, ""], hidden: Float[Array, "N 1 1 D"], burst: Burst, done: Array):
        """The token at `place` of every row's branch."""
        logits = jax.reshard(unembed(params, hidden, arch, rules)[:, 0, 0], rows)
        positions = points.cached + place - first[:, 0]
        token, logprob = jax.vmap(lambda key, at, row: sample_token(jax.random.fold_in(key, at), row))(
            keys, positions, sampling_logits(logits, settings)
        )
        stopped = ~done & jnp.any(token[:, None] == stop_ids[None], axis=-1)
        index = place - F
        burst = Burst(
            _write(burst.tokens, token, index),
            _write(burst.mask, ~done, index),
            _write(burst.behavior_logprobs, jnp.where(done, 0.0, logprob), index),
            burst.stopped | stopped,
        )
        return token[:, None, None], burst, done | stopped | (points.written + index + 1 >= settings.max_new_tokens)

    def undecided(loop: _Loop) -> Bool[Array, ""]:
        return (loop.place < F + burst - 1) & ~jnp.all(loop.done)

    def advance(loop: _Loop) -> _Loop:
        hidden, cache = extend_branches(
            params, loop.current, start, loop.place, trunks, loop.cache, arch, rules, first
        )  # fmt: skip
        current, sampled, done = sample(loop.place + 1, hidden, loop.burst, loop.done)
        return _Loop(loop.place + 1, current, sampled, cache, done)

    blank = jax.reshard(jnp.zeros((N, burst), jnp.int32), rows)
    nothing = Burst(blank, blank > 0, blank.astype(jnp.float32), points.cached < 0)
    cache = empty_cache(N, 1, F + burst, arch, rules)
    zero = jnp.int32(0)
    hidden, cache = extend_branches(params, points.fed[:, None], start, zero, trunks, cache, arch, rules, first)
    current, sampled, done = sample(jnp.int32(F), hidden[:, :, -1:], nothing, points.fed_length == 0)
    loop = jax.lax.while_loop(undecided, advance, _Loop(jnp.int32(F), current, sampled, cache, done))
    held = points.fed_length + jnp.maximum(jnp.sum(loop.burst.mask, axis=1, dtype=jnp.int32) - 1, 0)
    return loop.burst, graft(trunks, loop.cache, points.cached, first[:, 0], held, rules)


def graft(
    trunks: KeyValues,
    branches: KeyValues,
    start: Int[Array, " N"],
    first: Int[Array, " N"],
    length: Int[Array, " N"],
    rules: Rules,
) -> KeyValues:
    """The trunks `[L, N, S, M, H]` with tokens `first .. first + length` of each row's one branch put at `start`.

    Each device puts what belongs into the part of the trunks that it holds.
    """

    def local(trunk: Array, branch: Array, start: Array, first: Array, length: Array) -> Array:
        held = trunk.shape[2]
        at = first_place(mesh_axes(rules.computed("seq")), held) + jnp.arange(held)[None] - start[:, None]
        grafted = ((at >= 0) & (at < length[:, None]))[None, :, :, None, None]
        source = jnp.clip(at + first[:, None], 0, branch.shape[3] - 1)[None, :, :, None, None]
        return jnp.where(grafted, jnp.take_along_axis(branch[:, :, 0], source, axis=2), trunk)

    trunk, branch, row = (rules.computed(*axes) for axes in (TRUNK_AXES, BRANCH_AXES, ("batch",)))
    put = jax.shard_map(local, in_specs=(trunk, branch, row, row, row), out_specs=trunk)
    return jax.tree.map(lambda trunk, branch: put(trunk, branch, start, first, length), trunks, branches)


@partial(jax.jit, static_argnames=("rules",))
def take_rows(trunks: KeyValues, rows: Int[Array, " N"], rules: Rules) -> KeyValues:
    """The cache of these rows alone: fewer episodes are left than the cache has rows."""
    out = rules.computed(*TRUNK_AXES)
    return jax.tree.map(lambda array: array.at[:, rows].get(out_sharding=out), trunks)


@partial(jax.jit, static_argnames=("length", "rules"))
def lengthen(trunks: KeyValues, length: int, rules: Rules) -> KeyValues:
    """The cache with room for `length` tokens an episode."""
    room = [(0, 0), (0, 0), (0, length - trunks.key.shape[2]), (0, 0), (0, 0)]
    # where trunks are split every part moves on; the compiler knows which device then holds what
    pad = jax.sharding.auto_axes(lambda array: jnp.pad(array, room), out_sharding=rules.computed(*TRUNK_AXES))
    return jax.tree.map(pad, trunks)


def _write(array: Array, values: Array, index: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(array, values[:, None].astype(array.dtype), index, axis=1)
