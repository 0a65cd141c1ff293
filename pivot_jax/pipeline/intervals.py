"""95% confidence intervals for what an evaluation measures: rates, their means, and their differences.

Suites are small and rates may be 0 or 1, where the textbook interval has no width. So a rate has Wilson's interval,
and everything built from rates combines the distances to Wilson's bounds, below and above apart (Newcombe, "Interval
estimation for the difference between independent proportions", 1998, method 10; Zou and Donner, "Construction of
confidence limits about effect measures", 2008). Such intervals are never empty and never leave the possible range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import stdtrit

Z95 = 1.959963984540054
"""The 97.5% point of the standard normal distribution."""


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95% interval (low, high), and the number of observations behind it."""

    mean: float
    ci95: tuple[float, float]
    n: int

    def to_json(self) -> dict[str, float | int | list[float]]:
        """As reports hold it: `{"mean", "ci95": [low, high], "n"}`."""
        return {"mean": self.mean, "ci95": list(self.ci95), "n": self.n}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Estimate:
        """What `to_json` wrote; `n` may be absent, and is 0 then."""
        low, high = value["ci95"]
        return cls(value["mean"], (low, high), value.get("n", 0))


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95% score interval of a rate (Wilson, 1927).

    The rates p that the data do not reject: |p̂ - p| ≤ z·sqrt(p(1 - p)/n), with p̂ = successes/n.

    Raises:
        ValueError: no trials, or successes outside 0..n.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"a rate needs 0 <= successes <= n and n >= 1; got successes={successes}, n={n}")
    rate = successes / n
    shrink = 1 + Z95**2 / n
    centre = (rate + Z95**2 / (2 * n)) / shrink
    half = Z95 * math.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n**2)) / shrink
    # At 0 or n successes one bound is the rate itself, up to rounding; the interval must hold its own rate.
    return max(0.0, min(centre - half, rate)), min(1.0, max(centre + half, rate))


def proportion(successes: int, n: int) -> Estimate:
    """The rate of one suite with Wilson's interval."""
    ci95 = wilson(successes, n)
    return Estimate(successes / n, ci95, n)


def mean_of_estimates(estimates: Sequence[Estimate]) -> Estimate:
    """Unweighted mean of S independent estimates.

    With estimates m_i in [l_i, u_i] and m their mean: [m - sqrt(Σ(m_i - l_i)²)/S, m + sqrt(Σ(u_i - m_i)²)/S].
    For symmetric intervals this is m ± z·sqrt(Σ var_i)/S; for S = 1 it is the interval given. `n` is the sum.

    Raises:
        ValueError: no estimates.
    """
    if not estimates:
        raise ValueError("the mean of no estimates")
    count = len(estimates)
    mean = sum(part.mean for part in estimates) / count
    below = math.hypot(*(part.mean - part.ci95[0] for part in estimates)) / count
    above = math.hypot(*(part.ci95[1] - part.mean for part in estimates)) / count
    return Estimate(mean, (mean - below, mean + above), sum(part.n for part in estimates))


def mean_of_suites(suites: Sequence[tuple[int, int]]) -> Estimate:
    """Mean of suite rates, each suite counting the same; `suites` are (successes, n). See `mean_of_estimates`."""
    return mean_of_estimates([proportion(successes, n) for successes, n in suites])


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b for independent estimates.

    [d - sqrt((a - l_a)² + (u_b - b)²), d + sqrt((u_a - a)² + (b - l_b)²)] with d = a - b. `n` is the sum.
    """
    mean = a.mean - b.mean
    below = math.hypot(a.mean - a.ci95[0], b.ci95[1] - b.mean)
    above = math.hypot(a.ci95[1] - a.mean, b.mean - b.ci95[0])
    return Estimate(mean, (mean - below, mean + above), a.n + b.n)


def paired_difference(outcomes_a: Sequence[int], outcomes_b: Sequence[int]) -> Estimate:
    """Difference of two success rates over the same episodes, a - b; outcomes are 0 or 1, in the same order.

    Only discordant pairs carry information: x where a alone succeeds, y where b alone does. The interval is the
    adjusted one of Bonett and Price ("Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data", 2012): with p = (x + 1)/(n + 2) and q = (y + 1)/(n + 2) it is
    p - q ± z·sqrt((p + q - (p - q)²)/(n + 2)), cut to [-1, 1]. `mean` is the plain (x - y)/n; `n` counts pairs.

    Raises:
        ValueError: no pairs, lengths that differ, or an outcome that is neither 0 nor 1.
    """
    if len(outcomes_a) != len(outcomes_b) or not outcomes_a:
        raise ValueError(f"pairs need equally many outcomes, at least one; got {len(outcomes_a)}, {len(outcomes_b)}")
    if strange := {*outcomes_a, *outcomes_b} - {0, 1}:
        raise ValueError(f"outcomes are 0 or 1; got {sorted(strange)}")
    n = len(outcomes_a)
    a_alone = sum(a > b for a, b in zip(outcomes_a, outcomes_b, strict=True))
    b_alone = sum(b > a for a, b in zip(outcomes_a, outcomes_b, strict=True))
    p, q = (a_alone + 1) / (n + 2), (b_alone + 1) / (n + 2)
    half = Z95 * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return Estimate((a_alone - b_alone) / n, (max(-1.0, p - q - half), min(1.0, p - q + half)), n)


def across_seeds(means: Sequence[float]) -> Estimate:
    """Mean over repeated runs with Student's interval: m ± t(n - 1)·s/sqrt(n), s with n - 1. `n` counts runs.

    It speaks of the variation between runs, which no number of episodes of one run can show.

    Raises:
        ValueError: fewer than two runs.
    """
    n = len(means)
    if n < 2:
        raise ValueError(f"an interval across seeds needs at least 2 runs; got {n}")
    mean = math.fsum(means) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in means) / (n - 1))
    half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
    return Estimate(mean, (mean - half, mean + half), n)
