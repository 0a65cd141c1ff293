"""What sharing the trunk saves: log-probs and gradients of G actions at one state, shared against one sequence each.

    python benchmarks/trunk_and_branches.py

Prints seconds a step (the best of five; compile time apart) and their ratio, both ways measured in one run. The two
ways give equal numbers (`tests/policy/test_decoder.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from pivot_jax.config import Architecture
from pivot_jax.policy.decoder import Branches
from pivot_jax.policy.logprobs import branch_logprobs
from pivot_jax.policy.mesh import Rules, make_mesh, to_mesh
from pivot_jax.policy.separate import separate_logprobs
from pivot_jax.policy.spec import count_parameters, initialise

ARCH = Architecture(vocab_size=384, embed=128, layers=4, heads=4, kv_heads=2, head_dim=32, mlp=384)
RULES = Rules.make()


def seconds(step: Callable[[], jax.Array]) -> tuple[float, float]:
    """(first call, best of five later ones)."""
    times = []
    for _ in range(6):
        began = time.monotonic()
        jax.block_until_ready(step())
        times.append(time.monotonic() - began)
    return times[0], min(times[1:])


def measure(states: int, state_tokens: int, group: int, action_tokens: int) -> list[str]:
    """One row of the table: forward and backward over `states` groups."""
    mesh = make_mesh()
    draw = np.random.default_rng(0)
    with jax.set_mesh(mesh):
        params = initialise(jax.random.key(0), ARCH, mesh, RULES)
        trunks = to_mesh(draw.integers(0, 384, (states, state_tokens)), mesh, RULES, "batch", "seq")
        branches = Branches(
            to_mesh(draw.integers(0, 384, (states, group, action_tokens)), mesh, RULES, "batch", "branch", "token"),
            to_mesh(np.full((states, group), state_tokens), mesh, RULES, "batch", "branch"),
        )

        def gradient(logprobs_of):
            def loss(params):
                return jnp.mean(logprobs_of(params, trunks, branches, ARCH, RULES))

            step = jax.jit(jax.grad(loss))
            return seconds(lambda: step(params))

        shared, separate = gradient(branch_logprobs), gradient(separate_logprobs)
    return [
        f"{states} x {group}", str(state_tokens), str(action_tokens),
        f"{shared[1]:.3f}", f"{separate[1]:.3f}", f"{separate[1] / shared[1]:.1f}x",
        f"{shared[0]:.1f} / {separate[0]:.1f}",
    ]  # fmt: skip


def main() -> None:
    table = Table(
        "states x G", "state tokens", "action tokens", "shared s", "separate s", "ratio", "first call s",
        title=f"Log-probs and gradients, {count_parameters(ARCH):,} parameters, {jax.devices()[0].device_kind}",
    )  # fmt: skip
    for shape in [(8, 128, 8, 16), (8, 256, 8, 16), (4, 512, 8, 16), (4, 256, 16, 16)]:
        table.add_row(*measure(*shape))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
