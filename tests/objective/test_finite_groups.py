"""Expected signal of a finite group, against the enumeration of every group of a small policy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.objective import finite_groups
from pivot_jax.objective.signal import mixed_probability
from tests.reference import objective
from tests.reference import theory as reference

KINDS = ("standardised", "centred", "leave_one_out", "leave_one_out_std", "none")
LOGITS = np.asarray([0.3, -0.7, 1.1])
REWARDS = np.asarray([1.0, 0.0, 0.0])
PASS_RATE = float(reference.softmax(LOGITS) @ REWARDS)

gradient_scale = jax.jit(finite_groups.gradient_scale, static_argnums=(1, 2))
normalisation_bias = jax.jit(finite_groups.normalisation_bias, static_argnums=1)
success_counts = jax.jit(finite_groups.success_counts, static_argnums=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group_size", [2, 5])
def test_the_scale_times_the_policy_gradient_is_the_expected_estimator(float64, kind, group_size):
    expected = reference.group_estimator(
        LOGITS, REWARDS, group_size, lambda group: objective.advantages(group, kind, 1e-6)
    )
    scale = gradient_scale(jnp.asarray(PASS_RATE), group_size, kind)
    np.testing.assert_allclose(scale * reference.policy_gradient(LOGITS, REWARDS), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("pass_rate", [0.05, 0.3, 0.5, 0.9])
def test_unbiased_kinds_have_scale_one_and_the_centred_one_misses_a_share(float64, pass_rate):
    p = jnp.asarray(pass_rate)
    np.testing.assert_allclose(gradient_scale(p, 16, "leave_one_out"), 1.0, rtol=1e-12)
    np.testing.assert_allclose(gradient_scale(p, 16, "none"), 1.0, rtol=1e-12)
    np.testing.assert_allclose(gradient_scale(p, 16, "centred"), 1 - 1 / 16, rtol=1e-12)


@pytest.mark.parametrize("group_size", [1, 16, 64])
@pytest.mark.parametrize("pass_rate", [0.0, 0.05, 0.5, 1.0])
def test_success_counts_agree_with_the_mixed_probability(float64, group_size, pass_rate):
    p = jnp.asarray(pass_rate)
    counts = success_counts(p, group_size)
    np.testing.assert_allclose(jnp.sum(counts), 1.0, rtol=1e-12)
    np.testing.assert_allclose(1 - counts[0] - counts[-1], mixed_probability(p, group_size), atol=1e-12)


def test_expected_magnitude_of_groups_of_two_by_hand(float64):
    """A pair is mixed with probability 2p(1-p), and then both standardised advantages are ±1."""
    expected_magnitude = finite_groups.expected_magnitude
    np.testing.assert_allclose(expected_magnitude(jnp.asarray(0.3), 2, "standardised", 0.0), 0.42, rtol=1e-12)
    np.testing.assert_allclose(expected_magnitude(jnp.asarray(0.3), 2, "centred"), 0.21, rtol=1e-12)


def test_normalisation_bias_shrinks_as_the_group_grows(float64):
    p = jnp.asarray(0.3)
    biases = [float(normalisation_bias(p, group_size)) for group_size in (4, 16, 64)]
    assert all(bias < 0 for bias in biases)
    assert biases == sorted(biases)
    assert abs(biases[-1]) < 0.02


def test_the_bias_is_worst_on_hard_pivots(float64):
    """At G = 16 and p = 0.05 most groups are all-zero, and more than a quarter of the signal is lost."""
    assert float(normalisation_bias(jnp.asarray(0.05), 16)) < -0.25
    assert float(normalisation_bias(jnp.asarray(0.5), 16)) > -0.05


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_good_to_five_digits(kind):
    expected = 0.0
    for successes in range(17):
        rewards = [1.0] * successes + [0.0] * (16 - successes)
        scores = [4.0] * successes + [-4 / 3] * (16 - successes)
        probability = math.comb(16, successes) * 0.25**successes * 0.75 ** (16 - successes)
        advantages = objective.advantages(rewards, kind, 1e-6)
        expected += probability * float(np.mean(np.multiply(advantages, scores)))
    np.testing.assert_allclose(gradient_scale(jnp.float32(0.25), 16, kind), expected, rtol=1e-5)
