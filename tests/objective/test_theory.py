"""Theorems 3.2 and 3.3 as identities over random policies, rewards and β."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.objective import theory
from tests.reference import theory as reference
from tests.reference.objective_gradients import central_differences

A = 6
DRAWS = 40


def draws(rng, dtype, binary=False):
    """Logits, rewards and β, one row for each draw."""
    logits = rng.normal(size=(DRAWS, A))
    rewards = rng.random((DRAWS, A))
    if binary:
        rewards = (rewards < 0.5).astype(float)
        rewards[:, 0], rewards[:, 1] = 1.0, 0.0
    beta = rng.uniform(0.5, 3.0, DRAWS)
    return tuple(jnp.asarray(values, dtype) for values in (logits, rewards, beta))


def theorem_3_2(logits, rewards, beta):
    """γ from its definition, the standard deviation of the reward over β², and the speed of the path."""
    path = theory.regularised_path(logits, rewards, beta)
    return (
        theory.signal_strength(logits, rewards, beta),
        theory.reward_std(path, rewards) / beta**2,
        theory.path_speed(logits, rewards, beta),
    )


def test_theorem_3_2_in_float32(rng):
    gamma, std, speed = jax.jit(jax.vmap(theorem_3_2))(*draws(rng, jnp.float32))
    np.testing.assert_allclose(gamma, std, rtol=1e-5)
    np.testing.assert_allclose(speed, std, rtol=1e-5)


def test_theorem_3_2_in_float64(float64, rng):
    gamma, std, speed = jax.jit(jax.vmap(theorem_3_2))(*draws(rng, jnp.float64))
    np.testing.assert_allclose(gamma, std, rtol=1e-10)
    np.testing.assert_allclose(speed, std, rtol=1e-10)


def test_theorem_3_2_for_a_binary_reward_is_the_bernoulli_deviation(float64, rng):
    logits, rewards, beta = draws(rng, jnp.float64, binary=True)
    gamma = jax.jit(jax.vmap(theory.signal_strength))(logits, rewards, beta)
    for row in range(DRAWS):
        probs = reference.gibbs_tilt(np.asarray(logits[row]), np.asarray(rewards[row]), float(beta[row]))
        p = float(np.sum(probs[np.asarray(rewards[row]) == 1]))
        np.testing.assert_allclose(gamma[row], np.sqrt(p * (1 - p)) / beta[row] ** 2, rtol=1e-10)


def test_the_fisher_norm_equals_an_eigendecomposition(float64, rng):
    logits, rewards, _ = draws(rng, jnp.float64)
    ours = jax.jit(jax.vmap(theory.natural_gradient_norm))(logits, rewards)
    for row in range(10):
        expected = reference.natural_gradient_norm(np.asarray(logits[row]), np.asarray(rewards[row]))
        np.testing.assert_allclose(ours[row], expected, rtol=1e-10)
        probs = reference.softmax(np.asarray(logits[row]))
        np.testing.assert_allclose(ours[row], reference.reward_std(probs, np.asarray(rewards[row])), rtol=1e-10)


def test_the_natural_gradient_of_a_uniform_reward_is_zero(float64, rng):
    logits = jnp.asarray(rng.normal(size=A))
    assert float(jax.jit(theory.natural_gradient_norm)(logits, jnp.full(A, 0.3))) < 1e-10


def test_the_path_equals_the_gibbs_tilt_and_its_speed_finite_differences(float64, rng):
    logits, rewards, beta = draws(rng, jnp.float64)
    for row in range(5):
        point = np.asarray(logits[row]), np.asarray(rewards[row])
        probs = np.exp(theory.regularised_path(logits[row], rewards[row], beta[row]))
        np.testing.assert_allclose(probs, reference.gibbs_tilt(*point, float(beta[row])), rtol=1e-12)
        slopes = np.asarray(
            [
                central_differences(
                    lambda b, a=a, point=point: np.log(reference.gibbs_tilt(*point, b[0])[a]), np.asarray([beta[row]])
                )[0]
                for a in range(A)
            ]
        )
        speed = np.sqrt(np.sum(probs * slopes**2))
        np.testing.assert_allclose(theory.path_speed(logits[row], rewards[row], beta[row]), speed, rtol=1e-7)


def test_the_numerical_minimiser_is_on_the_path_in_float64(float64, rng):
    logits, rewards, beta = draws(rng, jnp.float64)
    found = jax.jit(jax.vmap(theory.minimise_regularised))(logits, rewards, beta)
    np.testing.assert_allclose(found, jax.vmap(theory.regularised_path)(logits, rewards, beta), atol=1e-10)


def test_the_numerical_minimiser_is_on_the_path_in_float32(rng):
    logits, rewards, beta = draws(rng, jnp.float32)
    found = jax.jit(jax.vmap(theory.minimise_regularised))(logits, rewards, beta)
    path = jax.vmap(theory.regularised_path)(logits, rewards, beta)
    np.testing.assert_allclose(jnp.exp(found), jnp.exp(path), atol=1e-5)


def test_no_nearby_policy_does_better_than_the_path(float64, rng):
    logits, rewards, beta = (values[0] for values in draws(rng, jnp.float64))

    def loss(policy):
        return float(beta * theory.divergence(policy, logits) - theory.expected_reward(policy, rewards))

    best = theory.regularised_path(logits, rewards, beta)
    for _ in range(20):
        assert loss(best) < loss(best + jnp.asarray(rng.normal(0, 0.05, A)))


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-10)])
def test_theorem_3_3_mass_and_order(dtype, tolerance, rng):
    with jax.enable_x64(dtype == "float64"):
        logits, rewards, beta = draws(rng, dtype, binary=True)
        reference_logprobs = jax.nn.log_softmax(logits, axis=1)
        acceptable = rewards == 1
        minimiser = jax.jit(jax.vmap(theory.minimise_regularised))(logits, rewards, beta)
        mass = jnp.sum(jnp.exp(minimiser), axis=1, where=acceptable)
        reference_mass = jnp.sum(jnp.exp(reference_logprobs), axis=1, where=acceptable)
        np.testing.assert_allclose(mass, jax.vmap(theory.acceptable_mass)(reference_mass, beta), atol=tolerance)
        assert np.all(mass > reference_mass)
        distortion = jax.vmap(theory.order_distortion)(minimiser, reference_logprobs, acceptable)
        assert np.max(distortion) < tolerance


def test_acceptable_mass_by_hand_and_at_the_ends(float64):
    beta = jnp.asarray(1 / np.log(3.0))  # e^{1/β} = 3
    mass = theory.acceptable_mass(jnp.asarray([0.0, 0.25, 0.5, 1.0]), beta)
    np.testing.assert_allclose(mass, [0.0, 0.5, 0.75, 1.0], rtol=1e-12)


def test_cross_entropy_on_one_demonstration_does_not_keep_the_order(float64, rng):
    """SFT raises the acceptable mass too, but distorts the order inside M(s) and, separately, outside it."""
    logits = jnp.asarray(rng.normal(size=A))
    before = jax.nn.log_softmax(logits)
    acceptable = jnp.arange(A) < 3
    after = theory.fit_demonstration(logits, jnp.zeros(A).at[0].set(1.0), 0.5, 20)
    assert float(jnp.sum(jnp.exp(after), where=acceptable)) > float(jnp.sum(jnp.exp(before), where=acceptable))
    assert float(jnp.ptp((after - before)[:3])) > 1.0
    assert float(jnp.ptp((after - before)[3:])) > 1e-2
    assert float(theory.order_distortion(after, before, acceptable)) == float(jnp.ptp((after - before)[:3]))


def test_fitting_a_demonstration_takes_the_gradient_step_of_cross_entropy(float64, rng):
    logits = rng.normal(size=A)
    expert = np.eye(A)[2]

    def loss(point):
        return -np.log(reference.softmax(point)[2])

    stepped = logits - 0.3 * central_differences(loss, logits)
    fitted = theory.fit_demonstration(jnp.asarray(logits), jnp.asarray(expert), 0.3, 1)
    np.testing.assert_allclose(np.exp(fitted), reference.softmax(stepped), atol=1e-9)


def test_order_distortion_by_hand():
    before = jnp.zeros(4)
    after = jnp.asarray([1.0, 1.5, -3.0, -3.25])
    assert float(theory.order_distortion(after, before, jnp.asarray([True, True, False, False]))) == 0.5
    assert float(theory.order_distortion(after, before, jnp.asarray([False, False, True, True]))) == 0.5
    assert float(theory.order_distortion(after, before, jnp.zeros(4, bool))) == 4.75


def test_pairs_kept_by_hand():
    before = jnp.asarray([0.1, 0.2, 0.3, 0.4])
    everywhere = jnp.ones(4, bool)
    assert float(theory.pairs_kept(2 * before - 5, before, everywhere)) == 1.0
    assert float(theory.pairs_kept(-before, before, everywhere)) == 0.0
    after = jnp.asarray([0.1, 0.3, 0.2, 0.4])  # one of six pairs has changed places
    np.testing.assert_allclose(theory.pairs_kept(after, before, everywhere), 5 / 6, rtol=1e-6)
    assert float(theory.pairs_kept(after, before, jnp.asarray([True, True, False, True]))) == 1.0
    assert float(theory.pairs_kept(after, before, jnp.asarray([True, False, False, False]))) == 1.0
