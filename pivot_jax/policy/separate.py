"""The plain way, one sequence for each branch: the oracle that trunk-and-branch must equal, and the slow baseline."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pivot_jax.config import Architecture
from pivot_jax.policy.decoder import Branches
from pivot_jax.policy.logprobs import trunk_logprobs
from pivot_jax.policy.mesh import Rules, parts
from pivot_jax.policy.spec import Parameters


def separate_sequences(trunks: Int[Array, "N S"], branches: Branches, rules: Rules) -> Int[Array, "N B Z"]:
    """Each trunk[:start] + branch as a sequence of its own, padded on the right with token 0.

    Z is S + T, made a multiple of what trunks are split into.
    """
    N, B, T = branches.tokens.shape
    S, split = trunks.shape[1], parts(jax.typeof(trunks).sharding.mesh, rules, "seq")
    Z = -(-(S + T) // split) * split
    trunks = jax.reshard(trunks, rules.computed("batch", "token"))
    place = jnp.broadcast_to(jnp.arange(Z)[None, None], (N, B, Z))
    inside = place - branches.start[..., None]
    from_trunk = jnp.take_along_axis(
        jnp.broadcast_to(trunks[:, None], (N, B, S)), jnp.minimum(place, S - 1), axis=-1, mode="clip"
    )
    from_branch = jnp.take_along_axis(branches.tokens, jnp.clip(inside, 0, T - 1), axis=-1, mode="clip")
    return jnp.where(inside < 0, from_trunk, jnp.where(inside < T, from_branch, 0))


def separate_logprobs(
    params: Parameters[jax.Array], trunks: Int[Array, "N S"], branches: Branches, arch: Architecture, rules: Rules
) -> Float[Array, "N B T"]:
    """As `branch_logprobs`, computed with no sharing: B forward passes over each trunk."""
    _, B, T = branches.tokens.shape
    sequences = separate_sequences(trunks, branches, rules)
    by_branch = [
        trunk_logprobs(params, jax.reshard(sequences[:, b], rules.computed("batch", "seq")), arch, rules)
        for b in range(B)
    ]
    logprobs = jax.reshard(jnp.stack(by_branch, axis=1), rules.computed("batch", "branch", "token"))
    place = branches.start[..., None] + jnp.arange(T)[None, None]
    chosen = jnp.take_along_axis(logprobs, place, axis=-1, mode="clip")
    return jnp.where(jnp.arange(T)[None, None] == 0, 0.0, chosen)
