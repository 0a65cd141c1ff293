"""Weights between trainer and sampler, by hand; they are constants to the gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.objective.correction import masked_weights, truncated_weights

RATIOS = np.asarray([0.1, 0.5, 1.0, 2.0, 8.0])
BEHAVIOR = np.full(5, -2.0)
OLD = BEHAVIOR + np.log(RATIOS)
ALL = np.ones(5, bool)


def weights(function, *limits, level, old=OLD, mask=ALL):
    return function(jnp.float32(old), jnp.float32(BEHAVIOR), jnp.asarray(mask), *limits, level)


def test_token_weights_are_cut_at_the_cap():
    np.testing.assert_allclose(weights(truncated_weights, 5.0, level="token"), [0.1, 0.5, 1, 2, 5], rtol=1e-5)


def test_token_weights_outside_the_interval_are_zero():
    np.testing.assert_allclose(weights(masked_weights, 0.4, 3.0, level="token"), [0, 0.5, 1, 2, 0], rtol=1e-5)


def test_sequence_weights_share_the_product_over_action_tokens():
    mask = np.asarray([False, True, True, True, True])
    product = 0.5 * 1.0 * 2.0 * 8.0
    np.testing.assert_allclose(weights(truncated_weights, 50.0, level="sequence", mask=mask), mask * product, rtol=1e-5)
    np.testing.assert_allclose(weights(truncated_weights, 5.0, level="sequence", mask=mask), mask * 5.0, rtol=1e-5)


@pytest.mark.parametrize(("high", "used"), [(9.0, True), (7.0, False)])
def test_an_action_is_used_whole_or_not_at_all(high, used):
    mask = np.asarray([False, True, True, True, True])
    expected = mask * 8.0 if used else np.zeros(5)
    np.testing.assert_allclose(weights(masked_weights, 0.1, high, level="sequence", mask=mask), expected, rtol=1e-5)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_without_a_gap_every_weight_is_one(level):
    assert np.array_equal(weights(truncated_weights, 5.0, level=level, old=BEHAVIOR), np.ones(5))
    assert np.array_equal(weights(masked_weights, 0.5, 2.0, level=level, old=BEHAVIOR), np.ones(5))


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("function, limits", [(truncated_weights, (5.0,)), (masked_weights, (0.0, 1e3))])
def test_no_gradient_and_no_trace_of_padding(level, function, limits):
    mask = np.asarray([True, True, True, True, False])

    def total(old):
        return jnp.sum(function(old, jnp.float32(BEHAVIOR), jnp.asarray(mask), *limits, level))

    polluted = np.where(mask, OLD, np.nan)
    assert not np.any(jax.grad(total)(jnp.float32(OLD)))
    np.testing.assert_allclose(total(jnp.float32(polluted)), total(jnp.float32(OLD)), rtol=1e-6)


def test_truncation_makes_the_weighted_mean_unbiased_below_the_cap():
    """E_behavior[w f] = E_old[f] exactly, when no ratio meets the cap."""
    behavior = np.asarray([0.5, 0.3, 0.2])
    old = np.asarray([0.4, 0.4, 0.2])
    values = np.asarray([1.0, -2.0, 3.0])
    w = truncated_weights(jnp.float32(np.log(old)), jnp.float32(np.log(behavior)), jnp.ones(3, bool), 5.0, "token")
    np.testing.assert_allclose(np.sum(behavior * np.asarray(w) * values), np.sum(old * values), rtol=1e-6)
