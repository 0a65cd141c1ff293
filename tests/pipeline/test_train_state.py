"""The training state in memory: stored once, split like the parameters, and donated to the step that changes it."""

from __future__ import annotations

import math

import jax
import numpy as np

from pivot_jax.config import MeshSection, OptimizerSection
from pivot_jax.pipeline.checkpoint import fresh_state
from pivot_jax.pipeline.sequence_batches import SequenceBatch
from pivot_jax.pipeline.sft import sft_update
from pivot_jax.policy.mesh import to_mesh
from tests.policy.tiny import DENSE, RULES, policy, tokens

SPLIT = MeshSection(data=1, fsdp=2, tensor=4)  # every matrix is split over both, eight ways


def test_a_step_is_given_the_state_and_moments_lie_where_their_parameters_do():
    mesh, params = policy(DENSE, SPLIT)
    optimizer = OptimizerSection()
    with jax.set_mesh(mesh):
        places = np.tile(np.arange(4, dtype=np.int32), (8, 1))
        batch = SequenceBatch(*(to_mesh(a, mesh, RULES, "batch", "seq") for a in (tokens((8, 8)), places)))
        state = fresh_state(params, optimizer)
        fixed = {"optimizer": optimizer, "arch": DENSE, "rules": RULES, "micro_batches": 2}
        compiled = sft_update.lower(state, None, batch, **fixed).compile()
        after, _ = compiled(state, None, batch)
    whole = dict(jax.tree_util.tree_leaves_with_path(params))
    for tree in (state, after):
        adam = tree.moments[1][0]
        for held in (tree.params, adam.mu, adam.nu):
            for path, leaf in jax.tree_util.tree_leaves_with_path(held):
                assert (leaf.shape, leaf.dtype) == (whole[path].shape, np.float32)
                assert leaf.sharding.is_equivalent_to(whole[path].sharding, leaf.ndim), path
    query = after.moments[1][0].mu.blocks.query
    assert math.prod(query.sharding.shard_shape(query.shape)) == query.size / 8
    # every array of the old state is gone, and the new one lies in its memory; what was copied from it is not
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))
    held = sum(
        leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in jax.tree.leaves(after)
    )
    assert compiled.memory_analysis().alias_size_in_bytes == held
    assert "input_output_alias" in compiled.as_text()
