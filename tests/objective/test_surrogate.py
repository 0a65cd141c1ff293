"""Surrogate losses: values against loops, gradients against finite differences, and which side clips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.objective.ratio import LOG_RATIO_LIMIT, importance_ratio
from pivot_jax.objective.surrogate import clipped_weight, sequence_clip, token_clip
from tests.reference import objective as reference
from tests.reference.objective_gradients import central_differences

LOW, HIGH = 0.2, 0.28
SURROGATES = (token_clip, sequence_clip, clipped_weight)
T = 6


def action(rng, spread=0.6):
    logprobs = rng.normal(-1.5, 0.5, T)
    return logprobs, logprobs + rng.normal(0, spread, T)


def all_true():
    return jnp.ones(T, bool)


@pytest.mark.parametrize("advantage", [1.7, -0.4, 0.0])
@pytest.mark.parametrize("dual_clip", [None, 1.5])
def test_token_clip_equals_the_loops(advantage, dual_clip, rng):
    for _ in range(10):
        logprobs, old = action(rng)
        expected, clipped = reference.token_clip_losses(logprobs, old, advantage, LOW, HIGH, dual_clip)
        terms = token_clip(
            jnp.float32(logprobs), jnp.float32(old), jnp.float32(advantage), all_true(), LOW, HIGH, dual_clip
        )
        np.testing.assert_allclose(terms.loss, expected, rtol=1e-5, atol=1e-6)
        assert float(terms.clipped) == clipped


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.5, 2.0, -1.28 * 2.0, 0.0),  # already likelier than the clip allows: no further push up
        (1.5, -2.0, 1.5 * 2.0, 1.5 * 2.0),  # too likely and bad: pushed down at full strength
        (0.5, 2.0, -0.5 * 2.0, -0.5 * 2.0),  # too unlikely and good: pushed up
        (0.5, -2.0, 0.8 * 2.0, 0.0),  # already unlikely enough: no further push down
        (1.1, 2.0, -1.1 * 2.0, -1.1 * 2.0),
        (4.0, -2.0, 3.0 * 2.0, 0.0),  # dual clip at 3
    ],
)
def test_the_right_side_is_clipped_for_either_sign(ratio, advantage, loss, slope):
    def token_loss(logprob):
        terms = token_clip(logprob, jnp.zeros(1), jnp.float32(advantage), jnp.ones(1, bool), LOW, HIGH, 3.0)
        return terms.loss[0]

    value, gradient = jax.value_and_grad(token_loss)(jnp.log(jnp.asarray([ratio])))
    np.testing.assert_allclose(value, loss, rtol=1e-5)
    np.testing.assert_allclose(gradient, [slope], rtol=1e-5)


@pytest.mark.parametrize("advantage", [1.7, -0.4])
def test_sequence_clip_has_the_value_and_gradient_of_one_clipped_ratio(float64, advantage, rng):
    @jax.jit
    @jax.value_and_grad
    def ours(point, old):
        return jnp.mean(sequence_clip(point, old, jnp.asarray(advantage), all_true(), LOW, HIGH).loss)

    clipped = 0
    for _ in range(12):
        logprobs, old = action(rng, spread=0.8)

        def loss_of_whole_action(point, old=old):
            return reference.sequence_clip_loss(point, old, advantage, LOW, HIGH)

        value, gradient = ours(jnp.asarray(logprobs), jnp.asarray(old))
        np.testing.assert_allclose(value, loss_of_whole_action(logprobs), rtol=1e-12)
        np.testing.assert_allclose(gradient, central_differences(loss_of_whole_action, logprobs), atol=1e-8)
        clipped += not np.any(gradient)
    assert 0 < clipped < 12, "both branches of the clip must have been met"


@pytest.mark.parametrize("dual_clip", [None, 1.5])
@pytest.mark.parametrize("advantage", [1.7, -0.4])
def test_token_clip_gradient_equals_finite_differences(float64, advantage, dual_clip, rng):
    logprobs, old = action(rng)

    def loss(point):
        return sum(reference.token_clip_losses(point, old, advantage, LOW, HIGH, dual_clip)[0])

    def ours(point):
        terms = token_clip(point, jnp.asarray(old), jnp.asarray(advantage), all_true(), LOW, HIGH, dual_clip)
        return jnp.sum(terms.loss)

    np.testing.assert_allclose(jax.grad(ours)(jnp.asarray(logprobs)), central_differences(loss, logprobs), atol=1e-8)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_on_policy_the_ratio_is_one_and_the_gradient_is_the_policy_gradient(surrogate, rng):
    logprobs = jnp.float32(action(rng)[0])
    advantages = jnp.float32(rng.normal(size=T))

    def loss(point):
        terms = surrogate(point, logprobs, advantages, all_true(), LOW, HIGH)
        return jnp.sum(terms.loss), terms

    gradient, terms = jax.grad(loss, has_aux=True)(logprobs)
    assert np.array_equal(terms.ratio, np.ones(T))
    assert float(terms.clipped) == 0
    np.testing.assert_allclose(gradient, -advantages, rtol=1e-6)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_an_on_policy_tie_keeps_its_whole_gradient_at_any_clip(surrogate, clip):
    logprobs = jnp.full(T, -1.0)
    gradient = jax.grad(lambda x: jnp.sum(surrogate(x, logprobs, jnp.float32(1), all_true(), clip, clip).loss))(
        logprobs
    )
    np.testing.assert_allclose(gradient, -np.ones(T), rtol=1e-6)


def test_clipped_weight_never_silences_a_token():
    ratios = np.asarray([0.2, 0.9, 1.0, 1.2, 5.0, 50.0])
    for advantage in (2.0, -2.0):
        gradient = jax.grad(
            lambda x, a=advantage: jnp.sum(clipped_weight(x, jnp.zeros(T), jnp.float32(a), all_true(), LOW, HIGH).loss)
        )(jnp.log(jnp.float32(ratios)))
        np.testing.assert_allclose(gradient, -advantage * np.clip(ratios, 0.8, 1.28), rtol=1e-5)


def test_clipped_weight_counts_ratios_outside_on_either_side():
    ratios = jnp.float32([0.2, 0.9, 1.0, 1.2, 5.0, 50.0])
    terms = clipped_weight(jnp.log(ratios), jnp.zeros(T), jnp.float32(1), all_true(), LOW, HIGH)
    assert float(terms.clipped) == 3


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("rubbish", [0.0, 300.0, -np.inf, np.nan])
def test_padding_changes_nothing(surrogate, rubbish, rng):
    logprobs, old = (jnp.float32(values) for values in action(rng))
    pad = jnp.full(3, rubbish, jnp.float32)

    def loss(logprobs, old, mask):
        terms = surrogate(logprobs, old, jnp.float32(-1.3), mask, LOW, HIGH)
        return jnp.sum(terms.loss), terms

    short_gradient, short = jax.grad(loss, has_aux=True)(logprobs, old, all_true())
    padded_mask = jnp.arange(T + 3) < T
    padded = jnp.concatenate([logprobs, pad]), jnp.concatenate([old, jnp.zeros(3)])
    long_gradient, long = jax.jit(jax.grad(loss, has_aux=True))(*padded, padded_mask)
    np.testing.assert_allclose(long.loss, [*short.loss, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(long.ratio, [*short.ratio, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(long_gradient, [*short_gradient, 0, 0, 0], rtol=1e-5, atol=1e-7)
    assert float(long.clipped) == float(short.clipped)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_masked_out_action_is_zero_with_zero_gradient(surrogate):
    gradient, terms = jax.grad(
        lambda x: (
            jnp.sum((terms := surrogate(x, jnp.zeros(T), jnp.float32(1), jnp.zeros(T, bool), LOW, HIGH)).loss),
            terms,
        ),
        has_aux=True,
    )(jnp.ones(T))
    assert not np.any(gradient) and not np.any(terms.loss) and float(terms.clipped) == 0


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_broken_token_gives_a_finite_loss_and_gradient(surrogate):
    def loss(point, advantage):
        return jnp.sum(surrogate(point, jnp.full(T, -2e3), advantage, all_true(), LOW, HIGH).loss)

    for advantage in (1.0, -1.0):
        value, gradient = jax.value_and_grad(loss)(jnp.zeros(T), jnp.float32(advantage))
        assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_the_ratio_is_held_at_its_limit():
    ratio = importance_ratio(jnp.asarray([0.0, 0.0]), jnp.asarray([-100.0, 100.0]), jnp.ones(2, bool))
    np.testing.assert_allclose(ratio, [np.exp(LOG_RATIO_LIMIT), np.exp(-LOG_RATIO_LIMIT)], rtol=1e-5)


def test_vmap_over_actions_equals_a_loop(rng):
    pairs = [action(rng) for _ in range(4)]
    logprobs, old = (jnp.float32(np.stack(values)) for values in zip(*pairs, strict=True))
    advantages, mask = jnp.float32([1, -1, 0.5, 2]), jnp.asarray(rng.random((4, T)) < 0.7)
    batched = jax.vmap(token_clip, in_axes=(0, 0, 0, 0, None, None))(logprobs, old, advantages, mask, LOW, HIGH)
    for i in range(4):
        single = token_clip(logprobs[i], old[i], advantages[i], mask[i], LOW, HIGH)
        np.testing.assert_allclose(batched.loss[i], single.loss, rtol=1e-6)
        assert float(batched.clipped[i]) == float(single.clipped)
