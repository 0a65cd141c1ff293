"""What log-probs of chosen tokens cost without their logits: the vocabulary in parts, against logits and a one-hot.

    python benchmarks/log_softmax.py

Prints seconds of values and gradients (the best of five; compile time apart), temporary memory that the compiler
plans, and the ratios new / plain, both ways in one run. The two ways give equal numbers
(`tests/policy/test_log_softmax.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from pivot_jax.policy.log_softmax import chosen_logprobs
from pivot_jax.policy.mesh import Rules, make_mesh, to_mesh

RULES = Rules.make()
HELD = 2**22
"""Logits at a time: 16 MiB, so that sizes which a CPU can do are done in parts."""


def plain(hidden: jax.Array, table: jax.Array, tokens: jax.Array) -> jax.Array:
    """All logits, and a one-hot of the same size."""
    logits = jnp.einsum("nsd,dv->nsv", hidden, table, preferred_element_type=jnp.float32)
    one_hot = jax.nn.one_hot(tokens, logits.shape[-1], dtype=jnp.float32)
    return jnp.sum(logits * one_hot, axis=-1) - jax.nn.logsumexp(logits, axis=-1)


def measure(logprobs_of: Callable[..., jax.Array], inputs: tuple[jax.Array, ...]) -> tuple[float, float]:
    """(seconds, MiB) of values and gradients."""
    step = jax.jit(jax.value_and_grad(lambda *args: jnp.mean(logprobs_of(*args)), argnums=(0, 1)))
    compiled = step.lower(*inputs).compile()
    times = []
    for _ in range(6):
        began = time.monotonic()
        jax.block_until_ready(compiled(*inputs))
        times.append(time.monotonic() - began)
    return min(times[1:]), compiled.memory_analysis().temp_size_in_bytes / 2**20


def row(tokens: int, embed: int, words: int) -> list[str]:
    """One row of the table."""
    draw = np.random.default_rng(0)
    mesh = make_mesh()
    with jax.set_mesh(mesh):
        inputs = (
            to_mesh(draw.normal(size=(8, tokens // 8, embed)).astype(np.float32), mesh, RULES, "batch", "seq", "embed"),
            to_mesh((draw.normal(size=(embed, words)) / 8).astype(np.float32), mesh, RULES, "embed", "vocab"),
            to_mesh(draw.integers(0, words, (8, tokens // 8)), mesh, RULES, "batch", "seq"),
        )
        new = measure(lambda *args: chosen_logprobs(*args, RULES, held=HELD), inputs)
        old = measure(plain, inputs)
    parts = -(-words // max(HELD // tokens, 128))
    return [
        f"{tokens:,}", str(embed), f"{words:,}", str(parts),
        f"{old[0] * 1000:.1f}", f"{new[0] * 1000:.1f}", f"{new[0] / old[0]:.2f}",
        f"{old[1]:.0f}", f"{new[1]:.0f}", f"{new[1] / old[1]:.2f}",
    ]  # fmt: skip


def main() -> None:
    table = Table(
        "tokens", "D", "words", "parts", "plain ms", "new ms", "ratio", "plain MiB", "new MiB", "ratio",
        title=f"Log-probs of chosen tokens and gradients, {jax.devices()[0].device_kind}",
    )  # fmt: skip
    for shape in [(4096, 128, 576), (4096, 128, 8_192), (2048, 256, 32_768), (1024, 256, 151_936)]:
        table.add_row(*row(*shape))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
