"""Trunks that are split over the mesh axis `context`: log-probs, loss and gradients of the plain way."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.config import MeshSection
from pivot_jax.policy.decoder import Branches
from pivot_jax.policy.logprobs import branch_logprobs, trunk_logprobs
from pivot_jax.policy.mesh import Rules, make_mesh, to_mesh
from pivot_jax.policy.separate import separate_logprobs
from pivot_jax.policy.spec import initialise, shardings
from tests.policy.tiny import DATA, DENSE, MOE, RULES, tokens

N, S, B, T = 8, 16, 4, 5
BRANCHES_SPLIT = Rules.make({"branch": ((), ("context",))})
FOUR = (MeshSection(data=2, context=4), RULES)
TWO = (MeshSection(data=1, fsdp=2, context=2, tensor=2), BRANCHES_SPLIT)


def logprobs_and_gradients(arch, params, section, rules, of_branches):
    mesh, rng = make_mesh(section), np.random.default_rng(0)
    start = rng.integers(0, S - 1, (N, B)).astype(np.int32)
    start[0] = [0, 1, S, 5]
    placed = jax.device_put(params, shardings(arch, mesh, rules))
    with jax.set_mesh(mesh):
        trunks = to_mesh(tokens((N, S)), mesh, rules, "batch", "seq")
        branches = Branches(
            to_mesh(tokens((N, B, T), 1), mesh, rules, "batch", "branch", "token"),
            to_mesh(start, mesh, rules, "batch", "branch"),
        )
        of_branch = to_mesh(rng.normal(size=(N, B, T)).astype(np.float32), mesh, rules, "batch", "branch", "token")
        of_trunk = to_mesh(rng.normal(size=(N, S)).astype(np.float32), mesh, rules, "batch", "seq")

        @jax.jit
        def run(params):
            def loss(params):
                branch = of_branches(params, trunks, branches, arch, rules)
                trunk = trunk_logprobs(params, trunks, arch, rules)
                return (jnp.sum(branch * of_branch) + jnp.sum(trunk * of_trunk)) / N, (branch, trunk)

            return jax.value_and_grad(loss, has_aux=True)(params)

        result = run(placed)
        same_layout = jax.tree.map(lambda g, p: g.sharding.spec == p.sharding.spec, result[1], placed)
        assert all(jax.tree.leaves(same_layout))
        return jax.tree.map(np.asarray, result)


# a dense policy with four parts is among the meshes of test_decoder
@pytest.mark.parametrize(("arch", "cases"), [(DENSE, [TWO]), (MOE, [TWO, FOUR])], ids=["dense", "moe"])
def test_logprobs_loss_and_gradients_are_those_of_separate_whole_sequences(arch, cases):
    mesh = make_mesh(DATA)
    with jax.set_mesh(mesh):
        params = initialise(jax.random.key(0), arch, mesh, RULES)
    plain = logprobs_and_gradients(arch, params, DATA, RULES, separate_logprobs)
    for section, rules in cases:
        ours = logprobs_and_gradients(arch, params, section, rules, branch_logprobs)
        (loss, logprobs), gradients = ours
        assert np.abs(logprobs[0][:, :, 1:]).min() > 0  # every branch token was computed
        np.testing.assert_allclose(loss, plain[0][0], rtol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=0), logprobs, plain[0][1])
        for path, theirs in jax.tree_util.tree_leaves_with_path(plain[1]):
            mine = dict(jax.tree_util.tree_leaves_with_path(gradients))[path]
            assert np.abs(theirs).max() > 0, path
            np.testing.assert_allclose(mine, theirs, atol=2e-5 * np.abs(theirs).max(), rtol=2e-4, err_msg=str(path))


def test_the_plain_way_runs_on_split_sequences_too():
    mesh = make_mesh(FOUR[0])
    with jax.set_mesh(mesh):
        params = initialise(jax.random.key(0), DENSE, mesh, RULES)
        trunks = to_mesh(tokens((N, S)), mesh, RULES, "batch", "seq")
        start = np.random.default_rng(0).integers(0, S + 1, (N, 2)).astype(np.int32)
        branches = Branches(
            to_mesh(tokens((N, 2, T), 1), mesh, RULES, "batch", "branch", "token"),
            to_mesh(start, mesh, RULES, "batch", "branch"),
        )
        plain, ours = (
            np.asarray(jax.jit(logprobs, static_argnums=(3, 4))(params, trunks, branches, DENSE, RULES))
            for logprobs in (separate_logprobs, branch_logprobs)
        )
    np.testing.assert_allclose(plain, ours, atol=2e-5, rtol=0)


def test_a_trunk_that_does_not_divide_is_refused_with_the_length_to_pad_to():
    with pytest.raises(ValueError, match=r"seq: 14 does not divide by mesh context=4; pad it to 16, or change"):
        to_mesh(tokens((N, 14)), make_mesh(FOUR[0]), RULES, "batch", "seq")
