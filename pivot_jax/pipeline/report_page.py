"""The report as one HTML page that needs nothing else: no script, no font, no file, no network."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from pivot_jax.pipeline import report_text as text
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.report_figures import learning_curves, pass_rate_histogram, to_svg
from pivot_jax.pipeline.report_findings import Findings
from pivot_jax.pipeline.report_inputs import PivotManifest, RunInputs


def render_page(inputs: RunInputs, found: Findings) -> str:
    """The page of one run: headline, results, figures, pivots, costs, and the configuration that made it."""
    environment = Environment(
        loader=PackageLoader("pivot_jax", "pipeline"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report_page.html").render(
        found=found,
        evaluations=[*inputs.evaluations.values(), *inputs.next_actions.values()],
        arm_label=text.arm_label,
        figures=_figures(inputs, found.scatter),
        pivots=inputs.pivots,
        percent=text.percent,
        reasons=_reasons(inputs.pivots) if inputs.pivots else [],
        domains=_domains(inputs.pivots) if inputs.pivots else {"rows": {}},
        ledger_headings=list(text.LEDGER_COLUMNS.values()),
        ledger=_ledger(inputs.ledger),
        command=inputs.manifest.command,
        config=json.dumps(inputs.config, indent=2, ensure_ascii=False),
    )


def _figures(inputs: RunInputs, scatter: Figure | None) -> dict[str, Markup]:
    drawn = {"curves": learning_curves(inputs.metrics)}
    if scatter:
        drawn["scatter"] = scatter
    if inputs.pivots and inputs.pivots.mixed_fraction is not None:
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
