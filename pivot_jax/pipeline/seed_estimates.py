"""Estimates over seeds: each arm alone, and each arm against another, paired by seed.

A seed's score is the mean over its suites (in-domain domains, other domains, or skills), each counting the same; where
every domain is trained alone, the mean over those runs. From two seeds on an interval is Student's over the seeds'
scores, so it holds the variation of data, training and evaluation together. One seed has no such variation to show: its
interval is over the episodes alone, and differences are then taken as of independent rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pivot_jax.pipeline.intervals import (
    Estimate,
    across_seeds,
    difference,
    mean_of_estimates,
    mean_of_suites,
)
from pivot_jax.pipeline.seed_results import Results, RunResult, Score

Kind = Literal["in_domain", "other_domains", "ood"]


def runs_by_seed(results: Results) -> dict[int, list[RunResult]]:
    """The runs of each seed; a seed that lacks the run of some domain is left out."""
    wanted = {run.domains for run in results.runs}
    found: dict[int, list[RunResult]] = {}
    for run in results.runs:
        found.setdefault(run.seed, []).append(run)
    return {seed: runs for seed, runs in sorted(found.items()) if {run.domains for run in runs} == wanted}


def rate(results: Results, arm: str, kind: Kind, suite: str = "") -> Estimate:
    """Success rate of an arm: the mean over suites, or that of one suite. `n` counts seeds, of one seed episodes."""
    seeds = list(runs_by_seed(results).values())
    if len(seeds) == 1:
        return _within(seeds[0], arm, kind, suite)
    return _cut(across_seeds([_within(runs, arm, kind, suite).mean for runs in seeds]), 0.0)


def change(results: Results, arm: str, reference: str, kind: Kind, suite: str = "") -> Estimate:
    """Difference of two arms' success rates, arm minus reference, paired by seed."""
    seeds = list(runs_by_seed(results).values())
    pairs = [(_within(runs, arm, kind, suite), _within(runs, reference, kind, suite)) for runs in seeds]
    if len(pairs) == 1:
        return difference(*pairs[0])
    return _cut(across_seeds([a.mean - b.mean for a, b in pairs]), -1.0)


def _cut(estimate: Estimate, least: float) -> Estimate:
    """The interval within the possible range, `least` to 1: Student's knows no bounds."""
    low, high = estimate.ci95
    return Estimate(estimate.mean, (max(least, low), min(1.0, high)), estimate.n)


def _within(runs: Sequence[RunResult], arm: str, kind: Kind, suite: str) -> Estimate:
    """One seed."""
    chosen = [_suites(run, arm, kind, suite) for run in runs]
    return mean_of_estimates(
        [mean_of_suites([(score.successes, score.episodes) for score in scores]) for scores in chosen if scores]
    )


def _suites(run: RunResult, arm: str, kind: Kind, suite: str) -> list[Score]:
    scores: dict[str, Score] = getattr(run.arms[arm], kind)
    return [score for name, score in scores.items() if suite in ("", name)]
