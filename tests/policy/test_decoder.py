"""Trunk and branches against the plain way; causality; padding; meshes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.config import MeshSection
from pivot_jax.policy import decoder
from pivot_jax.policy.decoder import Branches, forward, unembed
from pivot_jax.policy.logprobs import branch_logprobs, trunk_logprobs
from pivot_jax.policy.mesh import make_mesh, to_mesh
from pivot_jax.policy.separate import separate_logprobs
from pivot_jax.policy.spec import restore_targets, shardings
from tests.policy.tiny import DENSE, EXPERTS, MESHES, MIXED, MOE, RULES, UNTIED, policy, tokens

N, S, B, T = 8, 16, 3, 5


def inputs(mesh, seed: int = 0, trunks: np.ndarray | None = None):
    start = np.random.default_rng(seed).integers(0, S - 1, (N, B)).astype(np.int32)
    start[0] = [0, 1, S]  # nothing of the trunk, one token, all of it
    branches = Branches(
        to_mesh(tokens((N, B, T), seed + 1), mesh, RULES, "batch", "branch", "token"),
        to_mesh(start, mesh, RULES, "batch", "branch"),
    )
    return to_mesh(tokens((N, S), seed) if trunks is None else trunks, mesh, RULES, "batch", "seq"), branches


@pytest.mark.parametrize("arch", [DENSE, UNTIED])
def test_branches_equal_separate_sequences_in_logprobs_loss_and_every_gradient(arch):
    mesh, params = policy(arch)
    weights = np.random.default_rng(5).normal(size=(N, B, T)).astype(np.float32)
    with jax.set_mesh(mesh):
        trunks, branches = inputs(mesh)
        weights = to_mesh(weights, mesh, RULES, "batch", "branch", "token")

        def loss(params, logprobs_of):
            logprobs = logprobs_of(params, trunks, branches, arch, RULES)
            return jnp.sum(weights * logprobs) / N, logprobs

        run = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
        (ours, our_logprobs), our_grads = run(params, branch_logprobs)
        (plain, plain_logprobs), plain_grads = run(params, separate_logprobs)
    assert float(np.abs(np.asarray(plain_logprobs)).mean()) > 0.5
    np.testing.assert_allclose(np.asarray(our_logprobs), np.asarray(plain_logprobs), atol=2e-5, rtol=0)
    np.testing.assert_allclose(float(ours), float(plain), rtol=1e-5)
    for path, gradient in jax.tree_util.tree_leaves_with_path(plain_grads):
        gradient, mine = np.asarray(gradient), np.asarray(_at(our_grads, path))
        assert np.abs(gradient).max() > 0, path
        np.testing.assert_allclose(mine, gradient, atol=2e-5 * np.abs(gradient).max(), rtol=2e-4, err_msg=str(path))


def _at(tree, path):
    for part in path:
        tree = getattr(tree, part.name)
    return tree


@pytest.mark.parametrize("shape", MESHES)
def test_logits_and_gradients_are_independent_of_the_mesh(shape):
    results = []
    _, params = policy(shape=MESHES[0])
    for sizes in (MESHES[0], shape):
        mesh = make_mesh(sizes)
        placed = jax.device_put(params, shardings(DENSE, mesh, RULES))
        with jax.set_mesh(mesh):
            trunks, branches = inputs(mesh)

            @jax.jit
            def run(params, trunks, branches):
                def total(params):
                    hidden = forward(params, trunks, branches, DENSE, RULES)
                    logits = unembed(params, hidden.branch, DENSE, RULES)
                    return jnp.mean(logits**2), logits

                return jax.value_and_grad(total, has_aux=True)(params)

            (_, logits), grads = run(placed, trunks, branches)
            same_layout = jax.tree.map(lambda g, p: g.sharding.spec == p.sharding.spec, grads, placed)
            assert all(jax.tree.leaves(same_layout))  # gradients come back as the parameters are stored
            results.append(jax.tree.map(np.asarray, (logits, grads)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), *results)


@pytest.mark.parametrize(("arch", "shape"), [(DENSE.model_copy(update={"remat": "full"}), MIXED), (MOE, EXPERTS)])
def test_layers_compiled_one_by_one_equal_one_compiled_loop(monkeypatch, arch, shape):
    """Users' small policies are unrolled; every other test runs the loop (`tests/conftest.py`)."""
    mesh, params = policy(arch, shape)
    programs, results = [], []
    with jax.set_mesh(mesh):
        trunks, branches = inputs(mesh)
        for unrolled in (0, arch.layers):
            monkeypatch.setattr(decoder, "UNROLLED_LAYERS", unrolled)

            def total(params):
                logprobs = branch_logprobs(params, trunks, branches, arch, RULES)
                return jnp.mean(logprobs), logprobs

            lowered = jax.jit(jax.value_and_grad(total, has_aux=True)).lower(params)
            programs.append(lowered.as_text())
            (_, logprobs), gradients = lowered.compile()(params)
            results.append(jax.tree.map(np.asarray, (logprobs, gradients)))
    assert programs[0] != programs[1]
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(results[0][1]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(scale, 1), rtol=1e-4), *results)


def test_causality_by_gradient():
    mesh, params = policy()
    start = np.full((N, B), 6, np.int32)
    with jax.set_mesh(mesh):
        trunks = to_mesh(tokens((N, S)), mesh, RULES, "batch", "seq")
        branches = Branches(
            to_mesh(tokens((N, B, T), 1), mesh, RULES, "batch", "branch", "token"),
            to_mesh(start, mesh, RULES, "batch", "branch"),
        )
        base = np.asarray(jax.jit(branch_logprobs, static_argnums=(3, 4))(params, trunks, branches, DENSE, RULES))
        for place, visible in [(5, True), (6, False)]:
            changed = np.array(tokens((N, S)))
            changed[:, place] = (changed[:, place] + 1) % 64
            moved = to_mesh(changed, mesh, RULES, "batch", "seq")
            other = np.asarray(jax.jit(branch_logprobs, static_argnums=(3, 4))(params, moved, branches, DENSE, RULES))
            assert (np.abs(other - base).max() > 1e-4) == visible
        later = np.array(tokens((N, B, T), 1))
        later[:, :, 3] = (later[:, :, 3] + 1) % 64
        moved = Branches(to_mesh(later, mesh, RULES, "batch", "branch", "token"), branches.start)
        other = np.asarray(jax.jit(branch_logprobs, static_argnums=(3, 4))(params, trunks, moved, DENSE, RULES))
    np.testing.assert_array_equal(other[:, :, :3], base[:, :, :3])
    assert np.abs(other[:, :, 3:] - base[:, :, 3:]).min(axis=(0, 1)).max() > 0


def test_a_branch_sees_no_other_branch():
    mesh, params = policy()
    with jax.set_mesh(mesh):
        trunks, branches = inputs(mesh)
        other = np.array(tokens((N, B, T), 1))
        other[:, 1] = (other[:, 1] + 7) % 64
        changed = Branches(to_mesh(other, mesh, RULES, "batch", "branch", "token"), branches.start)
        run = jax.jit(branch_logprobs, static_argnums=(3, 4))
        first, second = (np.asarray(run(params, trunks, b, DENSE, RULES)) for b in (branches, changed))
    np.testing.assert_array_equal(first[:, [0, 2]], second[:, [0, 2]])
    assert (first[:, 1, 1:] != second[:, 1, 1:]).all(axis=-1).any()


def test_padding_changes_nothing():
    mesh, params = policy()
    with jax.set_mesh(mesh):
        trunks, branches = inputs(mesh)
        padded, _ = inputs(mesh, trunks=np.pad(tokens((N, S)), ((0, 0), (0, 10)), constant_values=3))
        run = jax.jit(branch_logprobs, static_argnums=(3, 4))
        first, second = (np.asarray(run(params, t, branches, DENSE, RULES)) for t in (trunks, padded))
        alone = jax.jit(trunk_logprobs, static_argnums=(2, 3))
        short, long = (np.asarray(alone(params, t, DENSE, RULES)) for t in (trunks, padded))
    np.testing.assert_allclose(first, second, atol=1e-5, rtol=0)
    np.testing.assert_allclose(short, long[:, :S], atol=1e-5, rtol=0)


def test_an_impossible_layout_is_refused_before_anything_runs():
    from pivot_jax.policy.mesh import abstract_mesh

    mesh = abstract_mesh(MeshSection(data=1, tensor=8))  # 4 kv heads do not divide by 8
    with pytest.raises(ValueError, match="divi"), jax.sharding.use_abstract_mesh(mesh):
        jax.eval_shape(
            lambda p, t: forward(p, t, None, DENSE, RULES),
            restore_targets(DENSE, mesh, RULES),
            jax.ShapeDtypeStruct((8, 16), jnp.int32, sharding=None),
        )
