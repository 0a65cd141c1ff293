"""Training adapters: a step changes nothing else of the policy; frozen routers stay where they are."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from pivot_jax.config import LossSection, OptimizerSection
from pivot_jax.pipeline.checkpoint import fresh_state
from pivot_jax.pipeline.grpo import action_logprobs, grpo_step
from pivot_jax.pipeline.sequence_batches import SequenceBatch
from pivot_jax.pipeline.sft import sft_step
from pivot_jax.policy.lora import attached, initialise_adapters, merged
from pivot_jax.policy.mesh import to_mesh
from tests.pipeline.test_grpo import host_batch, on_mesh
from tests.policy.test_lora import CASES, LORA, N, S
from tests.policy.tiny import DENSE, EXPERTS, MOE, RULES, policy, tokens

MESH = EXPERTS


@pytest.mark.parametrize(("arch", "section"), CASES, ids=["dense", "moe", "attention"])
def test_a_step_trains_adapters_and_nothing_else(arch, section):
    mesh, params = policy(arch, MESH)
    optimizer = OptimizerSection(learning_rate=1e-2, warmup_steps=0, weight_decay=0.1)
    with jax.set_mesh(mesh):
        adapters = initialise_adapters(jax.random.key(0), arch, section, mesh, RULES)
        batch = SequenceBatch(
            to_mesh(tokens((N, S)), mesh, RULES, "batch", "seq"),
            to_mesh(np.tile(np.arange(S, dtype=np.int32), (N, 1)), mesh, RULES, "batch", "seq"),
        )
        state = fresh_state(attached(params, adapters), optimizer)
        held = {leaf.shape for leaf in jax.tree.leaves(state.moments) if leaf.ndim}
        assert held == {leaf.shape for leaf in jax.tree.leaves(adapters)}
        losses = []
        for _ in range(4):
            state, metrics = sft_step(state, batch, optimizer=optimizer, arch=arch, rules=RULES)
            losses.append(float(metrics["sft/loss"]))
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] - 0.02
    # the base is the very arrays that were given: not copied, not donated
    assert state.params.embedding is params.embedding and state.params.blocks.query is params.blocks.query
    for target, pair in state.params.blocks.lora.pairs.items():
        assert np.abs(np.asarray(pair.b)).max() > 1e-3, target
        assert np.abs(np.asarray(pair.a) - np.asarray(adapters.pairs[target].a)).max() > 1e-4, target


def test_a_grpo_step_with_adapters_moves_the_policy_away_from_its_own_base():
    mesh, params = policy(DENSE, MESH)
    optimizer = OptimizerSection(learning_rate=1e-2, warmup_steps=0)
    host = host_batch()
    host["rewards"][:] = np.tile([1, 0, 1, 0], (N, 1))
    with jax.set_mesh(mesh):
        adapters = initialise_adapters(jax.random.key(0), DENSE, LORA, mesh, RULES)
        batch, fixed = on_mesh(host, mesh), {"arch": DENSE, "rules": RULES}
        state = fresh_state(attached(params, adapters), optimizer)
        before = action_logprobs(params, batch, **fixed)
        adapted = action_logprobs(state.params, batch, **fixed)
        np.testing.assert_array_equal(np.asarray(adapted), np.asarray(before))
        for _ in range(3):
            state, metrics = grpo_step(state, batch, before, loss=LossSection(), optimizer=optimizer, **fixed)
        after = action_logprobs(state.params, batch, **fixed)
        np.testing.assert_array_equal(np.asarray(action_logprobs(params, batch, **fixed)), np.asarray(before))
        plain = action_logprobs(jax.jit(merged)(state.params), batch, **fixed)
    np.testing.assert_allclose(np.asarray(after), np.asarray(plain), atol=2e-5)
    change = np.where(host["action_mask"], np.asarray(after - before), 0).sum(axis=-1)
    assert change[:, [0, 2]].mean() > 0 > change[:, [1, 3]].mean()
    assert float(metrics["train/gradient_norm"]) > 0 and float(metrics["policy/kl_to_reference"]) > 0


@pytest.mark.parametrize("frozen", [False, True])
def test_a_grpo_step_reports_the_load_of_experts_and_leaves_a_frozen_router(frozen):
    arch = MOE.model_copy(update={"frozen_router": frozen})
    mesh, params = policy(arch, MESH)
    optimizer = OptimizerSection(learning_rate=1e-2, warmup_steps=0, weight_decay=0.1)
    host = host_batch()
    with jax.set_mesh(mesh):
        batch, fixed = on_mesh(host, mesh), {"arch": arch, "rules": RULES}
        before = action_logprobs(params, batch, **fixed)
        state, metrics = grpo_step(
            fresh_state(params, optimizer), batch, before, loss=LossSection(), optimizer=optimizer, **fixed
        )
    assert 1 < float(metrics["moe/load_peak_mean"]) <= float(metrics["moe/load_peak"]) <= MOE.experts
    assert 0.5 < float(metrics["moe/load_entropy"]) < 1
    moved = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), state.params, params)
    assert (moved.blocks.router == 0) == frozen and moved.blocks.gate > 1e-4 and moved.blocks.query > 1e-4
