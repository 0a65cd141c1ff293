"""Next-action accuracy: what is counted, and intervals over tasks."""

from __future__ import annotations

import numpy as np
import pytest

from pivot_jax.pipeline.next_action_estimates import Tally, accuracy, difference_of, pooled, tallies
from pivot_jax.pipeline.report_inputs import TurnScores


def turn(task: str, *rewards: float | None, domain: str = "d") -> TurnScores:
    return TurnScores(turn=f"{task}#0", domain=domain, task=task, rewards={"functional": rewards})


def test_rewards_are_added_up_by_task_and_what_was_not_judged_is_left_out():
    turns = [turn("a", 1, 0), turn("a", None, 1), turn("b", None, None), turn("a", 1, domain="e")]
    assert tallies(turns, "functional") == {"d/a": Tally(2, 3), "e/a": Tally(1, 1)}
    assert tallies(turns, "functional", "d") == {"d/a": Tally(2, 3)}
    whole = pooled([tallies(turns[:1], "functional"), tallies(turns[1:], "functional")])
    assert whole == tallies(turns, "functional")


def test_accuracy_weighs_actions_and_its_interval_is_over_tasks():
    tasks = {"a": Tally(3, 3), "b": Tally(0, 1)}
    assert accuracy(tasks).mean == 0.75 and accuracy(tasks).n == 2
    assert accuracy(tasks).ci95 == (0.0, 1.0)  # either task may be drawn twice
    assert accuracy({"a": Tally(1, 3)}).ci95 == (0.0, 1.0)
    with pytest.raises(ValueError, match="no task has an action that could be judged"):
        accuracy({})


def test_repeating_the_actions_of_a_task_does_not_narrow_the_interval():
    draw = np.random.default_rng(1)
    once = {str(i): Tally(float(draw.integers(0, 3)), 2) for i in range(30)}
    often = {name: Tally(100 * tally.sum, 100 * tally.judged) for name, tally in once.items()}
    assert accuracy(once) == accuracy(often)


def test_the_interval_is_the_normal_one_where_tasks_are_many_and_alike():
    draw = np.random.default_rng(0)
    passed = draw.integers(0, 2, 2000)
    found = accuracy({str(i): Tally(float(p), 1) for i, p in enumerate(passed)})
    half = 1.96 * np.sqrt(passed.mean() * (1 - passed.mean()) / 2000)
    assert found.ci95 == pytest.approx((passed.mean() - half, passed.mean() + half), abs=0.002)


def test_differences_are_paired_by_task():
    draw = np.random.default_rng(2)
    base = {str(i): Tally(float(draw.integers(0, 90)), 100) for i in range(40)}
    better = {name: Tally(tally.sum + 10, 100) for name, tally in base.items()}
    found = difference_of(better, base)
    assert found.mean == pytest.approx(0.1) and found.ci95 == pytest.approx((0.1, 0.1))  # the tasks' own spread is gone
    assert difference_of(base, better).mean == pytest.approx(-0.1)
    without = {name: tally for name, tally in base.items() if name != "0"}
    assert difference_of(better, without).n == 39 and difference_of(better, without).mean == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no task has an action that could be judged"):
        difference_of(better, {})
