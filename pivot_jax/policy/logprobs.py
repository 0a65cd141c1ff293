"""Log-probabilities of given tokens under a policy, float32 whatever it computes in."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pivot_jax.config import Architecture
from pivot_jax.policy.decoder import Branches, forward, unembedding
from pivot_jax.policy.log_softmax import chosen_logprobs
from pivot_jax.policy.mesh import Rules, mesh_axes
from pivot_jax.policy.spec import Parameters


def branch_logprobs(
    params: Parameters[jax.Array], trunks: Int[Array, "N S"], branches: Branches, arch: Architecture, rules: Rules
) -> Float[Array, "N B T"]:
    """log π(token t | state, tokens before t) of every branch token; 0 at t = 0, which belongs to the state."""
    return branch_logprobs_and_experts(params, trunks, branches, arch, rules)[0]


def branch_logprobs_and_experts(
    params: Parameters[jax.Array], trunks: Int[Array, "N S"], branches: Branches, arch: Architecture, rules: Rules
) -> tuple[Float[Array, "N B T"], Int[Array, "L N B T K"] | None]:
    """As `branch_logprobs`, and the experts that each branch token was sent to (None in a dense policy)."""
    hidden = forward(params, trunks, branches, arch, rules, keep_experts=bool(arch.experts))
    assert hidden.branch is not None
    table = unembedding(params, arch, rules)
    logprobs = chosen_logprobs(hidden.branch[:, :, :-1], table, branches.tokens[:, :, 1:], rules)
    return jnp.pad(logprobs, ((0, 0), (0, 0), (1, 0))), hidden.branch_experts


def trunk_logprobs(
    params: Parameters[jax.Array], trunks: Int[Array, "N S"], arch: Architecture, rules: Rules
) -> Float[Array, "N S"]:
    """log π(token s | tokens before s) of every trunk token; 0 at s = 0."""
    hidden = forward(params, trunks, None, arch, rules).trunk
    # a trunk that is split over devices is not cut: the place of the last token, which nothing follows, is computed too
    whole, split = rules.computed("batch", "token"), rules.computed("batch", "seq")
    following = jax.reshard(jnp.roll(jax.reshard(trunks, whole), -1, axis=1), split)
    logprobs = jax.reshard(chosen_logprobs(hidden, unembedding(params, arch, rules), following, rules), whole)
    return jax.reshard(jnp.pad(logprobs[:, :-1], ((0, 0), (1, 0))), split)


def logprobs_at(
    params: Parameters[jax.Array],
    trunks: Int[Array, "N S"],
    places: Int[Array, "N A"],
    arch: Architecture,
    rules: Rules,
) -> Float[Array, "N A"]:
    """log π(token s | tokens before s) of the trunk tokens at these places alone; 0 at place 0, which nothing predicts.

    The logits of all other tokens, the states', are not computed.
    """
    hidden = forward(params, trunks, None, arch, rules).trunk
    before = _at(hidden, jnp.maximum(places - 1, 0), ("embed",), rules)
    logprobs = chosen_logprobs(before, unembedding(params, arch, rules), _at(trunks, places, (), rules), rules)
    return jnp.where(places > 0, logprobs, 0.0)


def _at(array: jax.Array, places: Int[Array, "N A"], axes: tuple[str, ...], rules: Rules) -> jax.Array:
    """What stands at these places of each trunk, `[N, A, ...]`; A is split over devices as the trunk is."""
    seq, rows = mesh_axes(rules.computed("seq")), rules.computed("batch", "seq")

    def local(array: jax.Array, places: jax.Array) -> jax.Array:
        whole = jax.lax.all_gather(array, seq, axis=1, tiled=True) if seq else array
        return jax.vmap(lambda row, at: row[at])(whole, places)

    of_array = rules.computed("batch", "seq", *axes)
    return jax.shard_map(local, in_specs=(of_array, rows), out_specs=of_array)(array, places)
