"""Guards against misleading rewards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot_jax.objective.filters import cap_message_share, drop_cut_off, penalise_surplus_calls


def kept(is_message, priority, share, present=None):
    present = np.ones(len(is_message), bool) if present is None else present
    return np.asarray(
        jax.jit(cap_message_share, static_argnums=3)(
            jnp.asarray(is_message), jnp.asarray(present), jnp.float32(priority), share
        )
    )


def test_cut_off_actions_lose_every_token_and_others_none():
    mask = jnp.asarray([[True, True, False], [True, True, True], [True, False, False]])
    out = drop_cut_off(mask, jnp.asarray([True, False, True]))
    assert np.array_equal(out, [[True, True, False], [False, False, False], [True, False, False]])


def test_the_message_rows_of_highest_priority_stay():
    is_message = [True, False, True, False, True]
    assert np.array_equal(kept(is_message, [0.1, 9, 0.7, 9, 0.3], 0.34), [False, True, True, True, False])


def test_ties_keep_the_earlier_row():
    assert np.array_equal(kept([True, True, False], [1, 1, 0], 0.5), [True, False, True])


@settings(max_examples=30, deadline=None)
@given(
    is_message=st.lists(st.booleans(), min_size=20, max_size=20),
    tenths=st.integers(0, 10),
    seed=st.integers(0, 1000),
)
def test_the_share_is_met_and_cannot_be_higher(is_message, tenths, seed):
    keep = kept(is_message, np.random.default_rng(seed).normal(size=20), tenths / 10)
    calls, messages, available = 20 - sum(is_message), int(np.sum(keep & is_message)), sum(is_message)
    assert np.all(keep[~np.asarray(is_message)])
    assert 10 * messages <= tenths * (messages + calls)
    assert messages == available or 10 * (messages + 1) > tenths * (messages + 1 + calls)


def test_a_share_met_exactly_is_not_lost_to_rounding():
    is_message = [True] * 60 + [False] * 47
    assert int(np.sum(kept(is_message, np.zeros(107), 0.53)[:60])) == 53  # of 53 + 47


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_batch_of_messages_alone_keeps_none_below_a_share_of_one(share):
    assert not np.any(kept([True] * 4, [1, 2, 3, 4], share))
    assert np.all(kept([True] * 4, [1, 2, 3, 4], 1.0))


def test_rows_that_carry_nothing_are_neither_kept_nor_counted():
    """Two messages and two calls at a half; without the second call, only one message fits."""
    is_message, priority = [True, True, False, False], [1, 2, 0, 0]
    assert np.array_equal(kept(is_message, priority, 0.5), [True, True, True, True])
    assert np.array_equal(kept(is_message, priority, 0.5, [True, True, True, False]), [False, True, True, False])
    assert np.array_equal(kept(is_message, priority, 0.5, [True, False, True, True]), [True, False, True, True])


def test_surplus_calls_cost_successes_alone_and_never_below_zero():
    rewards = jnp.asarray([1.0, 1.0, 1.0, 0.0, 0.5, 1.0])
    surplus = jnp.asarray([0, 1, 8, 8, 2, 0])
    out = penalise_surplus_calls(rewards, surplus, 0.25)
    np.testing.assert_allclose(out, [1.0, 0.75, 0.0, 0.0, 0.25, 1.0])
