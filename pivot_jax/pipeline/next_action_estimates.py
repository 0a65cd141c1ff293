"""Next-action accuracy with intervals: tasks are what was sampled, so tasks are what the bootstrap draws.

The turns of one recorded episode resemble each other, and the actions sampled at one turn even more. An interval that
took them for independent would be too narrow; one over tasks is as wide as another draw of tasks would make it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.report_inputs import TurnScores

DRAWS = 4_000
"""Bootstrap samples; the same ones each time."""


class Tally(NamedTuple):
    """Rewards of judged actions: their sum and their number."""

    sum: float
    judged: int


TaskTallies = Mapping[str, Tally]
"""Task → tally of all actions sampled at its turns."""


def tallies(turns: Iterable[TurnScores], reward: str, domain: str = "") -> dict[str, Tally]:
    """The tally of each task under one verifier, of one domain or of all. A task none of whose actions could be judged
    is left out."""
    found: dict[str, Tally] = {}
    for turn in turns:
        judged = [value for value in turn.rewards[reward] if value is not None]
        if judged and domain in ("", turn.domain):
            name = f"{turn.domain}/{turn.task}"
            old = found.get(name, Tally(0.0, 0))
            found[name] = Tally(old.sum + sum(judged), old.judged + len(judged))
    return found


def pooled(parts: Iterable[TaskTallies]) -> dict[str, Tally]:
    """The tallies of several runs together; what several runs did at one task stays together."""
    found: dict[str, Tally] = {}
    for part in parts:
        for task, tally in part.items():
            old = found.get(task, Tally(0.0, 0))
            found[task] = Tally(old.sum + tally.sum, old.judged + tally.judged)
    return found


def accuracy(tasks: TaskTallies) -> Estimate:
    """Mean reward over all judged actions, with the 95 % percentile interval of a bootstrap over tasks, the `n`.

    One task has no spread to show: its interval is 0 to 1.

    Raises:
        ValueError: no tasks.
    """
    counts = _counts(tasks)
    mean = float(counts[0].sum() / counts[1].sum())
    if len(tasks) == 1:
        return Estimate(mean, (0.0, 1.0), 1)
    return Estimate(mean, _interval(_resampled(counts)), len(tasks))


def difference_of(a: TaskTallies, b: TaskTallies) -> Estimate:
    """Accuracy of `a` minus that of `b`, paired by task: each bootstrap sample draws the same tasks for both. A task
    where one of them has no judged action (each was stopped by a limit, say) is left out.

    Raises:
        ValueError: no tasks that both have.
    """
    order = sorted(a.keys() & b.keys())
    sides = [{task: side[task] for task in order} for side in (a, b)]
    mean = accuracy(sides[0]).mean - accuracy(sides[1]).mean
    if len(order) == 1:
        return Estimate(mean, (-1.0, 1.0), 1)
    draws = [_resampled(_counts(side)) for side in sides]
    return Estimate(mean, _interval(draws[0] - draws[1]), len(order))


def _counts(tasks: TaskTallies) -> NDArray[np.float64]:
    """`[2, tasks]`: sums and numbers, in the order of the names."""
    if not tasks:
        raise ValueError("no task has an action that could be judged")
    return np.array([[tasks[name].sum, tasks[name].judged] for name in sorted(tasks)], np.float64).T


def _resampled(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[DRAWS]`: accuracies over tasks drawn with replacement."""
    size = counts.shape[1]
    weights = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), DRAWS)
    return (weights @ counts[0]) / (weights @ counts[1])


def _interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
