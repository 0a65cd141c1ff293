"""Findings of a run on recorded trajectories: next-action accuracy at held-out turns under each verifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.next_action_estimates import DRAWS, accuracy, difference_of, tallies
from pivot_jax.pipeline.report_findings import Findings, PageTable, change_cell, rate_cell
from pivot_jax.pipeline.report_inputs import NextActions
from pivot_jax.pipeline.report_text import arm_label, percent, points, points_interval

REWARDS = ("tool_name", "functional", "exact")
"""In the order of the tables: from the coarsest to the strictest."""
REFERENCES = ("base", "sft")

NOTE = (
    f"Intervals: percentile bootstrap over held-out tasks ({DRAWS:,} draws), differences paired by task. They cover "
    "the choice of tasks, not the variation between training runs. Actions that could not be judged are left out."
)


def next_action_findings(evaluations: Mapping[str, NextActions]) -> Findings:
    """Accuracy of every arm, and its differences from the base and from SFT, under each verifier.

    Raises:
        ValueError: arms that were evaluated at different turns.
    """
    same_turns(evaluations)
    arms = {arm: _arm(found) for arm, found in evaluations.items()}
    differences = {
        arm: {
            reference: {name: _change(found, evaluations[reference], name) for name in _judged(found)}
            for reference in REFERENCES
            if reference in evaluations and reference != arm
        }
        for arm, found in evaluations.items()
        if arm != "base"
    }
    return Findings(
        headline=_headline(evaluations),
        orderings=(),
        arms=arms,
        differences={
            arm: {reference: _to_json(estimates) for reference, estimates in by.items()}
            for arm, by in differences.items()
        },
        tables=(_results(evaluations, differences), *_domains(evaluations)),
        scatter=None,
        note=NOTE,
    )


def same_turns(evaluations: Mapping[str, NextActions]) -> None:
    """ValueError unless all arms were evaluated at the same turns."""
    (first, expected), *others = [(arm, [t.turn for t in found.turns]) for arm, found in evaluations.items()]
    for arm, turns in others:
        if turns != expected:
            raise ValueError(f"{arm} was evaluated at other turns than {first}; remove the older evaluation file")


def _judged(found: NextActions) -> list[str]:
    """The verifiers that could judge anything."""
    return [name for name in REWARDS if tallies(found.turns, name)]


def _arm(found: NextActions) -> dict[str, Any]:
    """One arm as `report.json` holds it."""
    domains = sorted({turn.domain for turn in found.turns})
    rewards = {name: [reward for turn in found.turns for reward in turn.rewards[name]] for name in REWARDS}
    return {
        "next_action": _to_json({name: accuracy(tallies(found.turns, name)) for name in _judged(found)}),
        "by_domain": {
            domain: _to_json(
                {n: accuracy(part) for n in REWARDS if (part := tallies(found.turns, n, domain))}
            )
            for domain in domains
        },
        "turns": len(found.turns),
        "tasks": len({(turn.domain, turn.task) for turn in found.turns}),
        "not_judged": {name: sum(reward is None for reward in group) for name, group in rewards.items()},
    }  # fmt: skip


def _change(arm: NextActions, reference: NextActions, reward: str) -> Estimate:
    return difference_of(tallies(arm.turns, reward), tallies(reference.turns, reward))


def _to_json(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.to_json() for name, estimate in estimates.items()}


def _results(
    evaluations: Mapping[str, NextActions], differences: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
) -> PageTable:
    """Arms by verifier: accuracy, and the changes from base and SFT under the functional one."""
    known = [name for name in REFERENCES if name in evaluations]
    rows = {}
    for arm, found in evaluations.items():
        judged = _judged(found)
        cells = [rate_cell(accuracy(tallies(found.turns, n))) if n in judged else None for n in REWARDS]
        for reference in known:
            change = differences.get(arm, {}).get(reference, {}).get("functional")
            cells.append(change_cell(change) if change else None)
        rows[arm_label(arm)] = cells
    headings = [*(name.replace("_", " ") for name in REWARDS), *(f"functional vs {name}" for name in known)]
    first = next(iter(evaluations.values()))
    tasks = len({(turn.domain, turn.task) for turn in first.turns})
    unjudged = sum(reward is None for turn in first.turns for reward in turn.rewards["functional"])
    actions = sum(len(turn.rewards["functional"]) for turn in first.turns)
    caption = (
        f"Next-action accuracy at {len(first.turns)} held-out turns of {tasks} tasks, {actions} actions an arm, with "
        f"95% intervals; changes in points. The functional verifier could not judge {unjudged} of the base's actions."
    )
    return PageTable("Results", "arm", headings, rows, caption)


def _domains(evaluations: Mapping[str, NextActions]) -> list[PageTable]:
    """Functional accuracy by domain, where there are several."""
    names = sorted({turn.domain for found in evaluations.values() for turn in found.turns})
    if len(names) < 2:
        return []
    rows = {}
    for arm, found in evaluations.items():
        parts = [tallies(found.turns, "functional", name) for name in names]
        rows[arm_label(arm)] = [rate_cell(accuracy(part)) if part else None for part in parts]
    return [PageTable("Functional accuracy by domain", "arm", names, rows)]


def _headline(evaluations: Mapping[str, NextActions]) -> str:
    told = [arm for arm in ("base", "sft", "pivotrl") if arm in evaluations]
    by_arm = {arm: tallies(evaluations[arm].turns, "functional") for arm in told}
    if not all(by_arm.values()):
        return "The functional verifier could judge no action at the held-out turns."
    sentences = []
    for arm in told:
        rate, base = accuracy(by_arm[arm]), by_arm.get("base")
        said = f"{arm_label(arm)} takes an acceptable action at {percent(rate.mean)} of the held-out turns"
        if arm != "base" and base:
            change = difference_of(by_arm[arm], base)
            said += f" ({points(change.mean)} points on the base, 95% interval {points_interval(change)})"
        sentences.append(f"{said}.")
    return " ".join(sentences) or "Neither the base, SFT nor PivotRL has been evaluated yet."
