"""Attention over a long trunk, in one piece and a block of scores at a time: memory and seconds.

    python benchmarks/long_trunk.py [--longest 4096] [--limit-mib 2048]

Forward and backward of one layer's attention of a Qwen3-8B tensor-parallel over eight (4 query heads on 1 kv head of
128), float32, one trunk with 8 branches of 128 tokens on it. Memory is what the compiled program needs beside its
arguments; what needs more than the limit is compiled but not run. On the platform that JAX finds.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from pivot_jax.policy import attention
from pivot_jax.policy.attention import branch_attention, trunk_attention
from pivot_jax.policy.mesh import Rules, make_mesh, to_mesh
from pivot_jax.policy.split_attention import HEADS, KV_HEADS

B, T, M, G, H = 8, 128, 1, 4, 128
RULES = Rules.make()
ONE_PIECE = 1 << 20
"""A block as long as any trunk."""


def total(query, key, value, branch_query, branch_key, branch_value, start, which: str) -> jax.Array:
    """A number that depends on all that attention puts out."""
    if which == "trunk":
        return jnp.sum(trunk_attention(query, key, value, RULES))
    attended = branch_attention(branch_query, key, value, branch_key, branch_value, start, jnp.int32(0), RULES)
    return jnp.sum(attended)


def arrays(mesh: jax.sharding.Mesh, length: int) -> list[jax.Array]:
    """Queries, keys and values of the trunk and of the branches, and where these start: at its end."""
    rng, placed = np.random.default_rng(0), []
    for lead, axes in (((1, length), ("batch", "seq")), ((1, B, T), ("batch", "branch", "token"))):
        for heads in (HEADS, KV_HEADS, KV_HEADS):
            shape = (*lead, *((M, G, H) if heads is HEADS else (M, H)))
            placed.append(to_mesh(rng.normal(size=shape).astype(np.float32), mesh, RULES, *axes, *heads))
    return [*placed, to_mesh(np.full((1, B), length, np.int32), mesh, RULES, "batch", "branch")]


def measure(mesh: jax.sharding.Mesh, which: str, length: int, block: int, limit: int) -> tuple[int, float | None]:
    """Bytes of temporary memory, and seconds of the faster of two runs (None: not run)."""
    attention.ATTENTION_BLOCK = block
    given = arrays(mesh, length)
    function = jax.jit(jax.grad(total, argnums=tuple(range(6))), static_argnums=7)
    compiled = function.lower(*given, which).compile()
    needed = compiled.memory_analysis().temp_size_in_bytes
    if needed > limit:
        return needed, None
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*given))
        seconds.append(time.perf_counter() - began)
    return needed, min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longest", type=int, default=4096)
    parser.add_argument("--limit-mib", type=int, default=2048)
    options = parser.parse_args()
    block = attention.ATTENTION_BLOCK
    table = Table("attention", "trunk tokens", "one piece, MiB", "s", f"blocks of {block}, MiB", "s")
    mesh = make_mesh(devices=jax.devices()[:1])
    with jax.set_mesh(mesh):
        for which in ("trunk", "branches"):
            length = 1024
            while length <= options.longest:
                row = [which, f"{length:,}"]
                for size in (ONE_PIECE, block):
                    needed, seconds = measure(mesh, which, length, size, options.limit_mib << 20)
                    row += [f"{needed / 2**20:,.0f}", "not run" if seconds is None else f"{seconds:.2f}"]
                table.add_row(*row)
                length *= 2
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
