"""The mixture of experts against a loop over tokens; meshes, branches, decoding, gradients; load and frozen router."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.config import Architecture, MeshSection, SamplingSection
from pivot_jax.policy.decoder import Branches, KeyValues, forward, unembed
from pivot_jax.policy.logprobs import branch_logprobs
from pivot_jax.policy.mesh import Rules, make_mesh, to_mesh
from pivot_jax.policy.moe import expert_counts, expert_load, mix_experts, route
from pivot_jax.policy.separate import separate_logprobs
from pivot_jax.policy.spec import shardings
from pivot_jax.rollout.decode import BranchPoints, empty_cache, extend_branches, sample_branches
from tests.policy.tiny import DATA, EXPERTS, MOE, RULES, policy, tokens

N, S, B, T = 8, 14, 3, 5
GATHERED = MeshSection(data=1, fsdp=2, expert=4)
SPLIT = MeshSection(data=1, fsdp=2, expert=2, tensor=2)
# tokens split over the axis that splits the experts too: each device gathers tokens, computes its experts, scatters
SHARED = Rules.make({"batch": (("data", "fsdp", "expert"),) * 2})
SEQUENCES = Rules.make({"branch": (("tensor",),) * 2, "kv_heads": ((), ()), "mlp": ((), ()), "vocab": ((), ())})
MESHES = [
    (DATA, RULES),
    (EXPERTS, RULES),
    (GATHERED, RULES),
    (MeshSection(data=1, expert=8), RULES),
    (SPLIT, RULES),
    (GATHERED, SHARED),
    (MeshSection(data=2, expert=2, tensor=2), SHARED),
]


def by_tokens(x, router, gate, up, down, arch: Architecture) -> np.ndarray:
    """Loops: for each token its experts, one after the other, in float64."""
    x, router, gate, up, down = (np.asarray(array, np.float64) for array in (x, router, gate, up, down))
    out = np.zeros_like(x)
    for place in np.ndindex(x.shape[:-1]):
        scores = x[place] @ router
        probabilities = np.exp(scores - scores.max())
        probabilities /= probabilities.sum()
        chosen = np.argsort(-probabilities)[: arch.experts_per_token]
        total = probabilities[chosen].sum() if arch.norm_topk_prob else 1.0
        for e in chosen:
            inner = x[place] @ gate[e]
            inner = inner / (1 + np.exp(-inner)) * (x[place] @ up[e])
            out[place] += probabilities[e] / total * (inner @ down[e])
    return out


def block_inputs(arch: Architecture, shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    """x, router, gate, up, down."""
    draw, D, E, F = np.random.default_rng(seed), arch.embed, arch.experts, arch.expert_mlp
    shapes = [(*shape, D), (D, E), (E, D, F), (E, D, F), (E, F, D)]
    return [(draw.normal(size=s) / np.sqrt(s[-2])).astype(np.float32) for s in shapes]


def mixed(arrays: list[np.ndarray], mesh, rules: Rules, arch: Architecture, weights: np.ndarray | None = None):
    """The block's output, or with `weights` the gradients of its weighted sum with respect to all its inputs."""
    tokens = ("batch", "seq") if arrays[0].ndim == 3 else ("batch", "branch", "token")
    axes = [(*tokens, "embed"), ("embed", "routed"), *[("experts", "embed", "expert_mlp")] * 2,
            ("experts", "expert_mlp", "embed")]  # fmt: skip
    with jax.set_mesh(mesh):
        placed = [to_mesh(array, mesh, rules, *names) for array, names in zip(arrays, axes, strict=True)]

        def block(x, router, gate, up, down):
            return mix_experts(x, route(x, router, arch, rules), gate, up, down, rules)

        if weights is None:
            return np.asarray(jax.jit(block)(*placed))
        cotangent = to_mesh(weights, mesh, rules, *axes[0])
        gradient = jax.jit(jax.grad(lambda *a: jnp.sum(cotangent * block(*a)), argnums=tuple(range(5))))
        return [np.asarray(array) for array in gradient(*placed)]


@pytest.mark.parametrize(
    ("change", "shape", "rules"),
    [
        *[({}, *mesh) for mesh in MESHES],
        ({"experts_per_token": 4, "norm_topk_prob": False}, *MESHES[2]),
        ({"experts_per_token": 1}, *MESHES[5]),
    ],
)
def test_the_block_equals_the_loop_over_tokens(change, shape, rules):
    arch = MOE.model_copy(update=change)
    arrays = block_inputs(arch, (N, 5))
    expected = by_tokens(*arrays, arch)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(mixed(arrays, make_mesh(shape), rules, arch), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("shape", "rules"), [*MESHES[1:4], *MESHES[5:], (SPLIT, SEQUENCES)])
def test_gradients_equal_those_of_every_expert_on_every_token(shape, rules):
    arrays, arch = block_inputs(MOE, (N, 4, 3), seed=1), MOE
    weights = np.random.default_rng(2).normal(size=arrays[0].shape).astype(np.float32)

    def plain(x, router, gate, up, down):
        probabilities = jax.nn.softmax(x @ router, axis=-1)
        least = jnp.sort(probabilities, axis=-1)[..., -arch.experts_per_token, None]
        kept = jnp.where(probabilities >= least, probabilities, 0)
        kept = kept / jnp.sum(kept, axis=-1, keepdims=True)
        inner = jax.nn.silu(jnp.einsum("...d,edf->...ef", x, gate)) * jnp.einsum("...d,edf->...ef", x, up)
        return jnp.sum(weights * jnp.einsum("...ef,efd,...e->...d", inner, down, kept))

    expected = jax.jit(jax.grad(plain, argnums=tuple(range(5))))(*arrays)
    for ours, theirs in zip(mixed(arrays, make_mesh(shape), rules, arch, weights), expected, strict=True):
        theirs = np.asarray(theirs)
        assert np.abs(theirs).max() > 0.01
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max(), rtol=1e-4)


def test_nothing_is_dropped_when_every_token_goes_to_the_same_experts():
    arrays = block_inputs(MOE, (N, 6))
    arrays[1] = np.zeros_like(arrays[1])
    arrays[0][..., 0] = 5.0
    arrays[1][0] = [0, 0, 0, 0, 0, 0, 2, 3]
    out = mixed(arrays, make_mesh(GATHERED), RULES, MOE)
    np.testing.assert_allclose(out, by_tokens(*arrays, MOE), atol=1e-5, rtol=0)


def inputs(mesh, rules=RULES, seed: int = 0):
    start = np.random.default_rng(seed).integers(0, S - 1, (N, B)).astype(np.int32)
    start[0] = [0, 1, S]
    branches = Branches(
        to_mesh(tokens((N, B, T), seed + 1), mesh, rules, "batch", "branch", "token"),
        to_mesh(start, mesh, rules, "batch", "branch"),
    )
    return to_mesh(tokens((N, S), seed), mesh, rules, "batch", "seq"), branches


@pytest.mark.parametrize(("shape", "rules"), [MESHES[2], MESHES[4], MESHES[5]])
def test_logits_and_gradients_are_independent_of_the_mesh(shape, rules):
    results = []
    _, params = policy(MOE, DATA)
    for sizes, table in [(DATA, RULES), (shape, rules)]:
        mesh = make_mesh(sizes)
        placed = jax.device_put(params, shardings(MOE, mesh, table))
        with jax.set_mesh(mesh):
            trunks, branches = inputs(mesh, table)

            def total(params, trunks=trunks, branches=branches, table=table):
                hidden = forward(params, trunks, branches, MOE, table)
                logits = unembed(params, hidden.branch, MOE, table)
                return jnp.mean(logits**2) + jnp.mean(unembed(params, hidden.trunk, MOE, table) ** 2), logits

            (_, logits), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(placed)
            same_layout = jax.tree.map(lambda g, p: g.sharding.spec == p.sharding.spec, grads, placed)
            assert all(jax.tree.leaves(same_layout))
            results.append(jax.tree.map(np.asarray, (logits, grads)))
    assert np.abs(results[0][1].blocks.router).max() > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), *results)


@pytest.mark.parametrize("remat", ["none", pytest.param("full", marks=pytest.mark.slow)])
def test_branches_equal_separate_sequences_in_logprobs_and_every_gradient(remat):
    arch = MOE.model_copy(update={"remat": remat})
    mesh, params = policy(arch, EXPERTS)
    weights = np.random.default_rng(5).normal(size=(N, B, T)).astype(np.float32)
    with jax.set_mesh(mesh):
        trunks, branches = inputs(mesh)
        weights = to_mesh(weights, mesh, RULES, "batch", "branch", "token")

        def loss(params, logprobs_of):
            logprobs = logprobs_of(params, trunks, branches, arch, RULES)
            return jnp.sum(weights * logprobs) / N, logprobs

        run = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
        (_, ours), our_grads = run(params, branch_logprobs)
        (_, plain), plain_grads = run(params, separate_logprobs)
    np.testing.assert_allclose(np.asarray(ours), np.asarray(plain), atol=2e-5, rtol=0)
    for mine, theirs in zip(jax.tree.leaves(our_grads), jax.tree.leaves(plain_grads), strict=True):
        theirs = np.asarray(theirs)
        np.testing.assert_allclose(np.asarray(mine), theirs, atol=2e-5 * np.abs(theirs).max(), rtol=2e-4)


def test_prefill_and_decode_equal_forward():
    mesh, params = policy(MOE, EXPERTS)
    with jax.set_mesh(mesh):
        trunks, branches = inputs(mesh)

        @jax.jit
        def both(params, trunks, branches):
            whole = forward(params, trunks, branches, MOE, RULES, keep_cache=True)
            cache: KeyValues = empty_cache(N, B, T, MOE, RULES)
            steps = []
            for place in range(T):
                now = branches.tokens[:, :, place : place + 1]
                hidden, cache = extend_branches(
                    params, now, branches.start, jnp.int32(place), whole.trunk_cache, cache, MOE, RULES
                )
                steps.append(hidden)
            return whole.branch, jnp.concatenate(steps, axis=2)

        whole, decoded = (np.asarray(array) for array in both(params, trunks, branches))
    np.testing.assert_allclose(decoded, whole, atol=1e-5, rtol=0)


def test_sampler_logprobs_equal_teacher_forced_logprobs_on_every_mesh():
    _, params = policy(MOE, DATA)
    settings, sampled = SamplingSection(max_new_tokens=6), []
    for shape in [DATA, GATHERED]:
        mesh = make_mesh(shape)
        placed = jax.device_put(params, shardings(MOE, mesh, RULES))
        with jax.set_mesh(mesh):
            trunks, branches = inputs(mesh)
            length = to_mesh(np.full((N, B), 2, np.int32), mesh, RULES, "batch", "branch")
            uid = to_mesh(np.arange(N * B, dtype=np.uint32).reshape(N, B), mesh, RULES, "batch", "branch")
            points = BranchPoints(trunks, branches.start, branches.tokens[:, :, :2], length, uid, jnp.zeros_like(uid))
            out = sample_branches(
                placed, points, jax.random.key(1), settings=settings, stop=(5, 9), arch=MOE, rules=RULES
            )
            forced = jax.jit(branch_logprobs, static_argnums=(3, 4))(
                placed, trunks, Branches(out.tokens, branches.start), MOE, RULES
            )
            gap = np.where(out.action_mask, np.asarray(out.behavior_logprobs - forced), 0)
            sampled.append(np.where(out.action_mask, np.asarray(out.tokens), -1))
        np.testing.assert_allclose(gap, 0, atol=2e-5)
    np.testing.assert_array_equal(*sampled)


def test_a_frozen_router_has_no_gradient_and_the_rest_has():
    gradients = {}
    mesh, params = policy(MOE, EXPERTS)
    with jax.set_mesh(mesh):
        trunks, branches = inputs(mesh)
        for arch in (MOE, MOE.model_copy(update={"frozen_router": True})):
            loss = jax.jit(jax.grad(lambda p, arch=arch: jnp.sum(branch_logprobs(p, trunks, branches, arch, RULES))))
            gradients[arch.frozen_router] = jax.tree.map(np.asarray, loss(params))
    assert np.abs(gradients[False].blocks.router).max() > 0.01
    assert (gradients[True].blocks.router == 0).all()
    for name in ("gate", "up", "down", "query", "mlp_norm"):
        assert np.abs(getattr(gradients[True].blocks, name)).max() > 0
    # what the router says of a hidden state still moves that state
    np.testing.assert_allclose(gradients[True].embedding, gradients[False].embedding, atol=1e-5, rtol=1e-5)


def test_expert_load_counts_the_masked_tokens():
    mesh, params = policy(MOE, EXPERTS)
    mask = np.random.default_rng(0).random((N, B, T)) < 0.6
    with jax.set_mesh(mesh):
        trunks, branches = inputs(mesh)
        placed = to_mesh(mask, mesh, RULES, "batch", "branch", "token")

        @jax.jit
        def run(params, mask):
            hidden = forward(params, trunks, branches, MOE, RULES, keep_experts=True)
            assert hidden.trunk_experts.shape == (2, N, S, 2)
            return hidden.branch_experts, expert_load(expert_counts(hidden.branch_experts, mask, MOE))

        experts, load = run(params, placed)
    experts = np.asarray(experts)
    for layer in range(MOE.layers):
        counts = np.bincount(experts[layer][mask].reshape(-1), minlength=MOE.experts)
        share = counts / counts.sum()
        np.testing.assert_allclose(load.share[layer], share, atol=1e-6)
        np.testing.assert_allclose(load.peak[layer], share.max() / share.mean(), rtol=1e-6)
        some = share[share > 0]
        np.testing.assert_allclose(load.entropy[layer], -(some * np.log(some)).sum() / np.log(8), rtol=1e-5)


def test_expert_load_at_its_ends():
    everyone = jnp.broadcast_to(jnp.arange(8), (1, 1, 8, 8)).astype(jnp.int32)
    even = expert_load(expert_counts(everyone, jnp.ones((1, 8), bool), MOE))
    np.testing.assert_allclose([even.peak[0], even.entropy[0]], [1.0, 1.0], rtol=1e-6)
    same = expert_load(expert_counts(jnp.full((1, 4, 6, 1), 3, jnp.int32), jnp.ones((4, 6), bool), MOE))
    np.testing.assert_allclose([same.peak[0], same.entropy[0]], [8.0, 0.0], atol=1e-6)
    nobody = expert_load(expert_counts(everyone, jnp.zeros((1, 8), bool), MOE))
    assert float(jnp.max(nobody.share)) == 0


def test_embeddings_that_are_split_while_computed_on_are_refused():
    rules = Rules.make({"embed": (("fsdp",), ("fsdp",)), "batch": (("data",),) * 2})
    with pytest.raises(ValueError, match=r"mesh\.rules\.embed: experts multiply whole embeddings"):
        mixed(block_inputs(MOE, (N, 5)), make_mesh(EXPERTS), rules, MOE)
