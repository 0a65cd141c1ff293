"""The GRPO loss and step: a plain numpy statement of Eq. 7, and the invariants of the field."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.config import LossSection, OptimizerSection
from pivot_jax.pipeline.checkpoint import fresh_state
from pivot_jax.pipeline.grpo import Anchors, GroupBatch, anchor_logprobs, group_loss, grpo_step
from pivot_jax.policy.mesh import to_mesh
from tests.policy.tiny import DENSE, RULES, policy, tokens

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
    }


def on_mesh(host: dict[str, np.ndarray], mesh) -> GroupBatch:
    axes = {"trunks": ("batch", "seq"), **dict.fromkeys(("tokens", "action_mask", "behavior_logprobs"),
                                                        ("batch", "branch", "seq"))}  # fmt: skip
    return GroupBatch(**{k: to_mesh(v, mesh, RULES, *axes.get(k, ("batch", "branch"))) for k, v in host.items()})


def plain_loss(logprobs, old, reference, batch, loss: LossSection) -> float:
    """Eq. 7, one action at a time."""
    surrogate, divergence, weights = 0.0, 0.0, 0.0
    for n in range(N):
        judged = batch["rewards"][n][batch["valid"][n]]
        for g in range(G):
            if not batch["valid"][n, g]:
                continue
            advantage = 0.0
            if len(set(judged.tolist())) > 1:
                advantage = (batch["rewards"][n, g] - judged.mean()) / (judged.std() + loss.std_eps)
            own_loss, own_kl, count = 0.0, 0.0, 0
            for t in range(T):
                if not batch["action_mask"][n, g, t]:
                    continue
                ratio = np.exp(logprobs[n, g, t] - old[n, g, t])
                clipped = np.clip(ratio, 1 - loss.clip_low, 1 + loss.clip_high)
                own_loss -= min(ratio * advantage, clipped * advantage)
                gap = reference[n, g, t] - logprobs[n, g, t]
                own_kl += np.exp(gap) - 1 - gap
                count += 1
            scale = count if loss.aggregation == "sequence" else 1
            surrogate, divergence = surrogate + own_loss / scale, divergence + own_kl / scale
            weights += 1 if loss.aggregation == "sequence" else count
    return (surrogate + loss.kl_coef * divergence) / weights


@pytest.mark.parametrize("aggregation", ["sequence", "token"])
def test_loss_equals_a_plain_statement_of_equation_7(aggregation):
    rng = np.random.default_rng(1)
    batch = host_batch()
    batch["valid"][0, 1] = batch["valid"][3, 0] = False
    batch["rewards"][5] = 1.0
    logprobs, old, reference = (rng.normal(-1, 0.4, (N, G, T)).astype(np.float32) for _ in range(3))
    loss = LossSection(aggregation=aggregation, kl_coef=0.3, clip_low=0.2, clip_high=0.28)
    mesh, _ = policy()
    with jax.set_mesh(mesh):
        arrays = [to_mesh(a, mesh, RULES, "batch", "branch", "seq") for a in (logprobs, old, reference)]
        ours, metrics = group_loss(arrays[0], Anchors(*arrays[1:]), on_mesh(batch, mesh), loss)
        np.testing.assert_allclose(float(ours), plain_loss(logprobs, old, reference, batch, loss), rtol=2e-5)
        mixed = [len(set(r[v].tolist())) > 1 for r, v in zip(batch["rewards"], batch["valid"], strict=True)]
        assert float(metrics["pivot/mixed_fraction"]) == pytest.approx(np.mean(mixed))
        assert float(metrics["train/reward_mean"]) == pytest.approx(batch["rewards"][batch["valid"]].mean())


def gradients(batch: dict[str, np.ndarray], loss: LossSection, behavior: bool = False):
    """Gradient with respect to the log-probs at a policy equal to its anchors."""
    mesh, _ = policy()
    with jax.set_mesh(mesh):
        logprobs = to_mesh(batch["behavior_logprobs"], mesh, RULES, "batch", "branch", "seq")
        device = on_mesh(batch, mesh)
        return np.asarray(jax.grad(lambda x: group_loss(x, Anchors(logprobs, logprobs), device, loss)[0])(logprobs))


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
    permuted = {k: v[:, order] if k != "trunks" else v for k, v in batch.items()}
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
        before = anchor_logprobs(params, params, device, **fixed)
        np.testing.assert_array_equal(np.asarray(before.old_logprobs), np.asarray(before.reference_logprobs))
        state, metrics = grpo_step(state, device, before, loss=LossSection(), optimizer=optimizer, **fixed)
        after = anchor_logprobs(state.params, params, device, **fixed)
        assert int(state.step) == 1 and float(metrics["train/gradient_norm"]) > 0
        change = np.where(batch["action_mask"], np.asarray(after.old_logprobs - before.old_logprobs), 0).sum(axis=-1)
        # the reference did not move, and the parameters it was read from were not donated
        np.testing.assert_array_equal(np.asarray(after.reference_logprobs), np.asarray(before.reference_logprobs))
    assert (change[:, [0, 2]].mean() > 0 > change[:, [1, 3]].mean()) and (change[:, 0] > change[:, 1]).mean() > 0.8


def test_the_sampler_correction_weighs_tokens():
    batch = host_batch()
    plain = gradients(batch, LossSection(kl_coef=0.0))
    mesh, _ = policy()
    with jax.set_mesh(mesh):
        old = jnp.asarray(batch["behavior_logprobs"]) + 0.5  # the trainer finds every token e^0.5 times as likely
        logprobs = to_mesh(np.asarray(old), mesh, RULES, "batch", "branch", "seq")
        loss = LossSection(kl_coef=0.0, importance_cap=1.2)
        device = on_mesh(batch, mesh)
        capped = jax.grad(lambda x: group_loss(x, Anchors(logprobs, logprobs), device, loss)[0])(logprobs)
    np.testing.assert_allclose(np.asarray(capped), 1.2 * plain, rtol=1e-5, atol=1e-8)
