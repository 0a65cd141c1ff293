"""Batches by length: every sequence once, less padding, few shapes, and the same step of pre-training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import jax
import numpy as np
import pytest

from pivot_jax.config import MeshSection, OptimizerSection
from pivot_jax.data.rendered import TokenSequence
from pivot_jax.pipeline.checkpoint import fresh_state
from pivot_jax.pipeline.pretrain import pretrain_step
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.sequence_batches import SequenceShape, batches_by_length, sequence_batch
from pivot_jax.policy.mesh import batch_multiple
from tests.policy.tiny import DENSE, RULES, policy

MESHES = {
    "rows": MeshSection(data=8),
    "context": MeshSection(data=2, context=4),
}


def lengths(count: int, longest: int, seed: int) -> list[TokenSequence]:
    """Sequences of 4 tokens to the longest, about every third token an action's."""
    draw = np.random.default_rng(seed)
    made = []
    for length in draw.permutation(np.geomspace(4, longest, count).astype(int)):
        mask = draw.random(length) < 0.3
        mask[:2] = False, True
        made.append(TokenSequence(ids=draw.integers(1, DENSE.vocab_size, length).astype(np.int32), action_mask=mask))
    return made


@pytest.mark.parametrize("name", MESHES)
def test_a_step_in_batches_by_length_is_the_step_of_one_batch(name):
    mesh, params = policy(DENSE, MESHES[name])
    run = cast(Run, SimpleNamespace(mesh=mesh, rules=RULES))
    sequences = lengths(24, 60, seed=1)
    shape = SequenceShape.holding(sequences, run, 8)
    optimizer = OptimizerSection(learning_rate=1e-3, warmup_steps=0)
    with jax.set_mesh(mesh):

        def step(batches: Any) -> tuple[Any, dict[str, float]]:
            given = fresh_state(params, optimizer)
            state, metrics = pretrain_step(given, {"agentic": batches}, optimizer=optimizer, arch=DENSE, rules=RULES)
            return state.moments[1][0].mu, {name: float(value) for name, value in metrics.items()}

        parts = batches_by_length(run, sequences, shape, 3, 8)
        (one, ours), (other, theirs) = step([sequence_batch(run, sequences, shape)]), step(parts)
    assert len(parts) == 3
    assert sum(float(part.count) for part in parts) == sum(int(each.action_mask.sum()) for each in sequences)
    assert ours == pytest.approx(theirs, rel=1e-5)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(np.asarray(b), np.asarray(a), atol=1e-5 * float(np.abs(np.asarray(a)).max()), rtol=0)


@pytest.mark.parametrize("name", MESHES)
def test_every_sequence_is_in_one_batch_and_few_shapes_occur(name):
    mesh = policy(DENSE, MESHES[name])[0]
    run = cast(Run, SimpleNamespace(mesh=mesh, rules=RULES))
    corpus = lengths(200, 250, seed=2)
    shape, draw = SequenceShape.holding(corpus, run, 16), np.random.default_rng(3)
    shapes, padded, held = set(), 0, 0
    for _ in range(40):
        chosen = [corpus[n] for n in draw.integers(len(corpus), size=23)]
        parts = batches_by_length(run, chosen, shape, 3, 16)
        rows = [row[row > 0].tolist() for part in parts for row in np.asarray(part.tokens) if row.any()]
        assert sorted(rows) == sorted(each.ids.tolist() for each in chosen)
        marked = [row[row > 0].tolist() for part in parts for row in np.asarray(part.places) if row.any()]
        assert sorted(marked) == sorted(np.flatnonzero(each.action_mask).tolist() for each in chosen)
        assert all(part.tokens.shape[0] % batch_multiple(mesh, RULES) == 0 for part in parts)
        shapes |= {part.tokens.shape for part in parts}
        padded, held = padded + 23 * shape.tokens, held + sum(part.tokens.size for part in parts)
    assert {size for _, size in shapes} <= {256, 128, 64, 32, 16}
    assert held < 0.7 * padded
