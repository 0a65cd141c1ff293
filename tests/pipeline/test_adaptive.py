"""Adaptive profiling: its doubt against simulation, no loss at doubt 0, and the same plan however the draws arrive."""

from __future__ import annotations

import numpy as np
import pytest

from pivot_jax.config import SelectSection
from pivot_jax.objective.posterior import JEFFREYS, Beta
from pivot_jax.pipeline.adaptive import DROP, KEEP, OPEN, Schedule, doubts, plan, rule_on_counts
from tests.reference import objective as reference

RULE = SelectSection(threshold=0.6)
PRIOR = Beta(0.3, 0.3)


@pytest.fixture
def rewards() -> np.ndarray:
    """2000 candidates with a U-shaped pass rate, 32 draws of each."""
    rng = np.random.default_rng(7)
    return np.float32(rng.random((2000, 32)) < rng.beta(*PRIOR, 2000)[:, None])


def follow(rewards, schedule, rule=RULE, prior=None, valid=None, stored=None):
    everything = np.ones(rewards.shape, bool)
    return plan(
        rewards, everything if valid is None else valid, everything if stored is None else stored, schedule, rule, prior
    )


def on_all_draws(rewards):
    """Eq. 5 on every draw, by integers."""
    return np.array([reference.is_pivot(int(k), rewards.shape[1], 3, 5, False, False) for k in rewards.sum(1)])


def jaccard(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize(("inclusive", "keep_all_zero"), [(False, False), (True, False), (False, True)])
def test_the_rule_by_counts_is_equation_5(inclusive, keep_all_zero):
    table = rule_on_counts(12, SelectSection(threshold=0.6, inclusive=inclusive, keep_all_zero=keep_all_zero))
    for n in range(13):
        for k in range(n + 1):
            assert table[k, n] == reference.is_pivot(k, n, 3, 5, inclusive, keep_all_zero), (k, n)


def test_doubt_is_the_share_of_posterior_continuations_that_change_the_decision():
    rng, table, trials = np.random.default_rng(3), doubts(16, RULE, PRIOR), 40_000
    for k, n in [(0, 4), (1, 4), (4, 4), (5, 9), (8, 15), (0, 0)]:
        p = rng.beta(PRIOR.a + k, PRIOR.b + n - k, trials)
        final = k + rng.binomial(16 - n, p)
        now = 0 < k < 0.6 * n
        share = np.mean(((final > 0) & (final < 0.6 * 16)) != now)
        assert table[k, n] == pytest.approx(share, abs=4 * np.sqrt(0.25 / trials))
    assert not table[np.arange(17), 16].any()


def test_decisions_change_as_often_as_the_doubt_says(rewards):
    """Under the true prior the doubt at stopping is calibrated: its sum is the expected number of changed decisions."""
    done = follow(rewards, Schedule(doubt=0.15), prior=PRIOR)
    passed = np.array([row[:n].sum() for row, n in zip(rewards, done.drawn, strict=True)], int)
    doubt = doubts(32, RULE, PRIOR)[passed, done.drawn]
    changed = ((done.decision == KEEP) != on_all_draws(rewards)).sum()
    assert doubt.max() <= 0.15 and doubt.sum() > 40
    assert abs(changed - doubt.sum()) < 4 * np.sqrt(np.sum(doubt * (1 - doubt)))


def test_without_doubt_nothing_is_lost(rewards):
    done = follow(rewards, Schedule(doubt=0.0))
    assert np.array_equal(done.decision == KEEP, on_all_draws(rewards))
    assert (done.drawn < 32).sum() > 100


def test_the_same_pivots_for_less_than_half_the_samples(rewards):
    truth = on_all_draws(rewards)
    done = follow(rewards, Schedule())
    assert done.drawn.mean() < 16
    assert jaccard(done.decision == KEEP, truth) > 0.94
    half = np.array([reference.is_pivot(int(k), 16, 3, 5, False, False) for k in rewards[:, :16].sum(1)])
    assert jaccard(half, truth) < 0.85


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(least=3, round_size=5, most=16, doubt=0.1)])
def test_round_by_round_gives_the_plan_of_the_whole_store(rewards, schedule):
    """A store that holds only what was asked for, as profiling meets it, leads to the plan of one that holds all."""
    stored = np.zeros(rewards.shape, bool)
    step = follow(rewards, schedule, stored=stored)
    assert (step.decision == OPEN).all() and (step.draws == schedule.least).all() and not step.drawn.any()
    while step.draws.any():
        columns = np.arange(rewards.shape[1])
        stored |= (columns >= step.drawn[:, None]) & (columns < (step.drawn + step.draws)[:, None])
        step = follow(np.where(stored, rewards, -1), schedule, valid=stored, stored=stored)
    whole = follow(rewards, schedule)
    assert np.array_equal(step.drawn, stored.sum(1)) and np.array_equal(step.drawn, whole.drawn)
    assert np.array_equal(step.decision, whole.decision) and OPEN not in whole.decision
    assert step.prior == whole.prior


def test_a_half_stored_round_is_asked_for_again(rewards):
    stored = np.ones(rewards.shape, bool)
    before = follow(rewards, Schedule(), stored=np.arange(32) < np.full((2000, 1), 4))
    stored[np.flatnonzero(before.draws)[0], 6] = False
    again = follow(rewards, Schedule(), stored=stored)
    assert np.array_equal(again.draws, before.draws) and np.array_equal(again.drawn, before.drawn)


def test_candidates_are_decided_alike_in_any_order(rewards):
    order = np.random.default_rng(0).permutation(len(rewards))
    assert np.array_equal(follow(rewards[order], Schedule()).drawn, follow(rewards, Schedule()).drawn[order])


def test_unjudged_draws_count_as_draws_and_as_nothing_else():
    rewards = np.zeros((3, 8), np.float32)
    rewards[:, ::2] = 1
    valid = np.ones((3, 8), bool)
    valid[1] = False  # never judged: sampled to the end, and no pivot
    valid[2, ::2] = False  # what is judged is all failures
    done = follow(rewards, Schedule(least=2, round_size=2, most=8, doubt=0.2), prior=JEFFREYS, valid=valid)
    assert done.decision.tolist() == [KEEP, DROP, DROP]
    assert done.drawn[1] == 8
    alone = follow(np.zeros((1, 8), np.float32), Schedule(least=2, round_size=2, most=8, doubt=0.2), prior=JEFFREYS)
    assert done.drawn[2] >= alone.drawn[0]


def test_no_candidates_need_no_draws():
    assert follow(np.zeros((0, 32), np.float32), Schedule()).draws.shape == (0,)


def test_what_cannot_be_planned_is_refused(rewards):
    with pytest.raises(ValueError, match="32 draws a candidate"):
        follow(rewards, Schedule(most=64))
    with pytest.raises(ValueError, match="must be 0 or 1"):
        follow(rewards / 2, Schedule())
    with pytest.raises(ValueError, match="random keeps every candidate"):
        follow(rewards, Schedule(), rule=SelectSection(rule="random"))
    for wrong in ({"least": 0}, {"least": 9, "most": 8}, {"round_size": 0}, {"doubt": 1.0}):
        with pytest.raises(ValueError, match="needs 1 <= least"):
            Schedule(**wrong)
