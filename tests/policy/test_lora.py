"""Adapters: nothing at first, then W + scale · A B; on every mesh, in the sampler, in training, in PEFT's files."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.config import Architecture, LoraSection, MeshSection, SamplingSection
from pivot_jax.policy.adapter_files import write_adapters
from pivot_jax.policy.decoder import Branches, forward, unembed
from pivot_jax.policy.logprobs import branch_logprobs
from pivot_jax.policy.lora import adapter_targets, attached, initialise_adapters, merged
from pivot_jax.policy.mesh import make_mesh, to_mesh
from pivot_jax.policy.weights import read_weights, write_weights
from pivot_jax.rollout.decode import BranchPoints, sample_branches
from tests.policy.tiny import DATA, DENSE, EXPERTS, MOE, RULES, UNTIED, policy, tokens

LORA = LoraSection(rank=3, alpha=6.0)
ATTENTION = LoraSection(rank=2, alpha=5.0, targets=("query", "output"))
CASES = [(DENSE, LORA), (MOE, LORA), (UNTIED, ATTENTION)]
N, S, B, T = 8, 14, 3, 5


def adapted(arch: Architecture, section: LoraSection, shape: MeshSection = EXPERTS, seed: int = 0):
    """A mesh, a policy without and with random adapters (B too)."""
    mesh, params = policy(arch, shape)
    with jax.set_mesh(mesh):
        adapters = initialise_adapters(jax.random.key(seed), arch, section, mesh, RULES)
        draw = np.random.default_rng(seed)
        pairs = {
            target: pair.replace(
                b=jax.device_put(0.3 * draw.normal(size=pair.b.shape).astype(np.float32), pair.b.sharding)
            )
            for target, pair in adapters.pairs.items()
        }
    return mesh, params, attached(params, adapters.replace(pairs=pairs))


def inputs(mesh):
    start = np.random.default_rng(3).integers(0, S, (N, B)).astype(np.int32)
    branches = Branches(
        to_mesh(tokens((N, B, T), 1), mesh, RULES, "batch", "branch", "token"),
        to_mesh(start, mesh, RULES, "batch", "branch"),
    )
    return to_mesh(tokens((N, S)), mesh, RULES, "batch", "seq"), branches


def by_hand(weight: np.ndarray, a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """Linear by linear: flat matrices, input by output."""
    lead = a.ndim + b.ndim - 2 - weight.ndim
    out = np.array(weight)
    for place in np.ndindex(weight.shape[:lead]):
        product = a[place].reshape(-1, a.shape[-1]) @ b[place].reshape(b.shape[lead], -1)
        out[place] += scale * product.reshape(weight.shape[lead:])
    return out


@pytest.mark.parametrize(("arch", "section"), CASES, ids=["dense", "moe", "attention"])
def test_merging_is_the_sum_by_hand_and_gives_the_same_policy(arch, section):
    mesh, params, with_adapters = adapted(arch, section)
    with jax.set_mesh(mesh):
        plain = jax.jit(merged)(with_adapters)
        for target, pair in with_adapters.blocks.lora.pairs.items():
            expected = by_hand(
                *(np.asarray(array) for array in (getattr(params.blocks, target), pair.a, pair.b)),
                section.alpha / section.rank,
            )
            assert np.abs(expected - np.asarray(getattr(params.blocks, target))).max() > 0.1
            np.testing.assert_allclose(np.asarray(getattr(plain.blocks, target)), expected, atol=1e-5, rtol=0)
        assert plain.blocks.lora is None
        assert jax.tree.all(jax.tree.map(lambda a, b: a.sharding.spec == b.sharding.spec, plain, params))
        run = jax.jit(branch_logprobs, static_argnums=(3, 4))
        trunks, branches = inputs(mesh)
        base, ours, whole = (
            np.asarray(run(p, trunks, branches, arch, RULES)) for p in (params, with_adapters, plain)
        )  # fmt: skip
    assert np.abs(ours - base).max() > 0.1
    np.testing.assert_allclose(ours, whole, atol=1e-5, rtol=0)


def test_new_adapters_change_nothing_and_only_b_has_a_gradient():
    mesh, params = policy(DENSE)
    with jax.set_mesh(mesh):
        adapters = initialise_adapters(jax.random.key(0), DENSE, LORA, mesh, RULES)
        trunks, branches = inputs(mesh)

        def total(adapters):
            logprobs = branch_logprobs(attached(params, adapters), trunks, branches, DENSE, RULES)
            return jnp.sum(logprobs), logprobs

        gradients, ours = jax.jit(jax.grad(total, has_aux=True))(adapters)
        base = jax.jit(branch_logprobs, static_argnums=(3, 4))(params, trunks, branches, DENSE, RULES)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(base))
    for target, pair in gradients.pairs.items():
        assert (np.asarray(pair.a) == 0).all() and np.abs(np.asarray(pair.b)).max() > 0.01, target
        assert np.abs(np.asarray(adapters.pairs[target].a)).std() > 0.01


@pytest.mark.parametrize("arch", [DENSE, MOE], ids=["dense", "moe"])
def test_gradients_of_adapters_follow_from_those_of_the_weights_on_every_mesh(arch):
    """dA = scale · dW Bᵀ and dB = scale · Aᵀ dW."""
    results = []
    for shape in [DATA, MeshSection(data=1, fsdp=2, expert=2, tensor=2)]:
        mesh, _, with_adapters = adapted(arch, LORA, shape)
        with jax.set_mesh(mesh):
            trunks, branches = inputs(mesh)

            def total(params, trunks=trunks, branches=branches):
                return jnp.mean(branch_logprobs(params, trunks, branches, arch, RULES) ** 2)

            of_adapters = jax.jit(jax.grad(lambda lora, p=with_adapters: total(attached(p, lora))))(
                with_adapters.blocks.lora
            )
            same = jax.tree.map(
                lambda g, p: g.sharding.spec == p.sharding.spec, of_adapters, with_adapters.blocks.lora
            )  # fmt: skip
            assert jax.tree.all(same)
            of_weights = jax.jit(jax.grad(total))(jax.jit(merged)(with_adapters)).blocks
        results.append(jax.tree.map(np.asarray, of_adapters))
        for target, pair in of_adapters.pairs.items():
            given = jax.tree.map(np.asarray, with_adapters.blocks.lora.pairs[target])
            weight = np.asarray(getattr(of_weights, target))
            lead = given.a.ndim + given.b.ndim - 2 - weight.ndim
            for place in np.ndindex(weight.shape[:lead]):
                flat_a, flat_b = given.a[place].reshape(-1, 3), given.b[place].reshape(3, -1)
                flat = weight[place].reshape(len(flat_a), -1)
                for ours, theirs in [(pair.a, flat @ flat_b.T), (pair.b, flat_a.T @ flat)]:
                    mine = np.asarray(ours)[place].reshape(theirs.shape)
                    np.testing.assert_allclose(mine, 2.0 * theirs, atol=2e-6, rtol=2e-4, err_msg=target)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), *results)


def test_the_sampler_uses_them():
    mesh, params, with_adapters = adapted(DENSE, LORA)
    with jax.set_mesh(mesh):
        trunks, branches = inputs(mesh)
        length = to_mesh(np.full((N, B), 2, np.int32), mesh, RULES, "batch", "branch")
        uid = to_mesh(np.arange(N * B, dtype=np.uint32).reshape(N, B), mesh, RULES, "batch", "branch")
        points = BranchPoints(trunks, branches.start, branches.tokens[:, :, :2], length, uid, jnp.zeros_like(uid))
        out = sample_branches(
            with_adapters, points, jax.random.key(1),
            settings=SamplingSection(max_new_tokens=6), stop=(5,), arch=DENSE, rules=RULES,
        )  # fmt: skip
        run = jax.jit(branch_logprobs, static_argnums=(3, 4))
        sampled = Branches(out.tokens, branches.start)
        ours, base = (np.asarray(run(p, trunks, sampled, DENSE, RULES)) for p in (with_adapters, params))
    behavior, mask = np.asarray(out.behavior_logprobs), np.asarray(out.action_mask)
    np.testing.assert_allclose(behavior[mask], ours[mask], atol=2e-5, rtol=0)
    assert np.abs(behavior[mask] - base[mask]).max() > 0.1


def test_adapters_are_described_before_they_exist_and_depend_on_the_key_alone():
    made = []
    for shape in [DATA, MeshSection(data=1, fsdp=2, expert=2, tensor=2)]:
        mesh = make_mesh(shape)
        with jax.set_mesh(mesh):
            adapters = initialise_adapters(jax.random.key(4), MOE, LORA, mesh, RULES)
        targets = adapter_targets(MOE, LORA, mesh, RULES)
        jax.tree.map(lambda t, a: (t.shape, t.sharding) == (a.shape, a.sharding) or pytest.fail(), targets, adapters)
        made.append(adapters)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), *made)
    assert made[0].pairs["gate"].a.shape == (2, 8, 32, 3) and made[0].pairs["output"].a.shape == (2, 4, 2, 8, 3)
    assert made[0].pairs["query"].b.shape == (2, 3, 4, 2, 8) and made[0].scale == 2.0


def test_writing_weights_adds_them_in(tmp_path):
    mesh, _, with_adapters = adapted(MOE, LORA)
    write_weights(tmp_path / "out", with_adapters, MOE, tmp_path, 0)
    again = read_weights(tmp_path / "out", MOE, mesh, RULES)
    with jax.set_mesh(mesh):
        plain = jax.jit(merged)(with_adapters)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-6), again, plain)


def test_adapters_of_experts_have_no_place_in_peft(tmp_path):
    _, _, with_adapters = adapted(MOE, LORA)
    with pytest.raises(ValueError, match="no place for adapters of experts; export the merged policy"):
        write_adapters(tmp_path, with_adapters.blocks.lora, MOE, "base")


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft's own use
@pytest.mark.parametrize(
    ("arch", "section"), [(DENSE, LORA), (UNTIED, ATTENTION), (MOE, ATTENTION)], ids=["dense", "attention", "moe"]
)
def test_peft_opens_them_and_gives_the_same_logits(arch, section, tmp_path):
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    mesh, params, with_adapters = adapted(arch, section)
    write_weights(tmp_path / "base", params, arch, tmp_path, 3)
    write_adapters(tmp_path / "adapter", with_adapters.blocks.lora, arch, str(tmp_path / "base"))
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    ids = tokens((4, 12))
    with torch.no_grad():
        expected = model(torch.from_numpy(ids).long()).logits.numpy()
        with model.disable_adapter():
            without = model(torch.from_numpy(ids).long()).logits.numpy()
    with jax.set_mesh(mesh):
        logits = jax.jit(lambda p, t: unembed(p, forward(p, t, None, arch, RULES).trunk, arch, RULES))
        ours = np.asarray(logits(with_adapters, to_mesh(ids, mesh, RULES, "batch", "seq")))
    assert np.abs(expected - without).max() > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)
