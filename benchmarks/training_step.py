"""What a training step of a shallow policy gains from two choices of how it is compiled.

    python benchmarks/training_step.py

Log-probs and gradients of 16 groups of 8 actions under a policy of the shipped base's shape, compiled as the package
does it; with its blocks in one compiled loop; with scores transposed to `[N, B, M, G, tokens, keys]` and divided before
the sum over values, as attention was once written; and with both. Prints milliseconds (the median of nine, taken in
turns), ratios to the first, seconds of compilation apart, and temporary memory as the compiler plans it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from pivot_jax.config import Architecture
from pivot_jax.policy import decoder
from pivot_jax.policy.blockwise import MASKED
from pivot_jax.policy.decoder import Branches
from pivot_jax.policy.logprobs import branch_logprobs
from pivot_jax.policy.mesh import Rules, make_mesh, to_mesh
from pivot_jax.policy.spec import count_parameters, initialise

ARCH = Architecture(vocab_size=576, embed=128, layers=4, heads=4, kv_heads=2, head_dim=32, mlp=384)
RULES = Rules.make()
GROUPS, ACTIONS, TOKENS, STATE = 16, 8, 17, 128


def whole(array: jax.Array, rules: Rules) -> jax.Array:
    return jax.reshard(array, rules.computed("batch", "token", "kv_heads", "head_dim"))


def softmax(scores: jax.Array, visible: jax.Array, head_dim: int) -> jax.Array:
    return jax.nn.softmax(jnp.where(visible, scores / jnp.sqrt(jnp.float32(head_dim)), MASKED), axis=-1)


def transposed_trunk(query, key, value, rules):
    key, value = whole(key, rules), whole(value, rules)
    scores = jnp.einsum("nsmgh,numh->nmgsu", query, key)
    causal = jnp.tril(jnp.ones((query.shape[1],) * 2, bool))[None, None, None]
    return jnp.einsum("nmgsu,numh->nsmgh", softmax(scores, causal, query.shape[-1]), value)


def transposed_branch(query, trunk_key, trunk_value, key, value, start, offset, rules):
    trunk_key, trunk_value = whole(trunk_key, rules), whole(trunk_value, rules)
    S, T = trunk_key.shape[1], query.shape[2]
    sees_trunk = (jnp.arange(S) < start[..., None])[:, :, None, None, None]
    causal = jnp.tril(jnp.ones((T, T), bool))[None, None, None, None]
    scores = jnp.concatenate(
        [
            jnp.where(sees_trunk, jnp.einsum("nbtmgh,nsmh->nbmgts", query, trunk_key), MASKED),
            jnp.where(causal, jnp.einsum("nbtmgh,nbumh->nbmgtu", query, key), MASKED),
        ],
        axis=-1,
    )
    weights = jax.nn.softmax(scores / jnp.sqrt(jnp.float32(query.shape[-1])), axis=-1)
    from_trunk = jnp.einsum("nbmgts,nsmh->nbtmgh", weights[..., :S], trunk_value)
    return from_trunk + jnp.einsum("nbmgtu,nbumh->nbtmgh", weights[..., S:], value)


WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one compiled loop": {"UNROLLED_LAYERS": 0},
    "scores transposed": {"trunk_attention": transposed_trunk, "branch_attention": transposed_branch},
    "both": {"UNROLLED_LAYERS": 0, "trunk_attention": transposed_trunk, "branch_attention": transposed_branch},
}


def compiled(way: dict[str, Any], inputs: tuple[Any, ...]) -> tuple[Callable[..., Any], float, float]:
    """The gradient's program compiled this way, seconds that it took, and MiB of temporaries."""
    held = {name: getattr(decoder, name) for name in way}
    vars(decoder).update(way)
    began = time.monotonic()
    program = jax.jit(jax.value_and_grad(lambda *of: jnp.mean(branch_logprobs(*of, ARCH, RULES)))).lower(*inputs)
    program = program.compile()
    vars(decoder).update(held)
    return program, time.monotonic() - began, program.memory_analysis().temp_size_in_bytes / 2**20


def main() -> None:
    mesh, draw = make_mesh(), np.random.default_rng(0)
    with jax.set_mesh(mesh):
        params = initialise(jax.random.key(0), ARCH, mesh, RULES)
        trunks = to_mesh(draw.integers(0, 576, (GROUPS, STATE)), mesh, RULES, "batch", "seq")
        tokens = draw.integers(0, 576, (GROUPS, ACTIONS, TOKENS))
        start = draw.integers(20, STATE, (GROUPS, 1)).repeat(ACTIONS, axis=1)
        branches = Branches(
            to_mesh(tokens, mesh, RULES, "batch", "branch", "token"), to_mesh(start, mesh, RULES, "batch", "branch")
        )
        inputs = (params, trunks, branches)
        programs = {name: compiled(way, inputs) for name, way in WAYS.items()}
        times: dict[str, list[float]] = {name: [] for name in WAYS}
        expected, _ = programs["as it is"][0](*inputs)
        for _ in range(10):
            for name, (program, _, _) in programs.items():
                began = time.monotonic()
                value, _ = jax.block_until_ready(program(*inputs))
                times[name].append(time.monotonic() - began)
                np.testing.assert_allclose(value, expected, rtol=1e-4)
    table = Table(
        "compiled", "ms", "ratio", "compilation s", "MiB",
        title=f"Log-probs and gradients, {count_parameters(ARCH):,} parameters, {jax.devices()[0].device_kind}",
    )  # fmt: skip
    medians = {name: float(np.median(taken[1:])) * 1000 for name, taken in times.items()}
    for name, (_, seconds, mib) in programs.items():
        ratio = medians[name] / medians["as it is"]
        table.add_row(name, f"{medians[name]:.0f}", f"{ratio:.2f}", f"{seconds:.1f}", f"{mib:.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
