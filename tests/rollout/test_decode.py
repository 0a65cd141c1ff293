"""The sampler: its log-probs are the policy's, its tokens depend on the key alone."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from pivot_jax.config import SamplingSection
from pivot_jax.policy.decoder import Branches
from pivot_jax.policy.logprobs import branch_logprobs
from pivot_jax.policy.mesh import make_mesh, to_mesh
from pivot_jax.policy.spec import shardings
from pivot_jax.rollout.decode import BranchPoints, sample_branches
from tests.policy.tiny import DENSE, MESHES, RULES, policy, tokens

N, S, B, F, NEW = 8, 16, 3, 3, 7
STOP = (5, 9, 11, 17, 23)
PLAIN = SamplingSection(max_new_tokens=NEW)


def host_points(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "trunks": tokens((N, S), seed),
        "start": rng.integers(1, S - F, (N, B)).astype(np.int32),
        "forced": tokens((N, B, F), seed + 1),
        "forced_length": rng.integers(1, F + 1, (N, B)).astype(np.int32),
        "uid": rng.integers(0, 2**31, (N, B)).astype(np.uint32),
        "draw": rng.integers(0, 8, (N, B)).astype(np.uint32),
    }


def on_mesh(host: dict[str, np.ndarray], mesh) -> BranchPoints:
    axes = {2: ("batch", "branch"), 3: ("batch", "branch", "token")}
    return BranchPoints(
        **{
            name: to_mesh(array, mesh, RULES, *(("batch", "seq") if name == "trunks" else axes[array.ndim]))
            for name, array in host.items()
        }
    )


def sample(mesh, params, host, settings=PLAIN, seed: int = 1):
    with jax.set_mesh(mesh):
        key = jax.random.key(seed)
        out = sample_branches(params, on_mesh(host, mesh), key, settings=settings, stop=STOP, arch=DENSE, rules=RULES)
    return SimpleNamespace(**{name: np.asarray(array) for name, array in vars(out).items()})


def test_shape_of_an_action():
    mesh, params = policy()
    host = host_points()
    host["forced_length"][0, 0] = 0  # padding
    out = sample(mesh, params, host)
    assert not out.action_mask[0, 0].any()
    finished = 0
    for n, b in np.ndindex(N, B):
        length = host["forced_length"][n, b]
        if length == 0:
            continue
        np.testing.assert_array_equal(out.tokens[n, b, :length], host["forced"][n, b, :length])
        places = np.flatnonzero(out.action_mask[n, b])
        np.testing.assert_array_equal(places, np.arange(length, length + len(places)))
        action = out.tokens[n, b, places]
        assert not np.isin(action[:-1], STOP).any()
        assert out.finished[n, b] == np.isin(action[-1], STOP)
        assert out.finished[n, b] or len(action) == NEW
        assert (out.behavior_logprobs[n, b][~out.action_mask[n, b]] == 0).all()
        finished += int(out.finished[n, b])
    assert 0 < finished < N * B


def test_sampler_logprobs_equal_teacher_forced_logprobs():
    mesh, params = policy()
    host = host_points()
    out = sample(mesh, params, host)
    with jax.set_mesh(mesh):
        branches = Branches(
            to_mesh(out.tokens, mesh, RULES, "batch", "branch", "token"),
            to_mesh(host["start"], mesh, RULES, "batch", "branch"),
        )
        trunks = to_mesh(host["trunks"], mesh, RULES, "batch", "seq")
        forced = np.asarray(jax.jit(branch_logprobs, static_argnums=(3, 4))(params, trunks, branches, DENSE, RULES))
    np.testing.assert_allclose(out.behavior_logprobs[out.action_mask], forced[out.action_mask], atol=2e-5, rtol=0)


def test_same_tokens_on_every_mesh():
    host = host_points()
    _, params = policy(shape=MESHES[0])
    results = []
    for shape in MESHES:
        mesh = make_mesh(shape)
        results.append(sample(mesh, jax.device_put(params, shardings(DENSE, mesh, RULES)), host))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].tokens, other.tokens)
        np.testing.assert_allclose(results[0].behavior_logprobs, other.behavior_logprobs, atol=2e-5)


def test_tokens_depend_on_the_branch_not_on_its_neighbours_or_padding():
    mesh, params = policy()
    host = host_points()
    first = sample(mesh, params, host)
    order = np.random.default_rng(3).permutation(N)
    shuffled = {name: array[order][:, ::-1] if name != "trunks" else array[order] for name, array in host.items()}
    shuffled["trunks"] = np.pad(shuffled["trunks"], ((0, 0), (0, 8)), constant_values=7)
    second = sample(mesh, params, shuffled)
    np.testing.assert_array_equal(first.tokens[order][:, ::-1], second.tokens)


def test_another_key_or_draw_gives_other_actions():
    mesh, params = policy()
    host = host_points()
    first = sample(mesh, params, host)
    assert (first.tokens != sample(mesh, params, host, seed=2).tokens).any(axis=2).mean() > 0.9
    host["draw"] = host["draw"] + np.uint32(1)
    assert (first.tokens != sample(mesh, params, host).tokens).any(axis=2).mean() > 0.9


@pytest.mark.parametrize("settings", [SamplingSection(top_k=1, max_new_tokens=NEW),
                                      SamplingSection(temperature=0, max_new_tokens=NEW),
                                      SamplingSection(top_p=1e-6, max_new_tokens=NEW)])  # fmt: skip
def test_greedy_limits_agree(settings):
    mesh, params = policy()
    host = host_points()
    out = sample(mesh, params, host, settings)
    greedy = sample(mesh, params, host, SamplingSection(temperature=0, max_new_tokens=NEW), seed=9)
    np.testing.assert_array_equal(out.tokens, greedy.tokens)
    np.testing.assert_allclose(out.behavior_logprobs, 0, atol=1e-6)
