"""What it costs to reach an accuracy, read off learning curves.

A curve starts at the base, with cost 0, and has one point a kept checkpoint. Its noise is smoothed under one
assumption: up to the best checkpoint, accuracy does not fall. So the points up to the best one are fitted by isotonic
regression (the least-squares rising curve), later ones are dropped as a practitioner would who stops there, and the
cost of an accuracy is interpolated linearly between checkpoints. An accuracy that the fit never has is not reached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from pivot_jax.pipeline.artifacts import read_json
from pivot_jax.pipeline.intervals import Estimate, across_seeds
from pivot_jax.pipeline.report_inputs import read_inputs
from pivot_jax.pipeline.seed_results import Record
from pivot_jax.pipeline.seed_runs import SeedRun, read_starts

MEASURES = ("rollout_turns", "sampled_tokens", "flops", "seconds")
"""Fields of `Cost` that are compared."""


class CurvePoint(Record):
    """In-domain accuracy at a checkpoint (mean over domains), and what training had cost by then."""

    step: int
    rate: float
    cost: dict[str, float]


class ArmCurve(Record):
    """The points of one arm, the base first, and what its profile cost (zeros without one)."""

    points: list[CurvePoint]
    profile: dict[str, float]

    @property
    def gain(self) -> float:
        """Best smoothed accuracy less the base's."""
        return float(_rising(self)[-1]) - self.points[0].rate


class SeedCurves(Record):
    """The curves of one run."""

    seed: int
    starts: list[dict[str, Any]]
    seconds: float
    episodes: int
    """Episodes a domain at each point."""
    arms: dict[str, ArmCurve]


@dataclass(frozen=True)
class Spent:
    """What an arm spends to reach a target, over seeds: `costs` has None where it is not reached."""

    costs: tuple[float | None, ...]

    @property
    def reached(self) -> int:
        return sum(cost is not None for cost in self.costs)

    @property
    def mean(self) -> float | None:
        """Over the seeds, if all reach it."""
        known = [cost for cost in self.costs if cost is not None]
        return math.fsum(known) / len(known) if len(known) == len(self.costs) else None


def seed_curves(run: SeedRun) -> SeedCurves:
    """Read the curves of a finished run directory.

    Raises:
        FileNotFoundError, ValueError: a file that is missing or not as its stage writes it; the message names it.
    """
    inputs = read_inputs(run.dir)
    section = inputs.config["evaluate"]
    limit = section["first_seed"] + section["curve_episodes"]
    # the base played these very episodes among those of its evaluation
    shared = [
        [outcome for seed, outcome in zip(suite.seeds, suite.outcomes, strict=True) if seed < limit]
        for suite in inputs.evaluations["base"].in_domain.values()
    ]
    start = CurvePoint(step=0, rate=_mean([_mean(part) for part in shared]), cost=dict.fromkeys(MEASURES, 0.0))
    arms = {}
    for path in sorted((run.dir / "curves").glob("*.json")):
        read = read_json(path)
        points = [
            CurvePoint(
                step=point["step"],
                rate=_mean([successes / point["episodes"] for successes in point["successes"].values()]),
                cost={name: float(point["cost"][name]) for name in MEASURES},
            )
            for point in read
        ]
        profile = inputs.ledger.phases(path.stem).get("profile")
        # the ledger's profile holds re-profiling too, which the points have paid already
        again = read[-1]["reprofiling"]
        paid = {name: float(getattr(profile, name) - again[name]) if profile else 0.0 for name in MEASURES}
        arms[path.stem] = ArmCurve(points=[start, *points], profile=paid)
    manifest = read_json(run.dir / "manifest.json")
    return SeedCurves(
        seed=run.seed,
        starts=read_starts(run.dir),
        seconds=sum(stage["seconds"] for stage in manifest["stages"].values()),
        episodes=section["curve_episodes"],
        arms=arms,
    )


def cost_to_gain(curve: ArmCurve, gain: float, measure: str, *, profile: bool = True) -> float | None:
    """Cost at which the arm's accuracy is `gain` above the base's; None if it never is.

    Args:
        gain: above 0, as a share of the episodes.
        profile: whether the arm's profile is paid for before its first update.
    """
    rates, target = _rising(curve), curve.points[0].rate + gain
    costs = [point.cost[measure] for point in curve.points]
    # the tolerance is that of adding and taking away the base's rate
    place = next((i for i, rate in enumerate(rates) if rate >= target - 1e-12), None)
    if place is None:
        return None
    paid = curve.profile[measure] if profile else 0.0
    if place == 0:
        return paid
    share = (target - rates[place - 1]) / (rates[place] - rates[place - 1])
    return paid + costs[place - 1] + float(min(1.0, share)) * (costs[place] - costs[place - 1])


def spent(seeds: Sequence[SeedCurves], arm: str, gain: float, measure: str, *, profile: bool = True) -> Spent:
    """What the arm spends on a gain, seed by seed."""
    return Spent(tuple(cost_to_gain(run.arms[arm], gain, measure, profile=profile) for run in seeds))


def cost_ratio(over: Spent, under: Spent) -> Estimate | None:
    """Geometric mean over seeds of over / under, with Student's interval on its logarithm (one seed: no width).

    None unless both are reached in every seed: leaving out the seeds that were not would favour whoever missed them.
    """
    logs = []
    for a, b in zip(over.costs, under.costs, strict=True):
        if a is None or b is None or a <= 0 or b <= 0:
            return None
        logs.append(math.log(a / b))
    found = across_seeds(logs) if len(logs) > 1 else Estimate(logs[0], (logs[0], logs[0]), 1)
    low, high = found.ci95
    return Estimate(math.exp(found.mean), (math.exp(low), math.exp(high)), found.n)


def cheapest(seeds: Sequence[SeedCurves], arms: Sequence[str], gain: float, measure: str) -> str:
    """The arm that reaches the gain in most seeds, and of those the one that spends least: chosen with hindsight."""

    def order(arm: str) -> tuple[int, float]:
        found = spent(seeds, arm, gain, measure)
        return -found.reached, _mean([cost for cost in found.costs if cost is not None])

    return min(arms, key=order)


def gains(seeds: Sequence[SeedCurves], step: float) -> list[float]:
    """Multiples of `step` up to the largest gain of any arm in any seed."""
    largest = max(curve.gain for run in seeds for curve in run.arms.values())
    return [round(step * i, 10) for i in range(1, int(largest / step + 1e-9) + 1)]


def matched_gain(
    seeds: Sequence[SeedCurves], contenders: Sequence[Sequence[str]], grid: Sequence[float]
) -> float | None:
    """The largest gain of the grid that some arm of every contender reaches in every seed."""

    def reached(arm: str, gain: float) -> bool:
        return spent(seeds, arm, gain, MEASURES[0]).mean is not None

    matched = [gain for gain in grid if all(any(reached(arm, gain) for arm in arms) for arms in contenders)]
    return max(matched, default=None)


def _rising(curve: ArmCurve) -> Any:
    rates = np.array([point.rate for point in curve.points])
    return isotonic_regression(rates[: int(rates.argmax()) + 1]).x


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.inf
