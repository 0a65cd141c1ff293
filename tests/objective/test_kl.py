"""KL estimators: their exact expectations over a small vocabulary, in value and in gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pivot_jax.objective.kl import kl_estimate
from tests.reference.objective_gradients import central_differences
from tests.reference.theory import softmax

V = 5
ALL = np.ones(V, bool)


@pytest.fixture
def policies(rng):
    """Logits of θ, of the old policy and of the reference, over V tokens."""
    return rng.normal(size=V), rng.normal(size=V), rng.normal(size=V)


def divergence(logits, reference_logits):
    probs, reference = softmax(logits), softmax(reference_logits)
    return sum(p * np.log(p / q) for p, q in zip(probs, reference, strict=True))


def expectation(logits, old_logits, reference_logits, estimator, weighted):
    """Exact expectation over one token of the sampling policy; gradients flow through θ alone."""
    old = jax.nn.log_softmax(jnp.asarray(old_logits))
    logprobs = jax.nn.log_softmax(jnp.asarray(logits))
    reference = jax.nn.log_softmax(jnp.asarray(reference_logits))
    estimate = kl_estimate(logprobs, reference, jnp.asarray(ALL), estimator, old if weighted else None)
    return jnp.sum(jnp.exp(old) * estimate)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_weighted_estimators_are_right_in_value_and_gradient_off_policy(float64, estimator, policies):
    theta, old, reference = policies
    value, gradient = jax.value_and_grad(expectation)(theta, old, reference, estimator, True)
    np.testing.assert_allclose(value, divergence(theta, reference), rtol=1e-12)
    expected = central_differences(lambda x: divergence(x, reference), theta)
    np.testing.assert_allclose(gradient, expected, atol=1e-8)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_unweighted_estimators_are_unbiased_on_policy(float64, estimator, policies):
    theta, _, reference = policies
    value = expectation(theta, theta, reference, estimator, False)
    np.testing.assert_allclose(value, divergence(theta, reference), rtol=1e-12)


def test_the_gradients_of_unweighted_estimators_are_the_documented_ones(float64, policies):
    theta, _, reference = policies
    gradient = {k: jax.grad(expectation)(theta, theta, reference, k, False) for k in ("k1", "k2", "k3")}
    forward = central_differences(lambda x: divergence(x, reference), theta)
    reverse = central_differences(lambda x: divergence(reference, x), theta)
    np.testing.assert_allclose(gradient["k1"], np.zeros(V), atol=1e-12)
    np.testing.assert_allclose(gradient["k2"], forward, atol=1e-8)
    np.testing.assert_allclose(gradient["k3"], reverse, atol=1e-8)


def test_the_weighted_k2_has_a_wrong_gradient(float64, policies):
    theta, _, reference = policies
    gradient = jax.grad(expectation)(theta, theta, reference, "k2", True)
    assert np.max(np.abs(gradient - central_differences(lambda x: divergence(x, reference), theta))) > 1e-2


@settings(max_examples=30, deadline=None)
@given(
    values=arrays(np.float32, (2, 8), elements=st.floats(-60, 0, width=32)),
    nudge=arrays(np.float32, 8, elements=st.floats(-(2.0**-10), 2.0**-10, width=32)),
)
def test_k2_and_k3_are_never_negative_and_finite(values, nudge):
    mask = jnp.ones(8, bool)
    for reference in (values[1], values[0] + nudge):
        for estimator in ("k2", "k3"):
            estimate = np.asarray(kl_estimate(jnp.asarray(values[0]), jnp.asarray(reference), mask, estimator))
            assert np.all(estimate >= 0) and np.all(np.isfinite(estimate))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("weighted", [False, True])
def test_zero_where_the_policies_agree_and_outside_the_mask(estimator, weighted):
    logprobs = jnp.asarray([-1.0, -2.0, jnp.nan])
    mask = jnp.asarray([True, True, False])

    def total(x):
        return jnp.sum(kl_estimate(x, jnp.asarray([-1.0, -2.5, 0.0]), mask, estimator, logprobs if weighted else None))

    estimate = kl_estimate(logprobs, jnp.asarray([-1.0, -2.5, 0.0]), mask, estimator, logprobs if weighted else None)
    assert float(estimate[0]) == 0.0 and float(estimate[2]) == 0.0 and float(estimate[1]) != 0.0
    assert float(jax.grad(total)(logprobs)[2]) == 0.0


def test_hand_computed_values():
    logprobs, reference = jnp.log(jnp.asarray([0.5])), jnp.log(jnp.asarray([0.25]))
    one = jnp.ones(1, bool)
    np.testing.assert_allclose(kl_estimate(logprobs, reference, one, "k1"), np.log([2.0]), rtol=1e-6)
    np.testing.assert_allclose(kl_estimate(logprobs, reference, one, "k2"), [np.log(2.0) ** 2 / 2], rtol=1e-6)
    np.testing.assert_allclose(kl_estimate(logprobs, reference, one, "k3"), [0.5 - 1 + np.log(2.0)], rtol=1e-5)
    old = jnp.log(jnp.asarray([0.2]))
    np.testing.assert_allclose(kl_estimate(logprobs, reference, one, "k1", old), [2.5 * np.log(2.0)], rtol=1e-6)


def test_k3_beyond_the_limit_is_held_without_gradient():
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(kl_estimate(x, jnp.zeros(1), jnp.ones(1, bool), "k3")))(
        jnp.asarray([-200.0])
    )
    np.testing.assert_allclose(value, np.expm1(20.0) - 20.0, rtol=1e-5)
    assert not np.any(gradient)


def test_an_unknown_estimator_is_refused_by_name():
    # TypeError where annotations are checked at run time, ValueError where they are not.
    with pytest.raises((ValueError, TypeError), match="k9"):
        kl_estimate(jnp.zeros(1), jnp.zeros(1), jnp.ones(1, bool), "k9")
