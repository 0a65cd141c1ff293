"""Findings of a run whose arms played episodes: success in domain, and what is left of the skills."""

from __future__ import annotations

from collections.abc import Mapping

from pivot_jax.pipeline.report_estimates import Comparison, SuiteEstimates, compare, success_rates
from pivot_jax.pipeline.report_figures import gain_and_retention
from pivot_jax.pipeline.report_findings import Findings, PageTable, change_cell, rate_cell
from pivot_jax.pipeline.report_headline import headline, orderings
from pivot_jax.pipeline.report_inputs import Evaluation
from pivot_jax.pipeline.report_text import arm_label

NOTE = (
    "Intervals: Wilson for one suite; means over suites and differences of independent rates combine the distances to "
    "Wilson's bounds; paired differences use the adjusted interval of Bonett and Price. They cover the choice of "
    "episodes, not the variation between training runs."
)


def episode_findings(evaluations: Mapping[str, Evaluation]) -> Findings:
    """Success rates of every arm, and their changes from the base once that is evaluated."""
    arms = {arm: success_rates(evaluation) for arm, evaluation in evaluations.items()}
    base = evaluations.get("base")
    differences = {
        arm: compare(evaluation, base)
        for arm, evaluation in evaluations.items()
        if base is not None and arm != "base"
    }  # fmt: skip
    return Findings(
        headline=headline(evaluations),
        orderings=orderings(evaluations),
        arms={arm: rates.to_json() for arm, rates in arms.items()},
        differences={arm: comparison.to_json() for arm, comparison in differences.items()},
        tables=(_results(arms, differences), _skills(arms, differences)),
        scatter=gain_and_retention(arms),
        note=NOTE,
    )


def _results(arms: Mapping[str, SuiteEstimates], differences: Mapping[str, Comparison]) -> PageTable:
    """Arms by in-domain mean, each domain, and out-of-domain mean, with changes."""
    domains = list(dict.fromkeys(name for estimates in arms.values() for name in estimates.in_domain))
    rows = {}
    for arm, estimates in arms.items():
        change = differences[arm].estimates if arm in differences else None
        rows[arm_label(arm)] = [
            rate_cell(estimates.in_domain_mean),
            change_cell(change.in_domain_mean) if change else None,
            *(rate_cell(estimates.in_domain[name]) if name in estimates.in_domain else None for name in domains),
            rate_cell(estimates.ood_mean),
            change_cell(change.ood_mean) if change else None,
        ]
    paired = all(comparison.paired for comparison in differences.values())
    unpaired = "" if paired else ", as differences of independent rates where the arms played different seeds"
    return PageTable(
        title="Results",
        first="arm",
        headings=["in-domain mean", "vs base", *domains, "out-of-domain mean", "vs base"],
        rows=rows,
        caption=f"Success rates with 95% intervals; changes from the base in points{unpaired}.",
    )


def _skills(arms: Mapping[str, SuiteEstimates], differences: Mapping[str, Comparison]) -> PageTable:
    """Out-of-domain skills by arm, and their changes where there is a base to compare with."""
    names = list(dict.fromkeys(name for estimates in arms.values() for name in estimates.ood))
    rows = {}
    for name in names:
        cells = []
        for arm, estimates in arms.items():
            cells.append(rate_cell(estimates.ood[name]) if name in estimates.ood else None)
            if arm in differences:
                cells.append(change_cell(differences[arm].estimates.ood[name]))
        rows[name] = cells
    headings = []
    for arm in arms:
        headings += [arm_label(arm), "vs base"] if arm in differences else [arm_label(arm)]
    return PageTable("Out-of-domain skills", "skill", headings, rows)
