"""Blockwise attention against numpy, and against attention in one piece, with its gradients; what it saves."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.config import MeshSection
from pivot_jax.policy import attention
from pivot_jax.policy.attention import branch_attention, trunk_attention
from pivot_jax.policy.blockwise import MASKED, blockwise_attention
from pivot_jax.policy.mesh import Rules, make_mesh, to_mesh
from tests.policy.tiny import MIXED, RULES

N, S, B, T, M, G, H = 4, 16, 4, 5, 2, 2, 4
SPLIT = MeshSection(data=1, fsdp=2, context=2, tensor=2)
BRANCHES_SPLIT = Rules.make({"branch": ((), ("context",))})


def by_hand(query, key, value, first, limit):
    """A loop over queries in float64: the mean of the values seen, and log of the sum of exp(score)."""
    out, log_total = np.zeros(query.shape), np.full(query.shape[:-1], MASKED)
    for n, q, m, g in np.ndindex(query.shape[:-1]):
        seen = slice(first[n], max(first[n], limit[n, q]))
        scores = key[n, seen, m].astype(np.float64) @ query[n, q, m, g] / np.sqrt(query.shape[-1])
        if len(scores):
            log_total[n, q, m, g] = np.log(np.exp(scores).sum())
            out[n, q, m, g] = np.exp(scores - log_total[n, q, m, g]) @ value[n, seen, m]
    return out, log_total


@pytest.mark.parametrize("block", [1, 3, 64])
def test_it_equals_a_loop_over_queries(block):
    rng = np.random.default_rng(block)
    shapes = (2, 11, M, G, H), (2, 13, M, H), (2, 13, M, H)
    query, key, value = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    first, limit = np.array([0, 3], np.int32), rng.integers(0, 14, (2, 11)).astype(np.int32)
    limit[0, :2] = [0, 13]  # nothing, and everything
    out, log_total = jax.jit(blockwise_attention, static_argnums=5)(query, key, value, first, limit, block)
    expected, expected_log = by_hand(query, key, value, first, limit)
    np.testing.assert_allclose(out, expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(log_total, expected_log, atol=1e-6, rtol=1e-6)


def host_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    heads, kv = (M, G, H), (M, H)
    shapes = {
        "query": (N, S, *heads), "key": (N, S, *kv), "value": (N, S, *kv),
        "branch_query": (N, B, T, *heads), "branch_key": (N, B, T, *kv), "branch_value": (N, B, T, *kv),
        "weight": (N, S, *heads), "branch_weight": (N, B, T, *heads),
    }  # fmt: skip
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@functools.cache
def in_one_piece():
    return attended(MIXED, RULES, 512)


def attended(section: MeshSection, rules: Rules, block: int, first: np.ndarray | None = None):
    """Trunk and branch attention and the gradients of all their inputs, with blocks of this size."""
    mesh, tail = make_mesh(section), {5: ("kv_heads", "heads_per_kv", "head_dim"), 4: ("kv_heads", "head_dim")}
    start = np.random.default_rng(1).integers(0, S + 1, (N, B)).astype(np.int32)
    start[0] = [0, 1, S, 7]
    with jax.set_mesh(mesh):
        placed = {}
        for name, array in host_arrays().items():
            lead = ("batch", "branch", "token") if "branch" in name else ("batch", "seq")
            placed[name] = to_mesh(array, mesh, rules, *lead, *tail[array.ndim - len(lead) + 2])
        start = to_mesh(start, mesh, rules, "batch", "branch")
        left = None if first is None else to_mesh(first, mesh, rules, "batch", "branch")

        @jax.jit
        def run(a):
            def total(a):
                trunk = trunk_attention(a["query"], a["key"], a["value"], rules)
                branch = branch_attention(
                    a["branch_query"], a["key"], a["value"], a["branch_key"], a["branch_value"],
                    start, jnp.int32(0), rules, left,
                )  # fmt: skip
                return jnp.sum(trunk * a["weight"]) + jnp.sum(branch * a["branch_weight"]), (trunk, branch)

            return jax.value_and_grad(total, has_aux=True)(a)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attention, "ATTENTION_BLOCK", block)
            (_, outputs), gradients = run(placed)
        return jax.tree.map(np.asarray, (outputs, gradients))


@pytest.mark.parametrize(
    ("section", "rules", "block"),
    [(MIXED, RULES, 3), (SPLIT, RULES, 512), (SPLIT, RULES, 4), (SPLIT, BRANCHES_SPLIT, 4)],
)
def test_it_equals_attention_in_one_piece_with_its_gradients(section, rules, block):
    both = attended(section, rules, block), in_one_piece()
    for ours, theirs in zip(*map(jax.tree.leaves, both), strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, atol=2e-6 * np.abs(theirs).max(), rtol=1e-5)


def test_branches_that_are_padded_on_the_left():
    first = np.random.default_rng(2).integers(0, T, (N, B)).astype(np.int32)
    whole, blocks = (attended(MIXED, RULES, block, first)[0][1] for block in (512, 2))
    real = np.arange(T) >= first[:, :, None]  # what stands before a branch's first token is of no use
    np.testing.assert_allclose(blocks[real], whole[real], atol=2e-6, rtol=1e-5)


def test_memory_grows_with_the_tokens_and_not_with_their_square():
    def temporary(length: int, block: int) -> int:
        def total(query, key, value):
            first, limit = jnp.zeros(1, jnp.int32), jnp.arange(length)[None] + 1
            return jnp.sum(blockwise_attention(query, key, value, first, limit, block).out)

        shapes = (jax.ShapeDtypeStruct((1, length, *heads), jnp.float32) for heads in ((1, 2, 8), (1, 8), (1, 8)))
        compiled = jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(2048, 64) < 2.2 * temporary(1024, 64)
    assert temporary(1024, 64) < temporary(1024, 1024) / 8
