"""Gradient accumulation: a step in parts is the step of the whole batch, whatever the parts weigh."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.config import Config, ConfigError, LoraSection, LossSection, MeshSection, OptimizerSection
from pivot_jax.objective.aggregation import Weighted, divide
from pivot_jax.pipeline.action_loss import weight
from pivot_jax.pipeline.checkpoint import fresh_state
from pivot_jax.pipeline.group_loss import group_loss, loss_targets, summed_terms
from pivot_jax.pipeline.grpo import grpo_step
from pivot_jax.pipeline.micro_batches import check_parts, in_parts, joined, mapped, summed_gradients
from pivot_jax.pipeline.sequence_batches import SequenceBatch
from pivot_jax.pipeline.sft import sft_step
from pivot_jax.policy.lora import attached, initialise_adapters
from pivot_jax.policy.mesh import abstract_mesh, to_mesh
from tests.pipeline.test_grpo import host_batch, on_mesh
from tests.policy.tiny import DENSE, EXPERTS, MIXED, MOE, RULES, policy, tokens

TOKENS = ("batch", "branch", "token")
OPTIMIZER = OptimizerSection(learning_rate=1e-3, warmup_steps=0, max_grad_norm=1e6)
LOSSES = {
    "sequence": LossSection(kl_coef=0.3),
    "token": LossSection(kl_coef=0.3, aggregation="token", drop_cut_off=True),
    "constant": LossSection(kl_coef=0.3, aggregation="constant", kl_estimator="k2", message_share=0.3),
    "gspo": LossSection(surrogate="gspo", importance_cap=1.2, importance_level="sequence"),
}


def uneven_batch() -> dict[str, np.ndarray]:
    """Even rows have long actions, odd ones short actions of which one each was not judged; one group is uniform."""
    batch = host_batch()
    batch["action_mask"][0::2], batch["action_mask"][1::2] = [False, *[True] * 5], [False, True, *[False] * 4]
    batch["valid"][1::2, 0] = False
    batch["rewards"][5] = 1.0
    return batch


def assert_same(whole, parts):
    """Next state and metrics of two steps. AdamW divides a gradient by its own size: where there is next to none, the
    parameter's move is rounding, so parameters are compared where the gradient is not."""
    (one, ours), (other, theirs) = whole, parts
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(float(theirs[name]), float(value), rtol=2e-5, atol=2e-6, err_msg=name)
    moments, others = (step.moments[1][0] for step in (one, other))
    for first, second in [(moments.mu, others.mu), (moments.nu, others.nu)]:
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
            a, b = np.asarray(a), np.asarray(b)
            np.testing.assert_allclose(b, a, atol=1e-5 * np.abs(a).max(), rtol=0)
    trained = [state.params if state.params.blocks.lora is None else state.params.blocks.lora for state in (one, other)]
    leaves = zip(*(jax.tree.leaves(tree) for tree in (*trained, moments.mu)), strict=True)
    for a, b, mean in leaves:
        felt = np.abs(np.asarray(mean)) > 1e-3 * np.abs(np.asarray(mean)).max()
        difference = np.where(felt, np.abs(np.asarray(a) - np.asarray(b)), 0)
        assert difference.max() < 1e-5  # of a move of 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_the_parts_of_every_loss_add_up(name):
    """Gradient with respect to the log-probs, where no policy stands between."""
    loss, mesh = LOSSES[name], policy()[0]
    draw = np.random.default_rng(2)
    with jax.set_mesh(mesh):
        batch = on_mesh(uneven_batch(), mesh)
        logprobs, reference = (
            to_mesh(draw.normal(-1, 0.4, batch.tokens.shape).astype(np.float32), mesh, RULES, *TOKENS) for _ in "ab"
        )

        @jax.jit
        def both(logprobs):
            targets = loss_targets(batch, loss)
            denominator = weight(targets.mask, loss)

            def objective(moved, part):
                (logprobs, batch, reference, targets), rows = part, moved
                logprobs = logprobs + rows
                old = jax.lax.stop_gradient(logprobs)
                terms = summed_terms(logprobs, old, reference, batch, targets, loss)
                summed = terms.surrogate.sum + loss.kl_coef * terms.divergence.sum
                return divide(Weighted(summed, denominator)), (old, summed)

            # moves every row of a part alike, so that its gradient is the sum over the rows of all parts
            zero = jnp.zeros((1, *logprobs.shape[1:]))
            parts = summed_gradients(objective, zero, (logprobs, batch, reference, targets), 2)
            whole = jax.grad(lambda moved: group_loss(
                logprobs + moved, logprobs, reference, batch, loss)[0])(zero)  # fmt: skip
            return parts, whole, group_loss(logprobs, logprobs, reference, batch, loss)[0] * denominator

        (gradient, rows, summed), whole, value = both(logprobs)
        np.testing.assert_array_equal(np.asarray(rows), np.asarray(logprobs))
    assert np.abs(np.asarray(whole)).max() > 1e-3
    np.testing.assert_allclose(np.asarray(gradient), np.asarray(whole), atol=1e-6 * np.abs(np.asarray(whole)).max())
    np.testing.assert_allclose(float(summed), float(value), rtol=1e-5)


def grpo(arch, shape, parts: int, lora: LoraSection | None = None):
    """A step in this many parts."""
    mesh, params = policy(arch, shape)
    with jax.set_mesh(mesh):
        if lora is not None:
            params = attached(params, initialise_adapters(jax.random.key(1), arch, lora, mesh, RULES))
        host = uneven_batch()
        reference = to_mesh(host["behavior_logprobs"] + 0.3, mesh, RULES, *TOKENS)
        return grpo_step(
            fresh_state(params, OPTIMIZER), on_mesh(host, mesh), reference,
            loss=LOSSES["token"], optimizer=OPTIMIZER, arch=arch, rules=RULES, micro_batches=parts,
        )  # fmt: skip


def test_a_grpo_step_in_parts_is_the_step_of_the_whole_batch():
    whole, parts = (grpo(DENSE, MIXED, parts) for parts in (1, 2))
    assert_same(whole, parts)
    # on policy: the ratio is 1, exactly
    assert float(whole[1]["policy/clip_fraction"]) == 0 and float(whole[1]["rollout/behavior_gap"]) > 0.1


@pytest.mark.slow
def test_with_experts_their_load_is_that_of_the_whole_batch():
    whole, parts = (grpo(MOE, EXPERTS, parts) for parts in (1, 2))
    assert_same(whole, parts)
    assert float(whole[1]["moe/load_peak"]) > 1.05


@pytest.mark.slow
def test_with_adapters_their_gradients_alone_are_added_up():
    section = LoraSection(rank=2, targets=("query", "down"))
    assert_same(*(grpo(DENSE, MIXED, parts, section) for parts in (1, 2)))


def test_an_sft_step_in_parts_is_the_step_of_the_whole_batch():
    """Of the parts' token means, which have other weights, the mean would be another loss."""
    mesh, params = policy(DENSE, MeshSection(data=2, tensor=4))
    places = np.tile(np.arange(1, 7, dtype=np.int32), (8, 1))
    places[1::4, 1:], places[2, :] = 0, 0
    results, parts = [], []
    with jax.set_mesh(mesh):
        batch = SequenceBatch(*(to_mesh(a, mesh, RULES, "batch", "seq") for a in (tokens((8, 10)), places)))
        for count in (1, 4):
            state = fresh_state(params, OPTIMIZER)
            results.append(sft_step(state, batch, optimizer=OPTIMIZER, arch=DENSE, rules=RULES, micro_batches=count))
    assert_same(*results)
    parts = [(places[first::4] > 0).sum() for first in range(4)]
    assert len(set(parts)) > 2  # tokens of each part


def test_parts_hold_rows_in_strides_and_joining_restores_them():
    mesh, _ = policy()
    with jax.set_mesh(mesh):
        rows = to_mesh(np.arange(16, dtype=np.int32).reshape(8, 2), mesh, RULES, "batch", "seq")
        pieces, back, mean = jax.jit(
            lambda rows: (
                in_parts(rows, 2),
                joined(in_parts(rows, 2)),
                mapped(lambda part: part - jnp.mean(part), rows, 2),
            )
        )(rows.astype(jnp.float32))
        assert back.sharding.spec == rows.sharding.spec == mean.sharding.spec
        with pytest.raises(ValueError, match="8 rows do not divide into micro_batches = 3"):
            in_parts(rows, 3)
    np.testing.assert_array_equal(np.asarray(pieces)[1], np.arange(16).reshape(8, 2)[1::2])
    np.testing.assert_array_equal(np.asarray(back), np.asarray(rows))
    # of every other row: 0, 4, 8, 12 and one more, and 2, 6, 10, 14 and one more
    np.testing.assert_array_equal(np.asarray(mean), np.asarray(rows) - np.tile([[6.5], [8.5]], (4, 1)))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"train": {"micro_batches": 3}}, r"^train\.micro_batches: arm 'pivotrl' takes pivots_per_step = 16 in 3 "
         r"parts, and 5\.33333 is not a multiple of 4, .*; use micro_batches = 2 or pivots_per_step = 24$"),
        ({"train": {"pivots_per_step": 6, "micro_batches": 2}}, r"; use pivots_per_step = 8$"),
        ({"sft": {"micro_batches": 8}}, r"^sft\.micro_batches: .* micro_batches = 4 or trajectories_per_step = 32$"),
        ({"arms": {"x": {"method": "e2e_rl", "e2e": {"micro_batches": 4}}}},
         r"^e2e\.micro_batches: arm 'x' takes tasks_per_step = 8 in 4 parts"),
    ],
)  # fmt: skip
def test_parts_that_do_not_divide_are_refused_with_the_fix(table, message):
    mesh = abstract_mesh(MIXED)  # splits a batch over data=2 and fsdp=2
    with pytest.raises(ConfigError, match=message):
        check_parts(Config.model_validate(table), mesh, RULES)


def test_parts_that_divide_are_not_refused():
    check_parts(Config.model_validate({"train": {"micro_batches": 4}}), abstract_mesh(MIXED), RULES)
    # one part is padded to what the mesh divides, as ever
    check_parts(Config.model_validate({"train": {"pivots_per_step": 5}}), abstract_mesh(MIXED), RULES)
