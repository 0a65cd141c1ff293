"""The GRPO loss and step: every option against plain loops, and the invariants of the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from pivot_jax.config import LossSection, OptimizerSection
from pivot_jax.config_files import load
from pivot_jax.objective.advantages import group_advantages
from pivot_jax.pipeline.checkpoint import fresh_state
from pivot_jax.pipeline.group_loss import GroupBatch, group_loss
from pivot_jax.pipeline.grpo import action_logprobs, grpo_step
from pivot_jax.policy.mesh import to_mesh
from tests.policy.tiny import DENSE, RULES, policy, tokens
from tests.reference.grpo import loss_of_batch

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = sorted((CONFIGS / "preset").glob("*.toml"))
N, G, T, S = 8, 4, 6, 10


def host_batch(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T, (N, G, 1))
    place = np.arange(T)[None, None]
    return {
        "trunks": tokens((N, S), seed),
        "tokens": tokens((N, G, T), seed + 1),
        "start": np.repeat(rng.integers(1, S, (N, 1)), G, axis=1).astype(np.int32),
        "action_mask": (place >= 1) & (place < 1 + lengths),
        "behavior_logprobs": rng.normal(-1, 0.3, (N, G, T)).astype(np.float32),
        "rewards": rng.integers(0, 2, (N, G)).astype(np.float32),
        "valid": np.ones((N, G), np.bool_),
        "finished": rng.random((N, G)) < 0.7,
        "surplus_calls": rng.integers(0, 3, (N, G)).astype(np.int32),
        "is_message": np.arange(N) % 2 == 0,
    }


def on_mesh(host: dict[str, np.ndarray], mesh) -> GroupBatch:
    per_token = dict.fromkeys(("tokens", "action_mask", "behavior_logprobs"), ("batch", "branch", "token"))
    axes = {"trunks": ("batch", "seq"), "is_message": ("batch",), **per_token}
    return GroupBatch(**{k: to_mesh(v, mesh, RULES, *axes.get(k, ("batch", "branch"))) for k, v in host.items()})


OPTIONS: dict[str, dict[str, Any]] = {
    "equation_7": {"kl_coef": 0.3, "clip_high": 0.28},
    "token_mean": {"kl_coef": 0.3, "aggregation": "token"},
    "constant": {"kl_coef": 0.3, "aggregation": "constant", "constant_length": 7},
    "dual_clip": {"dual_clip": 1.5},
    "gspo": {"surrogate": "gspo", "clip_low": 0.05, "clip_high": 0.08},
    "cispo": {"surrogate": "cispo", "clip_low": 1.0, "clip_high": 0.3, "aggregation": "token"},
    "k1": {"kl_coef": 0.3, "kl_estimator": "k1"},
    "k1_weighted": {"kl_coef": 0.3, "kl_estimator": "k1", "kl_weighted": True},
    "k2": {"kl_coef": 0.3, "kl_estimator": "k2"},
    "k3_weighted": {"kl_coef": 0.3, "kl_weighted": True},
    "truncated": {"importance_cap": 1.2},
    "truncated_sequence": {"importance_cap": 1.2, "importance_level": "sequence"},
    "masked": {"importance": "masked", "importance_floor": 0.7, "importance_cap": 1.4},
    "masked_sequence": {
        "importance": "masked", "importance_floor": 0.5, "importance_cap": 2.0, "importance_level": "sequence",
    },
    "drop_cut_off": {"kl_coef": 0.3, "drop_cut_off": True},
    "message_share": {"kl_coef": 0.3, "message_share": 0.25},
    "no_messages": {"message_share": 0.0},
    "surplus_penalty": {"surplus_penalty": 0.25},
    "all_guards": {"drop_cut_off": True, "message_share": 0.25, "surplus_penalty": 0.25, "aggregation": "token"},
    "centred": {"advantage": "centred"},
    "leave_one_out": {"advantage": "leave_one_out"},
    "leave_one_out_std": {"advantage": "leave_one_out_std"},
    "no_baseline": {"advantage": "none"},
}  # fmt: skip


def irregular_batch() -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Log-probs (policy, old, reference) and a batch with unjudged actions and a uniform group."""
    rng = np.random.default_rng(1)
    batch = host_batch()
    batch["valid"][0, 1] = batch["valid"][3, 0] = False
    batch["rewards"][5] = 1.0
    return [rng.normal(-1, 0.4, (N, G, T)).astype(np.float32) for _ in range(3)], batch


def measured(loss: LossSection) -> tuple[float, dict[str, float]]:
    """Loss and metrics of the irregular batch, on the mesh."""
    logprobs, batch = irregular_batch()
    mesh, _ = policy()
    with jax.set_mesh(mesh):
        logprobs = [to_mesh(a, mesh, RULES, "batch", "branch", "token") for a in logprobs]
        compiled = jax.jit(group_loss, static_argnames="loss")
        value, metrics = compiled(*logprobs, on_mesh(batch, mesh), loss=loss)
        return float(value), {name: float(metric) for name, metric in metrics.items()}


def by_loops(loss: LossSection) -> float:
    """The same loss by the loops."""
    logprobs, batch = irregular_batch()
    return loss_of_batch(*logprobs, batch, loss)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_equals_the_loops(name):
    loss = LossSection(**OPTIONS[name])
    np.testing.assert_allclose(measured(loss)[0], by_loops(loss), rtol=2e-5)


def test_every_option_changes_the_loss():
    """Else an option that is not used would pass the comparison with the loops."""
    plain = by_loops(LossSection(kl_coef=0.3))
    changed = {name: by_loops(LossSection(**{"kl_coef": 0.3, **options})) for name, options in OPTIONS.items()}
    assert [name for name, value in changed.items() if abs(value - plain) < 1e-4] == []


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_equals_the_loops(preset):
    loss = load([preset]).loss
    np.testing.assert_allclose(measured(loss)[0], by_loops(loss), rtol=2e-5)


def test_metrics_by_hand():
    _, metrics = measured(LossSection(kl_coef=0.3, drop_cut_off=True))
    _, batch = irregular_batch()
    mixed = [len(set(r[v].tolist())) > 1 for r, v in zip(batch["rewards"], batch["valid"], strict=True)]
    assert metrics["pivot/mixed_fraction"] == pytest.approx(np.mean(mixed))
    assert metrics["train/reward_mean"] == pytest.approx(batch["rewards"][batch["valid"]].mean())
    assert metrics["train/actions"] == batch["valid"].sum()
    assert metrics["train/trained_actions"] == (batch["valid"] & batch["finished"]).sum()
    assert metrics["rollout/cut_off_fraction"] == pytest.approx((~batch["finished"])[batch["valid"]].mean())
    lengths = batch["action_mask"].sum(axis=-1)[batch["valid"]]
    assert metrics["rollout/action_tokens"] == pytest.approx(lengths.mean())


@pytest.mark.parametrize(
    ("preset", "table"),
    [
        ("paper", {1: (3.873, -0.258), 2: (2.646, -0.378), 8: (1.0, -1.0), 15: (0.258, -3.873)}),
        ("nemo", {1: (1.0, -0.258), 2: (3.615, -0.379), 8: (1.033, -1.033), 15: (0.258, -1.0)}),
    ],
)
def test_presets_give_the_published_advantages(preset, table):
    """Sixteen actions, k successes: to the digits that are printed."""
    kind = load([CONFIGS / "preset" / f"{preset}.toml"]).loss.advantage
    for successes, expected in table.items():
        rewards = jnp.asarray([1.0] * successes + [0.0] * (16 - successes))
        advantages = group_advantages(rewards, jnp.ones(16, bool), kind)
        np.testing.assert_allclose([advantages[0], advantages[-1]], expected, atol=6e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"surrogate": "gspo", "aggregation": "token"},
        {"surrogate": "cispo", "dual_clip": 3.0},
        {"dual_clip": 1.1},
        {"kl_estimator": "k2", "kl_weighted": True},
        {"importance": "masked", "importance_floor": 2.0, "importance_cap": 1.5},
        {"importance_floor": 0.5, "importance_cap": 2.0},
    ],
)
def test_options_that_contradict_each_other_are_refused(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        LossSection(**options)


def gradients(batch: dict[str, np.ndarray], loss: LossSection, behavior: bool = False):
    """Gradient with respect to the log-probs at a policy equal to its anchors."""
    mesh, _ = policy()
    with jax.set_mesh(mesh):
        logprobs = to_mesh(batch["behavior_logprobs"], mesh, RULES, "batch", "branch", "token")
        device = on_mesh(batch, mesh)
        return np.asarray(jax.grad(lambda x: group_loss(x, logprobs, logprobs, device, loss)[0])(logprobs))


def test_each_actions_advantage_lands_on_all_its_tokens_and_on_no_other():
    batch = host_batch()
    gradient = gradients(batch, LossSection(kl_coef=0.0, aggregation="token"))
    count = batch["action_mask"].sum()
    for n, g in np.ndindex(N, G):
        rewards = batch["rewards"][n]
        advantage = 0.0 if len(set(rewards)) == 1 else (rewards[g] - rewards.mean()) / (rewards.std() + 1e-6)
        mask = batch["action_mask"][n, g]
        np.testing.assert_allclose(gradient[n, g][mask], -advantage / count, rtol=1e-4, atol=1e-7)
        assert (gradient[n, g][~mask] == 0).all()


def test_a_uniform_group_and_an_unjudged_action_give_exactly_zero_gradient():
    batch = host_batch()
    batch["rewards"][:] = np.tile([1, 0, 1, 0], (N, 1))
    batch["rewards"][2], batch["rewards"][4] = 1.0, 0.0
    batch["valid"][6, 1] = False
    gradient = gradients(batch, LossSection(kl_coef=0.1))
    assert (gradient[[2, 4]] == 0).all() and (gradient[6, 1] == 0).all()
    assert (np.abs(gradient[[0, 1, 3, 5, 7]]).sum(axis=(1, 2)) > 0).all() and np.abs(gradient[6, 0]).sum() > 0


def test_permuting_a_group_permutes_its_gradient():
    batch, order = host_batch(), [2, 0, 3, 1]
    loss = LossSection()
    permuted = {k: v[:, order] if k not in ("trunks", "is_message") else v for k, v in batch.items()}
    np.testing.assert_allclose(gradients(permuted, loss), gradients(batch, loss)[:, order], atol=1e-7)


def test_a_step_raises_good_actions_and_lowers_bad_ones():
    mesh, params = policy()
    batch = host_batch()
    batch["rewards"][:] = np.tile([1, 0, 1, 0], (N, 1))
    optimizer = OptimizerSection(learning_rate=1e-3, warmup_steps=0)
    with jax.set_mesh(mesh):
        device = on_mesh(batch, mesh)
        fixed = {"arch": DENSE, "rules": RULES}
        state = fresh_state(params, optimizer)
        before = action_logprobs(params, device, **fixed)
        state, metrics = grpo_step(state, device, before, loss=LossSection(), optimizer=optimizer, **fixed)
        after = action_logprobs(state.params, device, **fixed)
        assert int(state.step) == 1 and float(metrics["train/gradient_norm"]) > 0
        change = np.where(batch["action_mask"], np.asarray(after - before), 0).sum(axis=-1)
        # the reference did not move, and the parameters it was read from were not donated
        np.testing.assert_array_equal(np.asarray(action_logprobs(params, device, **fixed)), np.asarray(before))
    assert (change[:, [0, 2]].mean() > 0 > change[:, [1, 3]].mean()) and (change[:, 0] > change[:, 1]).mean() > 0.8


def test_the_sampler_correction_weighs_tokens():
    batch = host_batch()
    plain = gradients(batch, LossSection(kl_coef=0.0))
    mesh, _ = policy()
    with jax.set_mesh(mesh):
        old = jnp.asarray(batch["behavior_logprobs"]) + 0.5  # the trainer finds every token e^0.5 times as likely
        logprobs = to_mesh(np.asarray(old), mesh, RULES, "batch", "branch", "token")
        loss = LossSection(kl_coef=0.0, importance_cap=1.2)
        device = on_mesh(batch, mesh)
        capped = jax.grad(lambda x: group_loss(x, logprobs, logprobs, device, loss)[0])(logprobs)
    np.testing.assert_allclose(np.asarray(capped), 1.2 * plain, rtol=1e-5, atol=1e-8)
