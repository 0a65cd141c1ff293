"""Group-relative advantages against loops, the published table, and Proposition 3.1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot_jax.objective.advantages import group_advantages
from pivot_jax.objective.surrogate import clipped_weight, sequence_clip, token_clip
from tests.reference import objective as reference

RELATIVE = ("standardised", "centred", "leave_one_out", "leave_one_out_std")
KINDS = (*RELATIVE, "none")
G = 8
compiled = jax.jit(group_advantages, static_argnames=("kind", "eps"))
reward_groups = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]), min_size=G, max_size=G)


def advantages_of(rewards, kind, valid=None):
    rewards = jnp.asarray(rewards, jnp.float32)
    return compiled(rewards, jnp.ones(rewards.shape, bool) if valid is None else jnp.asarray(valid), kind=kind)


@pytest.mark.parametrize(
    ("successes", "kind", "success", "failure"),
    [
        (1, "standardised", 3.873, -0.258),
        (2, "standardised", 2.646, -0.378),
        (8, "standardised", 1.000, -1.000),
        (15, "standardised", 0.258, -3.873),
        (1, "leave_one_out_std", 1.0, -0.258),
        (2, "leave_one_out_std", 3.615, -0.379),
        (8, "leave_one_out_std", 1.033, -1.033),
        (15, "leave_one_out_std", 0.258, -1.0),
    ],
)
def test_binary_groups_of_sixteen_give_the_published_table(successes, kind, success, failure):
    rewards = [1.0] * successes + [0.0] * (16 - successes)
    expected = [success] * successes + [failure] * (16 - successes)
    np.testing.assert_allclose(advantages_of(rewards, kind), expected, atol=6e-4)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(rewards=reward_groups)
def test_equal_to_the_loops(kind, rewards):
    expected = reference.advantages(rewards, kind, eps=1e-6)
    np.testing.assert_allclose(advantages_of(rewards, kind), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(rewards=reward_groups, order=st.permutations(range(G)))
def test_permuting_a_group_permutes_its_advantages(kind, rewards, order):
    order = np.asarray(order)
    permuted = advantages_of(np.asarray(rewards)[order], kind)
    np.testing.assert_allclose(permuted, np.asarray(advantages_of(rewards, kind))[order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", RELATIVE)
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1 / 3, 1e-7])
@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_a_uniform_group_is_exactly_zero(kind, reward, size):
    assert np.array_equal(advantages_of([reward] * size, kind), np.zeros(size))


def test_a_float_std_would_not_have_seen_that_the_group_is_uniform():
    rewards = np.full(7, 0.1, np.float32)
    assert np.std(rewards) > 0


@pytest.mark.parametrize("surrogate", [token_clip, sequence_clip, clipped_weight])
@pytest.mark.parametrize("kind", RELATIVE)
def test_a_uniform_group_gives_zero_gradient(kind, surrogate, rng):
    logprobs = jnp.asarray(rng.normal(-1, 0.5, (G, 5)), jnp.float32)
    old_logprobs = jnp.asarray(rng.normal(-1, 0.5, (G, 5)), jnp.float32)
    mask = jnp.ones((G, 5), bool)

    def loss(logprobs, rewards):
        advantages = group_advantages(rewards, jnp.ones(G, bool), kind)
        terms = jax.vmap(surrogate, in_axes=(0, 0, 0, 0, None, None))(
            logprobs, old_logprobs, advantages, mask, 0.2, 0.2
        )
        return jnp.sum(terms.loss)

    gradient = jax.grad(loss)
    assert not np.any(gradient(logprobs, jnp.full(G, 0.1, jnp.float32)))
    assert np.any(gradient(logprobs, jnp.full(G, 0.1, jnp.float32).at[0].set(1.0)))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(rewards=reward_groups, valid=st.lists(st.booleans(), min_size=G, max_size=G))
def test_unjudged_actions_are_excluded_not_failed(kind, rewards, valid):
    """The judged actions have the advantages of a smaller group, whatever stands in the place of the others."""
    valid = np.asarray(valid)
    judged = [reward for reward, ok in zip(rewards, valid, strict=True) if ok]
    expected = np.zeros(G)
    expected[valid] = reference.advantages(judged, kind, eps=1e-6) if judged else []
    polluted = np.where(valid, rewards, np.nan)
    np.testing.assert_allclose(advantages_of(polluted, kind, valid), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", RELATIVE)
def test_a_group_mixed_only_by_an_unjudged_action_is_uniform(kind):
    valid = [True, True, False, True]
    assert not np.any(advantages_of([1.0, 1.0, 0.0, 1.0], kind, valid))


@pytest.mark.parametrize("kind", RELATIVE)
def test_advantages_of_opposite_rewards_are_opposite(kind):
    rewards = np.asarray([0.0, 0.1, 0.3, 1.0, 1.0, 0.0, 0.5, 0.2])
    np.testing.assert_allclose(advantages_of(1 - rewards, kind), -np.asarray(advantages_of(rewards, kind)), rtol=1e-5)


@pytest.mark.parametrize("kind", ["standardised", "centred"])
def test_advantages_sum_to_zero(kind):
    assert abs(float(jnp.sum(advantages_of([0.0, 0.1, 0.3, 1.0, 1.0, 0.0, 0.5, 0.2], kind)))) < 1e-5


def test_epsilon_is_added_to_the_standard_deviation():
    advantages = compiled(jnp.asarray([1.0, 0.0]), jnp.ones(2, bool), kind="standardised", eps=0.5)
    np.testing.assert_allclose(advantages, [0.5, -0.5], rtol=1e-6)


def test_zero_epsilon_stays_finite_in_a_uniform_group():
    advantages = compiled(jnp.asarray([1.0, 1.0]), jnp.ones(2, bool), kind="standardised", eps=0.0)
    assert np.array_equal(advantages, [0.0, 0.0])


def test_an_unknown_kind_is_refused_by_name():
    # TypeError where annotations are checked at run time, ValueError where they are not.
    with pytest.raises((ValueError, TypeError), match="zscore"):
        group_advantages(jnp.ones(2), jnp.ones(2, bool), "zscore")
