"""Findings of a run whose arms played episodes: success in domain, and what is left of the skills."""

from __future__ import annotations

from collections.abc import Mapping

from pivot_jax.pipeline.intervals import Estimate
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
        tables=(_results(arms, differences), *_suites(arms, differences)),
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


def _suites(arms: Mapping[str, SuiteEstimates], differences: Mapping[str, Comparison]) -> list[PageTable]:
    """Success on what was not trained on, suite by suite: other domains where the run plays them, and the skills."""
    other = {arm: estimates.other_domains for arm, estimates in arms.items()}
    other_changes = {arm: comparison.estimates.other_domains for arm, comparison in differences.items()}
    skills = {arm: estimates.ood for arm, estimates in arms.items()}
    changes = {arm: comparison.estimates.ood for arm, comparison in differences.items()}
    tables = [_suite_table("Domains not trained on", "domain", other, other_changes)] if any(other.values()) else []
    return [*tables, _suite_table("Out-of-domain skills", "skill", skills, changes)]


def _suite_table(
    title: str,
    first: str,
    rates: Mapping[str, Mapping[str, Estimate]],
    changes: Mapping[str, Mapping[str, Estimate]],
) -> PageTable:
    """Suites by arm, and their changes where there is a base to compare with."""
    rows = {}
    for name in dict.fromkeys(name for suites in rates.values() for name in suites):
        cells = []
        for arm, suites in rates.items():
            cells.append(rate_cell(suites[name]) if name in suites else None)
            if arm in changes:
                cells.append(change_cell(changes[arm][name]))
        rows[name] = cells
    headings = []
    for arm in rates:
        headings += [arm_label(arm), "vs base"] if arm in changes else [arm_label(arm)]
    return PageTable(title, first, headings, rows)
