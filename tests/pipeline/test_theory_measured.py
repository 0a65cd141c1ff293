"""The theorems on a transformer: the parts that the notebooks and the experiment are made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.pipeline.one_token_actions import ACTIONS, World, acceptable_mass, action_logprobs, arm_loss, make_world
from pivot_jax.pipeline.theory_measured import kept, random_rewards, signal_norms, train_to
from pivot_jax.policy.mesh import make_mesh

FEW = 6


@pytest.fixture(scope="module")
def world():
    """A hardly trained policy at a few states, on one device."""
    mesh = make_mesh(devices=jax.devices()[:1])
    with jax.set_mesh(mesh):
        whole = make_world(mesh, seed=0, steps=30)
        states = whole.task[:FEW], whole.unrelated[:FEW], whole.acceptable[:FEW], whole.expert[:FEW]
        yield World(whole.params, *states)


def test_the_world_is_what_it_says(world):
    logprobs = np.asarray(action_logprobs(world.params, world.task))
    np.testing.assert_allclose(np.exp(logprobs).sum(axis=1), 1, atol=1e-5)
    assert (np.asarray(world.task)[:, 0] == 0).all() and (np.asarray(world.unrelated)[:, 0] == 1).all()
    acceptable = np.asarray(world.acceptable)
    assert (acceptable.sum(axis=1) == 3).all() and acceptable[np.arange(FEW), np.asarray(world.expert)].all()
    expected = np.exp(logprobs)[acceptable].reshape(FEW, 3).sum(axis=1)
    np.testing.assert_allclose(acceptable_mass(world, world.params), expected, rtol=1e-5)


def test_both_losses_at_the_reference_policy_by_hand(world):
    logprobs = np.asarray(action_logprobs(world.params, world.task))
    mass = np.asarray(acceptable_mass(world, world.params)).mean()
    np.testing.assert_allclose(arm_loss(world, "pivotrl", 0.3)(world.params, None), -mass, rtol=1e-5)
    demonstrated = logprobs[np.arange(FEW), np.asarray(world.expert)]
    np.testing.assert_allclose(arm_loss(world, "sft", 0.3)(world.params, None), -demonstrated.mean(), rtol=1e-5)


def test_theorem_3_2_holds_at_one_state_of_a_transformer(world):
    rewards = random_rewards(1, FEW).at[0].set(1.0)
    norms = signal_norms(world, rewards, steps=60)
    probs = np.exp(np.asarray(action_logprobs(world.params, world.task)))
    mean = (probs * rewards).sum(axis=1, keepdims=True)
    std = np.sqrt((probs * (rewards - mean) ** 2).sum(axis=1))
    np.testing.assert_allclose(norms.std, std, atol=1e-5)
    np.testing.assert_allclose(norms.own[1:], std[1:], rtol=1e-3, atol=1e-6)
    assert norms.own[0] < 1e-4 and norms.plain[0] < 1e-4  # a uniform reward teaches nothing
    assert (norms.shared < 1.01 * std + 1e-6).all()  # sharing parameters never gives more than the table
    assert norms.correlation("own") > 0.999


def test_the_reference_policy_has_kept_everything(world):
    nothing = kept(world, world.params)
    assert (nothing.outside, nothing.inside, nothing.unrelated) == (1.0, 1.0, 1.0)
    assert nothing.distortion == 0 and abs(nothing.drift) < 1e-6


@pytest.mark.slow
def test_training_reaches_its_target_or_says_so(world):
    before = float(jnp.mean(acceptable_mass(world, world.params)))
    for arm in ("pivotrl", "sft"):
        after = kept(world, train_to(world, arm, before + 0.2, beta=0.2, learning_rate=1e-3))
        assert after.mass >= before + 0.2 and after.drift > 0 and after.outside < 1
    with pytest.raises(ValueError, match=r"2000 steps, below target=0\.99"):
        train_to(world, "pivotrl", 0.99, beta=20.0, learning_rate=1e-3)


def test_random_rewards_are_binary_and_some_states_are_uniform():
    rewards = np.asarray(random_rewards(0, 64))
    assert set(np.unique(rewards)) == {0.0, 1.0} and rewards.shape == (64, ACTIONS)
    assert np.isin(rewards.mean(axis=1), (0.0, 1.0)).any()
