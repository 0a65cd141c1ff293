"""Intervals against published values, exact special cases, and their coverage in simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot_jax.pipeline.intervals import (
    Estimate,
    across_seeds,
    difference,
    mean_of_estimates,
    mean_of_suites,
    paired_difference,
    proportion,
    wilson,
)

SUITES = st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(SUITES)
def test_wilson_holds_its_rate_and_mirrors(suite: tuple[int, int]) -> None:
    successes, n = suite
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert high - low > 0
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_wilson_refuses_impossible_counts() -> None:
    for successes, n in ((0, 0), (3, 2), (-1, 4)):
        with pytest.raises(ValueError, match="successes"):
            wilson(successes, n)


@given(st.lists(SUITES, min_size=1, max_size=6))
def test_mean_of_suites_is_a_mean_with_a_possible_interval(suites: list[tuple[int, int]]) -> None:
    estimate = mean_of_suites(suites)
    assert estimate.mean == pytest.approx(np.mean([successes / n for successes, n in suites]))
    assert estimate.n == sum(n for _, n in suites)
    low, high = estimate.ci95
    assert -1e-12 <= low <= estimate.mean <= high <= 1 + 1e-12
    assert high > low
    if len(suites) == 1:
        assert estimate.ci95 == pytest.approx(wilson(*suites[0]))


def test_large_suites_agree_with_the_normal_formula() -> None:
    suites = [(30_000, 100_000), (80_000, 100_000)]
    half = 1.959964 * math.sqrt((0.3 * 0.7 + 0.8 * 0.2) / 100_000) / 2
    assert mean_of_suites(suites).ci95 == pytest.approx((0.55 - half, 0.55 + half), abs=1e-5)


def test_mean_of_suites_covers_the_true_mean() -> None:
    rng = np.random.default_rng(0)
    rates, n, repeats = np.array([0.02, 0.3, 0.95]), 40, 2000
    draws = rng.binomial(n, rates, size=(repeats, 3))
    intervals = [mean_of_suites([(int(x), n) for x in row]).ci95 for row in draws]
    covered = np.mean([low <= rates.mean() <= high for low, high in intervals])
    assert 0.94 <= covered <= 0.985


def test_difference_equals_newcombe_by_hand() -> None:
    # Newcombe (1998), "Interval estimation for the difference", example a: 56/70 - 48/80, method 10.
    estimate = difference(proportion(56, 70), proportion(48, 80))
    assert estimate.mean == pytest.approx(0.2)
    assert estimate.ci95 == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference(proportion(48, 80), proportion(56, 70)).ci95 == pytest.approx((-0.3339, -0.0524), abs=5e-5)


def test_paired_difference_by_hand() -> None:
    # x = 3, y = 1, n = 10: p = 4/12, q = 2/12, variance (1/2 - 1/36)/12.
    a = [1, 1, 1, 0, 1, 1, 0, 0, 1, 0]
    b = [0, 0, 0, 1, 1, 1, 0, 0, 1, 0]
    half = 1.959963984540054 * math.sqrt((1 / 2 - 1 / 36) / 12)
    estimate = paired_difference(a, b)
    assert estimate.mean == pytest.approx(0.2)
    assert estimate.ci95 == pytest.approx((1 / 6 - half, 1 / 6 + half))
    assert estimate.n == 10


def test_paired_difference_covers_and_is_narrower_than_an_unpaired_one() -> None:
    rng = np.random.default_rng(1)
    n, repeats, covered, widths, unpaired = 60, 1000, 0, [], []
    for _ in range(repeats):
        skill = rng.random(n)
        a, b = (skill < 0.6).astype(int).tolist(), (skill + rng.normal(0, 0.1, n) < 0.5).astype(int).tolist()
        estimate = paired_difference(a, b)
        truth = 0.6 - 0.5  # a uniform skill with small noise stays below 0.5 half of the time
        covered += estimate.ci95[0] <= truth <= estimate.ci95[1]
        widths.append(estimate.ci95[1] - estimate.ci95[0])
        apart = difference(proportion(sum(a), n), proportion(sum(b), n))
        unpaired.append(apart.ci95[1] - apart.ci95[0])
    assert 0.93 <= covered / repeats <= 0.99
    assert np.mean(widths) < 0.75 * np.mean(unpaired)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=50))
def test_paired_difference_is_antisymmetric_and_never_certain(pairs: list[tuple[int, int]]) -> None:
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    forward, backward = paired_difference(a, b), paired_difference(b, a)
    assert forward.mean == -backward.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert forward.ci95 == pytest.approx((-backward.ci95[1], -backward.ci95[0]))
    assert forward.ci95[0] <= forward.mean <= forward.ci95[1]
    assert forward.ci95[0] < forward.ci95[1]


def test_paired_difference_refuses_what_is_not_pairs_of_outcomes() -> None:
    with pytest.raises(ValueError, match="got 2, 1"):
        paired_difference([0, 1], [1])
    with pytest.raises(ValueError, match="0 or 1"):
        paired_difference([0, 2], [1, 1])


def test_across_seeds_uses_student() -> None:
    # s = 1, t(2) = 4.302653: 2 ± 4.302653 / sqrt(3).
    estimate = across_seeds([1.0, 2.0, 3.0])
    assert estimate.ci95 == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-6)
    assert (estimate.mean, estimate.n) == (2.0, 3)
    with pytest.raises(ValueError, match="at least 2"):
        across_seeds([1.0])


def test_mean_of_symmetric_intervals_adds_variances() -> None:
    parts = [Estimate(0.0, (-3.0, 3.0), 5), Estimate(2.0, (-2.0, 6.0), 7)]
    assert mean_of_estimates(parts) == Estimate(1.0, (-1.5, 3.5), 12)


def test_an_estimate_is_read_as_it_was_written() -> None:
    written = Estimate(0.25, (0.125, 0.5), 7)
    assert Estimate.from_json(written.to_json()) == written
    assert Estimate.from_json({"mean": 0.25, "ci95": [0.125, 0.5]}).n == 0
