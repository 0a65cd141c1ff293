"""Log-probabilities of chosen tokens, float32 whatever the policy computes in."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pivot_jax.config import Architecture
from pivot_jax.policy.decoder import Branches, forward, unembed
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.spec import Parameters


def chosen_logprobs(logits: Float[Array, "... V"], tokens: Int[Array, ...]) -> Float[Array, ...]:
    """log softmax(logits)[token], in float32."""
    logits = logits.astype(jnp.float32)
    # a one-hot product, not a gather: it partitions over a vocabulary that is split across devices
    one_hot = jax.nn.one_hot(tokens, logits.shape[-1], dtype=jnp.float32, axis=-1)
    return jnp.sum(logits * one_hot, axis=-1) - jax.nn.logsumexp(logits, axis=-1)


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
    logits = unembed(params, hidden.branch[:, :, :-1], arch, rules)
    return _shifted(chosen_logprobs(logits, branches.tokens[:, :, 1:])), hidden.branch_experts


def trunk_logprobs(
    params: Parameters[jax.Array], trunks: Int[Array, "N S"], arch: Architecture, rules: Rules
) -> Float[Array, "N S"]:
    """log π(token s | tokens before s) of every trunk token; 0 at s = 0."""
    hidden = forward(params, trunks, None, arch, rules).trunk
    logits = unembed(params, hidden[:, :-1], arch, rules)
    return _shifted(chosen_logprobs(logits, trunks[:, 1:]))


def _shifted(logprobs: Float[Array, "... n"]) -> Float[Array, "... m"]:
    return jnp.pad(logprobs, [(0, 0)] * (logprobs.ndim - 1) + [(1, 0)])
