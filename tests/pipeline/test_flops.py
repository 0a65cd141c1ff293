"""FLOPs and token counts of sampling, recomputed by walking over every token."""

from __future__ import annotations

import numpy as np

from pivot_jax.config import Architecture
from pivot_jax.pipeline.flops import block_parameters, sampling_cost, scoring_flops, sequence_flops
from pivot_jax.rollout.layout import BranchSlot, Row

ARCH = Architecture(vocab_size=50, embed=8, layers=3, heads=4, kv_heads=2, head_dim=6, mlp=10)


def ids(count: int) -> np.ndarray:
    return np.zeros(count, np.int32)


ROWS = [
    Row(ids(7), (BranchSlot(7, ids(1), 0, 0), BranchSlot(4, ids(2), 0, 1))),
    Row(ids(3), (BranchSlot(3, ids(1), 1, 0),)),
]
LENGTHS = [5, 2, 4]


def walk(rows, lengths, fed_back: int) -> int:
    """Each token pays for its weights and for every key that it sees."""
    total, flat = 0, iter(lengths)
    weights, attention = 2 * block_parameters(ARCH), 4 * ARCH.layers * ARCH.heads * ARCH.head_dim
    for row in rows:
        total += sum(weights + attention * (place + 1) for place in range(len(row.trunk)))
        for slot in row.branches:
            sampled = next(flat)
            for place in range(len(slot.forced) + sampled - fed_back):
                total += weights + attention * (slot.start + place + 1)
            total += sampled * 2 * ARCH.embed * ARCH.vocab_size
    return total


def test_block_parameters_by_hand():
    block = 8 + 8 * 24 + 2 * 8 * 12 + 2 * 6 + 24 * 8 + 8 + 3 * 8 * 10
    assert block_parameters(ARCH) == 3 * block + 8


def test_sampling_cost():
    cost = sampling_cost(ARCH, ROWS, LENGTHS)
    assert cost.rollout_turns == 3 and cost.sampled_tokens == 11
    assert cost.prompt_tokens_logical == 8 + 6 + 4
    assert cost.prompt_tokens_computed == 7 + 3 + 1 + 2 + 1
    assert cost.flops == walk(ROWS, LENGTHS, fed_back=1)


def test_scoring_and_sequence_flops():
    assert scoring_flops(ARCH, ROWS, LENGTHS) == walk(ROWS, LENGTHS, fed_back=0)
    assert sequence_flops(ARCH, [7], 2) == walk([Row(ids(7), ())], [], 0) + 2 * 2 * ARCH.embed * ARCH.vocab_size
