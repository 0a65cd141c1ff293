"""Reward statistics and the pivot rule against integers, and the mixed-group probability against counting."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pivot_jax.objective.signal import (
    informative_groups,
    is_mixed,
    is_pivot,
    mixed_probability,
    reward_moments,
)
from tests.reference import objective as reference

THRESHOLDS = ((0, 1), (1, 7), (1, 4), (1, 3), (1, 2), (3, 5), (7, 10), (13, 22), (1, 1))
"""Some (1/7, 13/22) do not survive a float32 product with the number of samples."""


@settings(max_examples=30, deadline=None)
@given(
    rewards=arrays(np.float32, (3, 6), elements=st.sampled_from([0.0, 0.1, 0.25, 1.0])),
    valid=arrays(bool, (3, 6)),
)
def test_moments_are_those_of_the_judged_rewards(rewards, valid):
    mean, variance = reward_moments(jnp.asarray(np.where(valid, rewards, np.nan)), jnp.asarray(valid))
    for row in range(3):
        judged = rewards[row][valid[row]].astype(float)
        if judged.size == 0:
            assert np.isnan(mean[row]) and np.isnan(variance[row])
            continue
        np.testing.assert_allclose(mean[row], np.mean(judged), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(variance[row], np.var(judged), rtol=1e-5, atol=1e-7)
        assert (
            (variance[row] > 0)
            == (len(set(judged)) > 1)
            == bool(is_mixed(jnp.asarray(rewards), jnp.asarray(valid))[row])
        )


def test_equal_rewards_have_exactly_zero_variance():
    rewards = jnp.full((1, 7), 0.1)
    assert float(jnp.var(rewards)) > 0
    assert float(reward_moments(rewards, jnp.ones((1, 7), bool))[1][0]) == 0.0


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("keep_all_zero", [False, True])
def test_the_pivot_rule_is_exact_for_binary_rewards(inclusive, keep_all_zero):
    """Every count of successes, every number of samples, and every threshold that a pass rate can equal."""
    width = 23
    cases = [(k, n) for n in range(width + 1) for k in range(n + 1)]
    positions = np.arange(width)[None]
    successes, samples = (np.asarray(column)[:, None] for column in zip(*cases, strict=True))
    rewards, valid = jnp.float32(positions < successes), jnp.asarray(positions < samples)
    for numerator, denominator in THRESHOLDS:
        kept = is_pivot(rewards, valid, numerator / denominator, inclusive=inclusive, keep_all_zero=keep_all_zero)
        expected = [reference.is_pivot(k, n, numerator, denominator, inclusive, keep_all_zero) for k, n in cases]
        assert np.array_equal(kept, expected), (numerator, denominator)


def test_the_pivot_rule_is_the_same_when_compiled_with_every_sample_judged():
    """A compiler may turn the division by a constant count into a multiplication; 3 of 5 must still equal 0.6."""
    rewards = jnp.float32(np.arange(5)[None] < np.arange(6)[:, None])
    rule = jax.jit(lambda rewards: is_pivot(rewards, jnp.ones((6, 5), bool), 0.6, inclusive=True))
    assert np.array_equal(rule(rewards), [False, True, True, True, False, False])


def test_a_uniform_group_of_fractions_is_no_pivot():
    assert not bool(is_pivot(jnp.full(7, 0.1), jnp.ones(7, bool), 0.9))


def test_keep_all_zero_does_not_keep_other_uniform_groups_or_unjudged_ones():
    rewards = jnp.asarray([[0.0, 0.0], [0.25, 0.25], [0.0, 0.0]])
    valid = jnp.asarray([[True, True], [True, True], [False, False]])
    assert np.array_equal(is_pivot(rewards, valid, 0.5, keep_all_zero=True), [True, False, False])


def test_an_unjudged_sample_does_not_make_a_pivot():
    assert not bool(is_pivot(jnp.asarray([0.0, 0.0, 1.0]), jnp.asarray([True, True, False]), 0.9))


def test_informative_groups_counts_mixed_rows():
    rewards = jnp.asarray([[0.0, 1.0], [1.0, 1.0], [0.0, 0.5], [0.0, 1.0]])
    valid = jnp.asarray([[True, True], [True, True], [True, True], [True, False]])
    assert int(informative_groups(rewards, valid)) == 2


@pytest.mark.parametrize("group_size", [1, 2, 5])
def test_mixed_probability_equals_counting_every_group(group_size):
    pass_rates = np.asarray([0.0, 0.05, 0.3, 0.5, 0.9, 1.0])
    expected = [
        sum(
            np.prod([p if success else 1 - p for success in group])
            for group in itertools.product([False, True], repeat=group_size)
            if len(set(group)) == 2
        )
        for p in pass_rates
    ]
    np.testing.assert_allclose(mixed_probability(jnp.float32(pass_rates), group_size), expected, rtol=1e-5, atol=1e-6)


def test_a_hard_turn_is_all_zero_two_times_in_three_at_eight_samples():
    p = jnp.float32(0.05)
    assert abs(1 - float(mixed_probability(p, 8)) - 0.663) < 1e-3


def test_a_tiny_pass_rate_keeps_its_digits():
    np.testing.assert_allclose(mixed_probability(jnp.float32(1e-9), 16), 1.6e-8, rtol=1e-5)
