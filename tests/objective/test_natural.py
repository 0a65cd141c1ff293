"""Natural gradients by conjugate gradient, against the explicit Fisher matrix and its pseudo-inverse."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.objective import natural, theory
from tests.reference import theory as reference

A, STATES, WIDTH = 5, 3, 4


def network(rng):
    """A policy with shared parameters at STATES states, as a function of a tree; more parameters than actions."""
    inputs = jnp.asarray(rng.normal(size=(STATES, WIDTH)))
    params = {"hidden": jnp.asarray(rng.normal(size=(WIDTH, WIDTH))), "out": jnp.asarray(rng.normal(size=(WIDTH, A)))}
    return lambda tree: jax.nn.log_softmax(jnp.tanh(inputs @ tree["hidden"]) @ tree["out"]), params


def dense(logprobs, params):
    """The Fisher matrix, written out from the Jacobian, and how to flatten a tree like `params`."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    values = np.asarray(logprobs(params)).reshape(-1, A)
    scores = np.asarray(jax.jacobian(lambda vector: logprobs(unravel(vector)))(flat)).reshape(len(values), A, -1)
    return np.einsum("sa,sai,saj->ij", np.exp(values), scores, scores) / len(values)


def flattened(tree):
    return np.asarray(jax.flatten_util.ravel_pytree(tree)[0])


def test_the_product_equals_the_explicit_matrix(float64, rng):
    logprobs, params = network(rng)
    vector = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params)
    product = natural.fisher_product(logprobs, params, vector)
    np.testing.assert_allclose(flattened(product), dense(logprobs, params) @ flattened(vector), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_conjugate_gradient_equals_the_pseudo_inverse(float64, rng, damping):
    logprobs, params = network(rng)
    rewards = jnp.asarray(rng.random((STATES, A)))
    gradient = jax.grad(lambda tree: jnp.sum(jnp.exp(logprobs(tree)) * rewards))(params)
    found = natural.natural_gradient(logprobs, params, gradient, damping=damping, tolerance=1e-12, steps=400)
    matrix = dense(logprobs, params) + damping * np.eye(flattened(params).size)
    expected = np.linalg.pinv(matrix, rcond=1e-12, hermitian=True) @ flattened(gradient)
    np.testing.assert_allclose(flattened(found.vector), expected, rtol=1e-6, atol=1e-8)
    assert float(found.residual) < 1e-10
    squared = float(flattened(gradient) @ expected)
    np.testing.assert_allclose(natural.natural_norm(gradient, found), np.sqrt(squared), rtol=1e-8)


def test_theorem_3_2_on_a_tabular_policy(float64, rng):
    for _ in range(10):
        logits, rewards = jnp.asarray(rng.normal(size=A)), jnp.asarray(rng.random(A))
        gradient = jax.grad(theory.expected_reward)(logits, rewards)
        found = natural.natural_gradient(jax.nn.log_softmax, logits, gradient, tolerance=1e-12)
        norm = natural.natural_norm(gradient, found)
        np.testing.assert_allclose(norm, reference.natural_gradient_norm(np.asarray(logits), rewards), rtol=1e-10)
        np.testing.assert_allclose(norm, theory.reward_std(logits, rewards), rtol=1e-10)


def test_theorem_3_2_at_one_state_of_a_network_with_enough_parameters(float64, rng):
    """A network that can move every action of the state apart is tabular there, whatever its parameters are."""
    logprobs, params = network(rng)
    rewards = jnp.asarray(rng.random(A))

    def at_first(tree):
        return logprobs(tree)[0]

    gradient = jax.grad(lambda tree: theory.expected_reward(at_first(tree), rewards))(params)
    norm = natural.natural_norm(gradient, natural.natural_gradient(at_first, params, gradient, tolerance=1e-12))
    np.testing.assert_allclose(norm, theory.reward_std(at_first(params), rewards), rtol=1e-9)


def test_a_network_that_cannot_move_an_action_falls_short_of_the_theorem(float64):
    """Three actions, the last two always equally likely: rewarding one of the two alone is half invisible."""

    def tied(params):
        return jax.nn.log_softmax(jnp.stack([params[0], params[1], params[1]]))

    params, rewards = jnp.zeros(2), jnp.asarray([0.0, 0.0, 1.0])
    gradient = jax.grad(lambda p: theory.expected_reward(tied(p), rewards))(params)
    norm = natural.natural_norm(gradient, natural.natural_gradient(tied, params, gradient, tolerance=1e-12))
    # by hand: the reward averaged over the tied pair is (0, 1/2, 1/2), whose variance is 1/18; the whole is 2/9
    np.testing.assert_allclose(norm**2, 1 / 18, rtol=1e-10)
    np.testing.assert_allclose(theory.reward_std(tied(params), rewards) ** 2, 2 / 9, rtol=1e-10)


def test_a_gradient_of_zero_has_norm_zero():
    params = jnp.zeros(A)
    found = natural.natural_gradient(jax.nn.log_softmax, params, jnp.zeros(A))
    assert float(natural.natural_norm(jnp.zeros(A), found)) == 0.0 and float(found.residual) == 0.0
