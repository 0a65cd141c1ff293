"""Bytes of one device: by hand, as really placed, and as a compiler counts them."""

from __future__ import annotations

import jax
import pytest

from pivot_jax.config import ConfigError, LoraSection, MeshSection, OptimizerSection
from pivot_jax.pipeline.optimizer import initial_state
from pivot_jax.planning.activations import Tokens, block_bytes, cache_bytes, kept_bytes, tokens_at_experts
from pivot_jax.planning.compile_child import analysis
from pivot_jax.planning.memory import gathered_bytes, gradient_bytes, held_terms, moments, peak, stored_elements
from pivot_jax.planning.programs import rollout_program, update_program
from pivot_jax.policy.lora import initialise_adapters
from pivot_jax.policy.mesh import make_mesh
from pivot_jax.policy.spec import parameter_specs
from pivot_jax.rollout.decode import empty_cache
from tests.planning.planned import planned
from tests.policy.tiny import DENSE, EXPERTS, MIXED, MOE, RULES, UNTIED, policy

CASES = [(UNTIED, MeshSection(data=1, fsdp=8)), (MOE, EXPERTS)]


def on_first_device(tree) -> int:
    """Bytes that the first device really holds."""
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree) if leaf.ndim)


def test_parameters_by_hand(tmp_path):
    work = planned(tmp_path, DENSE)
    # embed is split in 2 by fsdp, heads and mlp in 2 by tensor; norms are whole
    attention = 2 * 32 * (8 + 4 + 4 + 8) * 8 // 4
    mlp = 2 * 3 * 32 * 48 // 4
    norms = 2 * (32 + 8 + 8 + 32) + 32
    expected = 64 * 32 // 2 + attention + mlp + norms
    assert stored_elements(parameter_specs(DENSE), work.train) == expected == 6592
    assert {term.name: term.bytes for term in held_terms(work)} == {
        "policy": 4 * expected, "reference policy": 4 * expected, "optimizer's two moments": 8 * expected,
    }  # fmt: skip
    assert gradient_bytes(work) == 4 * expected
    # one block whole over fsdp, in float32, and the tied table: whole to embed, split by vocabulary to unembed
    assert gathered_bytes(work, work.train) == (4 * (attention + mlp + 80), 4 * 64 * 32, 4 * 64 * 32 // 2)


@pytest.mark.parametrize(("arch", "mesh"), CASES)
def test_what_is_held_equals_what_is_placed(arch, mesh, tmp_path):
    work = planned(tmp_path, arch, mesh)
    placed, params = policy(arch, mesh)
    with jax.set_mesh(placed):
        state = initial_state(params, OptimizerSection())
    held = {term.name: term.bytes for term in held_terms(work)}
    assert held["policy"] == held["reference policy"] == on_first_device(state.params)
    assert held["optimizer's two moments"] == on_first_device(state.moments)


def test_adapters_share_the_reference_and_are_all_that_is_trained(tmp_path):
    lora = LoraSection(rank=4)
    work = planned(tmp_path, MOE, EXPERTS, lora=lora.model_dump())
    mesh, params = policy(MOE, EXPERTS)
    with jax.set_mesh(mesh):
        adapters = on_first_device(initialise_adapters(jax.random.key(0), MOE, lora, mesh, RULES))
    held = {term.name: term.bytes for term in held_terms(work)}
    assert held == {
        "policy": on_first_device(params), "adapters": adapters, "optimizer's two moments": 2 * adapters,
    }  # fmt: skip
    assert gradient_bytes(work) == adapters


def test_caches_equal_what_is_placed(tmp_path):
    work = planned(tmp_path, DENSE)
    with jax.set_mesh(make_mesh(MIXED)):
        cache = empty_cache(8, 3, 16, DENSE, RULES)
    assert cache_bytes(work, work.sample, Tokens((8, 3, 16))) == on_first_device(cache)
    # keys and values, layers, rows over data and fsdp, tokens, heads over tensor, head_dim, float32
    assert cache_bytes(work, work.sample, Tokens((8, 128))) == 2 * 2 * (8 // 4) * 128 * (4 // 2) * 8 * 4


def test_what_is_kept_by_remat(tmp_path):
    tokens = Tokens((8, 128))
    held = {}
    for remat in ("none", "dots", "offload", "full"):
        work = planned(tmp_path, DENSE, policy={"remat": remat, "path": str(tmp_path)})
        held[remat] = kept_bytes(work, block_bytes(work, work.train, tokens))
    t = 8 * 128 // 4  # tokens of one device; heads and mlp are split in two
    dots = 32 + 32 + 2 * 16 + 32 + 2 * 24 + 32
    assert held["full"] == 2 * 4 * t * 32
    assert held["offload"] == 2 * 4 * t * 32  # two blocks' inputs in flight, and this policy has two
    assert held["dots"] == 2 * 4 * t * dots
    assert held["none"] == 2 * 4 * t * (dots + 2 * 32 + 2 * 32 + 16 + 24 + 4 * 128 * 2)


def test_tokens_gathered_to_experts(tmp_path):
    tokens = Tokens((8, 128))
    work = planned(tmp_path, MOE, EXPERTS)
    assert tokens_at_experts(work.train, tokens) == 8 * 128 // 4
    shared = EXPERTS.model_copy(update={"rules": {"batch": (("data", "fsdp", "expert"),) * 2}})
    work = planned(tmp_path, MOE, shared)
    assert tokens_at_experts(work.train, tokens) == 8 * 128 // 8 * 2


def test_the_account_is_near_what_the_compiler_counts(tmp_path):
    """Within a factor of two either way: XLA for CPUs decides otherwise than for the chips that the account is of."""
    arch = UNTIED.model_copy(update={"embed": 64, "vocab_size": 512})
    work = planned(tmp_path, arch, sampling={"max_new_tokens": 28})
    account = moments(work)
    for phase, program, beside in (
        ("update", update_program, ("reference policy",)),
        ("rollout", rollout_program, ("reference policy", "optimizer's two moments")),
    ):
        told = analysis(program(work, make_mesh(MIXED)).compile(), 8)
        compiled = told["arguments"] + told["results"] + told["temporaries"]
        highest = peak(tuple(moment for moment in account if moment.phase == phase))
        counted = sum(term.bytes for term in highest.terms if term.name not in beside)
        assert 0.5 < counted / compiled < 2, (phase, counted, compiled, highest)


def test_moments_grow_with_the_batch_and_fall_with_a_larger_mesh(tmp_path):
    work, more = planned(tmp_path, DENSE), planned(tmp_path, DENSE, train={"pivots_per_step": 16, "group_size": 3})
    assert peak(moments(more)).total > peak(moments(work)).total
    half = planned(tmp_path, DENSE, MeshSection(data=4, fsdp=2, tensor=2))
    assert peak(moments(half)).total < peak(moments(work)).total


def test_a_mesh_that_does_not_divide_the_policy_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"mesh: kv_heads=4 does not divide by tensor=8"):
        planned(tmp_path, DENSE, MeshSection(data=1, tensor=8))
