"""The report as one HTML page that needs nothing else: no script, no font, no file, no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pivot_jax.pipeline import report_text as text
from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.report_estimates import Comparison, SuiteEstimates
from pivot_jax.pipeline.report_figures import gain_and_retention, learning_curves, pass_rate_histogram, to_svg
from pivot_jax.pipeline.report_headline import orderings
from pivot_jax.pipeline.report_inputs import PivotManifest, RunInputs


def render_page(
    inputs: RunInputs, headline: str, arms: Mapping[str, SuiteEstimates], differences: Mapping[str, Comparison]
) -> str:
    """The page of one run: headline, results, figures, pivots, costs, and the configuration that made it."""
    environment = Environment(
        loader=PackageLoader("pivot_jax", "pipeline"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report_page.html").render(
        headline=headline,
        orderings=orderings(inputs.evaluations),
        evaluations=list(inputs.evaluations.values()),
        arm_label=text.arm_label,
        results=_results(arms, differences),
        skills=_skills(arms, differences),
        paired=all(comparison.paired for comparison in differences.values()),
        figures=_figures(inputs, arms),
        pivots=inputs.pivots,
        percent=text.percent,
        reasons=_reasons(inputs.pivots) if inputs.pivots else [],
        domains=_domains(inputs.pivots) if inputs.pivots else {"rows": {}},
        ledger_headings=list(text.LEDGER_COLUMNS.values()),
        ledger=_ledger(inputs.ledger),
        command=inputs.manifest.command,
        config=json.dumps(inputs.config, indent=2, ensure_ascii=False),
    )


def _rate_cell(estimate: Estimate) -> tuple[str, str]:
    return text.percent(estimate.mean), text.percent_interval(estimate)


def _change_cell(estimate: Estimate) -> tuple[str, str]:
    return text.points(estimate.mean), text.points_interval(estimate)


def _results(arms: Mapping[str, SuiteEstimates], differences: Mapping[str, Comparison]) -> dict[str, Any]:
    """Arms by in-domain mean, each domain, and out-of-domain mean, with changes; a cell is (number, interval)."""
    domains = list(dict.fromkeys(name for estimates in arms.values() for name in estimates.in_domain))
    rows = {}
    for arm, estimates in arms.items():
        change = differences[arm].estimates if arm in differences else None
        rows[arm] = [
            _rate_cell(estimates.in_domain_mean),
            _change_cell(change.in_domain_mean) if change else None,
            *(_rate_cell(estimates.in_domain[name]) if name in estimates.in_domain else None for name in domains),
            _rate_cell(estimates.ood_mean),
            _change_cell(change.ood_mean) if change else None,
        ]
    headings = ["in-domain mean", "vs base", *domains, "out-of-domain mean", "vs base"]
    return {"headings": headings, "rows": rows}


def _skills(arms: Mapping[str, SuiteEstimates], differences: Mapping[str, Comparison]) -> dict[str, Any]:
    """Out-of-domain skills by arm: (rate, interval), and (change, interval) where there is a base to compare with."""
    names = list(dict.fromkeys(name for estimates in arms.values() for name in estimates.ood))
    rows = {}
    for name in names:
        cells = []
        for arm, estimates in arms.items():
            cells.append(_rate_cell(estimates.ood[name]) if name in estimates.ood else None)
            if arm in differences:
                cells.append(_change_cell(differences[arm].estimates.ood[name]))
        rows[name] = cells
    headings = []
    for arm in arms:
        headings += [text.arm_label(arm), "vs base"] if arm in differences else [text.arm_label(arm)]
    return {"headings": headings, "rows": rows}


def _figures(inputs: RunInputs, arms: Mapping[str, SuiteEstimates]) -> dict[str, Markup]:
    drawn = {
        "scatter": gain_and_retention(arms),
        "curves": learning_curves(inputs.metrics),
    }
    if inputs.pivots:
        drawn["histogram"] = pass_rate_histogram(inputs.pivots)
    return {name: Markup(to_svg(figure, name)) for name, figure in drawn.items()}


def _reasons(pivots: PivotManifest) -> list[tuple[str, str, str]]:
    """(reason, candidates, share of all candidates), most frequent first."""
    ordered = sorted(pivots.by_reason.items(), key=lambda item: -item[1])
    return [(reason.replace("_", " "), str(n), text.percent(n / max(1, pivots.candidates))) for reason, n in ordered]


def _domains(pivots: PivotManifest) -> dict[str, Any]:
    """The plain numbers of each domain's entry in the manifest; nested ones are left to `pivots.json`."""
    numbers = {
        domain: {key: value for key, value in entry.items() if isinstance(value, int | float)}
        for domain, entry in pivots.by_domain.items()
    }
    keys = list(dict.fromkeys(key for entry in numbers.values() for key in entry))
    return {
        "headings": [key.replace("_", " ") for key in keys],
        "rows": {
            domain: [f"{entry[key]:.4g}" if key in entry else "\N{EN DASH}" for key in keys]
            for domain, entry in numbers.items()
        },
    }


def _ledger(ledger: Ledger) -> list[tuple[str, list[tuple[str, list[str]]], list[str]]]:
    """(arm, [(phase, cells)], cells of the total) for every arm that was charged anything."""
    return [
        (
            text.arm_label(arm),
            [(phase, text.cost_cells(cost)) for phase, cost in ledger.phases(arm).items()],
            text.cost_cells(ledger.total(arm)),
        )
        for arm in ledger.arms
    ]
