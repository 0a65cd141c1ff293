"""Aggregation against ragged lists: padding and the split into micro-batches change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.objective.aggregation import Weighted, constant_length, divide, sequence_mean, token_mean
from tests.reference import objective as reference

HOW = {
    "token_mean": token_mean,
    "sequence_mean": sequence_mean,
    "constant_length": lambda loss, mask: constant_length(loss, mask, 10),
}
LENGTHS = (1, 4, 7)


def padded(rng, width):
    losses = [list(rng.normal(size=length)) for length in LENGTHS]
    loss = np.full((len(LENGTHS), width), np.nan, np.float32)
    for row, values in zip(loss, losses, strict=True):
        row[: len(values)] = values
    return losses, jnp.asarray(loss), jnp.asarray(np.arange(width)[None] < np.asarray(LENGTHS)[:, None])


def mean(how, loss, mask):
    return divide(Weighted(*(jnp.sum(part) for part in jax.vmap(HOW[how])(loss, mask))))


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("width", [7, 12])
def test_equal_to_the_ragged_mean_at_any_padding(how, width, rng):
    losses, loss, mask = padded(rng, width)
    np.testing.assert_allclose(
        jax.jit(mean, static_argnums=0)(how, loss, mask), reference.batch_loss(losses, how, 10), rtol=1e-5
    )


@pytest.mark.parametrize("how", HOW)
def test_micro_batches_add_up(how, rng):
    _, loss, mask = padded(rng, 7)
    parts = [jax.vmap(HOW[how])(loss[rows], mask[rows]) for rows in (slice(0, 1), slice(1, 3))]
    total = Weighted(*(jnp.sum(jnp.concatenate(part)) for part in zip(*parts, strict=True)))
    np.testing.assert_allclose(divide(total), mean(how, loss, mask), rtol=1e-6)


@pytest.mark.parametrize("how", HOW)
def test_an_empty_action_weighs_nothing(how, rng):
    _, loss, mask = padded(rng, 7)
    with_empty = jnp.concatenate([loss, loss[:1]]), jnp.concatenate([mask, jnp.zeros((1, 7), bool)])
    np.testing.assert_allclose(mean(how, *with_empty), mean(how, loss, mask), rtol=1e-6)


@pytest.mark.parametrize("how", HOW)
def test_a_batch_without_a_token_is_zero_with_zero_gradient(how):
    value, gradient = jax.value_and_grad(lambda loss: mean(how, loss, jnp.zeros((2, 3), bool)))(jnp.ones((2, 3)))
    assert float(value) == 0.0 and not np.any(gradient)


def test_what_a_long_action_weighs():
    loss, mask = jnp.ones((2, 4)), jnp.asarray([[True] * 4, [True, False, False, False]])
    gradients = {how: jax.grad(lambda x, how=how: mean(how, x, mask))(loss) for how in HOW}
    np.testing.assert_allclose(gradients["token_mean"][:, 0], [0.2, 0.2])
    np.testing.assert_allclose(gradients["sequence_mean"][:, 0], [0.125, 0.5])
    np.testing.assert_allclose(gradients["constant_length"][:, 0], [0.05, 0.05])
