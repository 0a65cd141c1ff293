"""Beta posteriors against scipy's distributions, quadrature, hand-computed moments and known limits."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from pivot_jax.objective.posterior import (
    JEFFREYS,
    Beta,
    below_probability,
    expected_mixed,
    expected_signal,
    fit_beta,
    more_passes,
    top_share,
)

U_SHAPED = Beta(0.3, 0.2)
COUNTS = [(k, n) for n in (0, 1, 4, 7) for k in range(n + 1)]
K, N = np.array(COUNTS).T


@pytest.mark.parametrize("draws", [0, 1, 5, 16])
def test_passes_to_come_are_beta_binomial(draws):
    expected = [stats.betabinom.pmf(np.arange(draws + 1), draws, 0.3 + k, 0.2 + n - k) for k, n in COUNTS]
    np.testing.assert_allclose(more_passes(K, N, U_SHAPED, draws), expected, rtol=1e-10)


def test_a_long_group_and_many_samples_still_sum_to_one():
    pmf = more_passes(np.array([0, 3, 100_000]), np.array([100_000, 100_000, 100_000]), U_SHAPED, 2000)
    np.testing.assert_allclose(pmf.sum(axis=-1), 1.0, rtol=1e-7)
    assert (pmf >= 0).all()


@pytest.mark.parametrize("group_size", [2, 8, 16])
def test_expected_signal_is_the_integral_over_the_pass_rate(group_size):
    """Quadrature of the posterior density times the binomial expectation of the group's std, sample by sample."""
    sizes = np.arange(group_size + 1)
    std = [np.std([1.0] * j + [0.0] * (group_size - j)) for j in sizes]
    for k, n in [(0, 4), (1, 4), (3, 7), (7, 7)]:
        density = stats.beta(0.3 + k, 0.2 + n - k).pdf
        integral = quad(lambda p: density(p) * (stats.binom.pmf(sizes, group_size, p) @ std), 0, 1, limit=400)[0]  # noqa: B023
        assert expected_signal(np.array(k), np.array(n), U_SHAPED, group_size) == pytest.approx(integral, rel=1e-4)


def test_two_samples_have_half_the_variance_of_the_prior():
    """G = 2: the std is 1/2 where the two differ, so that E = E[p(1 - p)] = ab/((a + b)(a + b + 1))."""
    none = np.array(0)
    assert expected_signal(none, none, JEFFREYS, 2) == pytest.approx(0.125)
    assert expected_signal(none, none, Beta(2.0, 3.0), 2) == pytest.approx(6 / 30)


def test_signal_with_many_samples_is_that_of_the_pass_rate():
    n = np.full(3, 10**8)
    k = np.array([10**7, 5 * 10**7, 9 * 10**7])
    counts = np.arange(9)
    expected = [stats.binom.pmf(counts, 8, p) @ np.sqrt(counts / 8 * (1 - counts / 8)) for p in (0.1, 0.5, 0.9)]
    np.testing.assert_allclose(expected_signal(k, n, U_SHAPED, 8), expected, rtol=1e-5)


def test_signal_is_symmetric_in_passes_and_failures():
    flipped = expected_signal(N - K, N, Beta(U_SHAPED.b, U_SHAPED.a), 16)
    np.testing.assert_allclose(expected_signal(K, N, U_SHAPED, 16), flipped, rtol=1e-10)


def test_more_failures_in_a_row_leave_less_signal_and_never_none():
    n = np.arange(1, 200)
    signal = expected_signal(np.zeros_like(n), n, JEFFREYS, 16)
    assert (np.diff(signal) < 0).all() and signal[-1] > 0


@pytest.mark.parametrize("group_size", [1, 2, 8])
def test_mixed_groups_by_the_moments_of_the_posterior(group_size):
    """E p^G of Beta(a, b) is the product of (a + i)/(a + b + i), i < G."""
    for k, n in COUNTS:
        i, a, b = np.arange(group_size), 0.3 + k, 0.2 + n - k
        expected = 1 - np.prod((a + i) / (a + b + i)) - np.prod((b + i) / (a + b + i))
        got = expected_mixed(np.array(k), np.array(n), U_SHAPED, group_size)
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_mass_below_a_threshold_is_a_binomial_tail():
    """Under a uniform prior P(p < λ | k of n) = P(more than k of n + 1 uniform draws fall below λ)."""
    expected = [stats.binom.sf(k, n + 1, 0.6) for k, n in COUNTS]
    np.testing.assert_allclose(below_probability(K, N, Beta(1.0, 1.0), 0.6), expected, rtol=1e-10)


def sample_counts(rng, a, b, candidates):
    """Counts whose n depends on what was seen: four samples, and 12 more where those agreed."""
    rewards = rng.random((candidates, 16)) < rng.beta(a, b, candidates)[:, None]
    n = np.where(rewards[:, :4].sum(1) % 4 == 0, 16, 4)
    return np.sum(rewards & (np.arange(16) < n[:, None]), axis=1), n


def test_the_fit_finds_the_prior_although_sampling_stopped_by_what_was_seen(rng):
    fitted = fit_beta(*sample_counts(rng, 0.3, 0.6, 20_000))
    np.testing.assert_allclose(fitted, (0.3, 0.6), rtol=0.05)


def test_no_prior_nearby_is_more_likely(rng):
    k, n = sample_counts(rng, 0.3, 0.6, 60)
    fitted = np.array(fit_beta(k, n))

    def penalised(a, b):
        return stats.betabinom.logpmf(k, n, a, b).sum() - (np.log(2 * a) ** 2 + np.log(2 * b) ** 2) / 2

    best = penalised(*fitted)
    for direction in rng.normal(size=(20, 2)):
        for step in (0.02, 0.1, 0.5):
            assert penalised(*(fitted * np.exp(step * direction))) < best


def test_no_counts_give_jeffreys_and_few_uniform_ones_do_not_give_point_masses():
    nothing = np.zeros(5, int)
    np.testing.assert_allclose(fit_beta(nothing, nothing), JEFFREYS, rtol=1e-6)
    few = fit_beta(np.array([0, 4]), np.array([4, 4]))
    assert min(few) > 0.1
    many = fit_beta(np.array([0, 4] * 500), np.full(1000, 4))
    assert max(many) < 0.02


def test_the_top_share_is_the_highest_scores_and_ties_go_to_the_earlier():
    scores = np.array([0.1, 0.4, 0.2, 0.4, 0.2])
    assert top_share(scores, 0.2).tolist() == [False, True, False, False, False]
    assert top_share(scores, 0.6).tolist() == [False, True, True, True, False]
    assert top_share(scores, 0.0).sum() == 0 and top_share(scores, 1.0).all()
